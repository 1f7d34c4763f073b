//! Lifecycle configurations: between S3's words and our rules, and the date that a read announces.

use super::convert::{answer, refusal, timestamp, unix};
use super::listing::percent;
use super::tagging::to_set;
use crate::gateway::Gateway;
use crate::index::BucketSettings;
use crate::index::lifecycle::expiry;
use crate::log::salt;
use crate::record::{Expire, Filter, FilterForm, Noncurrent, Object, Rule, Setting, Tags};
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};

/// Most rules of a bucket.
const MAX_RULES: usize = 1000;
/// Most characters of a rule's id.
const MAX_ID: usize = 255;
/// Most newer versions that a rule can keep.
const MAX_KEPT: i32 = 100;
/// Days are whole ones, whatever a test says that a day is.
const DAY: u64 = 86_400;

fn days(n: i32) -> S3Result<u32> {
    let bad = || s3_error!(InvalidArgument, "days must be positive");
    u32::try_from(n).ok().filter(|n| *n > 0).ok_or_else(bad)
}

fn size(n: Option<i64>) -> S3Result<Option<u64>> {
    let bad = |_| s3_error!(InvalidArgument, "a size must not be negative");
    n.map(u64::try_from).transpose().map_err(bad)
}

fn tags(set: Vec<Tag>) -> S3Result<Tags> {
    let (count, mut out) = (set.len(), Tags::new());
    for tag in set {
        let key = tag.key.filter(|k| !k.is_empty());
        let bad = || s3_error!(MalformedXML, "a tag of a filter has a key and a value");
        out.insert(key.ok_or_else(bad)?, tag.value.unwrap_or_default());
    }
    if out.len() != count {
        return Err(s3_error!(InvalidRequest, "a tag's key must not occur twice in a filter"));
    }
    Ok(out)
}

fn filter(rule_prefix: Option<String>, given: Option<LifecycleRuleFilter>) -> S3Result<(Filter, FilterForm)> {
    let given = match (rule_prefix, given) {
        (Some(prefix), None) => return Ok((Filter { prefix, ..Filter::default() }, FilterForm::Prefix)),
        (None, Some(given)) => given,
        _ => return Err(s3_error!(MalformedXML, "a rule has either a filter or a prefix")),
    };
    let and = given.and.is_some();
    let count = [
        given.prefix.is_some(),
        given.tag.is_some(),
        given.object_size_greater_than.is_some(),
        given.object_size_less_than.is_some(),
        and,
    ];
    if count.into_iter().filter(|is| *is).count() > 1 {
        return Err(s3_error!(MalformedXML, "a filter has one condition; join several by And"));
    }
    let filter = match given.and {
        Some(and) => Filter {
            prefix: and.prefix.unwrap_or_default(),
            tags: tags(and.tags.unwrap_or_default())?,
            over: size(and.object_size_greater_than)?,
            under: size(and.object_size_less_than)?,
        },
        None => Filter {
            prefix: given.prefix.unwrap_or_default(),
            tags: tags(given.tag.into_iter().collect())?,
            over: size(given.object_size_greater_than)?,
            under: size(given.object_size_less_than)?,
        },
    };
    if filter.over.zip(filter.under).is_some_and(|(over, under)| over >= under) {
        return Err(s3_error!(
            InvalidRequest,
            "no object is larger than the one size and smaller than the other"
        ));
    }
    Ok((filter, if and { FilterForm::And } else { FilterForm::One }))
}

fn expiration(given: LifecycleExpiration, filter: &Filter) -> S3Result<Expire> {
    match (given.days, given.date, given.expired_object_delete_marker) {
        (Some(n), None, None) => Ok(Expire::Days(days(n)?)),
        (None, Some(date), None) => {
            let date = unix(&date);
            if !date.is_multiple_of(DAY) {
                return Err(s3_error!(InvalidArgument, "the date of an expiration is a midnight in UTC"));
            }
            Ok(Expire::Date(date))
        }
        (None, None, Some(true)) if filter.of_prefix_only() => Ok(Expire::Markers),
        (None, None, Some(true)) => {
            Err(s3_error!(InvalidRequest, "delete markers have neither tags nor a size to filter by"))
        }
        _ => Err(s3_error!(MalformedXML, "an expiration has days, a date or ExpiredObjectDeleteMarker")),
    }
}

fn noncurrent(given: NoncurrentVersionExpiration) -> S3Result<Noncurrent> {
    let bad = || s3_error!(MalformedXML, "NoncurrentVersionExpiration needs NoncurrentDays");
    let keep = given.newer_noncurrent_versions.unwrap_or(0);
    let kept = u32::try_from(keep).ok().filter(|_| keep <= MAX_KEPT);
    let kept = kept.filter(|n| *n > 0 || given.newer_noncurrent_versions.is_none());
    let keep =
        kept.ok_or_else(|| s3_error!(InvalidArgument, "1 to {MAX_KEPT} newer versions can be kept"))?;
    Ok(Noncurrent { days: days(given.noncurrent_days.ok_or_else(bad)?)?, keep })
}

fn rule(given: LifecycleRule) -> S3Result<Rule> {
    let moves = given.transitions.is_some_and(|t| !t.is_empty())
        || given.noncurrent_version_transitions.is_some_and(|t| !t.is_empty());
    if moves {
        return Err(s3_error!(
            NotImplemented,
            "there is one storage class here: transitions are not implemented"
        ));
    }
    let enabled = match given.status.as_str() {
        ExpirationStatus::ENABLED => true,
        ExpirationStatus::DISABLED => false,
        _ => return Err(s3_error!(MalformedXML, "the status of a rule is Enabled or Disabled")),
    };
    let id = match given.id.filter(|id| !id.is_empty()) {
        Some(id) => id,
        None => hex::encode(&salt().map_err(refusal)?[..16]),
    };
    if id.chars().count() > MAX_ID {
        return Err(s3_error!(InvalidArgument, "the id of a rule has at most {MAX_ID} characters"));
    }
    let (filter, form) = filter(given.prefix, given.filter)?;
    let expire = given.expiration.map(|e| expiration(e, &filter)).transpose()?;
    let noncurrent = given.noncurrent_version_expiration.map(noncurrent).transpose()?;
    let abort = given.abort_incomplete_multipart_upload;
    let missing = || s3_error!(MalformedXML, "AbortIncompleteMultipartUpload needs DaysAfterInitiation");
    let abort = abort.map(|a| a.days_after_initiation.ok_or_else(missing).and_then(days)).transpose()?;
    if abort.is_some() && !filter.of_prefix_only() {
        return Err(s3_error!(InvalidRequest, "uploads have neither tags nor a size to filter by"));
    }
    if expire.is_none() && noncurrent.is_none() && abort.is_none() {
        return Err(s3_error!(InvalidRequest, "a rule needs at least one action"));
    }
    Ok(Rule { id, enabled, filter, form, expire, noncurrent, abort })
}

pub async fn put(
    g: &Gateway,
    i: PutBucketLifecycleConfigurationInput,
) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
    let given = i.lifecycle_configuration.map(|c| c.rules).unwrap_or_default();
    if given.is_empty() || given.len() > MAX_RULES {
        return Err(s3_error!(MalformedXML, "a configuration has 1 to {MAX_RULES} rules"));
    }
    let rules = given.into_iter().map(rule).collect::<S3Result<Vec<_>>>()?;
    let ids: std::collections::BTreeSet<&str> = rules.iter().map(|r| r.id.as_str()).collect();
    if ids.len() != rules.len() {
        return Err(s3_error!(InvalidArgument, "the id of a rule must not occur twice"));
    }
    g.set_bucket(&i.bucket, Setting::Lifecycle(rules)).await.map_err(refusal)?;
    answer(PutBucketLifecycleConfigurationOutput::default())
}

pub async fn delete(
    g: &Gateway,
    i: DeleteBucketLifecycleInput,
) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
    g.set_bucket(&i.bucket, Setting::Lifecycle(Vec::new())).await.map_err(refusal)?;
    answer(DeleteBucketLifecycleOutput::default())
}

fn filter_back(f: &Filter, form: FilterForm) -> Option<LifecycleRuleFilter> {
    let back = |n: Option<u64>| n.and_then(|n| i64::try_from(n).ok());
    let (over, under) = (back(f.over), back(f.under));
    let prefix = (!f.prefix.is_empty()).then(|| f.prefix.clone());
    match form {
        FilterForm::Prefix => None,
        FilterForm::And => {
            let tags = (!f.tags.is_empty()).then(|| to_set(&f.tags));
            let and = LifecycleRuleAndOperator {
                object_size_greater_than: over,
                object_size_less_than: under,
                prefix,
                tags,
            };
            Some(LifecycleRuleFilter { and: Some(and), ..Default::default() })
        }
        FilterForm::One => {
            let bare = f.of_prefix_only().then(|| f.prefix.clone());
            Some(LifecycleRuleFilter {
                object_size_greater_than: over,
                object_size_less_than: under,
                prefix: bare,
                tag: to_set(&f.tags).into_iter().next(),
                ..Default::default()
            })
        }
    }
}

fn rule_back(rule: &Rule) -> LifecycleRule {
    let days = |n: u32| i32::try_from(n).ok();
    let status = if rule.enabled { ExpirationStatus::ENABLED } else { ExpirationStatus::DISABLED };
    let expiration = rule.expire.map(|e| match e {
        Expire::Days(n) => LifecycleExpiration { days: days(n), ..Default::default() },
        Expire::Date(date) => LifecycleExpiration { date: Some(timestamp(date)), ..Default::default() },
        Expire::Markers => {
            LifecycleExpiration { expired_object_delete_marker: Some(true), ..Default::default() }
        }
    });
    LifecycleRule {
        id: Some(rule.id.clone()),
        status: ExpirationStatus::from_static(status),
        prefix: (rule.form == FilterForm::Prefix).then(|| rule.filter.prefix.clone()),
        filter: filter_back(&rule.filter, rule.form),
        expiration,
        noncurrent_version_expiration: rule.noncurrent.map(|n| NoncurrentVersionExpiration {
            noncurrent_days: days(n.days),
            newer_noncurrent_versions: days(n.keep).filter(|n| *n > 0),
        }),
        abort_incomplete_multipart_upload: rule
            .abort
            .map(|n| AbortIncompleteMultipartUpload { days_after_initiation: days(n) }),
        noncurrent_version_transitions: None,
        transitions: None,
    }
}

pub fn get(
    g: &Gateway,
    i: GetBucketLifecycleConfigurationInput,
) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
    let rules = g.index().bucket(&i.bucket).map_err(refusal)?.settings.lifecycle.clone();
    if rules.is_empty() {
        return Err(s3_error!(NoSuchLifecycleConfiguration, "the bucket has no lifecycle configuration"));
    }
    let rules = Some(rules.iter().map(rule_back).collect());
    answer(GetBucketLifecycleConfigurationOutput { rules, ..Default::default() })
}

/// What a read or write of a current object says of its end: `expiry-date="...", rule-id="..."`.
pub fn announced(settings: &BucketSettings, key: &str, object: &Object, day: u64) -> Option<String> {
    let (at, rule) = expiry(&settings.lifecycle, key, object, day)?;
    let mut date = Vec::new();
    timestamp(at).format(TimestampFormat::HttpDate, &mut date).ok()?;
    Some(format!(r#"expiry-date="{}", rule-id="{}""#, String::from_utf8(date).ok()?, percent(&rule.id)))
}

/// As [`announced`], of what was just written.
pub fn of_written(g: &Gateway, bucket: &str, key: &str) -> Option<String> {
    let index = g.index();
    let found = index.bucket(bucket).ok().filter(|b| !b.settings.lifecycle.is_empty())?;
    let object = found.version(key, None).ok()?.object?;
    announced(&found.settings, key, &object, g.day())
}
