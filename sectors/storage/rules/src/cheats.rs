//! Cheats.
/// A chunk that the device signed for was not served in a dispute.
pub const REFUSED_CHUNK: u16 = 2;
/// An answer that does not verify, under the digest that the device posted itself.
pub const FORGED_ANSWER: u16 = 1;
