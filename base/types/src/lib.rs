//! Ids, amounts, epochs and the bounded borsh encoding that every room shares.
//!
//! All integers; nothing here reads a clock, allocates without a bound or rounds silently.

mod codec;
mod id;
mod money;
mod refusal;
mod time;

pub use codec::{DecodeError, decode, decode_bounded, encode};
pub use id::{AccountId, Cell, DeviceId, DutyId, Hash, LeaseId, NetworkId, OfferId, OrderId, SectorId};
pub use money::{Amount, Credits, PPM, Price, Rate, Units, mul_div, mul_div_ceil, ppm_of};
pub use refusal::Refusal;
pub use time::{Epoch, Height};

/// Number of unit kinds a sector may charge for (for example byte-seconds and bytes served).
pub const UNIT_KINDS: usize = 4;
