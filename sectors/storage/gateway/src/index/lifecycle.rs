//! What lifecycle rules ask for: pure, with the time and the length of a day given.

use super::{BucketSettings, Version};
use crate::record::{Expire, Filter, Object, Rule, Upload, VersionId};

/// What is due of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The current version, which has this id, is to be deleted as a client would.
    Delete(VersionId),
    /// A version or marker, by the name that clients use, is to be removed.
    Remove(VersionId),
}

impl Filter {
    /// Whether a rule is about an object.
    pub fn covers(&self, key: &str, object: &Object) -> bool {
        key.starts_with(&self.prefix)
            && self.tags.iter().all(|(k, v)| object.labels.tags.get(k) == Some(v))
            && self.over.is_none_or(|n| object.size > n)
            && self.under.is_none_or(|n| object.size < n)
    }
    /// Whether it says nothing about what delete markers and uploads do not have.
    pub fn of_prefix_only(&self) -> bool {
        self.tags.is_empty() && self.over.is_none() && self.under.is_none()
    }
}

/// `days` after `from`, at the end of the day in which that falls.
fn after(from: u64, days: u32, day: u64) -> u64 {
    let day = day.max(1);
    let due = from.saturating_add(u64::from(days).saturating_mul(day));
    due.div_ceil(day).saturating_mul(day)
}

/// When an object that is current expires, and by which rule: the first to come. Unix time in seconds.
pub fn expiry<'a>(rules: &'a [Rule], key: &str, object: &Object, day: u64) -> Option<(u64, &'a Rule)> {
    let rules = rules.iter().filter(|r| r.enabled && r.filter.covers(key, object));
    let due = rules.filter_map(|r| match r.expire? {
        Expire::Days(days) => Some((after(object.modified, days, day), r)),
        Expire::Date(date) => Some((date.max(object.modified), r)),
        Expire::Markers => None,
    });
    due.min_by_key(|(at, _)| *at)
}

/// What is due of a key at `now`, by its versions (newest first).
pub fn due(settings: &BucketSettings, key: &str, versions: &[Version], now: u64, day: u64) -> Vec<Due> {
    let rules: Vec<&Rule> =
        settings.lifecycle.iter().filter(|r| r.enabled && key.starts_with(&r.filter.prefix)).collect();
    let Some((current, older)) = versions.split_first().filter(|_| !rules.is_empty()) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    match &current.object {
        Some(object) => {
            let end = expiry(&settings.lifecycle, key, object, day).filter(|(at, _)| *at <= now);
            out.extend(end.map(|_| Due::Delete(current.id)));
        }
        None if older.is_empty() && rules.iter().any(|r| marker_is_due(r, current, now, day)) => {
            out.push(Due::Remove(current.name()));
        }
        None => {}
    }
    // A version is not current since the one after it was written.
    for (nth, pair) in (0u32..).zip(versions.windows(2)) {
        let [newer, version] = pair else { continue };
        let since = newer.object.as_ref().map_or(newer.id.seconds(), |o| o.modified);
        if rules.iter().any(|r| noncurrent_is_due(r, key, version, nth, since, now, day)) {
            out.push(Due::Remove(version.name()));
        }
    }
    out
}

fn marker_is_due(rule: &Rule, marker: &Version, now: u64, day: u64) -> bool {
    match rule.expire {
        _ if !rule.filter.of_prefix_only() => false,
        Some(Expire::Markers) => true,
        Some(Expire::Days(days)) => after(marker.id.seconds(), days, day) <= now,
        _ => false,
    }
}

/// `nth`: how many newer ones are not current either.
fn noncurrent_is_due(
    rule: &Rule,
    key: &str,
    version: &Version,
    nth: u32,
    since: u64,
    now: u64,
    day: u64,
) -> bool {
    let covered =
        version.object.as_ref().map_or(rule.filter.of_prefix_only(), |o| rule.filter.covers(key, o));
    let over = rule.noncurrent.filter(|n| nth >= n.keep);
    covered && over.is_some_and(|n| after(since, n.days, day) <= now)
}

/// Whether an upload is to be dropped.
pub fn upload_is_due(settings: &BucketSettings, upload: &Upload, now: u64, day: u64) -> bool {
    let rules = settings.lifecycle.iter();
    let mut rules = rules.filter(|r| r.enabled && upload.key.starts_with(&r.filter.prefix));
    rules.any(|r| r.abort.is_some_and(|days| after(upload.started, days, day) <= now))
}
