//! Reading objects: conditions, ranges, parts, attributes.

use super::convert::*;
use super::{checksum, lifecycle, lock, tagging, versions};
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::record::{Attributes, Object};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Response, S3Result, s3_error};
use std::ops::Range as Bytes;
use std::sync::Arc;

/// Most parts in one answer.
const MAX_PAGE: i32 = 1000;

/// What a read asks for besides the object.
#[derive(Default)]
pub struct Asked {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
    pub if_modified_since: Option<Timestamp>,
    pub if_unmodified_since: Option<Timestamp>,
    pub range: Option<Range>,
    pub part: Option<PartNumber>,
}

/// What a read gets.
struct Found {
    object: Arc<Object>,
    version: Option<String>,
    expiration: Option<String>,
    range: Bytes<u64>,
    content_range: Option<String>,
}

fn find(g: &Gateway, bucket: &str, key: &str, id: Option<&str>, asked: &Asked) -> S3Result<Found> {
    let (found, version) = versions::present(g, bucket, key, id)?;
    let object = found.object.map(Arc::new).ok_or_else(|| refusal(GatewayError::Marker))?;
    check(&object, asked)?;
    let size = object.size;
    let asked_part = match asked.part {
        Some(_) if asked.range.is_some() => {
            return Err(s3_error!(InvalidRequest, "a range and a part number cannot be asked for together"));
        }
        Some(number) => Some(part_range(&object, number)?),
        None => None,
    };
    let current = id.is_none();
    let expiration = {
        let index = g.index();
        let settings = &index.bucket(bucket).map_err(refusal)?.settings;
        current.then(|| lifecycle::announced(settings, key, &object, g.day())).flatten()
    };
    let range = match (&asked.range, asked_part) {
        (Some(range), _) => range.check(size)?,
        (None, Some(part)) => part,
        (None, None) => {
            return Ok(Found { object, version, expiration, range: 0..size, content_range: None });
        }
    };
    let content_range = match range.end.checked_sub(1) {
        Some(last) if !range.is_empty() => Some(format!("bytes {}-{last}/{size}", range.start)),
        _ => None,
    };
    Ok(Found { object, version, expiration, range, content_range })
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
pub fn check(object: &Object, asked: &Asked) -> S3Result<()> {
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
    if !unchanged {
        return Ok(());
    }
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    let mut headers = hyper::HeaderMap::new();
    if let Ok(tag) = hyper::header::HeaderValue::from_str(&format!("\"{tag}\"")) {
        headers.insert(hyper::header::ETAG, tag);
    }
    error.set_headers(headers);
    Err(error)
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
    (checksum_fields(&found.object.checksums), checksum::kind(&found.object.checksums))
}

/// What the answers to GET and HEAD have in common.
macro_rules! described {
    ($output:ident, $found:ident, $part:expr, $mode:expr) => {{
        let ([crc32, crc32c, crc64, sha1, sha256], checksum_type) = returned(&$found, $mode);
        let (mode, until, hold) = lock::to_headers(&$found.object.labels);
        let (object, a) = (&$found.object, &$found.object.attributes);
        $output {
            accept_ranges: Some("bytes".into()),
            content_length: length(&$found.range),
            content_type: content_type(a),
            cache_control: header(a, "cache-control"),
            content_disposition: header(a, "content-disposition"),
            content_encoding: header(a, "content-encoding"),
            content_language: header(a, "content-language"),
            expires: expires(a),
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified)),
            metadata: metadata(a),
            parts_count: parts_count(object, $part),
            content_range: $found.content_range.clone(),
            version_id: $found.version.clone(),
            expiration: $found.expiration.clone(),
            object_lock_mode: mode,
            object_lock_retain_until_date: until,
            object_lock_legal_hold_status: hold,
            checksum_crc32: crc32,
            checksum_crc32c: crc32c,
            checksum_crc64nvme: crc64,
            checksum_sha1: sha1,
            checksum_sha256: sha256,
            checksum_type,
            ..Default::default()
        }
    }};
}

macro_rules! asked {
    ($input:ident) => {
        Asked {
            if_match: $input.if_match,
            if_none_match: $input.if_none_match,
            if_modified_since: $input.if_modified_since,
            if_unmodified_since: $input.if_unmodified_since,
            range: $input.range,
            part: $input.part_number,
        }
    };
}

pub async fn get(g: &Arc<Gateway>, i: GetObjectInput) -> S3Result<S3Response<GetObjectOutput>> {
    unsupported(i.sse_customer_algorithm.is_some(), "encryption with a key of the customer's")?;
    let asked = asked!(i);
    let found = find(g, &i.bucket, &i.key, i.version_id.as_deref(), &asked)?;
    let bytes = g.read_object(Arc::clone(&found.object), found.range.clone()).await.map_err(refusal)?;
    let described = described!(GetObjectOutput, found, asked.part, i.checksum_mode.as_ref());
    let (body, tag_count) = (Some(StreamingBlob::wrap(bytes)), tagging::count(&found.object));
    answer(GetObjectOutput { body, tag_count, ..described })
}

pub fn head(g: &Gateway, i: HeadObjectInput) -> S3Result<S3Response<HeadObjectOutput>> {
    unsupported(i.sse_customer_algorithm.is_some(), "encryption with a key of the customer's")?;
    let asked = asked!(i);
    let found = find(g, &i.bucket, &i.key, i.version_id.as_deref(), &asked)?;
    let mut response =
        S3Response::new(described!(HeadObjectOutput, found, asked.part, i.checksum_mode.as_ref()));
    if let Some(count) = tagging::count(&found.object) {
        response.headers.insert("x-amz-tagging-count", count.into());
    }
    Ok(response)
}

fn object_parts(object: &Object, i: &GetObjectAttributesInput) -> Option<GetObjectAttributesParts> {
    if object.part_sizes.is_empty() {
        return None;
    }
    let after = i.part_number_marker.unwrap_or(0).max(0);
    let max = i.max_parts.unwrap_or(MAX_PAGE).clamp(0, MAX_PAGE);
    let algorithm = object.checksums.first().map(|c| c.algorithm);
    let part = |(number, (nth, size)): (i32, (usize, &u64))| {
        let value = object.part_checksums.get(nth).cloned();
        let sum = algorithm.zip(value);
        let sum =
            sum.map(|(algorithm, value)| crate::record::Checksum { algorithm, value, composite: false });
        let [crc32, crc32c, crc64, sha1, sha256] = checksum_fields(sum.as_slice());
        ObjectPart {
            part_number: Some(number),
            size: i64::try_from(*size).ok(),
            checksum_crc32: crc32,
            checksum_crc32c: crc32c,
            checksum_crc64nvme: crc64,
            checksum_sha1: sha1,
            checksum_sha256: sha256,
        }
    };
    let mut rest = (1i32..).zip(object.part_sizes.iter().enumerate()).filter(|(n, _)| *n > after);
    let parts: Vec<ObjectPart> = rest.by_ref().take(usize::try_from(max).unwrap_or(0)).map(part).collect();
    let more = rest.next().is_some() && max > 0;
    Some(GetObjectAttributesParts {
        is_truncated: Some(more),
        max_parts: Some(max),
        next_part_number_marker: parts.last().and_then(|p| p.part_number),
        part_number_marker: Some(after),
        // Without checksums S3 says how many parts there are, and nothing of each.
        parts: (!object.part_checksums.is_empty()).then_some(parts),
        total_parts_count: i32::try_from(object.part_sizes.len()).ok(),
    })
}

pub fn attributes(
    g: &Gateway,
    i: GetObjectAttributesInput,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    // Clients write all of them into one header.
    let asked: Vec<&str> =
        i.object_attributes.iter().flat_map(|a| a.as_str().split(',')).map(str::trim).collect();
    let wants = |name: &str| asked.contains(&name);
    let known = [
        ObjectAttributes::CHECKSUM,
        ObjectAttributes::ETAG,
        ObjectAttributes::OBJECT_PARTS,
        ObjectAttributes::OBJECT_SIZE,
        ObjectAttributes::STORAGE_CLASS,
    ];
    if asked.is_empty() || asked.iter().any(|a| !known.contains(a)) {
        return Err(s3_error!(InvalidArgument, "name one or more known attributes of objects"));
    }
    let (found, version_id) = versions::present(g, &i.bucket, &i.key, i.version_id.as_deref())?;
    let object = found.object.ok_or_else(|| refusal(GatewayError::Marker))?;
    let [crc32, crc32c, crc64, sha1, sha256] = checksum_fields(&object.checksums);
    let sums = Checksum {
        checksum_crc32: crc32,
        checksum_crc32c: crc32c,
        checksum_crc64nvme: crc64,
        checksum_sha1: sha1,
        checksum_sha256: sha256,
        checksum_type: checksum::kind(&object.checksums),
    };
    let with_sums = wants(ObjectAttributes::CHECKSUM) && !object.checksums.is_empty();
    answer(GetObjectAttributesOutput {
        checksum: with_sums.then_some(sums),
        e_tag: wants(ObjectAttributes::ETAG).then(|| etag(&object.etag)),
        last_modified: Some(timestamp(object.modified)),
        object_parts: wants(ObjectAttributes::OBJECT_PARTS).then(|| object_parts(&object, &i)).flatten(),
        object_size: i64::try_from(object.size).ok().filter(|_| wants(ObjectAttributes::OBJECT_SIZE)),
        storage_class: wants(ObjectAttributes::STORAGE_CLASS)
            .then(|| StorageClass::from_static(StorageClass::STANDARD)),
        version_id,
        ..Default::default()
    })
}
