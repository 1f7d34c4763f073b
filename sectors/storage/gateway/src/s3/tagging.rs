//! Tags of objects and buckets.

use super::convert::{answer, refusal};
use crate::gateway::Gateway;
use crate::index::Condition;
use crate::record::{Label, Object, Setting, Tags};
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};

/// Most tags of an object.
const OF_OBJECT: usize = 10;
/// Most tags of a bucket.
const OF_BUCKET: usize = 50;
/// Most characters of a tag's key.
const KEY: usize = 128;
/// Most characters of its value.
const VALUE: usize = 256;

fn checked(tags: impl IntoIterator<Item = (String, String)>, most: usize) -> S3Result<Tags> {
    let mut out = Tags::new();
    for (key, value) in tags {
        let fits = (1..=KEY).contains(&key.chars().count()) && value.chars().count() <= VALUE;
        if !fits || key.starts_with("aws:") {
            return Err(s3_error!(
                InvalidTag,
                "a tag's key has 1 to {KEY} characters and does not begin with aws:, its value at most {VALUE}"
            ));
        }
        if out.insert(key, value).is_some() {
            return Err(s3_error!(InvalidTag, "a tag's key must not occur twice"));
        }
    }
    if out.len() > most {
        return Err(s3_error!(InvalidTag, "at most {most} tags are possible"));
    }
    Ok(out)
}

fn from_set(set: TagSet, most: usize) -> S3Result<Tags> {
    checked(set.into_iter().map(|t| (t.key.unwrap_or_default(), t.value.unwrap_or_default())), most)
}

/// Tags as S3 lists them.
pub fn to_set(tags: &Tags) -> TagSet {
    tags.iter().map(|(k, v)| Tag { key: Some(k.clone()), value: Some(v.clone()) }).collect()
}

/// A piece of a URL's query, decoded.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// Tags in the form of a URL's query, as headers carry them.
pub fn from_header(text: Option<&str>) -> S3Result<Tags> {
    let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let pair = decoded(key).zip(decoded(value));
        pair.ok_or_else(|| {
            s3_error!(InvalidArgument, "the header 'x-amz-tagging' shall be encoded as a URL query")
        })
    };
    checked(pairs.map(pair).collect::<S3Result<Vec<_>>>()?, OF_OBJECT)
}

/// How many tags an object has, where it has any.
pub fn count(object: &Object) -> Option<i32> {
    i32::try_from(object.labels.tags.len()).ok().filter(|n| *n > 0)
}

pub async fn put(g: &Gateway, i: PutObjectTaggingInput) -> S3Result<S3Response<PutObjectTaggingOutput>> {
    let label = Label::Tags(from_set(i.tagging.tag_set, OF_OBJECT)?);
    let version_id = set(g, &i.bucket, &i.key, i.version_id.as_deref(), label).await?;
    answer(PutObjectTaggingOutput { version_id })
}

async fn set(
    g: &Gateway,
    bucket: &str,
    key: &str,
    id: Option<&str>,
    label: Label,
) -> S3Result<Option<String>> {
    let (found, named) = super::versions::present(g, bucket, key, id)?;
    g.set_label(bucket, key, Some(found.name()), label, Condition::default()).await.map_err(refusal)?;
    Ok(named)
}

pub fn get(g: &Gateway, i: GetObjectTaggingInput) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let (found, version_id) = super::versions::present(g, &i.bucket, &i.key, i.version_id.as_deref())?;
    let tags = found.object.map(|o| to_set(&o.labels.tags)).unwrap_or_default();
    answer(GetObjectTaggingOutput { tag_set: tags, version_id })
}

pub async fn delete(
    g: &Gateway,
    i: DeleteObjectTaggingInput,
) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let label = Label::Tags(Tags::new());
    let version_id = set(g, &i.bucket, &i.key, i.version_id.as_deref(), label).await?;
    answer(DeleteObjectTaggingOutput { version_id })
}

pub async fn put_bucket(
    g: &Gateway,
    i: PutBucketTaggingInput,
) -> S3Result<S3Response<PutBucketTaggingOutput>> {
    let tags = from_set(i.tagging.tag_set, OF_BUCKET)?;
    g.set_bucket(&i.bucket, Setting::Tags(tags)).await.map_err(refusal)?;
    answer(PutBucketTaggingOutput::default())
}

pub fn get_bucket(g: &Gateway, i: GetBucketTaggingInput) -> S3Result<S3Response<GetBucketTaggingOutput>> {
    let tags = g.index().bucket(&i.bucket).map_err(refusal)?.settings.tags.clone();
    if tags.is_empty() {
        return Err(s3_error!(NoSuchTagSet, "the bucket has no tags"));
    }
    answer(GetBucketTaggingOutput { tag_set: to_set(&tags) })
}

pub async fn delete_bucket(
    g: &Gateway,
    i: DeleteBucketTaggingInput,
) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
    g.set_bucket(&i.bucket, Setting::Tags(Tags::new())).await.map_err(refusal)?;
    answer(DeleteBucketTaggingOutput::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_a_header_are_decoded_and_limited() {
        let tags = from_header(Some("a=1&b%20c=%C3%A9+x&empty=&bare")).unwrap();
        let want = [("a", "1"), ("b c", "é x"), ("empty", ""), ("bare", "")];
        assert_eq!(tags, want.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert!(from_header(None).unwrap().is_empty());
        let long = "k".repeat(129);
        for bad in ["a=%zz", "a=%C3", "=x", "a=1&a=2", "aws:x=1", "a=1&b=%", &long] {
            assert!(from_header(Some(bad)).is_err(), "{bad}");
        }
        let many: Vec<String> = (0..11).map(|i| format!("k{i}=v")).collect();
        assert!(from_header(Some(&many[..10].join("&"))).is_ok());
        assert!(from_header(Some(&many.join("&"))).is_err());
        assert!(from_header(Some(&format!("k={}", "é".repeat(256)))).is_ok());
        assert!(from_header(Some(&format!("k={}", "é".repeat(257)))).is_err());
    }
}
