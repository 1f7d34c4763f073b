//! Multipart uploads.

use super::checksum;
use super::convert::*;
use super::listing::{limit, namer, prefixes};
use super::objects::{MAX_BODY, Source, labels, source, source_conditions, ungranted};
use super::reads::Asked;
use super::{lifecycle, lock, tagging};
use crate::error::GatewayError;
use crate::gateway::{Gateway, PutPart};
use crate::record::{Algorithm, Checksum, Etag, Labels, Upload, UploadId, VersionId};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use std::sync::Arc;

/// Highest part number.
const MAX_PARTS: u16 = 10_000;

fn upload_id(text: &str) -> S3Result<UploadId> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map_err(|_| refusal(GatewayError::NoSuchUpload))?;
    Ok(id)
}

fn part_number(number: i32) -> S3Result<u16> {
    let number = u16::try_from(number).ok().filter(|n| (1..=MAX_PARTS).contains(n));
    number.ok_or_else(|| s3_error!(InvalidArgument, "part numbers go from 1 to {MAX_PARTS}"))
}

pub async fn create(
    g: &Gateway,
    i: CreateMultipartUploadInput,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let started = seconds();
    let labels = labels!(i, started);
    let mut attributes = kept_headers!(i);
    let announced = checksum::announced(i.checksum_algorithm.as_ref(), i.checksum_type.as_ref())?;
    if announced.is_some_and(|(_, full)| full) {
        attributes.headers.insert(checksum::TYPE.into(), ChecksumType::FULL_OBJECT.into());
    }
    let algorithm = announced.map(|(algorithm, _)| algorithm);
    let (bucket, key) = (i.bucket, i.key);
    let upload = Upload { bucket: bucket.clone(), key: key.clone(), started, attributes, labels, algorithm };
    let id = g.create_upload(upload).await.map_err(refusal)?;
    answer(CreateMultipartUploadOutput {
        bucket: Some(bucket),
        key: Some(key),
        upload_id: Some(hex::encode(id)),
        checksum_algorithm: i.checksum_algorithm,
        checksum_type: i.checksum_type,
        ..Default::default()
    })
}

/// What a part is to be, and what its body must be.
fn prepared(
    g: &Gateway,
    i: UploadPartInput,
    headers: &hyper::HeaderMap,
    trailer: Option<s3s::TrailingHeaders>,
) -> S3Result<(PutPart, Expected)> {
    unsupported(i.sse_customer_algorithm.is_some(), "encryption with a key of the customer's")?;
    let (id, number) = (upload_id(&i.upload_id)?, part_number(i.part_number)?);
    let mut expected = Expected::new(
        [&i.checksum_crc32, &i.checksum_crc32c, &i.checksum_crc64nvme, &i.checksum_sha1, &i.checksum_sha256]
            .map(Option::as_ref),
        i.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str),
        headers,
        trailer,
        i.content_md5.as_deref(),
    )?;
    let announced = g.index().upload(&i.bucket, &i.key, &id).map_err(refusal)?.upload.algorithm;
    if let Some(a) = announced.filter(|a| !expected.algorithms.contains(a)) {
        expected.algorithms.push(a);
    }
    let put = PutPart {
        bucket: i.bucket,
        key: i.key,
        id,
        number,
        algorithms: expected.algorithms.clone(),
        limit: MAX_BODY,
        expected: hint(i.content_length),
        copied: false,
        now: seconds(),
    };
    Ok((put, expected))
}

pub async fn part(g: &Gateway, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
    let mut i = req.input;
    let blob = i.body.take();
    let (put, expected) = match prepared(g, i, &req.headers, req.trailing_headers) {
        Ok(prepared) => prepared,
        Err(e) => {
            drain(blob).await;
            return Err(e);
        }
    };
    let done = g.put_part(put, body(blob), move |d| expected.verify(d)).await.map_err(refusal)?;
    let [crc32, crc32c, crc64, sha1, sha256] = checksum_fields(&done.checksums);
    answer(UploadPartOutput {
        e_tag: Some(part_etag(done.md5)),
        checksum_crc32: crc32,
        checksum_crc32c: crc32c,
        checksum_crc64nvme: crc64,
        checksum_sha1: sha1,
        checksum_sha256: sha256,
        ..Default::default()
    })
}

pub async fn part_copy(
    g: &Arc<Gateway>,
    i: UploadPartCopyInput,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let (id, number) = (upload_id(&i.upload_id)?, part_number(i.part_number)?);
    let Source { object, version, .. } = source(g, &i.copy_source, &source_conditions!(i))?;
    let range = match i.copy_source_range.as_deref() {
        None => 0..object.size,
        Some(text) => {
            let bad =
                || s3_error!(InvalidArgument, "the source range must be bytes=first-last within the source");
            let range = Range::parse(text).map_err(|_| bad())?;
            if !matches!(range, Range::Int { last: Some(last), .. } if last < object.size) {
                return Err(bad());
            }
            range.check(object.size)?
        }
    };
    let algorithms: Vec<Algorithm> =
        g.index().upload(&i.bucket, &i.key, &id).map_err(refusal)?.upload.algorithm.into_iter().collect();
    let expected = Some(range.end.saturating_sub(range.start));
    let body = g.reread_object(&object, range).map_err(refusal)?;
    let (now, limit) = (seconds(), MAX_BODY);
    let put =
        PutPart { bucket: i.bucket, key: i.key, id, number, algorithms, limit, expected, copied: true, now };
    let done = g.put_part(put, body, |_| Ok(())).await.map_err(refusal)?;
    let [crc32, crc32c, crc64, sha1, sha256] = checksum_fields(&done.checksums);
    let result = CopyPartResult {
        e_tag: Some(part_etag(done.md5)),
        last_modified: Some(timestamp(now)),
        checksum_crc32: crc32,
        checksum_crc32c: crc32c,
        checksum_crc64nvme: crc64,
        checksum_sha1: sha1,
        checksum_sha256: sha256,
    };
    let copy_source_version_id = version;
    answer(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id,
        ..Default::default()
    })
}

/// A part's number and the MD5 in its tag.
type Named = (u16, [u8; 16]);

/// The parts that a client names, with the MD5s in their tags.
fn named(i: &CompleteMultipartUploadInput) -> S3Result<Vec<(&CompletedPart, u16, [u8; 16])>> {
    let parts = i.multipart_upload.as_ref().and_then(|m| m.parts.as_ref());
    let parts =
        parts.filter(|p| !p.is_empty()).ok_or_else(|| s3_error!(MalformedXML, "name at least one part"))?;
    let one = |part| {
        let part: &CompletedPart = part;
        let number = part_number(part.part_number.unwrap_or(0))?;
        let md5 = part.e_tag.as_ref().and_then(part_md5);
        Ok((part, number, md5.ok_or_else(|| refusal(GatewayError::InvalidPart(number)))?))
    };
    parts.iter().map(one).collect()
}

/// The parts named, compared with what was uploaded, and the checksum of what they make.
fn chosen(
    g: &Gateway,
    i: &CompleteMultipartUploadInput,
    id: &UploadId,
) -> S3Result<(Vec<Named>, Vec<Checksum>)> {
    let index = g.index();
    let state = index.upload(&i.bucket, &i.key, id).map_err(refusal)?;
    let mut out = Vec::new();
    for (part, number, md5) in named(i)? {
        let bad = || refusal(GatewayError::InvalidPart(number));
        let given = [
            &part.checksum_crc32,
            &part.checksum_crc32c,
            &part.checksum_crc64nvme,
            &part.checksum_sha1,
            &part.checksum_sha256,
        ];
        if checksum::contradicts(given, state.parts.get(&number).ok_or_else(bad)?) {
            return Err(bad());
        }
        out.push((number, md5));
    }
    let size =
        out.iter().filter_map(|(n, _)| state.parts.get(n)).map(|p| p.size).fold(0, u64::saturating_add);
    if i.mpu_object_size.is_some_and(|said| u64::try_from(said) != Ok(size)) {
        return Err(s3_error!(InvalidRequest, "the parts do not have as many bytes together as announced"));
    }
    let made = checksum::of_parts(state, &out);
    checksum::verify(i, &made)?;
    Ok((out, made))
}

/// What a completion made: tag, checksums, version.
type Made = (Etag, Vec<Checksum>, Option<VersionId>);

async fn finish(g: &Gateway, i: &CompleteMultipartUploadInput) -> S3Result<Made> {
    let id = upload_id(&i.upload_id)?;
    let (parts, checksums) = chosen(g, i, &id)?;
    let now = seconds();
    let condition = condition(i.if_match.as_ref(), i.if_none_match.as_ref(), now);
    let tag = crate::index::multipart_etag(parts.iter().map(|(_, md5)| md5));
    let done = g.complete_upload((&i.bucket, &i.key, id), parts, checksums.clone(), condition, now).await;
    Ok((tag, checksums, done.map_err(refusal)?.version))
}

/// What an earlier completion with the same parts made, if it is still there: a client whose answer was lost asks
/// again and must hear the same.
fn finished_before(g: &Gateway, i: &CompleteMultipartUploadInput) -> Option<Made> {
    let parts = named(i).ok()?;
    let tag = crate::index::multipart_etag(parts.iter().map(|(_, _, md5)| md5));
    let (found, _) = super::versions::present(g, &i.bucket, &i.key, None).ok()?;
    let version = g.index().bucket(&i.bucket).ok()?.named(&found);
    let object = found.object.filter(|o| o.etag == tag)?;
    checksum::verify(i, &object.checksums).ok()?;
    Some((tag, object.checksums, version))
}

pub async fn complete(
    g: &Gateway,
    i: CompleteMultipartUploadInput,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let (tag, checksums, version) = match finish(g, &i).await {
        Err(e) if *e.code() == S3ErrorCode::NoSuchUpload => finished_before(g, &i).ok_or(e)?,
        done => done?,
    };
    let [crc32, crc32c, crc64, sha1, sha256] = checksum_fields(&checksums);
    answer(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", i.bucket, super::listing::percent(&i.key))),
        expiration: lifecycle::of_written(g, &i.bucket, &i.key),
        version_id: version.map(|v| v.to_string()),
        bucket: Some(i.bucket),
        key: Some(i.key),
        e_tag: Some(etag(&tag)),
        checksum_crc32: crc32,
        checksum_crc32c: crc32c,
        checksum_crc64nvme: crc64,
        checksum_sha1: sha1,
        checksum_sha256: sha256,
        checksum_type: checksum::kind(&checksums),
        ..Default::default()
    })
}

pub async fn abort(
    g: &Gateway,
    i: AbortMultipartUploadInput,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    g.abort_upload(&i.bucket, &i.key, upload_id(&i.upload_id)?).await.map_err(refusal)?;
    answer(AbortMultipartUploadOutput::default())
}

pub fn list_parts(g: &Gateway, i: ListPartsInput) -> S3Result<S3Response<ListPartsOutput>> {
    let id = upload_id(&i.upload_id)?;
    let index = g.index();
    let state = index.upload(&i.bucket, &i.key, &id).map_err(refusal)?;
    let after = u16::try_from(i.part_number_marker.unwrap_or(0).max(0)).unwrap_or(u16::MAX);
    let (max_parts, max) = limit(i.max_parts)?;
    let mut rest = state.parts.iter().filter(|(n, _)| **n > after);
    let part = |(number, part): (&u16, &crate::record::Part)| {
        let [crc32, crc32c, crc64, sha1, sha256] = checksum_fields(&part.checksums);
        Part {
            part_number: Some(i32::from(*number)),
            size: i64::try_from(part.size).ok(),
            e_tag: Some(part_etag(part.md5)),
            last_modified: Some(timestamp(part.modified)),
            checksum_crc32: crc32,
            checksum_crc32c: crc32c,
            checksum_crc64nvme: crc64,
            checksum_sha1: sha1,
            checksum_sha256: sha256,
        }
    };
    let parts: Vec<Part> = rest.by_ref().take(max).map(part).collect();
    let more = rest.next().is_some() && max > 0;
    answer(ListPartsOutput {
        next_part_number_marker: parts.last().and_then(|p| p.part_number).filter(|_| more),
        parts: Some(parts),
        is_truncated: Some(more),
        max_parts: Some(max_parts),
        part_number_marker: Some(i.part_number_marker.unwrap_or(0)),
        checksum_algorithm: state.upload.algorithm.map(|a| ChecksumAlgorithm::from_static(algorithm_name(a))),
        checksum_type: checksum::of_upload(&state.upload),
        owner: Some(owner()),
        initiator: Some(initiator()),
        bucket: Some(i.bucket),
        key: Some(i.key),
        upload_id: Some(i.upload_id),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    })
}

fn initiator() -> Initiator {
    let Owner { display_name, id } = owner();
    Initiator { display_name, id }
}

/// A row of a listing of uploads.
enum Row<'a> {
    Upload(&'a str, String, &'a Upload),
    Prefix(String),
}

impl Row<'_> {
    /// Where the page behind this row begins.
    fn place(&self) -> (String, Option<String>) {
        match self {
            Self::Upload(key, id, _) => ((*key).to_owned(), Some(id.clone())),
            Self::Prefix(common) => (common.clone(), None),
        }
    }
}

/// Uploads behind the markers in order, those under a common prefix as one.
fn rows<'a>(all: Vec<(UploadId, &'a Upload)>, i: &ListMultipartUploadsInput) -> Vec<Row<'a>> {
    let prefix = i.prefix.as_deref().unwrap_or_default();
    let delimiter = i.delimiter.as_deref().unwrap_or_default();
    let key_marker = i.key_marker.as_deref().unwrap_or_default();
    let id_marker = i.upload_id_marker.as_deref().filter(|m| !m.is_empty());
    let skip_common = !delimiter.is_empty() && key_marker.ends_with(delimiter) && key_marker != prefix;
    let behind = |key: &str, id: &str| match id_marker {
        _ if key_marker.is_empty() => true,
        Some(marker) => (key, id) > (key_marker, marker),
        None => key > key_marker && !(skip_common && key.starts_with(key_marker)),
    };
    let mut all: Vec<_> = all.into_iter().map(|(id, u)| (u.key.as_str(), hex::encode(id), u)).collect();
    all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut out: Vec<Row<'a>> = Vec::new();
    for (key, id, upload) in all {
        let Some(rest) = key.strip_prefix(prefix).filter(|_| behind(key, &id)) else { continue };
        match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
            None => out.push(Row::Upload(key, id, upload)),
            Some(at) => {
                let common = format!("{prefix}{}", &rest[..at + delimiter.len()]);
                if !matches!(out.last(), Some(Row::Prefix(last)) if *last == common) {
                    out.push(Row::Prefix(common));
                }
            }
        }
    }
    out
}

pub fn list(g: &Gateway, i: ListMultipartUploadsInput) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let name = namer(i.encoding_type.as_ref())?;
    let (max_uploads, max) = limit(i.max_uploads)?;
    let index = g.index();
    index.bucket(&i.bucket).map_err(refusal)?;
    let mut page = rows(index.uploads(&i.bucket), &i);
    let more = page.len() > max && max > 0;
    page.truncate(max);
    let last = page.last().filter(|_| more).map(Row::place);
    let (mut uploads, mut common) = (Vec::new(), Vec::new());
    for row in page {
        match row {
            Row::Prefix(prefix) => common.push(prefix),
            Row::Upload(key, id, upload) => uploads.push(MultipartUpload {
                key: Some(name(key.to_owned())),
                upload_id: Some(id),
                initiated: Some(timestamp(upload.started)),
                checksum_algorithm: upload
                    .algorithm
                    .map(|a| ChecksumAlgorithm::from_static(algorithm_name(a))),
                checksum_type: checksum::of_upload(upload),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                owner: Some(owner()),
                initiator: Some(initiator()),
            }),
        }
    }
    answer(ListMultipartUploadsOutput {
        uploads: Some(uploads),
        common_prefixes: prefixes(&common, name),
        bucket: Some(i.bucket),
        prefix: i.prefix.map(name),
        delimiter: i.delimiter.filter(|d| !d.is_empty()).map(name),
        key_marker: Some(name(i.key_marker.unwrap_or_default())),
        upload_id_marker: Some(i.upload_id_marker.unwrap_or_default()),
        next_key_marker: last.as_ref().map(|(key, _)| name(key.clone())),
        next_upload_id_marker: last.and_then(|(_, id)| id),
        max_uploads: Some(max_uploads),
        is_truncated: Some(more),
        encoding_type: i.encoding_type,
        request_charged: None,
    })
}
