//! Systematic Reed-Solomon over GF(2^16) (the reed-solomon-simd library), in stripes of 64 KiB cells.
//!
//! A segment of `len` bytes is cut into stripes of k cells of [`CELL`] bytes. Fragment j < k is the
//! concatenation of the j-th cells: plain data, readable without decoding. Fragments k..n hold parity. The
//! rest that does not fill a stripe forms a last stripe with a smaller cell, `ceil(rest / k)` rounded up to an
//! even number, zero padded; so even a tiny segment costs about n/k. With k = 1 every fragment is a copy.
//!
//! The code corrects erasures, not errors: whoever hands in a wrong cell gets wrong bytes out. Callers check
//! fragments by hash or records by tag.

mod coder;
pub(crate) mod layout;

pub use coder::{StripeCoder, decode, encode, reconstruct, reconstruct_cell};
pub use layout::{CellRange, Layout, fragment_len, locate};

use crate::CodecError;
use borsh::{BorshDeserialize, BorshSerialize};

/// Bytes of a cell in a full stripe.
pub const CELL: usize = 65_536;
/// Most fragments a profile may have.
pub const MAX_FRAGMENTS: u16 = 64;

/// How many fragments there are (n) and how many suffice (k): 1 <= k <= n <= 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Profile {
    k: u16,
    n: u16,
}

impl Profile {
    /// Checks the bounds.
    pub const fn new(k: u16, n: u16) -> Result<Self, CodecError> {
        if k == 0 || n < k || n > MAX_FRAGMENTS {
            return Err(CodecError::BadProfile { k, n });
        }
        Ok(Self { k, n })
    }
    /// Fragments that suffice.
    pub const fn k(self) -> u16 {
        self.k
    }
    /// Fragments stored.
    pub const fn n(self) -> u16 {
        self.n
    }
    fn data(self) -> usize {
        usize::from(self.k)
    }
    fn parity(self) -> usize {
        usize::from(self.n - self.k)
    }
    /// Refuses a fragment number that is not below n.
    pub(crate) const fn check_fragment(self, fragment: u16) -> Result<(), CodecError> {
        if fragment < self.n { Ok(()) } else { Err(CodecError::NoSuchFragment { fragment, n: self.n }) }
    }
}

impl BorshDeserialize for Profile {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let (k, n) = <(u16, u16)>::deserialize_reader(reader)?;
        Self::new(k, n).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e.to_string()))
    }
}

#[cfg(test)]
mod tests;
