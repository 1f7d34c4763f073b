//! Writing objects: put, copy, delete.

use super::convert::*;
use super::reads::{Asked, check};
use super::{checksum, lifecycle, lock, tagging, versions};
use crate::error::GatewayError;
use crate::gateway::{Copy, Gateway, Put};
use crate::index::{Applied, Condition};
use crate::record::{Labels, Object, VersionId};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use std::sync::Arc;

/// Largest body of one request: 5 GiB.
pub const MAX_BODY: u64 = 5 << 30;
/// Most keys in one DeleteObjects.
const MAX_DELETE: usize = 1000;

/// Tags, locks and access out of any input that brings them.
macro_rules! labels {
    ($input:ident, $now:expr) => {{
        ungranted!($input);
        let (retention, hold) = lock::from_headers(
            $input.object_lock_mode.as_ref(),
            $input.object_lock_retain_until_date.as_ref(),
            $input.object_lock_legal_hold_status.as_ref(),
            $now,
        )?;
        let tags = tagging::from_header($input.tagging.as_deref())?;
        let grants =
            [&$input.grant_full_control, &$input.grant_read, &$input.grant_read_acp, &$input.grant_write_acp];
        let acl = $crate::s3::acl::of_object($input.acl.as_ref(), grants.map(Option::as_ref))?;
        Labels { tags, retention, hold, acl }
    }};
}
pub(super) use labels;

/// Refuses what a write cannot have here.
macro_rules! ungranted {
    ($input:ident) => {
        unsupported($input.sse_customer_algorithm.is_some(), "encryption with a key of the customer's")?;
        unsupported(
            $input
                .server_side_encryption
                .as_ref()
                .is_some_and(|e| e.as_str() != ServerSideEncryption::AES256),
            "encryption with keys of a key service",
        )?;
        unsupported($input.website_redirect_location.is_some(), "redirection")?;
        storage_class($input.storage_class.as_ref())?;
    };
}
pub(super) use ungranted;

/// What a put is to be, and what its body must be.
fn prepared(
    g: &Gateway,
    i: PutObjectInput,
    headers: &hyper::HeaderMap,
    trailer: Option<s3s::TrailingHeaders>,
) -> S3Result<(Put, Expected)> {
    g.index().bucket(&i.bucket).map_err(refusal)?;
    unsupported(i.write_offset_bytes.is_some(), "appending")?;
    let expected = Expected::new(
        [&i.checksum_crc32, &i.checksum_crc32c, &i.checksum_crc64nvme, &i.checksum_sha1, &i.checksum_sha256]
            .map(Option::as_ref),
        i.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str),
        headers,
        trailer,
        i.content_md5.as_deref(),
    )?;
    let now = seconds();
    let labels = labels!(i, now);
    let attributes = kept_headers!(i);
    let put = Put {
        bucket: i.bucket,
        key: i.key,
        attributes,
        labels,
        condition: condition(i.if_match.as_ref(), i.if_none_match.as_ref(), now),
        algorithms: expected.algorithms.clone(),
        limit: MAX_BODY,
        expected: hint(i.content_length),
        now,
    };
    Ok((put, expected))
}

pub async fn put(g: &Arc<Gateway>, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
    let mut i = req.input;
    let blob = i.body.take();
    let (put, expected) = match prepared(g, i, &req.headers, req.trailing_headers) {
        Ok(prepared) => prepared,
        Err(e) => {
            drain(blob).await;
            return Err(e);
        }
    };
    let (bucket, key) = (put.bucket.clone(), put.key.clone());
    let done = g.put_object(put, body(blob), move |d| expected.verify(d)).await.map_err(refusal)?;
    let [crc32, crc32c, crc64, sha1, sha256] = checksum_fields(&done.checksums);
    answer(PutObjectOutput {
        e_tag: Some(etag(&done.etag)),
        version_id: done.version.map(|v| v.to_string()),
        expiration: lifecycle::of_written(g, &bucket, &key),
        checksum_crc32: crc32,
        checksum_crc32c: crc32c,
        checksum_crc64nvme: crc64,
        checksum_sha1: sha1,
        checksum_sha256: sha256,
        checksum_type: checksum::kind(&done.checksums),
        ..Default::default()
    })
}

/// Deletes what is current, or a version by its name.
async fn delete_one(
    g: &Gateway,
    bucket: &str,
    key: &str,
    version: Option<VersionId>,
    condition: Condition,
) -> S3Result<Applied> {
    let done = match version {
        None => g.delete_object_if(bucket, key, condition).await,
        Some(version) => g.delete_version(bucket, key, version, condition).await,
    };
    done.map_err(refusal)
}

pub async fn delete(g: &Gateway, i: DeleteObjectInput) -> S3Result<S3Response<DeleteObjectOutput>> {
    let condition = Condition {
        modified: i.if_match_last_modified_time.as_ref().map(unix),
        size: size_condition(i.if_match_size)?,
        bypass: i.bypass_governance_retention.unwrap_or(false),
        ..self::condition(i.if_match.as_ref(), None, seconds())
    };
    let version = versions::parse(i.version_id.as_deref())?;
    let done = delete_one(g, &i.bucket, &i.key, version, condition).await?;
    answer(DeleteObjectOutput {
        delete_marker: done.marker.then_some(true),
        version_id: done.version.map(|v| v.to_string()),
        request_charged: None,
    })
}

/// One of many deletions; what became of it.
async fn delete_listed(
    g: &Gateway,
    bucket: &str,
    o: ObjectIdentifier,
    bypass: bool,
) -> Result<DeletedObject, Error> {
    let attempt = async {
        let condition = Condition {
            if_match: o.e_tag.as_ref().map(|t| t.value().to_owned()),
            modified: o.last_modified_time.as_ref().map(unix),
            size: size_condition(o.size)?,
            bypass,
            ..Condition::at(seconds())
        };
        let version = versions::parse(o.version_id.as_deref())?;
        delete_one(g, bucket, &o.key, version, condition).await
    };
    match attempt.await {
        Ok(done) => Ok(DeletedObject {
            delete_marker: done.marker.then_some(true),
            delete_marker_version_id: done.version.filter(|_| done.marker).map(|v| v.to_string()),
            key: Some(o.key),
            version_id: o.version_id,
        }),
        Err(e) => Err(Error {
            code: Some(e.code().as_str().to_owned()),
            key: Some(o.key),
            message: e.message().map(str::to_owned),
            version_id: o.version_id,
        }),
    }
}

pub async fn delete_many(g: &Gateway, i: DeleteObjectsInput) -> S3Result<S3Response<DeleteObjectsOutput>> {
    g.index().bucket(&i.bucket).map_err(refusal)?;
    if i.delete.objects.is_empty() || i.delete.objects.len() > MAX_DELETE {
        return Err(s3_error!(MalformedXML, "name 1 to {MAX_DELETE} keys"));
    }
    let quiet = i.delete.quiet.unwrap_or(false);
    let (bucket, bypass) = (i.bucket.as_str(), i.bypass_governance_retention.unwrap_or(false));
    let done = i.delete.objects.into_iter().map(|o| delete_listed(g, bucket, o, bypass));
    // All at once, so that they share log entries.
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for result in futures::future::join_all(done).await {
        match result {
            Ok(_) if quiet => {}
            Ok(done) => deleted.push(done),
            Err(e) => errors.push(e),
        }
    }
    let errors = (!errors.is_empty()).then_some(errors);
    answer(DeleteObjectsOutput { deleted: Some(deleted), errors, request_charged: None })
}

/// The source of a copy.
pub struct Source {
    pub bucket: String,
    pub key: String,
    pub object: Object,
    /// Its version, where there are any.
    pub version: Option<String>,
    /// No version was named.
    pub current: bool,
}

/// The source of a copy, with its conditions checked.
pub fn source(g: &Gateway, source: &CopySource, asked: &Asked) -> S3Result<Source> {
    let CopySource::Bucket { bucket, key, version_id } = source else {
        return Err(s3_error!(NotImplemented, "access points are not implemented here"));
    };
    let marker = |e: s3s::S3Error| match *e.code() {
        // A copy of a delete marker is a bad request, where a read is a method not allowed.
        s3s::S3ErrorCode::MethodNotAllowed => {
            s3_error!(InvalidRequest, "the source of a copy cannot be a delete marker")
        }
        _ => e,
    };
    let (found, version) = versions::present(g, bucket, key, version_id.as_deref()).map_err(marker)?;
    let object = found.object.ok_or_else(|| refusal(GatewayError::Marker))?;
    // A copy answers 412 where a read answers 304.
    check(&object, asked).map_err(|_| refusal(GatewayError::PreconditionFailed))?;
    let current = version_id.is_none();
    Ok(Source { bucket: bucket.to_string(), key: key.to_string(), object, version, current })
}

/// The conditions that an input sets on its source.
macro_rules! source_conditions {
    ($input:ident) => {
        Asked {
            if_match: $input.copy_source_if_match,
            if_none_match: $input.copy_source_if_none_match,
            if_modified_since: $input.copy_source_if_modified_since,
            if_unmodified_since: $input.copy_source_if_unmodified_since,
            ..Asked::default()
        }
    };
}
pub(super) use source_conditions;

/// REPLACE or COPY, which is the default.
fn replaces(directive: Option<&str>) -> S3Result<bool> {
    match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(s3_error!(InvalidArgument, "a directive is COPY or REPLACE")),
    }
}

pub async fn copy(
    g: &Arc<Gateway>,
    req: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let headers = req.headers;
    let i = req.input;
    let now = seconds();
    let mut labels = labels!(i, now);
    let condition = header_condition(&headers, now);
    let Source { bucket, key, mut object, version, current } =
        source(g, &i.copy_source, &source_conditions!(i))?;
    let replace = replaces(i.metadata_directive.as_ref().map(MetadataDirective::as_str))?;
    let retag = replaces(i.tagging_directive.as_ref().map(TaggingDirective::as_str))?;
    if !replace && !retag && current && bucket == i.bucket && key == i.key && i.checksum_algorithm.is_none() {
        return Err(s3_error!(InvalidRequest, "a copy onto itself has to replace the metadata"));
    }
    if object.size > MAX_BODY {
        return Err(s3_error!(InvalidRequest, "copy objects over 5 GiB in parts"));
    }
    if !retag {
        labels.tags.clone_from(&object.labels.tags);
    }
    if let Some(name) = &i.checksum_algorithm {
        let unknown = || s3_error!(InvalidArgument, "the checksum algorithm is not known here");
        let wanted = algorithm(name.as_str()).ok_or_else(unknown)?;
        object.checksums = checksum::again(g, &object, wanted).await.map_err(refusal)?;
        object.part_checksums = Vec::new();
    }
    let attributes = kept_headers!(i);
    let attributes = replace.then_some(attributes);
    let (etag, checksums) = (etag(&object.etag), object.checksums.clone());
    let copy = Copy { bucket: i.bucket.clone(), key: i.key.clone(), attributes, labels, condition, now };
    let made = g.copy_object(&object, copy).await.map_err(refusal)?;
    let [crc32, crc32c, crc64, sha1, sha256] = checksum_fields(&checksums);
    let result = CopyObjectResult {
        e_tag: Some(etag),
        last_modified: Some(timestamp(now)),
        checksum_crc32: crc32,
        checksum_crc32c: crc32c,
        checksum_crc64nvme: crc64,
        checksum_sha1: sha1,
        checksum_sha256: sha256,
        checksum_type: checksum::kind(&checksums),
    };
    answer(CopyObjectOutput {
        copy_object_result: Some(result),
        version_id: made.map(|v| v.to_string()),
        copy_source_version_id: version,
        expiration: lifecycle::of_written(g, &i.bucket, &i.key),
        ..Default::default()
    })
}
