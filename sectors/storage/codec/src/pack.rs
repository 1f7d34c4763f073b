//! Many small objects in one segment.
//!
//! Objects of up to [`INLINE_MAX`] bytes live in the index itself; below [`PACK_BELOW`] they are packed one
//! after the other into a shared segment, each a run of plaintext whose (offset, length) the index keeps;
//! larger ones get segments of their own. The runs carry no header: the records authenticate every byte, and
//! the index, which is encrypted and authenticated itself, says where an object lies. When to close a pack
//! (by age or by size) is the caller's decision.

use crate::CodecError;
use crate::erasure::layout::widen;
use crate::segment::MAX_PLAIN;
use std::ops::Range;

/// Largest object kept inline in the index: 4 KiB.
pub const INLINE_MAX: u64 = 4096;
/// Objects of this many bytes and more get segments of their own: 1 MiB.
pub const PACK_BELOW: u64 = 1 << 20;

/// Where an object belongs by its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the index.
    Inline,
    /// In a shared segment.
    Packed,
    /// In segments of its own.
    Own,
}

/// Where an object of `len` bytes belongs.
pub const fn place(len: u64) -> Place {
    if len <= INLINE_MAX {
        Place::Inline
    } else if len < PACK_BELOW {
        Place::Packed
    } else {
        Place::Own
    }
}

/// The run of one object in a pack's plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl Run {
    /// The range to open.
    pub const fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.len)
    }
}

/// Collects objects until their segment is full. Memory: the plaintext, at most [`MAX_PLAIN`] bytes.
#[derive(Clone, Debug, Default)]
pub struct Packer {
    plain: Vec<u8>,
}

impl Packer {
    /// An empty pack.
    pub const fn new() -> Self {
        Self { plain: Vec::new() }
    }

    /// Bytes collected.
    pub fn len(&self) -> u64 {
        widen(self.plain.len())
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// Whether an object of `len` bytes still fits.
    pub fn fits(&self, len: u64) -> bool {
        self.len().checked_add(len).is_some_and(|end| end <= MAX_PLAIN)
    }

    /// Appends an object and says where it lies. On an error the pack is unchanged: finish it and push the
    /// object to the next one.
    ///
    /// # Errors
    /// The object does not fit any more.
    pub fn push(&mut self, object: &[u8]) -> Result<Run, CodecError> {
        let run = Run { offset: self.len(), len: widen(object.len()) };
        if !self.fits(run.len) {
            let got = run.offset.saturating_add(run.len);
            return Err(CodecError::TooLarge { got, limit: MAX_PLAIN });
        }
        self.plain.extend_from_slice(object);
        Ok(run)
    }

    /// The plaintext to seal.
    pub fn finish(self) -> Vec<u8> {
        self.plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_choose_the_place() {
        assert_eq!([0, 4096].map(place), [Place::Inline; 2]);
        assert_eq!([4097, (1 << 20) - 1].map(place), [Place::Packed; 2]);
        assert_eq!([1 << 20, u64::MAX].map(place), [Place::Own; 2]);
    }

    #[test]
    fn every_object_is_found_at_its_run() {
        let mut pack = Packer::new();
        let objects: Vec<Vec<u8>> = (1u8..=50).map(|i| vec![i; usize::from(i) * 199]).collect();
        let runs: Vec<Run> = objects.iter().map(|o| pack.push(o).unwrap()).collect();
        let plain = pack.finish();
        for (object, run) in objects.iter().zip(runs) {
            let range = run.range();
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert_eq!(&plain[range], object);
        }
    }

    #[test]
    fn a_full_pack_refuses_and_stays_as_it_was() {
        let mut pack = Packer::new();
        pack.push(&vec![1; usize::try_from(MAX_PLAIN).unwrap() - 5]).unwrap();
        assert!(matches!(pack.push(&[2; 6]), Err(CodecError::TooLarge { .. })));
        assert_eq!(pack.push(&[2; 5]).unwrap(), Run { offset: MAX_PLAIN - 5, len: 5 });
        assert_eq!(pack.len(), MAX_PLAIN);
        assert!(!pack.fits(1) && pack.fits(0) && !pack.fits(u64::MAX));
    }
}
