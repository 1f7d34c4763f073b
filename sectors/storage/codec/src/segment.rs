//! Sealing, opening and repairing whole segments.
//!
//! Slot j of a lease holds fragment j of each of its segments. [`seal`] turns plaintext into n padded
//! fragments, [`open`] reads a range back through a [`FragmentSource`] and survives n - k operators that are
//! gone or lie, [`repair`] rebuilds a fragment for a new device without the content key.

mod meta;
mod open;
mod repair;
mod seal;

pub use meta::{META_LIMIT, SegmentId, SegmentMeta};
pub use open::{FragmentSource, Opened, open, open_with, plan};
pub use repair::{Held, Repaired, check_fragment, repair};
pub use seal::{Cells, Sealed, SealedSegment, Sealer, seal};

use crate::stream::{RECORD, RECORD_PLAIN};

/// Most bytes of ciphertext in a segment: 64 MiB.
pub const MAX_CIPHER: u64 = 64 << 20;
/// Most bytes of plaintext in a segment: 1,024 full records, 16 KiB short of 64 MiB.
pub const MAX_PLAIN: u64 = 67_092_480;

// A record is a cell and 64 MiB are a whole number of records, so a full segment wastes nothing.
const _: () = assert!(RECORD == crate::erasure::CELL && RECORD_PLAIN == 65_520 && MAX_PLAIN == 1024 * 65_520);
