//! Whether a mutation is acceptable: what a client gets to hear before anything is written.

use super::{Index, MIN_PART, UploadState, Version, settle};
use crate::error::GatewayError;
use crate::record::{Label, Labels, LockMode, Mutation, Object, Placement, Retention, VersionId};
use cairn_storage_codec::SegmentId;
use std::collections::BTreeSet;

/// What a write requires of the object that is there, and who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The present tag must be this; `*` for any object.
    pub if_match: Option<String>,
    /// The present tag must not be this; `*`: there must be no object.
    pub if_none_match: Option<String>,
    /// A present object must have been written then (Unix time in seconds).
    pub modified: Option<u64>,
    /// A present object must have so many bytes.
    pub size: Option<u64>,
    /// This version must be the current one.
    pub current: Option<VersionId>,
    /// Now, in Unix seconds: what is retained until later is locked. 0: everything that is retained.
    pub now: u64,
    /// Governance retention does not count.
    pub bypass: bool,
}

impl Condition {
    /// Of a request that comes now.
    pub fn at(now: u64) -> Self {
        Self { now, ..Self::default() }
    }
}

impl Labels {
    /// Whether the version that carries them must not be deleted at `now`.
    pub fn locked(&self, now: u64, bypass: bool) -> bool {
        let bypassed = |r: &Retention| bypass && r.mode == LockMode::Governance;
        self.hold || self.retention.is_some_and(|r| r.until > now && !bypassed(&r))
    }
}

impl Index {
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
            Mutation::PutObject { bucket, key, object, .. } => {
                self.check_condition(bucket, key, condition)?;
                self.check_lock_is_on(bucket, &object.labels)?;
            }
            Mutation::CreateUpload { upload, .. } => self.check_lock_is_on(&upload.bucket, &upload.labels)?,
            Mutation::CompleteUpload { id, .. } => {
                let upload = &self.uploads.get(id).ok_or(GatewayError::NoSuchUpload)?.upload;
                self.check_condition(&upload.bucket, &upload.key, condition)?;
            }
            Mutation::DeleteObject { bucket, key, .. } => self.check_condition(bucket, key, condition)?,
            Mutation::DeleteVersion { bucket, key, version } => {
                self.check_condition(bucket, key, condition)?;
                let found = self.bucket(bucket)?.version(key, Some(*version)).ok();
                let locked = |o: &Object| o.labels.locked(condition.now, condition.bypass);
                if found.and_then(|v| v.object).as_ref().is_some_and(locked) {
                    return Err(GatewayError::Locked("the version is under retention or legal hold"));
                }
            }
            Mutation::SetLabel { bucket, key, version, label } => {
                let found = self.bucket(bucket)?.version(key, *version)?;
                self.check_label(bucket, &found, label, condition)?;
            }
            _ => {}
        }
        self.fits(mutation, new)
    }

    /// Whether a mutation can be applied at all, whoever asks for whatever reason.
    pub(super) fn fits(&self, mutation: &Mutation, new: &BTreeSet<&SegmentId>) -> Result<(), GatewayError> {
        match mutation {
            Mutation::CreateBucket { name, .. } if self.buckets.contains_key(name) => {
                Err(GatewayError::BucketExists(name.clone()))
            }
            Mutation::CreateBucket { settings, .. } => settle(settings).map(|_| ()),
            Mutation::SetBucket { name, setting } => self.bucket(name)?.settings.check(setting),
            Mutation::DeleteBucket { name } if !self.bucket(name)?.objects.is_empty() => {
                Err(GatewayError::BucketNotEmpty(name.clone()))
            }
            Mutation::PutObject { bucket, object, .. } => {
                self.bucket(bucket)?;
                self.check_runs(&object.placement, new)
            }
            Mutation::PutVersion { bucket, version, .. } => {
                self.bucket(bucket)?;
                version.object.as_ref().map_or(Ok(()), |o| self.check_runs(&o.placement, new))
            }
            Mutation::SetLabel { bucket, key, version, .. } => {
                let found = self.bucket(bucket)?.version(key, *version)?;
                found.object.map(|_| ()).ok_or(GatewayError::Marker)
            }
            Mutation::DeleteObject { bucket, .. } | Mutation::DeleteVersion { bucket, .. } => {
                self.bucket(bucket).map(|_| ())
            }
            Mutation::CreateUpload { upload, .. } => self.bucket(&upload.bucket).map(|_| ()),
            Mutation::PutPart { id, part, .. } => {
                self.uploads.get(id).ok_or(GatewayError::NoSuchUpload)?;
                self.check_runs(&part.placement, new)
            }
            Mutation::AbortUpload { id } => {
                self.uploads.get(id).map(|_| ()).ok_or(GatewayError::NoSuchUpload)
            }
            Mutation::CompleteUpload { id, parts, .. } => {
                check_parts(self.uploads.get(id).ok_or(GatewayError::NoSuchUpload)?, parts)
            }
            _ => Ok(()),
        }
    }

    /// Conditions are about the current version; under a delete marker there is none.
    fn check_condition(&self, bucket: &str, key: &str, condition: &Condition) -> Result<(), GatewayError> {
        let current = self.bucket(bucket)?.find(key.as_bytes(), None);
        if condition.current.is_some_and(|id| current.map(super::Packed::order) != Some(id)) {
            return Err(GatewayError::PreconditionFailed);
        }
        let Condition { if_match, if_none_match, modified, size, .. } = condition;
        if if_match.is_none() && if_none_match.is_none() && modified.is_none() && size.is_none() {
            return Ok(());
        }
        let Some(present) = current.and_then(|v| v.open().object) else {
            return match if_match {
                Some(_) => Err(GatewayError::NoSuchKey(key.into())),
                None => Ok(()),
            };
        };
        let tag = present.etag.to_string();
        let matches = |wanted: &String| wanted == "*" || *wanted == tag;
        let refused = if_match.as_ref().is_some_and(|w| !matches(w))
            || if_none_match.as_ref().is_some_and(matches)
            || modified.is_some_and(|m| m != present.modified)
            || size.is_some_and(|s| s != present.size);
        if refused { Err(GatewayError::PreconditionFailed) } else { Ok(()) }
    }

    fn check_lock_is_on(&self, bucket: &str, labels: &Labels) -> Result<(), GatewayError> {
        let on = self.bucket(bucket)?.settings.lock.is_some();
        if on || (labels.retention.is_none() && !labels.hold) { Ok(()) } else { Err(GatewayError::NoLock) }
    }

    /// Retention may become longer and stricter; anything else only who may bypass it, and then only governance.
    fn check_label(
        &self,
        bucket: &str,
        found: &Version,
        label: &Label,
        condition: &Condition,
    ) -> Result<(), GatewayError> {
        let object = found.object.as_ref().ok_or(GatewayError::Marker)?;
        match label {
            Label::Retention(_) | Label::Hold(_) if self.bucket(bucket)?.settings.lock.is_none() => {
                return Err(GatewayError::NoLock);
            }
            Label::Retention(new) => {
                let active = object.labels.retention.filter(|r| r.until > condition.now);
                let Some(old) = active else { return Ok(()) };
                let longer = new.is_some_and(|new| new.mode == old.mode && new.until >= old.until);
                let bypassed = condition.bypass && old.mode == LockMode::Governance;
                if !longer && !bypassed {
                    return Err(GatewayError::Locked("retention can only become longer"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A copy can lose the race against the deletion of its source.
    fn check_runs(&self, placement: &Placement, new: &BTreeSet<&SegmentId>) -> Result<(), GatewayError> {
        let known = |id| new.contains(id) || self.segments.contains_key(id);
        let known = placement.runs().iter().all(|run| known(&run.segment));
        if known { Ok(()) } else { Err(GatewayError::PreconditionFailed) }
    }
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
