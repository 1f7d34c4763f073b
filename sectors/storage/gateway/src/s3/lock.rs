//! Object lock: of buckets, retention, legal hold.

use super::convert::{answer, refusal, seconds, timestamp, unix};
use crate::gateway::Gateway;
use crate::index::Condition;
use crate::record::{Label, LockMode, ObjectLock, Retention, Setting, Span, Versioning};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Response, S3Result, s3_error};

/// Longest default retention: 100 years.
const MAX_DAYS: i32 = 36_500;

fn mode(text: &str) -> Option<LockMode> {
    match text {
        ObjectLockRetentionMode::GOVERNANCE => Some(LockMode::Governance),
        ObjectLockRetentionMode::COMPLIANCE => Some(LockMode::Compliance),
        _ => None,
    }
}

const fn mode_name(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Governance => ObjectLockRetentionMode::GOVERNANCE,
        LockMode::Compliance => ObjectLockRetentionMode::COMPLIANCE,
    }
}

/// What a new bucket with object lock is set to.
pub fn of_new_bucket(enabled: Option<bool>) -> Vec<Setting> {
    if enabled != Some(true) {
        return Vec::new();
    }
    vec![Setting::Versioning(Versioning::Enabled), Setting::ObjectLock(ObjectLock::default())]
}

fn until(date: &Timestamp, now: u64) -> S3Result<u64> {
    let until = unix(date);
    if until <= now {
        return Err(s3_error!(InvalidArgument, "the retain-until date must lie in the future"));
    }
    Ok(until)
}

/// Retention and hold that the headers of a write ask for.
pub fn from_headers(
    asked: Option<&ObjectLockMode>,
    date: Option<&Timestamp>,
    hold: Option<&ObjectLockLegalHoldStatus>,
    now: u64,
) -> S3Result<(Option<Retention>, bool)> {
    let retention = match (asked, date) {
        (None, None) => None,
        (Some(asked), Some(date)) => {
            let unknown = || s3_error!(InvalidArgument, "the lock mode is GOVERNANCE or COMPLIANCE");
            Some(Retention { mode: mode(asked.as_str()).ok_or_else(unknown)?, until: until(date, now)? })
        }
        _ => {
            return Err(s3_error!(InvalidArgument, "a lock mode and a retain-until date are given together"));
        }
    };
    let hold = match hold.map(ObjectLockLegalHoldStatus::as_str) {
        None | Some(ObjectLockLegalHoldStatus::OFF) => false,
        Some(ObjectLockLegalHoldStatus::ON) => true,
        Some(_) => return Err(s3_error!(InvalidArgument, "a legal hold is ON or OFF")),
    };
    Ok((retention, hold))
}

/// The headers that say how an object is locked.
pub fn to_headers(
    labels: &crate::record::Labels,
) -> (Option<ObjectLockMode>, Option<Timestamp>, Option<ObjectLockLegalHoldStatus>) {
    let retention = labels.retention;
    (
        retention.map(|r| ObjectLockMode::from_static(mode_name(r.mode))),
        retention.map(|r| timestamp(r.until)),
        labels.hold.then(|| ObjectLockLegalHoldStatus::from_static(ObjectLockLegalHoldStatus::ON)),
    )
}

fn span(given: &DefaultRetention) -> S3Result<Span> {
    let positive = |n: i32, most: i32| {
        let bad = || s3_error!(InvalidArgument, "a default retention lasts 1 to {most} of them");
        u32::try_from(n).ok().filter(|_| (1..=most).contains(&n)).ok_or_else(bad)
    };
    match (given.days, given.years) {
        (Some(days), None) => Ok(Span::Days(positive(days, MAX_DAYS)?)),
        (None, Some(years)) => Ok(Span::Years(positive(years, MAX_DAYS / 365)?)),
        _ => Err(s3_error!(MalformedXML, "a default retention has either days or years")),
    }
}

pub async fn put_configuration(
    g: &Gateway,
    i: PutObjectLockConfigurationInput,
) -> S3Result<S3Response<PutObjectLockConfigurationOutput>> {
    let bad = || s3_error!(MalformedXML, "object lock is Enabled, its default has a mode and days or years");
    let given = i.object_lock_configuration.ok_or_else(bad)?;
    if given.object_lock_enabled.as_ref().map(ObjectLockEnabled::as_str) != Some(ObjectLockEnabled::ENABLED) {
        return Err(bad());
    }
    let default = match given.rule.map(|rule| rule.default_retention.ok_or_else(bad)).transpose()? {
        None => None,
        Some(given) => {
            let mode = given.mode.as_ref().and_then(|m| mode(m.as_str())).ok_or_else(bad)?;
            Some((mode, span(&given)?))
        }
    };
    g.set_bucket(&i.bucket, Setting::ObjectLock(ObjectLock { default })).await.map_err(refusal)?;
    answer(PutObjectLockConfigurationOutput::default())
}

pub fn get_configuration(
    g: &Gateway,
    i: GetObjectLockConfigurationInput,
) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
    let lock = g.index().bucket(&i.bucket).map_err(refusal)?.settings.lock;
    let none = || s3_error!(ObjectLockConfigurationNotFoundError, "the bucket has no object lock");
    let rule = lock.ok_or_else(none)?.default.map(|(mode, span)| {
        let count = |n: u32| i32::try_from(n).ok();
        let (days, years) = match span {
            Span::Days(n) => (count(n), None),
            Span::Years(n) => (None, count(n)),
        };
        let mode = Some(ObjectLockRetentionMode::from_static(mode_name(mode)));
        ObjectLockRule { default_retention: Some(DefaultRetention { mode, days, years }) }
    });
    let enabled = Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED));
    let object_lock_configuration = Some(ObjectLockConfiguration { object_lock_enabled: enabled, rule });
    answer(GetObjectLockConfigurationOutput { object_lock_configuration })
}

/// A bucket without object lock knows no retention: asking for it is a mistake.
fn needs_lock(g: &Gateway, bucket: &str) -> S3Result<()> {
    let on = g.index().bucket(bucket).map_err(refusal)?.settings.lock.is_some();
    if on { Ok(()) } else { Err(refusal(crate::error::GatewayError::NoLock)) }
}

fn unlocked() -> S3Error {
    S3Error::with_message(S3ErrorCode::NoSuchObjectLockConfiguration, "the object has no retention")
}

pub async fn put_retention(
    g: &Gateway,
    i: PutObjectRetentionInput,
) -> S3Result<S3Response<PutObjectRetentionOutput>> {
    needs_lock(g, &i.bucket)?;
    let bad = || s3_error!(MalformedXML, "a retention has a mode, GOVERNANCE or COMPLIANCE, and a date");
    let now = seconds();
    let given = i.retention.unwrap_or_default();
    let retention = match (given.mode, given.retain_until_date) {
        (None, None) => None,
        (Some(asked), Some(date)) => {
            let mode = mode(asked.as_str()).ok_or_else(bad)?;
            Some(Retention { mode, until: until(&date, now)? })
        }
        _ => return Err(bad()),
    };
    let (found, _) = super::versions::present(g, &i.bucket, &i.key, i.version_id.as_deref())?;
    let bypass = i.bypass_governance_retention.unwrap_or(false);
    let condition = Condition { bypass, ..Condition::at(now) };
    let label = Label::Retention(retention);
    g.set_label(&i.bucket, &i.key, Some(found.name()), label, condition).await.map_err(refusal)?;
    answer(PutObjectRetentionOutput::default())
}

pub fn get_retention(
    g: &Gateway,
    i: GetObjectRetentionInput,
) -> S3Result<S3Response<GetObjectRetentionOutput>> {
    needs_lock(g, &i.bucket)?;
    let (found, _) = super::versions::present(g, &i.bucket, &i.key, i.version_id.as_deref())?;
    let retention = found.object.and_then(|o| o.labels.retention).ok_or_else(unlocked)?;
    let mode = Some(ObjectLockRetentionMode::from_static(mode_name(retention.mode)));
    let retention = ObjectLockRetention { mode, retain_until_date: Some(timestamp(retention.until)) };
    answer(GetObjectRetentionOutput { retention: Some(retention) })
}

pub async fn put_hold(
    g: &Gateway,
    i: PutObjectLegalHoldInput,
) -> S3Result<S3Response<PutObjectLegalHoldOutput>> {
    needs_lock(g, &i.bucket)?;
    let status = i.legal_hold.and_then(|h| h.status);
    let hold = match status.as_ref().map(ObjectLockLegalHoldStatus::as_str) {
        Some(ObjectLockLegalHoldStatus::ON) => true,
        Some(ObjectLockLegalHoldStatus::OFF) => false,
        _ => return Err(s3_error!(MalformedXML, "a legal hold is ON or OFF")),
    };
    let (found, _) = super::versions::present(g, &i.bucket, &i.key, i.version_id.as_deref())?;
    let condition = Condition::at(seconds());
    g.set_label(&i.bucket, &i.key, Some(found.name()), Label::Hold(hold), condition)
        .await
        .map_err(refusal)?;
    answer(PutObjectLegalHoldOutput::default())
}

pub fn get_hold(g: &Gateway, i: GetObjectLegalHoldInput) -> S3Result<S3Response<GetObjectLegalHoldOutput>> {
    needs_lock(g, &i.bucket)?;
    let (found, _) = super::versions::present(g, &i.bucket, &i.key, i.version_id.as_deref())?;
    let on = found.object.is_some_and(|o| o.labels.hold);
    let status = if on { ObjectLockLegalHoldStatus::ON } else { ObjectLockLegalHoldStatus::OFF };
    let status = Some(ObjectLockLegalHoldStatus::from_static(status));
    answer(GetObjectLegalHoldOutput { legal_hold: Some(ObjectLockLegalHold { status }) })
}
