//! Evidence as a sorted list, and evidence that is generated anew on every scan.

use cairn_sector::{RawEvidence, RawItem};
use std::sync::atomic::{AtomicU64, Ordering};

fn in_range(item: &RawItem, from: &[u8], until: Option<&[u8]>) -> bool {
    item.key.as_bytes() >= from && until.is_none_or(|u| item.key.as_bytes() < u)
}

fn sort(items: &mut [RawItem]) {
    items.sort_unstable_by(|a, b| (&a.key, a.from, &a.evidence).cmp(&(&b.key, b.from, &b.evidence)));
}

/// Evidence in memory, sorted as the core sorts it: by key, submitter, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SortedEvidence(Vec<RawItem>);

impl SortedEvidence {
    /// Sorts the items.
    pub fn new(mut items: Vec<RawItem>) -> Self {
        sort(&mut items);
        Self(items)
    }
    /// The items, sorted.
    pub fn items(&self) -> &[RawItem] {
        &self.0
    }
}

impl RawEvidence for SortedEvidence {
    fn scan(&self, from: &[u8], until: Option<&[u8]>) -> Box<dyn Iterator<Item = RawItem> + '_> {
        let start = self.0.partition_point(|i| i.key.as_bytes() < from);
        let until = until.map(<[u8]>::to_vec);
        let items = self.0.iter().skip(start);
        Box::new(items.take_while(move |i| until.as_deref().is_none_or(|u| i.key.as_bytes() < u)).cloned())
    }
}

/// A recipe for evidence, in chunks that ascend by key.
pub trait Chunks: Send + Sync {
    /// Number of chunks.
    fn count(&self) -> u64;
    /// A key that no item of chunk `n` lies below and no item of an earlier chunk reaches.
    fn lower_bound(&self, n: u64) -> Vec<u8>;
    /// The items of chunk `n`, in any order. Must be the same on every call.
    fn chunk(&self, n: u64) -> Vec<RawItem>;
}

/// Evidence that lives only while it is read: one chunk at a time.
pub struct GeneratedEvidence<C> {
    chunks: C,
    opened: AtomicU64,
    yielded: AtomicU64,
}

impl<C: Chunks> GeneratedEvidence<C> {
    /// Evidence by recipe.
    pub fn new(chunks: C) -> Self {
        Self { chunks, opened: AtomicU64::new(0), yielded: AtomicU64::new(0) }
    }
    /// How often the source was opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
    /// Items handed out, over all scans.
    pub fn yielded(&self) -> u64 {
        self.yielded.load(Ordering::Relaxed)
    }

    /// First chunk that may hold a key of at least `from`.
    fn first_chunk(&self, from: &[u8]) -> u64 {
        let (mut low, mut high) = (0, self.chunks.count());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.chunks.lower_bound(middle).as_slice() <= from {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1)
    }
}

impl<C: Chunks> RawEvidence for GeneratedEvidence<C> {
    fn scan(&self, from: &[u8], until: Option<&[u8]>) -> Box<dyn Iterator<Item = RawItem> + '_> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let (from, until) = (from.to_vec(), until.map(<[u8]>::to_vec));
        let end = until.clone();
        let chunks = (self.first_chunk(&from)..self.chunks.count())
            .take_while(move |n| end.as_ref().is_none_or(|u| self.chunks.lower_bound(*n) < *u));
        let items = chunks.flat_map(move |n| {
            let mut items = self.chunks.chunk(n);
            items.retain(|i| in_range(i, &from, until.as_deref()));
            sort(&mut items);
            items
        });
        Box::new(items.inspect(|_| {
            self.yielded.fetch_add(1, Ordering::Relaxed);
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_sector::SortKey;
    use cairn_types::DeviceId;

    struct Numbers;
    impl Chunks for Numbers {
        fn count(&self) -> u64 {
            10
        }
        fn lower_bound(&self, n: u64) -> Vec<u8> {
            (n * 10).to_be_bytes().to_vec()
        }
        fn chunk(&self, n: u64) -> Vec<RawItem> {
            let item = |i: u64| RawItem {
                key: SortKey::new(i.to_be_bytes().to_vec()),
                from: DeviceId::default(),
                evidence: vec![1],
            };
            (n * 10..n * 10 + 10).rev().map(item).collect()
        }
    }

    #[test]
    fn a_generated_source_scans_like_a_sorted_list() {
        let generated = GeneratedEvidence::new(Numbers);
        let all: Vec<_> = generated.scan(&[], None).collect();
        let listed = SortedEvidence::new(all.clone());
        assert_eq!(all, listed.items());
        for (from, until) in [(0u64, 5u64), (9, 11), (10, 20), (33, 78), (95, 200), (40, 40)] {
            let (from, until) = (from.to_be_bytes(), until.to_be_bytes());
            let a: Vec<_> = generated.scan(&from, Some(&until)).collect();
            let b: Vec<_> = listed.scan(&from, Some(&until)).collect();
            assert_eq!(a, b);
        }
        assert_eq!(generated.opened(), 7);
    }
}
