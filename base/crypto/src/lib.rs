//! Keys, signatures, hashing, Merkle trees, sealed boxes: everything that rooms prove and sign with.
//!
//! Everything is a pure function of its arguments except [`random`], [`phrase::Phrase::generate`] and
//! [`keyfile`]. No function that takes foreign bytes panics on them; every such decoder has a limit.

pub mod address;
pub mod authority;
pub mod bls;
pub mod fuzz;
pub mod hash;
pub mod join;
pub mod keyfile;
pub mod keys;
pub mod lthash;
pub mod merkle;
pub mod phrase;
pub mod random;
pub mod sealed;
pub mod seed;

pub use authority::{Authority, AuthorityError, Signatures};
pub use bls::{BlsPublic, BlsSecret, BlsSignature};
pub use join::JoinLink;
pub use keys::{PublicKey, SecretKey, Signature};
pub use lthash::LtHash;
pub use phrase::Phrase;
pub use sealed::{BoxPublic, BoxSecret, SealedBox};
pub use seed::Seed;
