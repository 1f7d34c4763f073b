//! Where the bytes of a segment lie in its fragments.

use super::{CELL, Profile};
use crate::CodecError;
use std::ops::Range;

/// A piece of one fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRange {
    /// Fragment number.
    pub fragment: u16,
    /// First byte within the fragment.
    pub offset: u64,
    /// Bytes; never crosses a cell.
    pub len: usize,
}

/// The arithmetic of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    profile: Profile,
    segment_len: u64,
    full_stripes: u64,
    tail_cell: usize,
}

impl Layout {
    /// Layout of a segment of `segment_len` bytes. Lengths come from checked metadata, but any value is safe.
    pub fn new(profile: Profile, segment_len: u64) -> Self {
        let stripe = u64::from(profile.k()) * cell64();
        let rest = segment_len % stripe;
        let even = rest.div_ceil(u64::from(profile.k())).next_multiple_of(2);
        // even <= 65,536, because rest < k * 65,536.
        let tail_cell = usize::try_from(even).unwrap_or(CELL);
        Self { profile, segment_len, full_stripes: segment_len / stripe, tail_cell }
    }

    /// The profile.
    pub const fn profile(&self) -> Profile {
        self.profile
    }
    /// Bytes of the segment.
    pub const fn segment_len(&self) -> u64 {
        self.segment_len
    }
    /// Stripes with cells of [`CELL`] bytes.
    pub const fn full_stripes(&self) -> u64 {
        self.full_stripes
    }
    /// All stripes, the shorter last one included.
    pub fn stripes(&self) -> u64 {
        self.full_stripes + u64::from(self.tail_cell > 0)
    }
    /// Bytes of each cell of a stripe; 0 past the end.
    pub const fn cell_len(&self, stripe: u64) -> usize {
        if stripe < self.full_stripes {
            CELL
        } else if stripe == self.full_stripes {
            self.tail_cell
        } else {
            0
        }
    }
    /// First byte of a stripe's cell within every fragment.
    pub const fn cell_offset(&self, stripe: u64) -> u64 {
        stripe.saturating_mul(cell64())
    }
    /// Bytes of each fragment.
    pub fn fragment_len(&self) -> u64 {
        (self.full_stripes * cell64()).saturating_add(widen(self.tail_cell))
    }
    /// The bytes of the segment that a stripe holds.
    pub fn stripe_range(&self, stripe: u64) -> Range<u64> {
        let size = u64::from(self.profile.k()) * cell64();
        let start = stripe.saturating_mul(size).min(self.segment_len);
        start..start.saturating_add(size).min(self.segment_len)
    }
    /// The stripe that holds a byte of the segment.
    pub fn stripe_of(&self, byte: u64) -> u64 {
        byte / (u64::from(self.profile.k()) * cell64())
    }

    /// Stripes to decode together from `stripe` on, at most `most`: the full ones are contiguous in every
    /// fragment and the code works column by column, so several decode as one stripe with longer cells. It
    /// pays because each decoding has a fixed cost (about 0.4 ms); bounded to about 4 MiB of data.
    pub(crate) fn batch(&self, stripe: u64, most: u64) -> u64 {
        let full = self.full_stripes.saturating_sub(stripe);
        full.min(64 / u64::from(self.profile.k())).min(most).max(1)
    }
    /// Where `count` stripes from `stripe` on lie in every fragment: first byte and length.
    pub(crate) fn batch_span(&self, stripe: u64, count: u64) -> (u64, usize) {
        let len = (stripe..stripe.saturating_add(count)).map(|s| self.cell_len(s)).sum();
        (self.cell_offset(stripe), len)
    }

    /// The pieces of the data fragments that together are `range` of the segment, in order.
    pub fn locate(&self, range: &Range<u64>) -> Result<Vec<CellRange>, CodecError> {
        if range.start > range.end || range.end > self.segment_len {
            return Err(CodecError::BadRange { start: range.start, end: range.end, len: self.segment_len });
        }
        let mut out = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let stripe = self.stripe_of(at);
            let cell = widen(self.cell_len(stripe));
            let inside = at - self.stripe_range(stripe).start;
            let (fragment, skip) = (inside / cell, inside % cell);
            let len = (cell - skip).min(range.end - at);
            out.push(CellRange {
                fragment: u16::try_from(fragment).map_err(|_| CodecError::Cipher)?,
                offset: self.cell_offset(stripe) + skip,
                len: usize::try_from(len).map_err(|_| CodecError::Cipher)?,
            });
            at += len;
        }
        Ok(out)
    }
}

const fn cell64() -> u64 {
    65_536
}

/// usize to u64: lossless on every platform Rust supports with up to 64-bit pointers.
pub(crate) fn widen(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Bytes of each fragment of a segment.
pub fn fragment_len(profile: Profile, segment_len: u64) -> u64 {
    Layout::new(profile, segment_len).fragment_len()
}

/// The pieces of the data fragments that together are `range` of the segment, in order.
pub fn locate(profile: Profile, segment_len: u64, range: &Range<u64>) -> Result<Vec<CellRange>, CodecError> {
    Layout::new(profile, segment_len).locate(range)
}
