//! Between S3's words and ours.

use crate::access::{OWNER_ID, OWNER_NAME};
use crate::digest::Digests;
use crate::error::GatewayError;
use crate::gateway::BodyStream;
use crate::index::Condition;
use crate::record::{Algorithm, Attributes, Checksum, Etag};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt;
use s3s::dto::{
    ETag, ETagCondition, Metadata, Owner, StorageClass, StreamingBlob, Timestamp, TimestampFormat,
};
use s3s::{S3Error, S3ErrorCode, S3Response, S3Result, s3_error};
use std::time::{Duration, SystemTime};

/// Most bytes of user metadata: 2 KiB, as the protocol has it.
const MAX_METADATA: usize = 2048;

/// Now, in whole seconds: the only clock of this room.
pub fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Unix seconds as S3 writes them.
pub fn timestamp(seconds: u64) -> Timestamp {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH).into()
}

#[allow(clippy::unnecessary_wraps)] // Every operation ends with it.
pub fn answer<T>(output: T) -> S3Result<S3Response<T>> {
    Ok(S3Response::new(output))
}

/// Our errors in S3's codes; the message keeps our own.
pub fn refusal(e: GatewayError) -> S3Error {
    let code = match &e {
        GatewayError::NoSuchBucket(_) => S3ErrorCode::NoSuchBucket,
        GatewayError::BucketExists(_) => S3ErrorCode::BucketAlreadyOwnedByYou,
        GatewayError::BucketNotEmpty(_) => S3ErrorCode::BucketNotEmpty,
        GatewayError::BucketState(_) => S3ErrorCode::InvalidBucketState,
        GatewayError::NoSuchKey(_) => S3ErrorCode::NoSuchKey,
        GatewayError::NoSuchVersion(..) => S3ErrorCode::NoSuchVersion,
        GatewayError::Marker => S3ErrorCode::MethodNotAllowed,
        GatewayError::Locked(_) => S3ErrorCode::AccessDenied,
        GatewayError::NoLock => S3ErrorCode::InvalidRequest,
        GatewayError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
        GatewayError::InvalidPart(_) => S3ErrorCode::InvalidPart,
        GatewayError::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
        GatewayError::PartTooSmall(_) => S3ErrorCode::EntityTooSmall,
        GatewayError::TooLarge(_) => S3ErrorCode::EntityTooLarge,
        GatewayError::Invalid(_) => S3ErrorCode::InvalidArgument,
        GatewayError::PreconditionFailed => S3ErrorCode::PreconditionFailed,
        GatewayError::BadDigest(_) => S3ErrorCode::BadDigest,
        GatewayError::InvalidDigest(_) => S3ErrorCode::InvalidDigest,
        GatewayError::Body(text) if text.contains("SignatureMismatch") => S3ErrorCode::SignatureDoesNotMatch,
        GatewayError::Body(_) => S3ErrorCode::IncompleteBody,
        GatewayError::Busy => S3ErrorCode::SlowDown,
        GatewayError::Unpaid | GatewayError::Ended(_) => S3ErrorCode::AccountProblem,
        GatewayError::Fenced
        | GatewayError::Quorum { .. }
        | GatewayError::Unconfirmed
        | GatewayError::Unavailable(_)
        | GatewayError::Full
        | GatewayError::Chain(_)
        | GatewayError::TooFewReplicas { .. }
        | GatewayError::WrongKey
        | GatewayError::NothingToRecover => S3ErrorCode::ServiceUnavailable,
        GatewayError::Log(_) | GatewayError::Codec(_) | GatewayError::Random(_) => S3ErrorCode::InternalError,
    };
    S3Error::with_message(code, e.to_string())
}

/// A tag as S3 writes it.
pub fn etag(tag: &Etag) -> ETag {
    ETag::Strong(tag.to_string())
}

/// A part's MD5 as a tag.
pub fn part_etag(md5: [u8; 16]) -> ETag {
    ETag::Strong(hex::encode(md5))
}

/// The MD5 in a part's tag.
pub fn part_md5(tag: &ETag) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    hex::decode_to_slice(tag.value(), &mut out).ok()?;
    Some(out)
}

/// A condition's tag; `*` for any.
pub fn wanted(condition: &ETagCondition) -> String {
    condition.as_etag().map_or_else(|| "*".into(), |tag| tag.value().to_owned())
}

/// Conditions of a write at `now`.
pub fn condition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    now: u64,
) -> Condition {
    let (if_match, if_none_match) = (if_match.map(wanted), if_none_match.map(wanted));
    Condition { if_match, if_none_match, ..Condition::at(now) }
}

/// As [`condition`], of a request whose input does not carry them.
pub fn header_condition(headers: &hyper::HeaderMap, now: u64) -> Condition {
    let read = |name: &str| ETagCondition::parse_http_header(headers.get(name)?.as_bytes()).ok();
    condition(read("if-match").as_ref(), read("if-none-match").as_ref(), now)
}

/// The size that an object must have.
pub fn size_condition(size: Option<i64>) -> S3Result<Option<u64>> {
    let bad = |_| s3_error!(InvalidArgument, "a size must not be negative");
    size.map(u64::try_from).transpose().map_err(bad)
}

/// Unix seconds of a timestamp; 0 before 1970.
pub fn unix(at: &Timestamp) -> u64 {
    let mut text = Vec::new();
    let written = at.format(TimestampFormat::EpochSeconds, &mut text).ok();
    let text = written.and_then(|()| String::from_utf8(text).ok()).unwrap_or_default();
    text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}

/// The one owner of everything here: the customer whose gateway it is.
pub fn owner() -> Owner {
    Owner { display_name: Some(OWNER_NAME.into()), id: Some(OWNER_ID.into()) }
}

/// There is one storage class.
pub fn storage_class(class: Option<&StorageClass>) -> S3Result<()> {
    match class {
        Some(class) if class.as_str() != StorageClass::STANDARD => {
            Err(s3_error!(InvalidStorageClass, "the one storage class here is STANDARD"))
        }
        _ => Ok(()),
    }
}

/// A body without its type. An absent one is empty.
pub fn body(blob: Option<StreamingBlob>) -> BodyStream {
    match blob {
        Some(blob) => blob.boxed(),
        None => futures::stream::empty().boxed(),
    }
}

/// Bytes of a refused body that are taken all the same.
const DRAINED: usize = 1 << 20;

/// Takes a small body whose request is refused, so that the connection can be used again.
pub async fn drain(blob: Option<StreamingBlob>) {
    let (mut body, mut left) = (body(blob), DRAINED);
    let all = async {
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    };
    // Who sends nothing more loses the connection.
    let _ = tokio::time::timeout(Duration::from_secs(5), all).await;
}

/// Collects headers that an object keeps.
pub struct Headers(Attributes);

impl Headers {
    /// With user metadata.
    pub fn new(metadata: Option<Metadata>) -> S3Result<Self> {
        let user: std::collections::BTreeMap<_, _> = metadata.unwrap_or_default().into_iter().collect();
        let size: usize = user.iter().map(|(k, v)| k.len() + v.len()).sum();
        if size > MAX_METADATA {
            return Err(s3_error!(MetadataTooLarge, "user metadata exceeds 2048 bytes; shorten it"));
        }
        Ok(Self(Attributes { user, ..Attributes::default() }))
    }
    /// Keeps a header if it is there.
    pub fn with(mut self, name: &str, value: Option<String>) -> Self {
        if let Some(value) = value {
            self.0.headers.insert(name.into(), value);
        }
        self
    }
    /// Keeps `expires`.
    pub fn expires(self, value: Option<Timestamp>) -> Self {
        let text = value.and_then(|t| {
            let mut out = Vec::new();
            t.format(TimestampFormat::HttpDate, &mut out).ok()?;
            String::from_utf8(out).ok()
        });
        self.with("expires", text)
    }
    /// What was collected.
    pub fn done(self) -> Attributes {
        self.0
    }
}

/// The headers and metadata that an object keeps, out of any input that brings them.
macro_rules! kept_headers {
    ($input:ident) => {
        Headers::new($input.metadata)?
            .with("content-type", $input.content_type)
            .with("cache-control", $input.cache_control)
            .with("content-disposition", $input.content_disposition)
            .with("content-encoding", $input.content_encoding)
            .with("content-language", $input.content_language)
            .expires($input.expires)
            .done()
    };
}
pub(super) use kept_headers;

/// Metadata as s3s wants it.
pub fn metadata(attributes: &Attributes) -> Option<Metadata> {
    (!attributes.user.is_empty()).then(|| attributes.user.clone().into_iter().collect())
}

/// `expires` as it was given.
pub fn expires(attributes: &Attributes) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::HttpDate, attributes.headers.get("expires")?).ok()
}

const NAMES: [(Algorithm, &str, &str); 5] = [
    (Algorithm::Crc32, "CRC32", "x-amz-checksum-crc32"),
    (Algorithm::Crc32c, "CRC32C", "x-amz-checksum-crc32c"),
    (Algorithm::Crc64Nvme, "CRC64NVME", "x-amz-checksum-crc64nvme"),
    (Algorithm::Sha1, "SHA1", "x-amz-checksum-sha1"),
    (Algorithm::Sha256, "SHA256", "x-amz-checksum-sha256"),
];

/// An algorithm by its name.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    NAMES.iter().find(|(_, n, _)| n.eq_ignore_ascii_case(name)).map(|(a, _, _)| *a)
}

/// Its name.
pub fn algorithm_name(algorithm: Algorithm) -> &'static str {
    NAMES.iter().find(|(a, _, _)| *a == algorithm).map_or("", |(_, n, _)| n)
}

/// What a client says about the body that it sends.
pub struct Expected {
    /// Algorithms to compute.
    pub algorithms: Vec<Algorithm>,
    given: Vec<(Algorithm, String)>,
    trailer: Option<s3s::TrailingHeaders>,
    trailing: Vec<Algorithm>,
    md5: Option<[u8; 16]>,
}

impl Expected {
    /// From the request: headers with values, the announced algorithm, announced trailers, Content-MD5.
    pub fn new(
        given: [Option<&String>; 5],
        announced: Option<&str>,
        headers: &hyper::HeaderMap,
        trailer: Option<s3s::TrailingHeaders>,
        content_md5: Option<&str>,
    ) -> S3Result<Self> {
        let names = headers.get_all("x-amz-trailer").iter().filter_map(|v| v.to_str().ok());
        let names: Vec<&str> = names.flat_map(|v| v.split(',')).map(str::trim).collect();
        let trailing: Vec<Algorithm> =
            NAMES.iter().filter(|(_, _, h)| names.contains(h)).map(|(a, _, _)| *a).collect();
        let given: Vec<(Algorithm, String)> =
            NAMES.iter().zip(given).filter_map(|((a, _, _), v)| v.map(|v| (*a, v.clone()))).collect();
        let mut algorithms: Vec<Algorithm> = given.iter().map(|(a, _)| *a).chain(trailing.clone()).collect();
        algorithms.extend(announced.and_then(algorithm));
        algorithms.sort_unstable();
        algorithms.dedup();
        let decode = |text: &str| {
            let bytes = BASE64_STANDARD.decode(text).ok();
            bytes.and_then(|b| <[u8; 16]>::try_from(b).ok()).ok_or(GatewayError::InvalidDigest("Content-MD5"))
        };
        let md5 = content_md5.map(decode).transpose().map_err(refusal)?;
        Ok(Self { algorithms, given, trailer, trailing, md5 })
    }

    /// Compares once the body has ended.
    pub fn verify(&self, digests: &Digests) -> Result<(), GatewayError> {
        if self.md5.is_some_and(|md5| md5 != digests.md5) {
            return Err(GatewayError::BadDigest("Content-MD5"));
        }
        let computed =
            |a: &Algorithm| digests.checksums.iter().find(|c| c.algorithm == *a).map(|c| c.value.as_str());
        for (a, value) in &self.given {
            if computed(a) != Some(value.as_str()) {
                return Err(GatewayError::BadDigest(algorithm_name(*a)));
            }
        }
        for a in &self.trailing {
            let header = NAMES.iter().find(|(n, _, _)| n == a).map_or("", |(_, _, h)| h);
            let sent = self.trailer.as_ref().and_then(|t| {
                t.read(|h| h.get(header).and_then(|v| v.to_str().ok()).map(|v| v.trim().to_owned())).flatten()
            });
            if sent.as_deref() != computed(a) {
                return Err(GatewayError::BadDigest(algorithm_name(*a)));
            }
        }
        Ok(())
    }
}

/// Checksums in the order of s3s's fields: CRC32, CRC32C, CRC64NVME, SHA1, SHA256.
pub fn checksum_fields(checksums: &[Checksum]) -> [Option<String>; 5] {
    NAMES.map(|(a, _, _)| checksums.iter().find(|c| c.algorithm == a).map(|c| c.value.clone()))
}

/// Refuses what we would otherwise ignore to the client's harm.
pub fn unsupported(asked: bool, what: &'static str) -> S3Result<()> {
    if asked { Err(s3_error!(NotImplemented, "{what} is not implemented here")) } else { Ok(()) }
}

/// Bytes that a request announces; never fewer than its body has.
pub fn hint(content_length: Option<i64>) -> Option<u64> {
    content_length.and_then(|len| u64::try_from(len).ok())
}
