//! What mutations do.

use super::{Applied, Bucket, Index, SegmentState, UploadState, Version, chunks_of, multipart_etag, settle};
use crate::record::{
    Checksum, Mutation, Object, Part, Placement, Retention, SlotRoot, Stored, UploadId, VersionId, Versioning,
};
use cairn_storage_codec::{SegmentId, SegmentMeta};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Seconds of a day.
const DAY: u64 = 86_400;

impl Index {
    /// Applies a mutation. One that cannot be applied has no effect.
    pub fn apply(&mut self, mutation: Mutation) -> Applied {
        let known = matches!(mutation, Mutation::AddSegment(_));
        if !known && self.fits(&mutation, &BTreeSet::new()).is_err() {
            return Applied::default();
        }
        self.last = self.last.max(mutation.version().unwrap_or_default());
        match mutation {
            Mutation::PutObject { bucket, key, object, version } => {
                return self.put(&bucket, &key, object, version);
            }
            Mutation::DeleteObject { bucket, key, version } => return self.mark(&bucket, &key, version),
            Mutation::DeleteVersion { bucket, key, version } => {
                return self.delete_version(&bucket, &key, version);
            }
            Mutation::CompleteUpload { id, parts, modified, checksums, version } => {
                return self.complete(&id, &parts, modified, checksums, version);
            }
            Mutation::CreateUpload { id, upload } => {
                self.uploads.insert(id, UploadState { upload, parts: BTreeMap::new() });
            }
            Mutation::PutPart { id, number, part } => {
                self.retain(&part.placement);
                let old = self.uploads.get_mut(&id).and_then(|u| u.parts.insert(number, part));
                old.iter().for_each(|p| self.release(&p.placement));
            }
            Mutation::AbortUpload { id } => self.drop_upload(&id),
            Mutation::AddSegment(Stored { meta, roots }) => self.add_segment(meta, roots),
            Mutation::SetRoot { segment, slot, root } => self.set_root(segment, slot, root),
            other => self.settle(other),
        }
        Applied::default()
    }

    /// Mutations of buckets, labels and access keys.
    fn settle(&mut self, mutation: Mutation) {
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
            Mutation::DeleteBucket { name } => {
                self.buckets.remove(&name);
                let gone: Vec<_> = self.uploads(&name).into_iter().map(|(id, _)| id).collect();
                gone.iter().for_each(|id| self.drop_upload(id));
            }
            Mutation::PutVersion { bucket, key, version } => {
                version.object.iter().for_each(|o| self.retain(&o.placement));
                if let Some(bucket) = self.buckets.get_mut(&bucket) {
                    bucket.insert(key.as_bytes(), &version);
                }
            }
            Mutation::SetLabel { bucket, key, version, label } => {
                let Some(bucket) = self.buckets.get_mut(&bucket) else { return };
                let Ok(mut found) = bucket.version(&key, version) else { return };
                if let Some(object) = &mut found.object {
                    object.labels.apply(label);
                    bucket.insert(key.as_bytes(), &found);
                }
            }
            Mutation::PutAccessKey { id, key } => drop(self.access.insert(id, Arc::new(key))),
            Mutation::DeleteAccessKey { id } => drop(self.access.remove(&id)),
            _ => {}
        }
    }

    fn put(&mut self, bucket: &str, key: &str, mut object: Object, id: VersionId) -> Applied {
        self.retain(&object.placement);
        let Some(target) = self.buckets.get_mut(bucket) else { return Applied::default() };
        let default = target.settings.lock.and_then(|l| l.default);
        if let (None, Some((mode, span))) = (object.labels.retention, default) {
            let until = object.modified.saturating_add(u64::from(span.days()).saturating_mul(DAY));
            object.labels.retention = Some(Retention { mode, until });
        }
        let null = target.settings.versioning != Versioning::Enabled;
        let old = null.then(|| target.remove(key.as_bytes(), VersionId::NULL)).flatten();
        target.insert(key.as_bytes(), &Version { id, null, object: Some(object) });
        let version = target.name_of(id);
        old.and_then(|v| v.object).iter().for_each(|o| self.release(&o.placement));
        Applied { version, marker: false }
    }

    /// Deletes what is current, so that it can be had back where versions are kept.
    fn mark(&mut self, bucket: &str, key: &str, id: VersionId) -> Applied {
        let Some(target) = self.buckets.get_mut(bucket) else { return Applied::default() };
        let versioning = target.settings.versioning;
        let null = versioning != Versioning::Enabled;
        let old = null.then(|| target.remove(key.as_bytes(), VersionId::NULL)).flatten();
        let marker = versioning != Versioning::Never;
        if marker {
            target.insert(key.as_bytes(), &Version { id, null, object: None });
        }
        let version = target.name_of(id);
        old.and_then(|v| v.object).iter().for_each(|o| self.release(&o.placement));
        Applied { version, marker }
    }

    fn delete_version(&mut self, bucket: &str, key: &str, id: VersionId) -> Applied {
        let gone = self.buckets.get_mut(bucket).and_then(|b| b.remove(key.as_bytes(), id));
        let marker = gone.as_ref().is_some_and(|v| v.object.is_none());
        gone.and_then(|v| v.object).iter().for_each(|o| self.release(&o.placement));
        Applied { version: Some(id), marker }
    }

    fn complete(
        &mut self,
        id: &UploadId,
        parts: &[(u16, [u8; 16])],
        modified: u64,
        checksums: Vec<Checksum>,
        version: VersionId,
    ) -> Applied {
        let Some(state) = self.uploads.get(id) else { return Applied::default() };
        let (bucket, key) = (state.upload.bucket.clone(), state.upload.key.clone());
        let object = assemble(state, parts, modified, checksums);
        let applied = self.put(&bucket, &key, object, version);
        self.drop_upload(id);
        applied
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
}

impl Bucket {
    /// What a client hears of a version that was just written: nothing where there were never any.
    fn name_of(&self, id: VersionId) -> Option<VersionId> {
        match self.settings.versioning {
            Versioning::Never => None,
            Versioning::Enabled => Some(id),
            Versioning::Suspended => Some(VersionId::NULL),
        }
    }
    /// What a client hears of a version's name: nothing where there were never any.
    pub fn named(&self, version: &Version) -> Option<VersionId> {
        (self.settings.versioning != Versioning::Never).then(|| version.name())
    }
}

/// The object that parts become. Parts are never inline: their runs can be joined.
fn assemble(
    state: &UploadState,
    parts: &[(u16, [u8; 16])],
    modified: u64,
    checksums: Vec<Checksum>,
) -> Object {
    let chosen: Vec<&Part> = parts.iter().filter_map(|(n, _)| state.parts.get(n)).collect();
    let placement = Placement::Runs(chosen.iter().flat_map(|p| p.placement.runs()).copied().collect());
    Object {
        size: chosen.iter().map(|p| p.size).fold(0, u64::saturating_add),
        etag: multipart_etag(chosen.iter().map(|p| &p.md5)),
        modified,
        attributes: state.upload.attributes.clone(),
        labels: state.upload.labels.clone(),
        part_checksums: sums(&chosen, &checksums),
        checksums,
        part_sizes: chosen.iter().map(|p| p.size).collect(),
        placement,
    }
}

fn sums(parts: &[&Part], checksums: &[Checksum]) -> Vec<String> {
    let Some(algorithm) = checksums.first().map(|c| c.algorithm) else { return Vec::new() };
    let of = |p: &&Part| p.checksums.iter().find(|c| c.algorithm == algorithm).map(|c| c.value.clone());
    parts.iter().map(of).collect::<Option<Vec<_>>>().unwrap_or_default()
}
