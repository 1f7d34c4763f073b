//! The index in memory: buckets, objects, uploads, segments, access keys.
//!
//! [`Index::apply`] is the only way to change it and is deterministic; [`Index::check`] says beforehand whether a
//! mutation is acceptable. Keys are opaque bytes in byte order.

mod list;
mod settings;
#[cfg(test)]
mod tests;

pub use list::{ListQuery, Page, Resume};
pub use settings::BucketSettings;

use crate::error::GatewayError;
use crate::record::{Etag, Mutation, Object, Part, Placement, Setting, SlotRoot, Stored, Upload, UploadId};
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
    pub(crate) objects: BTreeMap<Vec<u8>, Arc<Object>>,
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

/// What a write requires of the object that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The present tag must be this; `*` for any object.
    pub if_match: Option<String>,
    /// The present tag must not be this; `*`: there must be no object.
    pub if_none_match: Option<String>,
}

/// The gateway's state.
#[derive(Clone, Debug, Default)]
pub struct Index {
    buckets: BTreeMap<String, Bucket>,
    uploads: BTreeMap<UploadId, UploadState>,
    segments: BTreeMap<SegmentId, SegmentState>,
    access: BTreeMap<String, String>,
    /// KiB on each slot of a lease that its segments take.
    chunks: BTreeMap<LeaseId, u64>,
    /// Fragments that are not where they belong.
    incomplete: BTreeSet<(SegmentId, u16)>,
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
    /// An object.
    ///
    /// # Errors
    /// It or its bucket does not exist.
    pub fn object(&self, bucket: &str, key: &str) -> Result<Arc<Object>, GatewayError> {
        let found = self.bucket(bucket)?.objects.get(key.as_bytes());
        found.cloned().ok_or_else(|| GatewayError::NoSuchKey(key.into()))
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
    /// Secret of an access key.
    pub fn secret(&self, access_key: &str) -> Option<&str> {
        self.access.get(access_key).map(String::as_str)
    }
    /// Access keys.
    pub fn access_keys(&self) -> impl Iterator<Item = &String> {
        self.access.keys()
    }
    /// Fragments that are not where they belong, to be healed.
    pub fn incomplete(&self) -> impl Iterator<Item = (SegmentId, u16)> {
        self.incomplete.iter().copied()
    }
    /// Segments that died since the last call.
    pub fn take_dead(&mut self) -> Vec<Arc<SegmentMeta>> {
        std::mem::take(&mut self.dead)
    }

    /// Whether a mutation is acceptable now.
    ///
    /// # Errors
    /// What a client gets to hear.
    pub fn check(&self, mutation: &Mutation, condition: &Condition) -> Result<(), GatewayError> {
        self.check_with(mutation, condition, &BTreeSet::new())
    }

    /// As [`Self::check`], when the segments `new` will be added just before.
    ///
    /// # Errors
    /// What a client gets to hear.
    pub fn check_with(
        &self,
        mutation: &Mutation,
        condition: &Condition,
        new: &BTreeSet<&SegmentId>,
    ) -> Result<(), GatewayError> {
        match mutation {
            Mutation::CreateBucket { name, .. } if self.buckets.contains_key(name) => {
                Err(GatewayError::BucketExists(name.clone()))
            }
            Mutation::CreateBucket { settings, .. } => settle(settings).map(|_| ()),
            Mutation::SetBucket { name, setting } => self.bucket(name)?.settings.check(setting),
            Mutation::SetLabel { bucket, key, .. } => self.object(bucket, key).map(|_| ()),
            Mutation::DeleteBucket { name } if !self.bucket(name)?.objects.is_empty() => {
                Err(GatewayError::BucketNotEmpty(name.clone()))
            }
            Mutation::PutObject { bucket, key, object } => {
                self.check_condition(bucket, key, condition)?;
                self.check_runs(&object.placement, new)
            }
            Mutation::DeleteObject { bucket, .. } => self.bucket(bucket).map(|_| ()),
            Mutation::CreateUpload { upload, .. } => self.bucket(&upload.bucket).map(|_| ()),
            Mutation::PutPart { id, part, .. } => {
                self.uploads.get(id).ok_or(GatewayError::NoSuchUpload)?;
                self.check_runs(&part.placement, new)
            }
            Mutation::AbortUpload { id } => {
                self.uploads.get(id).map(|_| ()).ok_or(GatewayError::NoSuchUpload)
            }
            Mutation::CompleteUpload { id, parts, .. } => {
                let upload = self.uploads.get(id).ok_or(GatewayError::NoSuchUpload)?;
                self.check_condition(&upload.upload.bucket, &upload.upload.key, condition)?;
                check_parts(upload, parts)
            }
            _ => Ok(()),
        }
    }

    fn check_condition(&self, bucket: &str, key: &str, condition: &Condition) -> Result<(), GatewayError> {
        let present = self.bucket(bucket)?.objects.get(key.as_bytes()).map(|o| o.etag.to_string());
        let matches = |wanted: &String| present.as_ref().is_some_and(|tag| wanted == "*" || wanted == tag);
        if condition.if_match.is_some() && present.is_none() {
            return Err(GatewayError::NoSuchKey(key.into()));
        }
        let refused = condition.if_match.as_ref().is_some_and(|w| !matches(w))
            || condition.if_none_match.as_ref().is_some_and(matches);
        if refused { Err(GatewayError::PreconditionFailed) } else { Ok(()) }
    }

    /// A copy can lose the race against the deletion of its source.
    fn check_runs(&self, placement: &Placement, new: &BTreeSet<&SegmentId>) -> Result<(), GatewayError> {
        let known = |id| new.contains(id) || self.segments.contains_key(id);
        let known = placement.runs().iter().all(|run| known(&run.segment));
        if known { Ok(()) } else { Err(GatewayError::PreconditionFailed) }
    }

    /// Applies a mutation. One that [`Self::check`] refuses has no effect.
    pub fn apply(&mut self, mutation: Mutation) {
        if !matches!(mutation, Mutation::AddSegment(_))
            && self.check(&mutation, &Condition::default()).is_err()
        {
            return;
        }
        match mutation {
            Mutation::CreateBucket { name, created, settings } => {
                let Ok(settings) = settle(&settings) else { return };
                self.buckets.insert(name, Bucket { created, settings, objects: BTreeMap::new() });
            }
            Mutation::SetBucket { name, setting } => {
                if let Some(bucket) = self.buckets.get_mut(&name) {
                    bucket.settings.apply(setting);
                }
            }
            Mutation::SetLabel { bucket, key, label, .. } => {
                let bucket = self.buckets.get_mut(&bucket);
                if let Some(object) = bucket.and_then(|b| b.objects.get_mut(key.as_bytes())) {
                    Arc::make_mut(object).labels.apply(label);
                }
            }
            Mutation::DeleteBucket { name } => {
                self.buckets.remove(&name);
                let gone: Vec<_> = self.uploads(&name).into_iter().map(|(id, _)| id).collect();
                gone.iter().for_each(|id| self.drop_upload(id));
            }
            Mutation::AddSegment(Stored { meta, roots }) => self.add_segment(meta, roots),
            Mutation::SetRoot { segment, slot, root } => self.set_root(segment, slot, root),
            Mutation::PutObject { bucket, key, object } => self.put(&bucket, &key, object),
            Mutation::DeleteObject { bucket, key } => {
                let old = self.buckets.get_mut(&bucket).and_then(|b| b.objects.remove(key.as_bytes()));
                old.iter().for_each(|o| self.release(&o.placement));
            }
            Mutation::CreateUpload { id, upload } => {
                self.uploads.insert(id, UploadState { upload, parts: BTreeMap::new() });
            }
            Mutation::PutPart { id, number, part } => {
                self.retain(&part.placement);
                let old = self.uploads.get_mut(&id).and_then(|u| u.parts.insert(number, part));
                old.iter().for_each(|p| self.release(&p.placement));
            }
            Mutation::CompleteUpload { id, parts, modified, checksums } => {
                let Some(state) = self.uploads.get(&id) else { return };
                let (bucket, key) = (state.upload.bucket.clone(), state.upload.key.clone());
                let object = assemble(state, &parts, modified, checksums);
                self.put(&bucket, &key, object);
                self.drop_upload(&id);
            }
            Mutation::AbortUpload { id } => self.drop_upload(&id),
            Mutation::PutAccessKey { id, secret } => {
                self.access.insert(id, secret);
            }
            Mutation::DeleteAccessKey { id } => {
                self.access.remove(&id);
            }
        }
    }

    fn add_segment(&mut self, meta: SegmentMeta, mut roots: Vec<Option<SlotRoot>>) {
        let id = *meta.id();
        if self.segments.contains_key(&id) {
            return;
        }
        roots.resize(usize::from(meta.profile().n()), None);
        let empty = (0u16..).zip(&roots).filter(|(_, r)| r.is_none());
        self.incomplete.extend(empty.map(|(slot, _)| (id, slot)));
        let chunks = self.chunks.entry(*meta.lease()).or_default();
        *chunks = chunks.saturating_add(chunks_of(&meta));
        self.segments.insert(id, SegmentState { meta: Arc::new(meta), roots, live: 0 });
    }

    fn set_root(&mut self, segment: SegmentId, slot: u16, root: Option<SlotRoot>) {
        let place = self.segments.get_mut(&segment).and_then(|s| s.roots.get_mut(usize::from(slot)));
        let Some(place) = place else { return };
        *place = root;
        if root.is_some() {
            self.incomplete.remove(&(segment, slot));
        } else {
            self.incomplete.insert((segment, slot));
        }
    }

    fn put(&mut self, bucket: &str, key: &str, object: Object) {
        self.retain(&object.placement);
        let target = self.buckets.get_mut(bucket);
        let old = target.and_then(|b| b.objects.insert(key.as_bytes().to_vec(), Arc::new(object)));
        old.iter().for_each(|o| self.release(&o.placement));
    }

    fn drop_upload(&mut self, id: &UploadId) {
        let Some(state) = self.uploads.remove(id) else { return };
        state.parts.values().for_each(|part| self.release(&part.placement));
    }

    fn retain(&mut self, placement: &Placement) {
        for run in placement.runs() {
            if let Some(segment) = self.segments.get_mut(&run.segment) {
                segment.live = segment.live.saturating_add(run.len.into());
            }
        }
    }

    fn release(&mut self, placement: &Placement) {
        for run in placement.runs() {
            let Some(segment) = self.segments.get_mut(&run.segment) else { continue };
            segment.live = segment.live.saturating_sub(run.len.into());
            if segment.live == 0
                && let Some(gone) = self.segments.remove(&run.segment)
            {
                (0..gone.meta.profile().n()).for_each(|slot| {
                    self.incomplete.remove(&(run.segment, slot));
                });
                if let Some(chunks) = self.chunks.get_mut(gone.meta.lease()) {
                    *chunks = chunks.saturating_sub(chunks_of(&gone.meta));
                }
                self.dead.push(gone.meta);
            }
        }
    }

    /// Mutations that rebuild this index on an empty one.
    pub fn snapshot(&self) -> Vec<Mutation> {
        let mut out: Vec<Mutation> = self
            .access
            .iter()
            .map(|(id, s)| Mutation::PutAccessKey { id: id.clone(), secret: s.clone() })
            .collect();
        out.extend(self.segments.values().map(stored));
        for (name, bucket) in &self.buckets {
            let settings = bucket.settings.list();
            out.push(Mutation::CreateBucket { name: name.clone(), created: bucket.created, settings });
            for (key, object) in &bucket.objects {
                let key = String::from_utf8_lossy(key).into_owned();
                out.push(Mutation::PutObject { bucket: name.clone(), key, object: (**object).clone() });
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

fn check_parts(state: &UploadState, parts: &[(u16, [u8; 16])]) -> Result<(), GatewayError> {
    if parts.is_empty() {
        return Err(GatewayError::Invalid("a multipart upload needs at least one part"));
    }
    if !parts.windows(2).all(|w| w[0].0 < w[1].0) {
        return Err(GatewayError::InvalidPartOrder);
    }
    let last = parts.len() - 1;
    for (i, (number, md5)) in parts.iter().enumerate() {
        let part = state.parts.get(number).filter(|p| p.md5 == *md5);
        let part = part.ok_or(GatewayError::InvalidPart(*number))?;
        if i < last && part.size < MIN_PART {
            return Err(GatewayError::PartTooSmall(*number));
        }
    }
    Ok(())
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

/// The object that parts become. Parts are never inline: their runs can be joined.
fn assemble(
    state: &UploadState,
    parts: &[(u16, [u8; 16])],
    modified: u64,
    checksums: Vec<crate::record::Checksum>,
) -> Object {
    let chosen: Vec<&Part> = parts.iter().filter_map(|(n, _)| state.parts.get(n)).collect();
    let placement = Placement::Runs(chosen.iter().flat_map(|p| p.placement.runs()).copied().collect());
    Object {
        size: chosen.iter().map(|p| p.size).fold(0, u64::saturating_add),
        etag: multipart_etag(chosen.iter().map(|p| &p.md5)),
        modified,
        attributes: state.upload.attributes.clone(),
        labels: state.upload.labels.clone(),
        checksums,
        part_sizes: chosen.iter().map(|p| p.size).collect(),
        placement,
    }
}
