//! Endpoints and relays on loopback, friends and enemies.
#![allow(clippy::unwrap_used)]

mod direct;
mod help;
mod hostile;
mod relays;
