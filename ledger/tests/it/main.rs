//! The ledger as a whole: scenarios, cheats at the money, random sequences.
#![allow(missing_docs, clippy::unwrap_used)]

mod attacks;
mod frozen;
mod model;
mod money;
mod net;
mod random;
mod scenarios;
mod toy;
