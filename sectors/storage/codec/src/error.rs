//! The one error type of the room.

/// Why bytes could not be coded, read or rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// k and n outside 1 <= k <= n <= 64.
    #[error("profile {k}/{n} is not allowed; choose 1 <= k <= n <= 64")]
    BadProfile {
        /// Fragments needed.
        k: u16,
        /// Fragments stored.
        n: u16,
    },
    /// More bytes than a segment holds.
    #[error("{got} bytes exceed the segment limit of {limit}; split the data into several segments")]
    TooLarge {
        /// Bytes given.
        got: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A range that ends before it starts or past the end.
    #[error("range {start}..{end} is outside the {len} bytes stored; ask for a range inside them")]
    BadRange {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Bytes stored.
        len: u64,
    },
    /// A record's tag does not match: altered, moved, cut off, or sealed under another key.
    #[error(
        "record {record} fails authentication; fetch it from other operators or check the recovery phrase"
    )]
    Unauthentic {
        /// Index of the record in its segment.
        record: u64,
    },
    /// Fewer than k usable fragments or cells.
    #[error("{have} of the {need} fragments needed are usable; bring operators back or wait for repair")]
    TooFewFragments {
        /// Usable fragments.
        have: u16,
        /// k of the profile.
        need: u16,
    },
    /// A fragment or cell of the wrong length.
    #[error("fragment {fragment} has {got} bytes, expected {want}; fetch it again or from another operator")]
    BadFragmentLength {
        /// Fragment number.
        fragment: u16,
        /// Bytes given.
        got: u64,
        /// Bytes expected.
        want: u64,
    },
    /// A fragment or slot number that is not below n.
    #[error("fragment {fragment} does not exist in a profile of {n}; use numbers below {n}")]
    NoSuchFragment {
        /// Fragment number.
        fragment: u16,
        /// Fragments of the profile.
        n: u16,
    },
    /// The same fragment or slot number twice.
    #[error("fragment {fragment} was given twice; give each fragment once")]
    DuplicateFragment {
        /// Fragment number.
        fragment: u16,
    },
    /// A slot of the profile without a device.
    #[error("slot {slot} has no device; sealing needs one device for each of the n slots")]
    SlotWithoutDevice {
        /// Slot number.
        slot: u16,
    },
    /// A rebuilt fragment whose hash is not the one that the customer recorded.
    #[error("the rebuilt fragment {fragment} does not match its recorded hash; the segment table is wrong")]
    RebuiltMismatch {
        /// Fragment number.
        fragment: u16,
    },
    /// A cell number that is not below the k of its stripe, or a stripe that does not exist.
    #[error("stripe {stripe} does not exist in a segment of {stripes} stripes; use a smaller number")]
    NoSuchStripe {
        /// Stripe number.
        stripe: u64,
        /// Stripes of the segment.
        stripes: u64,
    },
    /// Segment metadata that is not canonical.
    #[error("malformed segment metadata ({0}); fetch the segment table again")]
    BadMeta(String),
    /// The erasure library refused; never expected after our own checks.
    #[error("erasure coding refused ({0}); report this with the profile and lengths")]
    Erasure(String),
    /// The cipher library refused; never expected for bounded lengths.
    #[error("the cipher library refused an operation; report this with the segment length")]
    Cipher,
}

impl From<reed_solomon_simd::Error> for CodecError {
    fn from(e: reed_solomon_simd::Error) -> Self {
        Self::Erasure(e.to_string())
    }
}
