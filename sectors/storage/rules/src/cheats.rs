//! Cheats.
/// A chunk that the device signed for was not served in a dispute.
pub const REFUSED_CHUNK: u16 = 2;
