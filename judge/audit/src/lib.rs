//! Recomputes a settlement from a pack, on any machine, without a network.
//!
//! A [`Pack`] holds everything that a sector's epoch was judged from, the settlement and the judged rows.
//! [`verify`] computes every root from content, judges again and says what differs first. [`Inputs::settle`] is the
//! same path that seats take before they vote. Formats: docs/reference/formats.md.

mod bundle;
mod evidence;
mod inputs;
mod pack;
mod registry;
mod verify;

pub use bundle::{BUNDLE_DOMAIN, Bundle, SignedBundle, bundle_hash};
pub use evidence::Evidence;
pub use inputs::{Inputs, Posting, Roots};
pub use pack::{MAX_PACK, PACK_MAGIC, Pack};
pub use registry::{MemoryMap, PackRegistry};
pub use verify::{Finding, Report, verify, verify_pack};
