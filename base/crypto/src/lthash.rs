//! LtHash16: a digest of a *set* that is updated in constant time per element, in any order.
//!
//! The sum of 1024-component vectors of u16, each derived from one element (Bellare and Micciancio, EUROCRYPT 1997;
//! parameters of Lewi, Kim, Maykov and Weis, IACR ePrint 2019/227). Finding two sets with one digest is as hard as a
//! short-vector problem (more than 2^200 steps). **A multiset up to 2^16**: adding one element 65,536 times is the
//! same as never; add each (key, value) at most once, and remove what was added.

use borsh::io::{Read, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::Hash;
use std::fmt;

use crate::hash::{frame_len, sha256};

/// Components of the state.
const LANES: usize = 1024;
/// Bytes of the encoded state.
pub const STATE_LEN: usize = 2 * LANES;
/// BLAKE3 key-derivation context of elements.
const CONTEXT: &str = "cairn/lthash16/element/v1";

/// The state: 2048 bytes. The empty set is all zeroes.
#[derive(Clone, PartialEq, Eq)]
pub struct LtHash {
    lanes: Box<[u16; LANES]>,
}

impl LtHash {
    /// The empty set.
    pub fn new() -> Self {
        Self { lanes: Box::new([0; LANES]) }
    }

    /// Adds the element (domain, key, value).
    pub fn add(&mut self, domain: &str, key: &[u8], value: &[u8]) {
        self.apply(domain, key, value, u16::wrapping_add);
    }

    /// Removes the element (domain, key, value), which was added before.
    pub fn remove(&mut self, domain: &str, key: &[u8], value: &[u8]) {
        self.apply(domain, key, value, u16::wrapping_sub);
    }

    /// Adds all elements of another state (for example of a part hashed by another thread).
    pub fn merge(&mut self, other: &Self) {
        for (a, b) in self.lanes.iter_mut().zip(other.lanes.iter()) {
            *a = a.wrapping_add(*b);
        }
    }

    /// SHA-256 of the state.
    pub fn digest(&self) -> Hash {
        sha256("cairn/lthash16/digest/v1", &[&self.to_bytes()])
    }

    /// The state, lanes as u16 little endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lanes.iter().flat_map(|l| l.to_le_bytes()).collect()
    }

    fn apply(&mut self, domain: &str, key: &[u8], value: &[u8], op: fn(u16, u16) -> u16) {
        let mut h = blake3::Hasher::new_derive_key(CONTEXT);
        for part in [domain.as_bytes(), key, value] {
            h.update(&frame_len(part.len()));
            h.update(part);
        }
        let mut element = [0u8; STATE_LEN];
        h.finalize_xof().fill(&mut element);
        for (lane, bytes) in self.lanes.iter_mut().zip(element.chunks_exact(2)) {
            *lane = op(*lane, u16::from_le_bytes([bytes[0], bytes[1]]));
        }
    }
}

impl Default for LtHash {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LtHash({})", self.digest())
    }
}

impl BorshSerialize for LtHash {
    fn serialize<W: Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        writer.write_all(&self.to_bytes())
    }
}

impl BorshDeserialize for LtHash {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let mut bytes = [0u8; STATE_LEN];
        reader.read_exact(&mut bytes)?;
        let mut out = Self::new();
        for (lane, b) in out.lanes.iter_mut().zip(bytes.chunks_exact(2)) {
            *lane = u16::from_le_bytes([b[0], b[1]]);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(items: &[(Vec<u8>, Vec<u8>)]) -> LtHash {
        let mut h = LtHash::new();
        for (k, v) in items {
            h.add("t", k, v);
        }
        h
    }

    #[test]
    fn the_digest_is_frozen() {
        assert_eq!(
            LtHash::new().digest().to_string(),
            "134cb04601be74c1c07390e5a9f6a7cbac998023ee3ba30045011360e2515578"
        );
        let mut h = LtHash::new();
        h.add("t", b"key", b"value");
        h.add("t", b"key2", b"");
        assert_eq!(
            h.digest().to_string(),
            "ddd16689987fd29d719bd5194df72dd80b53e7dfed0dd400ed9bfe789435af93"
        );
        assert_eq!(hex::encode(&borsh::to_vec(&h).unwrap()[..16]), "54036acafdeb2b9b8baeee6c83947888");
        assert_eq!(borsh::to_vec(&h).unwrap().len(), 2048);
    }

    #[test]
    fn elements_are_framed() {
        let digest = |d: &str, k: &[u8], v: &[u8]| {
            let mut h = LtHash::new();
            h.add(d, k, v);
            h.digest()
        };
        assert_ne!(digest("t", b"ab", b"c"), digest("t", b"a", b"bc"));
        assert_ne!(digest("ta", b"b", b"c"), digest("t", b"ab", b"c"));
    }

    proptest! {
        #[test]
        fn order_does_not_matter(
            items in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut turned = items.clone();
            turned.rotate_left(if items.is_empty() { 0 } else { cut.index(items.len()) });
            turned.reverse();
            prop_assert_eq!(of(&items), of(&turned));
            let at = cut.index(items.len() + 1);
            let mut left = of(&items[..at]);
            left.merge(&of(&items[at..]));
            prop_assert_eq!(left, of(&items));
        }

        #[test]
        fn removing_inverts_adding(items in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..8), k: Vec<u8>, v: Vec<u8>) {
            let before = of(&items);
            let mut h = before.clone();
            h.add("t", &k, &v);
            prop_assert_ne!(&h, &before);
            let back: LtHash = borsh::from_slice(&borsh::to_vec(&h).unwrap()).unwrap();
            prop_assert_eq!(&back, &h);
            h.remove("t", &k, &v);
            prop_assert_eq!(h, before);
        }
    }
}
