//! What tests share.
//!
//! - [`world`]: registry, memory and evidence in memory, real keys, a source that generates evidence on the fly.
//! - [`conformance`]: the one suite that every sector's rules pass, cheats included.
//! - [`fuzz`]: entry points of decoders of foreign bytes and a small seeded driver.
//! - [`dice`]: random numbers that are the same for ever.
//!
//! Only tests depend on this crate; it may panic to report a failed check.

pub mod conformance;
pub mod dice;
pub mod fuzz;
pub mod world;
