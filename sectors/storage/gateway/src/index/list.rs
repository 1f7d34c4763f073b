//! Sorted listing with prefix, delimiter and pages.

use super::Bucket;
use crate::record::Object;
use std::ops::Bound;
use std::sync::Arc;

/// Where a listing goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// From the start.
    #[default]
    Start,
    /// Behind this key.
    AfterKey(String),
    /// Behind every key that starts with this common prefix.
    AfterPrefix(String),
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only keys that start with this.
    pub prefix: String,
    /// Keys that contain this behind the prefix are shown as one common prefix. Empty: none.
    pub delimiter: String,
    /// Where to go on.
    pub resume: Resume,
    /// Most keys and common prefixes.
    pub max: usize,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Objects, by key.
    pub objects: Vec<(String, Arc<Object>)>,
    /// Common prefixes, sorted.
    pub prefixes: Vec<String>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Resume>,
}

/// The first byte string behind all that start with `prefix`; `None` if there is none.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|b| *b != 0xFF)?;
    let mut out = prefix[..=keep].to_vec();
    out[keep] += 1;
    Some(out)
}

impl Bucket {
    /// Lists. Cost: O(page), whatever lies under a common prefix.
    pub fn list(&self, query: &ListQuery) -> Page {
        let mut page = Page::default();
        if query.max == 0 {
            return page;
        }
        let mut from = match &query.resume {
            Resume::Start => Bound::Included(query.prefix.as_bytes().to_vec()),
            Resume::AfterKey(key) if key.as_bytes() < query.prefix.as_bytes() => {
                Bound::Included(query.prefix.as_bytes().to_vec())
            }
            Resume::AfterKey(key) => Bound::Excluded(key.as_bytes().to_vec()),
            Resume::AfterPrefix(prefix) => match behind(prefix.as_bytes()) {
                Some(next) => Bound::Included(next.max(query.prefix.as_bytes().to_vec())),
                None => return page,
            },
        };
        let mut last = Resume::Start;
        loop {
            let range = (from.as_ref().map(Vec::as_slice), Bound::Unbounded);
            let Some((key, object)) = self.objects.range::<[u8], _>(range).next() else { return page };
            if !key.starts_with(query.prefix.as_bytes()) {
                return page;
            }
            if page.objects.len() + page.prefixes.len() == query.max {
                page.next = Some(last);
                return page;
            }
            let name = String::from_utf8_lossy(key).into_owned();
            match common_prefix(&name, query) {
                Some(common) => {
                    let Some(next) = behind(common.as_bytes()) else { return page };
                    from = Bound::Included(next);
                    last = Resume::AfterPrefix(common.clone());
                    page.prefixes.push(common);
                }
                None => {
                    from = Bound::Excluded(key.clone());
                    last = Resume::AfterKey(name.clone());
                    page.objects.push((name, Arc::clone(object)));
                }
            }
        }
    }
}

fn common_prefix(name: &str, query: &ListQuery) -> Option<String> {
    if query.delimiter.is_empty() {
        return None;
    }
    let rest = name.get(query.prefix.len()..)?;
    let at = rest.find(&query.delimiter)?;
    Some(name[..query.prefix.len() + at + query.delimiter.len()].to_owned())
}
