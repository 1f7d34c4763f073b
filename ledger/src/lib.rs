//! The pure state machine of a Cairn network.
//!
//! Values in, values out: no clock, no file, no socket, no float, no hash-map order. Sectors are known only through
//! the contract of `cairn-sector`. Only this crate knows balances, bonds, fees and payments.
//!
//! Start reading at [`executor`] (transactions and blocks), [`epoch`] (what happens at the start of a block) and
//! [`settle`] (the function that everybody recomputes).

pub mod bank;
pub mod claims;
pub mod dispute;
pub mod endowment;
pub mod epoch;
pub mod events;
pub mod evidence;
pub mod executor;
pub mod genesis;
pub mod invariants;
pub mod listing;
pub mod locks;
pub mod market;
pub mod outcomes;
pub mod params;
pub mod registry;
pub mod sales;
mod search;
pub mod settle;
pub mod settlement;
pub mod slots;
pub mod state;
pub mod tables;
pub mod tally;
pub mod tx;
