//! Client-side coding of storage: what a gateway does to plaintext before strangers hold it, and what a
//! repair agent does to fragments without ever seeing plaintext.
//!
//! A segment (at most [`segment::MAX_CIPHER`] bytes of ciphertext) passes four layers on its way out:
//!
//! 1. [`stream`]: AES-256-GCM in 64 KiB records, so that a range of one byte costs one record;
//! 2. [`erasure`]: systematic Reed-Solomon in stripes of 64 KiB cells, any k of n fragments suffice;
//! 3. [`pad`]: an AES-256-CTR pad per (segment, slot, device), so that no two operators hold equal bytes;
//! 4. BLAKE3 over each fragment, before the pad (repair checks it) and after (the operator proves it).
//!
//! [`segment`] ties them together; [`pack`] puts many small objects into one segment; [`durability`] chooses
//! the erasure profile and computes the chance of loss. Everything is synchronous and without I/O.

pub mod durability;
pub mod erasure;
mod error;
pub mod fuzz;
pub mod keys;
pub mod pack;
pub mod pad;
pub mod segment;
pub mod stream;
pub mod wire;

pub use erasure::Profile;
pub use error::CodecError;
pub use keys::StorageKeys;
pub use segment::{SegmentId, SegmentMeta};
