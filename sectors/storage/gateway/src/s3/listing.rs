//! ListObjects, both versions.

use super::convert::{answer, etag, owner, refusal, timestamp};
use crate::gateway::Gateway;
use crate::index::{ListQuery, Page, Resume};
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};

/// Most keys of a page.
const MAX_KEYS: i32 = 1000;

/// Percent-encodes what XML or a URL could not carry; `/` stays.
pub fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~/*".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// Encodes names if the client asked for it.
pub fn namer(encoding: Option<&EncodingType>) -> S3Result<impl Fn(String) -> String + Copy + use<>> {
    let url = match encoding.map(EncodingType::as_str) {
        None => false,
        Some(EncodingType::URL) => true,
        Some(_) => return Err(s3_error!(InvalidArgument, "encoding-type can only be url")),
    };
    Ok(move |name: String| if url { percent(&name) } else { name })
}

/// Most entries of a page: as it is written back, and as a number.
pub fn limit(max_keys: Option<i32>) -> S3Result<(i32, usize)> {
    let max = max_keys.unwrap_or(MAX_KEYS);
    let size = usize::try_from(max.min(MAX_KEYS));
    size.map(|size| (max.min(MAX_KEYS), size))
        .map_err(|_| s3_error!(InvalidArgument, "a page must not have a negative size"))
}

/// Where a key marker points. It has no kind: with a delimiter, one that ends with it is a common prefix of the page
/// before.
pub fn marker(marker: Option<&str>, prefix: &str, delimiter: &str) -> Resume {
    let common =
        |m: &str| !delimiter.is_empty() && m.ends_with(delimiter) && m.starts_with(prefix) && m != prefix;
    match marker.filter(|m| !m.is_empty()) {
        None => Resume::Start,
        Some(m) if common(m) => Resume::AfterPrefix(m.to_owned()),
        Some(m) => Resume::AfterKey(m.to_owned()),
    }
}

fn token(resume: &Resume) -> Option<String> {
    match resume {
        Resume::Start | Resume::AfterVersion(..) => None,
        Resume::AfterKey(key) => Some(format!("k{}", hex::encode(key))),
        Resume::AfterPrefix(prefix) => Some(format!("p{}", hex::encode(prefix))),
    }
}

fn resume(token: &str) -> Option<Resume> {
    if token.is_empty() {
        return Some(Resume::Start);
    }
    let (kind, rest) = token.split_at_checked(1)?;
    let text = String::from_utf8(hex::decode(rest).ok()?).ok()?;
    match kind {
        "k" => Some(Resume::AfterKey(text)),
        "p" => Some(Resume::AfterPrefix(text)),
        _ => None,
    }
}

fn contents(page: &Page, owned: bool, name: impl Fn(String) -> String) -> ObjectList {
    let object = |(key, object): &(String, crate::record::Object)| Object {
        key: Some(name(key.clone())),
        e_tag: Some(etag(&object.etag)),
        last_modified: Some(timestamp(object.modified)),
        size: i64::try_from(object.size).ok(),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        checksum_algorithm: super::checksum::names(&object.checksums),
        checksum_type: super::checksum::kind(&object.checksums),
        owner: owned.then(owner),
        ..Default::default()
    };
    page.objects.iter().map(object).collect()
}

/// Common prefixes, where there are any.
pub fn prefixes(prefixes: &[String], name: impl Fn(String) -> String) -> Option<CommonPrefixList> {
    let list: CommonPrefixList =
        prefixes.iter().map(|p| CommonPrefix { prefix: Some(name(p.clone())) }).collect();
    (!list.is_empty()).then_some(list)
}

pub fn second(g: &Gateway, i: ListObjectsV2Input) -> S3Result<S3Response<ListObjectsV2Output>> {
    let name = namer(i.encoding_type.as_ref())?;
    let (max_keys, max) = limit(i.max_keys)?;
    let resume = match (&i.continuation_token, &i.start_after) {
        (Some(token), _) => resume(token)
            .ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of ours"))?,
        (None, Some(after)) => Resume::AfterKey(after.clone()),
        (None, None) => Resume::Start,
    };
    let delimiter = i.delimiter.clone().unwrap_or_default();
    let query = ListQuery { prefix: i.prefix.clone().unwrap_or_default(), delimiter, resume, max };
    let page = g.index().bucket(&i.bucket).map_err(refusal)?.list(&query);
    answer(ListObjectsV2Output {
        name: Some(i.bucket),
        prefix: Some(name(query.prefix)),
        delimiter: i.delimiter.filter(|d| !d.is_empty()).map(name),
        max_keys: Some(max_keys),
        key_count: i32::try_from(page.objects.len() + page.prefixes.len()).ok(),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_ref().and_then(token),
        continuation_token: i.continuation_token,
        start_after: i.start_after.map(name),
        contents: Some(contents(&page, i.fetch_owner.unwrap_or(false), name)),
        common_prefixes: prefixes(&page.prefixes, name),
        encoding_type: i.encoding_type,
        request_charged: None,
    })
}

pub fn first(g: &Gateway, i: ListObjectsInput) -> S3Result<S3Response<ListObjectsOutput>> {
    let name = namer(i.encoding_type.as_ref())?;
    let (max_keys, max) = limit(i.max_keys)?;
    let (prefix, delimiter) = (i.prefix.clone().unwrap_or_default(), i.delimiter.clone().unwrap_or_default());
    let resume = marker(i.marker.as_deref(), &prefix, &delimiter);
    let query = ListQuery { prefix, delimiter, resume, max };
    let page = g.index().bucket(&i.bucket).map_err(refusal)?.list(&query);
    // Without a delimiter, the last key of the page is where the next one goes on.
    let next = page.next.as_ref().filter(|_| !query.delimiter.is_empty()).and_then(|next| match next {
        Resume::AfterKey(text) | Resume::AfterPrefix(text) => Some(name(text.clone())),
        Resume::Start | Resume::AfterVersion(..) => None,
    });
    answer(ListObjectsOutput {
        name: Some(i.bucket),
        prefix: Some(name(query.prefix)),
        delimiter: i.delimiter.filter(|d| !d.is_empty()).map(name),
        marker: Some(name(i.marker.unwrap_or_default())),
        max_keys: Some(max_keys),
        is_truncated: Some(page.next.is_some()),
        next_marker: next,
        contents: Some(contents(&page, true, name)),
        common_prefixes: prefixes(&page.prefixes, name),
        encoding_type: i.encoding_type,
        request_charged: None,
    })
}

/// Most buckets of a page.
const MAX_BUCKETS: i32 = 10_000;

/// Buckets whose names the asker may see.
pub fn buckets(
    g: &Gateway,
    i: ListBucketsInput,
    seen: impl Fn(&str) -> bool,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let prefix = i.prefix.clone().unwrap_or_default();
    let max = i.max_buckets.unwrap_or(MAX_BUCKETS);
    if !(1..=MAX_BUCKETS).contains(&max) {
        return Err(s3_error!(InvalidArgument, "a page has 1 to {MAX_BUCKETS} buckets"));
    }
    let after = match i.continuation_token.as_deref().map(resume) {
        None | Some(Some(Resume::Start)) => None,
        Some(Some(Resume::AfterKey(name))) => Some(name),
        _ => return Err(s3_error!(InvalidArgument, "the continuation token is not one of ours")),
    };
    let index = g.index();
    let behind = |name: &String| after.as_ref().is_none_or(|after| name > after);
    let mut found =
        index.buckets().filter(|(name, _)| name.starts_with(&prefix) && behind(name) && seen(name));
    let bucket = |(name, bucket): (&String, &crate::index::Bucket)| Bucket {
        name: Some(name.clone()),
        creation_date: Some(timestamp(bucket.created)),
        bucket_region: None,
    };
    let page: Vec<Bucket> = found.by_ref().take(usize::try_from(max).unwrap_or(0)).map(bucket).collect();
    let last = page.last().and_then(|b| b.name.clone()).filter(|_| found.next().is_some());
    answer(ListBucketsOutput {
        buckets: Some(page),
        owner: Some(owner()),
        continuation_token: last.and_then(|name| token(&Resume::AfterKey(name))),
        prefix: i.prefix,
    })
}
