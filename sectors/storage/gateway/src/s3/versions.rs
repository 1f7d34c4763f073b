//! Versioning: its state, versions by their names, and their listing.

use super::convert::{answer, etag, owner, refusal, timestamp};
use super::listing::{limit, marker, namer, prefixes};
use crate::gateway::Gateway;
use crate::index::{ListQuery, Listed, Resume, Version};
use crate::record::{Setting, VersionId, Versioning};
use hyper::HeaderMap;
use hyper::header::{ALLOW, HeaderValue, LAST_MODIFIED};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Response, S3Result, s3_error};

/// A version as a request names it.
pub fn parse(name: Option<&str>) -> S3Result<Option<VersionId>> {
    let bad = || s3_error!(InvalidArgument, "the version id is not one of ours; list the versions");
    name.map(|name| VersionId::parse(name).ok_or_else(bad)).transpose()
}

/// Finds a version, the current one without a name; and what its name is where there are versions. A delete marker is
/// an error that says so.
pub fn present(
    g: &Gateway,
    bucket: &str,
    key: &str,
    name: Option<&str>,
) -> S3Result<(Version, Option<String>)> {
    let id = parse(name)?;
    let index = g.index();
    let found = index.version(bucket, key, id).map_err(refusal)?;
    if found.object.is_none() {
        return Err(deleted(&found, id.is_some()));
    }
    let kept = index.bucket(bucket).map_err(refusal)?.settings.versioning != Versioning::Never;
    let named = kept.then(|| found.name().to_string());
    Ok((found, named))
}

/// What is heard of a delete marker: by its name, that it cannot be read; else that nothing is there.
fn deleted(marker: &Version, asked_for: bool) -> S3Error {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if let Ok(id) = HeaderValue::from_str(&marker.name().to_string()) {
        headers.insert("x-amz-version-id", id);
    }
    let mut error = if asked_for {
        headers.insert(ALLOW, HeaderValue::from_static("DELETE"));
        let mut date = Vec::new();
        let written = timestamp(marker.id.seconds()).format(TimestampFormat::HttpDate, &mut date);
        if let (Ok(()), Ok(date)) = (written, HeaderValue::from_bytes(&date)) {
            headers.insert(LAST_MODIFIED, date);
        }
        refusal(crate::error::GatewayError::Marker)
    } else {
        S3Error::with_message(
            S3ErrorCode::NoSuchKey,
            "the object was deleted; its older versions can be read",
        )
    };
    error.set_headers(headers);
    error
}

pub async fn put(
    g: &Gateway,
    i: PutBucketVersioningInput,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let asked = i.versioning_configuration;
    if asked.mfa_delete.is_some_and(|m| m.as_str() == MFADelete::ENABLED) {
        return Err(s3_error!(NotImplemented, "deletion by a second factor is not implemented here"));
    }
    let versioning = match asked.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
        _ => return Err(s3_error!(MalformedXML, "the status of versioning is Enabled or Suspended")),
    };
    g.set_bucket(&i.bucket, Setting::Versioning(versioning)).await.map_err(refusal)?;
    answer(PutBucketVersioningOutput::default())
}

pub fn get(g: &Gateway, i: GetBucketVersioningInput) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let status = match g.index().bucket(&i.bucket).map_err(refusal)?.settings.versioning {
        Versioning::Never => None,
        Versioning::Enabled => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED)),
        Versioning::Suspended => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::SUSPENDED)),
    };
    answer(GetBucketVersioningOutput { status, ..Default::default() })
}

/// Where a listing of versions goes on.
fn resume(i: &ListObjectVersionsInput, prefix: &str, delimiter: &str) -> S3Result<Resume> {
    let version = i.version_id_marker.as_deref().filter(|v| !v.is_empty());
    let key = i.key_marker.as_deref().filter(|k| !k.is_empty());
    match (key, parse(version)?) {
        (None, Some(_)) => {
            Err(s3_error!(InvalidArgument, "a version-id marker cannot be given without a key marker"))
        }
        (Some(key), Some(id)) => Ok(Resume::AfterVersion(key.to_owned(), id)),
        (key, None) => Ok(marker(key, prefix, delimiter)),
    }
}

pub fn list(g: &Gateway, i: ListObjectVersionsInput) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let name = namer(i.encoding_type.as_ref())?;
    let (max_keys, max) = limit(i.max_keys)?;
    let (prefix, delimiter) = (i.prefix.clone().unwrap_or_default(), i.delimiter.clone().unwrap_or_default());
    let resume = resume(&i, &prefix, &delimiter)?;
    let query = ListQuery { prefix, delimiter, resume, max };
    let page = g.index().bucket(&i.bucket).map_err(refusal)?.list_versions(&query);
    let (next_key, next_version) = match &page.next {
        Some(Resume::AfterVersion(key, id)) => (Some(name(key.clone())), Some(id.to_string())),
        Some(Resume::AfterPrefix(text) | Resume::AfterKey(text)) => (Some(name(text.clone())), None),
        _ => (None, None),
    };
    let (versions, markers): (Vec<_>, Vec<_>) =
        page.versions.into_iter().partition(|l| l.version.object.is_some());
    answer(ListObjectVersionsOutput {
        name: Some(i.bucket),
        prefix: Some(name(query.prefix)),
        delimiter: i.delimiter.filter(|d| !d.is_empty()).map(name),
        key_marker: Some(name(i.key_marker.unwrap_or_default())),
        version_id_marker: Some(i.version_id_marker.unwrap_or_default()),
        max_keys: Some(max_keys),
        is_truncated: Some(page.next.is_some()),
        next_key_marker: next_key,
        next_version_id_marker: next_version,
        versions: Some(versions.into_iter().filter_map(|l| entry(l, name)).collect()),
        delete_markers: Some(markers.into_iter().map(|l| removed(l, name)).collect()),
        common_prefixes: prefixes(&page.prefixes, name),
        encoding_type: i.encoding_type,
        request_charged: None,
    })
}

fn entry(listed: Listed, name: impl Fn(String) -> String) -> Option<ObjectVersion> {
    let id = listed.version.name();
    let object = listed.version.object?;
    Some(ObjectVersion {
        key: Some(name(listed.key)),
        version_id: Some(id.to_string()),
        is_latest: Some(listed.latest),
        e_tag: Some(etag(&object.etag)),
        last_modified: Some(timestamp(object.modified)),
        size: i64::try_from(object.size).ok(),
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        checksum_algorithm: super::checksum::names(&object.checksums),
        checksum_type: super::checksum::kind(&object.checksums),
        owner: Some(owner()),
        ..Default::default()
    })
}

fn removed(listed: Listed, name: impl Fn(String) -> String) -> DeleteMarkerEntry {
    DeleteMarkerEntry {
        key: Some(name(listed.key)),
        version_id: Some(listed.version.name().to_string()),
        is_latest: Some(listed.latest),
        last_modified: Some(timestamp(listed.version.id.seconds())),
        owner: Some(owner()),
    }
}
