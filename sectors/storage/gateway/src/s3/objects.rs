//! Operations on objects.

use super::convert::*;
use crate::error::GatewayError;
use crate::gateway::{Gateway, Put};
use crate::record::{Attributes, Labels, Object};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use std::ops::Range as Bytes;
use std::sync::Arc;

/// Largest body of one request: 5 GiB.
pub const MAX_BODY: u64 = 5 << 30;
/// Most keys in one DeleteObjects.
const MAX_DELETE: usize = 1000;

pub async fn put(g: &Arc<Gateway>, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
    let (headers, trailer) = (req.headers, req.trailing_headers);
    let i = req.input;
    unsupported(i.sse_customer_algorithm.is_some(), "encryption with a key of the customer's")?;
    unsupported(i.object_lock_mode.is_some() || i.object_lock_legal_hold_status.is_some(), "object lock")?;
    unsupported(i.tagging.is_some(), "tagging")?;
    unsupported(i.write_offset_bytes.is_some(), "appending")?;
    let expected = Expected::new(
        [&i.checksum_crc32, &i.checksum_crc32c, &i.checksum_crc64nvme, &i.checksum_sha1, &i.checksum_sha256]
            .map(Option::as_ref),
        i.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str),
        &headers,
        trailer,
        i.content_md5.as_deref(),
    )?;
    let attributes = kept_headers!(i);
    let put = Put {
        bucket: i.bucket,
        key: i.key,
        attributes,
        labels: Labels::default(),
        condition: condition(i.if_match.as_ref(), i.if_none_match.as_ref()),
        algorithms: expected.algorithms.clone(),
        limit: MAX_BODY,
        expected: hint(i.content_length),
        now: seconds(),
    };
    let done = g.put_object(put, body(i.body), move |d| expected.verify(d)).await.map_err(refusal)?;
    let [crc32, crc32c, crc64, sha1, sha256] = checksum_fields(&done.checksums);
    answer(PutObjectOutput {
        e_tag: Some(etag(&done.etag)),
        checksum_crc32: crc32,
        checksum_crc32c: crc32c,
        checksum_crc64nvme: crc64,
        checksum_sha1: sha1,
        checksum_sha256: sha256,
        ..Default::default()
    })
}

/// What a read asks for besides the object.
#[derive(Default)]
struct Asked {
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<Timestamp>,
    if_unmodified_since: Option<Timestamp>,
    range: Option<Range>,
    part: Option<PartNumber>,
}

/// What a read gets.
struct Found {
    object: Arc<Object>,
    range: Bytes<u64>,
    content_range: Option<String>,
}

fn find(g: &Gateway, bucket: &str, key: &str, asked: &Asked) -> S3Result<Found> {
    let object = g.index().object(bucket, key).map_err(refusal)?;
    check(&object, asked)?;
    let size = object.size;
    let asked_part = match asked.part {
        Some(_) if asked.range.is_some() => {
            return Err(s3_error!(InvalidRequest, "a range and a part number cannot be asked for together"));
        }
        Some(number) => Some(part_range(&object, number)?),
        None => None,
    };
    let range = match (&asked.range, asked_part) {
        (Some(range), _) => range.check(size)?,
        (None, Some(part)) => part,
        (None, None) => return Ok(Found { object, range: 0..size, content_range: None }),
    };
    let content_range = match range.end.checked_sub(1) {
        Some(last) if !range.is_empty() => Some(format!("bytes {}-{last}/{size}", range.start)),
        _ => None,
    };
    Ok(Found { object, range, content_range })
}

fn part_range(object: &Object, number: i32) -> S3Result<Bytes<u64>> {
    let sizes: &[u64] = if object.part_sizes.is_empty() { &[object.size] } else { &object.part_sizes };
    let number = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
    let Some((before, size)) = number.and_then(|n| Some((&sizes[..n.min(sizes.len())], sizes.get(n)?)))
    else {
        return Err(s3_error!(InvalidPart, "the object has no such part"));
    };
    let start = before.iter().fold(0, |a: u64, b| a.saturating_add(*b));
    Ok(start..start.saturating_add(*size))
}

/// Conditions in the order of RFC 9110, 13.2.2.
fn check(object: &Object, asked: &Asked) -> S3Result<()> {
    let tag = object.etag.to_string();
    let matches = |c: &ETagCondition| wanted(c) == "*" || wanted(c) == tag;
    let modified = timestamp(object.modified);
    let failed = match (&asked.if_match, &asked.if_unmodified_since) {
        (Some(c), _) => !matches(c),
        (None, Some(since)) => modified > *since,
        (None, None) => false,
    };
    if failed {
        return Err(refusal(GatewayError::PreconditionFailed));
    }
    let unchanged = match (&asked.if_none_match, &asked.if_modified_since) {
        (Some(c), _) => matches(c),
        (None, Some(since)) => modified <= *since,
        (None, None) => false,
    };
    if unchanged { Err(S3Error::new(S3ErrorCode::NotModified)) } else { Ok(()) }
}

fn length(range: &Bytes<u64>) -> Option<i64> {
    i64::try_from(range.end.saturating_sub(range.start)).ok()
}

fn header(attributes: &Attributes, name: &str) -> Option<String> {
    attributes.headers.get(name).cloned()
}

fn content_type(attributes: &Attributes) -> Option<String> {
    header(attributes, "content-type").or_else(|| Some("binary/octet-stream".into()))
}

fn parts_count(object: &Object, part: Option<PartNumber>) -> Option<i32> {
    part.filter(|_| !object.part_sizes.is_empty())?;
    i32::try_from(object.part_sizes.len()).ok()
}

/// Checksums that hold for what is returned: only of whole objects, and only on demand.
fn returned(found: &Found, mode: Option<&ChecksumMode>) -> ([Option<String>; 5], Option<ChecksumType>) {
    let whole = found.content_range.is_none() && mode.is_some_and(|m| m.as_str() == ChecksumMode::ENABLED);
    if !whole || found.object.checksums.is_empty() {
        return ([const { None }; 5], None);
    }
    (checksum_fields(&found.object.checksums), super::checksum::kind(&found.object.checksums))
}

pub async fn get(g: &Arc<Gateway>, i: GetObjectInput) -> S3Result<S3Response<GetObjectOutput>> {
    unsupported(i.version_id.is_some_and(|v| v != "null"), "versioning")?;
    unsupported(i.sse_customer_algorithm.is_some(), "encryption with a key of the customer's")?;
    let asked = Asked {
        if_match: i.if_match,
        if_none_match: i.if_none_match,
        if_modified_since: i.if_modified_since,
        if_unmodified_since: i.if_unmodified_since,
        range: i.range,
        part: i.part_number,
    };
    let found = find(g, &i.bucket, &i.key, &asked)?;
    let bytes = g.read_object(Arc::clone(&found.object), found.range.clone()).await.map_err(refusal)?;
    let ([crc32, crc32c, crc64, sha1, sha256], checksum_type) = returned(&found, i.checksum_mode.as_ref());
    let (object, a) = (&found.object, &found.object.attributes);
    answer(GetObjectOutput {
        accept_ranges: Some("bytes".into()),
        body: Some(StreamingBlob::wrap(bytes)),
        content_length: length(&found.range),
        content_type: content_type(a),
        cache_control: header(a, "cache-control"),
        content_disposition: header(a, "content-disposition"),
        content_encoding: header(a, "content-encoding"),
        content_language: header(a, "content-language"),
        expires: expires(a),
        e_tag: Some(etag(&object.etag)),
        last_modified: Some(timestamp(object.modified)),
        metadata: metadata(a),
        parts_count: parts_count(object, asked.part),
        content_range: found.content_range.clone(),
        checksum_crc32: crc32,
        checksum_crc32c: crc32c,
        checksum_crc64nvme: crc64,
        checksum_sha1: sha1,
        checksum_sha256: sha256,
        checksum_type,
        ..Default::default()
    })
}

pub fn head(g: &Gateway, i: HeadObjectInput) -> S3Result<S3Response<HeadObjectOutput>> {
    unsupported(i.version_id.is_some_and(|v| v != "null"), "versioning")?;
    let asked = Asked {
        if_match: i.if_match,
        if_none_match: i.if_none_match,
        if_modified_since: i.if_modified_since,
        if_unmodified_since: i.if_unmodified_since,
        range: i.range,
        part: i.part_number,
    };
    let found = find(g, &i.bucket, &i.key, &asked)?;
    let ([crc32, crc32c, crc64, sha1, sha256], checksum_type) = returned(&found, i.checksum_mode.as_ref());
    let (object, a) = (&found.object, &found.object.attributes);
    answer(HeadObjectOutput {
        accept_ranges: Some("bytes".into()),
        content_length: length(&found.range),
        content_type: content_type(a),
        cache_control: header(a, "cache-control"),
        content_disposition: header(a, "content-disposition"),
        content_encoding: header(a, "content-encoding"),
        content_language: header(a, "content-language"),
        expires: expires(a),
        e_tag: Some(etag(&object.etag)),
        last_modified: Some(timestamp(object.modified)),
        metadata: metadata(a),
        parts_count: parts_count(object, asked.part),
        content_range: found.content_range.clone(),
        checksum_crc32: crc32,
        checksum_crc32c: crc32c,
        checksum_crc64nvme: crc64,
        checksum_sha1: sha1,
        checksum_sha256: sha256,
        checksum_type,
        ..Default::default()
    })
}

pub async fn delete(g: &Gateway, i: DeleteObjectInput) -> S3Result<S3Response<DeleteObjectOutput>> {
    unsupported(i.version_id.is_some_and(|v| v != "null"), "versioning")?;
    unsupported(i.if_match.is_some(), "conditional deletion")?;
    g.delete_object(&i.bucket, &i.key).await.map_err(refusal)?;
    answer(DeleteObjectOutput::default())
}

pub async fn delete_many(g: &Gateway, i: DeleteObjectsInput) -> S3Result<S3Response<DeleteObjectsOutput>> {
    g.index().bucket(&i.bucket).map_err(refusal)?;
    if i.delete.objects.is_empty() || i.delete.objects.len() > MAX_DELETE {
        return Err(s3_error!(MalformedXML, "name 1 to {MAX_DELETE} keys"));
    }
    let quiet = i.delete.quiet.unwrap_or(false);
    let bucket = i.bucket.as_str();
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    let done = i.delete.objects.into_iter().map(|o| async move {
        let result = match o.version_id.as_deref() {
            None | Some("null") => g.delete_object(bucket, &o.key).await.map_err(refusal),
            Some(_) => Err(s3_error!(NotImplemented, "versioning is not implemented here")),
        };
        (o.key, result)
    });
    // All at once, so that they share log entries.
    for (key, result) in futures::future::join_all(done).await {
        match result {
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(DeletedObject { key: Some(key), ..Default::default() }),
            Err(e) => errors.push(Error {
                code: Some(e.code().as_str().to_owned()),
                key: Some(key),
                message: e.message().map(str::to_owned),
                version_id: None,
            }),
        }
    }
    let some = |list: &Vec<Error>| (!list.is_empty()).then(|| list.clone());
    answer(DeleteObjectsOutput { deleted: Some(deleted), errors: some(&errors), request_charged: None })
}

/// The source of a copy, with its conditions checked.
pub fn source(
    g: &Gateway,
    source: &CopySource,
    conditions: [Option<ETagCondition>; 2],
    since: [Option<Timestamp>; 2],
) -> S3Result<(String, String, Arc<Object>)> {
    let CopySource::Bucket { bucket, key, version_id } = source else {
        return Err(s3_error!(NotImplemented, "access points are not implemented here"));
    };
    unsupported(version_id.as_deref().is_some_and(|v| v != "null"), "versioning")?;
    let object = g.index().object(bucket, key).map_err(refusal)?;
    let [if_match, if_none_match] = conditions;
    let [if_modified_since, if_unmodified_since] = since;
    let asked = Asked { if_match, if_none_match, if_modified_since, if_unmodified_since, ..Asked::default() };
    // A copy answers 412 where a read answers 304.
    check(&object, &asked).map_err(|_| refusal(GatewayError::PreconditionFailed))?;
    Ok((bucket.to_string(), key.to_string(), object))
}

pub async fn copy(g: &Arc<Gateway>, i: CopyObjectInput) -> S3Result<S3Response<CopyObjectOutput>> {
    unsupported(i.sse_customer_algorithm.is_some(), "encryption with a key of the customer's")?;
    unsupported(i.tagging.is_some(), "tagging")?;
    let (from_bucket, from_key, object) = source(
        g,
        &i.copy_source,
        [i.copy_source_if_match, i.copy_source_if_none_match],
        [i.copy_source_if_modified_since, i.copy_source_if_unmodified_since],
    )?;
    let replace = i.metadata_directive.as_ref().is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
    if !replace && from_bucket == i.bucket && from_key == i.key {
        return Err(s3_error!(InvalidRequest, "a copy onto itself has to replace the metadata"));
    }
    let attributes = kept_headers!(i);
    let now = seconds();
    let attributes = replace.then_some(attributes);
    g.copy_object(&object, &i.bucket, &i.key, attributes, now).await.map_err(refusal)?;
    let [crc32, crc32c, crc64, sha1, sha256] = checksum_fields(&object.checksums);
    let result = CopyObjectResult {
        e_tag: Some(etag(&object.etag)),
        last_modified: Some(timestamp(now)),
        checksum_crc32: crc32,
        checksum_crc32c: crc32c,
        checksum_crc64nvme: crc64,
        checksum_sha1: sha1,
        checksum_sha256: sha256,
        ..Default::default()
    };
    answer(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
}
