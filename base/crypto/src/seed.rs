//! Draws from the seed of an epoch: everybody who has the seed draws the same.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::Hash;
use std::collections::BTreeMap;

use crate::hash::sha256;

/// 32 bytes that nobody could predict before they were drawn.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
)]
pub struct Seed(pub [u8; 32]);

impl Seed {
    /// 32 bytes for `label` and `parts`: SHA-256 with domain `cairn/draw/v1` over (seed, label, parts).
    pub fn draw(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut all: Vec<&[u8]> = vec![&self.0, label.as_bytes()];
        all.extend_from_slice(parts);
        sha256("cairn/draw/v1", &all).0
    }

    /// A number below `n`; 0 for `n == 0` (there is nothing to choose from). The first 16 bytes of the draw, little
    /// endian, modulo `n`: no number is likelier than another by more than 2^-64 of its chance.
    pub fn below(&self, label: &str, parts: &[&[u8]], n: u64) -> u64 {
        let draw = self.draw(label, parts);
        let mut low = [0; 16];
        low.copy_from_slice(&draw[..16]);
        let rest = u128::from_le_bytes(low).checked_rem(u128::from(n)).unwrap_or(0);
        u64::try_from(rest).expect("a remainder of a u64 fits a u64")
    }

    /// `min(k, n)` distinct numbers below `n` in random order: the first steps of a Fisher-Yates shuffle, kept sparse.
    /// Time O(k log k), memory O(k).
    pub fn pick_distinct(&self, label: &str, k: u64, n: u64) -> Vec<u64> {
        let mut moved: BTreeMap<u64, u64> = BTreeMap::new();
        let pick = |i: u64| {
            let j = i + self.below(label, &[&i.to_le_bytes()], n - i);
            let at_j = moved.get(&j).copied().unwrap_or(j);
            let at_i = moved.remove(&i).unwrap_or(i);
            if j != i {
                moved.insert(j, at_i);
            }
            at_j
        };
        (0..k.min(n)).map(pick).collect()
    }

    /// A child seed, for a component with draws of its own.
    pub fn child(&self, label: &str) -> Self {
        Self(self.draw(label, &[b"child"]))
    }
}

impl From<Hash> for Seed {
    fn from(hash: Hash) -> Self {
        Self(hash.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn draws_are_frozen() {
        let seed = Seed([9; 32]);
        assert_eq!(
            hex::encode(seed.draw("a", &[b"b"])),
            "fe8262ec96bf277942d8848f1e1aa29d96b34ff5036acf6cb0c1371b3bbd437b"
        );
        let text = format!("{} {:?}", seed.below("a", &[b"b"], 1000), seed.pick_distinct("p", 5, 9));
        assert_eq!(text, "206 [8, 2, 6, 5, 7]");
    }

    #[test]
    fn nothing_to_choose_from_gives_zero_or_nothing() {
        assert_eq!(Seed::default().below("x", &[], 0), 0);
        assert!(Seed::default().pick_distinct("x", 3, 0).is_empty());
    }

    #[test]
    fn every_number_is_drawn_about_equally_often() {
        let mut hits = [0u32; 7];
        for i in 0..7000u32 {
            let n = Seed([1; 32]).below("fair", &[&i.to_le_bytes()], 7);
            hits[usize::try_from(n).unwrap()] += 1;
        }
        assert!(hits.iter().all(|h| (900..1100).contains(h)), "{hits:?}");
    }

    #[test]
    fn every_order_of_three_is_drawn_about_equally_often() {
        let mut seen: BTreeMap<Vec<u64>, u32> = BTreeMap::new();
        for i in 0..6000u32 {
            let seed = Seed(Seed::default().draw("s", &[&i.to_le_bytes()]));
            *seen.entry(seed.pick_distinct("p", 3, 3)).or_default() += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|h| (880..1120).contains(h)), "{seen:?}");
    }

    proptest! {
        #[test]
        fn picks_are_distinct_and_in_range(seed in any::<[u8; 32]>(), k in 0u64..60, n in 0u64..80) {
            let picks = Seed(seed).pick_distinct("p", k, n);
            prop_assert_eq!(u64::try_from(picks.len()).unwrap(), k.min(n));
            prop_assert!(picks.iter().all(|p| *p < n));
            let set: std::collections::BTreeSet<_> = picks.iter().collect();
            prop_assert_eq!(set.len(), picks.len());
        }
    }
}
