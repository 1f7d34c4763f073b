//! The index in memory: buckets, objects, uploads, segments, access keys.
//!
//! [`Index::apply`] is the only way to change it and is deterministic; [`Index::check`] says beforehand whether a
//! mutation is acceptable. Keys are opaque bytes in byte order.

mod apply;
mod check;
pub mod lifecycle;
mod list;
mod settings;
#[cfg(test)]
mod tests;
mod versions;

pub use check::Condition;
pub use list::{ListQuery, Listed, Page, Resume, VersionPage};
pub use settings::BucketSettings;
pub(crate) use versions::{Packed, Versions};

use crate::access::key::AccessKey;
use crate::error::GatewayError;
use crate::record::{Etag, Mutation, Object, Part, Setting, SlotRoot, Stored, Upload, UploadId, VersionId};
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_storage_codec::{SegmentId, SegmentMeta};
use cairn_types::LeaseId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Smallest part that is not the last.
pub const MIN_PART: u64 = 5 << 20;

/// A bucket.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// Unix time in seconds.
    pub created: u64,
    /// What it is set to.
    pub settings: BucketSettings,
    /// By key bytes.
    pub(crate) objects: BTreeMap<Box<[u8]>, Versions>,
}

/// An upload with its parts.
#[derive(Clone, Debug)]
pub struct UploadState {
    /// The upload.
    pub upload: Upload,
    /// By part number.
    pub parts: BTreeMap<u16, Part>,
}

/// A segment that something refers to.
#[derive(Clone, Debug)]
pub struct SegmentState {
    /// What is needed to read it.
    pub meta: Arc<SegmentMeta>,
    /// By slot; `None` where it is not stored.
    pub roots: Vec<Option<SlotRoot>>,
    /// Bytes that objects and parts refer to (copies count again).
    pub live: u64,
}

/// A version of an object.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Version {
    /// Its place among the versions of its key.
    pub id: VersionId,
    /// It was written where versions are not kept: clients call it `null`, and there is one at most.
    pub null: bool,
    /// `None`: a delete marker.
    pub object: Option<Object>,
}

impl Version {
    /// What clients call it.
    pub const fn name(&self) -> VersionId {
        if self.null { VersionId::NULL } else { self.id }
    }
}

/// What a mutation wrote or removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The version; `None` in a bucket that never kept any.
    pub version: Option<VersionId>,
    /// It is a delete marker.
    pub marker: bool,
}

/// The gateway's state.
#[derive(Clone, Debug, Default)]
pub struct Index {
    buckets: BTreeMap<String, Bucket>,
    uploads: BTreeMap<UploadId, UploadState>,
    segments: BTreeMap<SegmentId, SegmentState>,
    access: BTreeMap<String, Arc<AccessKey>>,
    /// KiB on each slot of a lease that its segments take.
    chunks: BTreeMap<LeaseId, u64>,
    /// Fragments that are not where they belong.
    incomplete: BTreeSet<(SegmentId, u16)>,
    /// The highest version given.
    last: VersionId,
    /// Segments that nothing refers to any more, since the last [`Index::take_dead`].
    dead: Vec<Arc<SegmentMeta>>,
}

impl Index {
    /// A bucket.
    ///
    /// # Errors
    /// It does not exist.
    pub fn bucket(&self, name: &str) -> Result<&Bucket, GatewayError> {
        self.buckets.get(name).ok_or_else(|| GatewayError::NoSuchBucket(name.into()))
    }
    /// Buckets by name.
    pub fn buckets(&self) -> impl Iterator<Item = (&String, &Bucket)> {
        self.buckets.iter()
    }
    /// The current version of an object.
    ///
    /// # Errors
    /// It is deleted, or it or its bucket does not exist.
    pub fn object(&self, bucket: &str, key: &str) -> Result<Arc<Object>, GatewayError> {
        let found = self.version(bucket, key, None)?;
        found.object.map(Arc::new).ok_or_else(|| GatewayError::NoSuchKey(key.into()))
    }
    /// A version or delete marker of an object; `None`: the current one.
    ///
    /// # Errors
    /// It or its bucket does not exist.
    pub fn version(&self, bucket: &str, key: &str, id: Option<VersionId>) -> Result<Version, GatewayError> {
        self.bucket(bucket)?.version(key, id)
    }
    /// The highest version given so far.
    pub const fn last_version(&self) -> VersionId {
        self.last
    }
    /// An upload of this bucket and key.
    ///
    /// # Errors
    /// There is none.
    pub fn upload(&self, bucket: &str, key: &str, id: &UploadId) -> Result<&UploadState, GatewayError> {
        self.bucket(bucket)?;
        let found = self.uploads.get(id).filter(|u| u.upload.bucket == bucket && u.upload.key == key);
        found.ok_or(GatewayError::NoSuchUpload)
    }
    /// An upload by its id alone.
    pub fn upload_by_id(&self, id: &UploadId) -> Option<&UploadState> {
        self.uploads.get(id)
    }
    /// Bytes of the objects of a bucket and of the parts of its unfinished uploads whose keys are `chosen`.
    pub fn bytes_where(&self, bucket: &str, chosen: impl Fn(&str) -> bool) -> u64 {
        let objects = self.buckets.get(bucket).into_iter().flat_map(|b| &b.objects);
        let objects = objects.filter(|(key, _)| std::str::from_utf8(key).is_ok_and(&chosen));
        let versions = objects.flat_map(|(_, versions)| versions.all());
        let objects = versions.filter_map(|v| v.open().object).map(|o| o.size);
        let uploads = self.uploads.values().filter(|u| u.upload.bucket == bucket && chosen(&u.upload.key));
        let parts = uploads.flat_map(|u| u.parts.values()).map(|p| p.size);
        objects.chain(parts).fold(0, u64::saturating_add)
    }
    /// Uploads of a bucket, by key and then start.
    pub fn uploads(&self, bucket: &str) -> Vec<(UploadId, &Upload)> {
        let of_bucket = self.uploads.iter().filter(|(_, u)| u.upload.bucket == bucket);
        let mut out: Vec<_> = of_bucket.map(|(id, u)| (*id, &u.upload)).collect();
        out.sort_by(|a, b| (&a.1.key, a.1.started, a.0).cmp(&(&b.1.key, b.1.started, b.0)));
        out
    }
    /// A segment.
    pub fn segment(&self, id: &SegmentId) -> Option<&SegmentState> {
        self.segments.get(id)
    }
    /// Segments by id.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentState> {
        self.segments.values()
    }
    /// Segments of one lease, by id.
    pub fn segments_of<'a>(&'a self, lease: &'a LeaseId) -> impl Iterator<Item = &'a SegmentState> {
        self.segments.values().filter(move |s| s.meta.lease() == lease)
    }
    /// KiB that the segments of a lease take on each of its slots.
    pub fn chunks_of(&self, lease: &LeaseId) -> u64 {
        self.chunks.get(lease).copied().unwrap_or(0)
    }
    /// An access key by its id.
    pub fn access_key(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.access.get(id)
    }
    /// Access keys by id.
    pub fn access_keys(&self) -> impl Iterator<Item = (&String, &Arc<AccessKey>)> {
        self.access.iter()
    }
    /// Fragments that are not where they belong, to be healed.
    pub fn incomplete(&self) -> impl Iterator<Item = (SegmentId, u16)> {
        self.incomplete.iter().copied()
    }
    /// Segments that died since the last call.
    pub fn take_dead(&mut self) -> Vec<Arc<SegmentMeta>> {
        std::mem::take(&mut self.dead)
    }

    /// Mutations that rebuild this index on an empty one.
    pub fn snapshot(&self) -> Vec<Mutation> {
        let mut out: Vec<Mutation> = self
            .access
            .iter()
            .map(|(id, key)| Mutation::PutAccessKey { id: id.clone(), key: (**key).clone() })
            .collect();
        out.push(Mutation::Numbered { last: self.last });
        out.extend(self.segments.values().map(stored));
        for (name, bucket) in &self.buckets {
            let settings = bucket.settings.list();
            out.push(Mutation::CreateBucket { name: name.clone(), created: bucket.created, settings });
            for (key, versions) in &bucket.objects {
                let key = String::from_utf8_lossy(key);
                let put = |v: &Packed| Mutation::PutVersion {
                    bucket: name.clone(),
                    key: key.clone().into_owned(),
                    version: v.open(),
                };
                out.extend(versions.all().iter().map(put));
            }
        }
        for (id, state) in &self.uploads {
            out.push(Mutation::CreateUpload { id: *id, upload: state.upload.clone() });
            for (number, part) in &state.parts {
                out.push(Mutation::PutPart { id: *id, number: *number, part: part.clone() });
            }
        }
        out
    }
}

/// The settings of a new bucket.
fn settle(settings: &[Setting]) -> Result<BucketSettings, GatewayError> {
    let mut out = BucketSettings::default();
    for setting in settings {
        out.check(setting)?;
        out.apply(setting.clone());
    }
    Ok(out)
}

/// KiB of each fragment of a segment.
pub(crate) fn chunks_of(meta: &SegmentMeta) -> u64 {
    meta.fragment_len().div_ceil(1024).max(1)
}

fn stored(s: &SegmentState) -> Mutation {
    Mutation::AddSegment(Stored { meta: (*s.meta).clone(), roots: s.roots.clone() })
}

/// The tag of an object made of parts with these MD5s.
pub fn multipart_etag<'a>(parts: impl Iterator<Item = &'a [u8; 16]>) -> Etag {
    use md5::{Digest, Md5};
    let (mut digest, mut count) = (Md5::new(), 0u32);
    for md5 in parts {
        digest.update(md5);
        count = count.saturating_add(1);
    }
    Etag { md5: digest.finalize().into(), parts: count }
}
