//! Items of certified bundles in the order in which rules want to meet them.

use cairn_sector::{AnyRules, RawEvidence, RawItem, SortKey};
use cairn_types::DeviceId;

use crate::bundle::Bundle;

/// Sorted evidence: the index in memory, the items where they are. Identical items of one submitter count once.
pub struct Evidence<'a> {
    bundles: &'a [Bundle],
    index: Vec<Place>,
}

struct Place {
    key: SortKey,
    bundle: usize,
    item: usize,
}

impl<'a> Evidence<'a> {
    /// Sorts by (sort key, submitter, bytes). Items that are no evidence of the sector are left out: they earn nothing.
    pub fn new(rules: &dyn AnyRules, bundles: &'a [Bundle]) -> Self {
        let mut index = Vec::new();
        for (bundle, b) in bundles.iter().enumerate() {
            for (item, bytes) in b.items.iter().enumerate() {
                if bytes.len() > rules.limits().evidence {
                    continue;
                }
                if let Ok(key) = rules.sort_key(&b.device, bytes) {
                    index.push(Place { key, bundle, item });
                }
            }
        }
        let mut this = Self { bundles, index: Vec::new() };
        index.sort_by(|a, b| this.order(a).cmp(&this.order(b)));
        index.dedup_by(|a, b| this.order(a) == this.order(b));
        this.index = index;
        this
    }

    /// Items.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// No items at all.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn order<'b>(&'b self, p: &'b Place) -> (&'b SortKey, DeviceId, &'b [u8]) {
        let (from, bytes) = self.item(p);
        (&p.key, from, bytes)
    }

    fn item(&self, p: &Place) -> (DeviceId, &[u8]) {
        match self.bundles.get(p.bundle) {
            Some(b) => (b.device, b.items.get(p.item).map(Vec::as_slice).unwrap_or_default()),
            None => (DeviceId::default(), &[]),
        }
    }
}

impl RawEvidence for Evidence<'_> {
    fn scan(&self, from: &[u8], until: Option<&[u8]>) -> Box<dyn Iterator<Item = RawItem> + '_> {
        let low = self.index.partition_point(|p| p.key.as_bytes() < from);
        let high = match until {
            Some(end) => self.index.partition_point(|p| p.key.as_bytes() < end),
            None => self.index.len(),
        };
        let found = self.index.get(low..high.max(low)).unwrap_or_default();
        Box::new(found.iter().map(|p| {
            let (from, bytes) = self.item(p);
            RawItem { key: p.key.clone(), from, evidence: bytes.to_vec() }
        }))
    }
}
