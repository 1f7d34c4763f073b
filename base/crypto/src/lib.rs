//! Keys, signatures, hashing, Merkle trees, sealed boxes: everything that rooms prove and sign with.
//!
//! Everything is a pure function of its arguments except [`random`], [`phrase::Phrase::generate`] and
//! [`keyfile`]. No function that takes foreign bytes panics on them; every such decoder has a limit.

pub mod hash;
pub mod keys;
pub mod merkle;

pub use keys::{PublicKey, SecretKey, Signature};
