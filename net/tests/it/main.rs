//! Endpoints and relays on loopback, friends and enemies.

mod direct;
mod help;
mod hostile;
mod relays;
