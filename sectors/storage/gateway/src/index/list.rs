//! Sorted listings with prefix, delimiter and pages: of what is current, and of all versions.

use super::versions::{Packed, Versions};
use super::{Bucket, Version};
use crate::record::{Object, VersionId};
use std::collections::btree_map::Range;
use std::ops::Bound;

/// Where a listing goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// From the start.
    #[default]
    Start,
    /// Behind this key.
    AfterKey(String),
    /// Behind this version of a key, where its older ones follow.
    AfterVersion(String, VersionId),
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

/// A page of a listing of what is current.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Objects, by key.
    pub objects: Vec<(String, Object)>,
    /// Common prefixes, sorted.
    pub prefixes: Vec<String>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Resume>,
}

/// A version in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Key.
    pub key: String,
    /// The version.
    pub version: Version,
    /// Whether it is the current one.
    pub latest: bool,
}

/// A page of a listing of versions.
#[derive(Clone, Debug, Default)]
pub struct VersionPage {
    /// By key, newest first.
    pub versions: Vec<Listed>,
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

/// Walks keys in order and jumps over what lies under a common prefix.
struct Walk<'a> {
    bucket: &'a Bucket,
    query: &'a ListQuery,
    range: Range<'a, Box<[u8]>, Versions>,
}

/// What a walk comes by.
enum Step<'a> {
    Key(&'a [u8], &'a Versions),
    Prefix(&'a [u8]),
}

impl<'a> Walk<'a> {
    fn new(bucket: &'a Bucket, query: &'a ListQuery) -> Option<Self> {
        let prefix = query.prefix.as_bytes();
        let from = match &query.resume {
            Resume::AfterKey(key) if key.as_bytes() >= prefix => Bound::Excluded(key.as_bytes().to_vec()),
            Resume::AfterVersion(key, _) if key.as_bytes() >= prefix => {
                Bound::Included(key.as_bytes().to_vec())
            }
            Resume::AfterPrefix(common) => Bound::Included(behind(common.as_bytes())?.max(prefix.to_vec())),
            _ => Bound::Included(prefix.to_vec()),
        };
        let range = bucket.objects.range::<[u8], _>((from.as_ref().map(Vec::as_slice), Bound::Unbounded));
        Some(Self { bucket, query, range })
    }

    /// The next key that `show` wants, or the common prefix that it lies under.
    fn next(&mut self, show: impl Fn(&Versions) -> bool) -> Option<Step<'a>> {
        loop {
            let (key, versions) = self.range.next()?;
            if !key.starts_with(self.query.prefix.as_bytes()) {
                return None;
            }
            if !show(versions) {
                continue;
            }
            let Some(common) = common_prefix(key, self.query) else { return Some(Step::Key(key, versions)) };
            match behind(common) {
                Some(next) => {
                    let from = (Bound::Included(next.as_slice()), Bound::Unbounded);
                    self.range = self.bucket.objects.range::<[u8], _>(from);
                }
                None => self.range = Range::default(),
            }
            return Some(Step::Prefix(common));
        }
    }
}

impl Bucket {
    /// Lists what is current. Cost: O(page and delete markers passed), whatever lies under a common prefix.
    pub fn list(&self, query: &ListQuery) -> Page {
        let mut page = Page::default();
        let Some(mut walk) = (query.max > 0).then(|| Walk::new(self, query)).flatten() else { return page };
        let current = |v: &Versions| v.current().is_some_and(|v| !v.marker());
        let mut last = Resume::Start;
        while let Some(step) = walk.next(current) {
            if page.objects.len() + page.prefixes.len() == query.max {
                page.next = Some(last);
                return page;
            }
            match step {
                Step::Prefix(common) => {
                    last = Resume::AfterPrefix(text(common));
                    page.prefixes.push(text(common));
                }
                Step::Key(key, versions) => {
                    let object = versions.current().and_then(|v| v.open().object);
                    last = Resume::AfterKey(text(key));
                    page.objects.extend(object.map(|o| (text(key), o)));
                }
            }
        }
        page
    }

    /// Lists all versions and delete markers. Cost: O(page).
    pub fn list_versions(&self, query: &ListQuery) -> VersionPage {
        let mut page = VersionPage::default();
        let Some(mut walk) = (query.max > 0).then(|| Walk::new(self, query)).flatten() else { return page };
        let mut last = Resume::Start;
        while let Some(step) = walk.next(|_| true) {
            let (key, versions) = match step {
                Step::Key(key, versions) => (key, versions),
                Step::Prefix(common) => {
                    if page.versions.len() + page.prefixes.len() == query.max {
                        page.next = Some(last);
                        return page;
                    }
                    last = Resume::AfterPrefix(text(common));
                    page.prefixes.push(text(common));
                    continue;
                }
            };
            for packed in rest(key, versions, &query.resume).iter().rev() {
                if page.versions.len() + page.prefixes.len() == query.max {
                    page.next = Some(last);
                    return page;
                }
                last = Resume::AfterVersion(text(key), packed.id());
                let latest = versions.current() == Some(packed);
                page.versions.push(Listed { key: text(key), version: packed.open(), latest });
            }
        }
        page
    }

    /// Every key from `from` on with its versions, newest first.
    pub fn scan(&self, from: Bound<&[u8]>) -> impl Iterator<Item = (&[u8], Vec<Version>)> {
        let range = self.objects.range::<[u8], _>((from, Bound::Unbounded));
        range.map(|(key, versions)| (&**key, versions.all().iter().rev().map(Packed::open).collect()))
    }
}

/// What is left of a key's versions, oldest first, where a page before ended in the middle of them.
fn rest<'a>(key: &[u8], versions: &'a Versions, resume: &Resume) -> &'a [Packed] {
    let all = versions.all();
    let Resume::AfterVersion(at, id) = resume else { return all };
    if at.as_bytes() != key {
        return all;
    }
    let end = if *id == VersionId::NULL {
        // One that went meanwhile does not say where it was: rather twice than not at all.
        all.iter().position(Packed::null).unwrap_or(all.len())
    } else {
        all.partition_point(|v| v.order() < *id)
    };
    all.get(..end).unwrap_or(all)
}

/// Keys came as text.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn common_prefix<'a>(key: &'a [u8], query: &ListQuery) -> Option<&'a [u8]> {
    let delimiter = query.delimiter.as_bytes();
    let rest = key.get(query.prefix.len()..)?;
    let at = match delimiter {
        [] => return None,
        [one] => rest.iter().position(|b| b == one)?,
        _ => rest.windows(delimiter.len()).position(|w| w == delimiter)?,
    };
    key.get(..query.prefix.len() + at + delimiter.len())
}
