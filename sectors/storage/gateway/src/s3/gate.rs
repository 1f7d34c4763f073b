//! The gate before every operation: on whose behalf, whether there is room, whether it is allowed.

mod hooks;
mod quota;

use super::convert::{refusal, seconds};
use super::query::Query;
use crate::access::actions::{self, Action, Kind};
use crate::access::decide::{Case, Rules, decide};
use crate::access::key::AccessKey;
use crate::access::log::Proof;
use crate::access::policy::condition::Facts;
use crate::access::policy::{Ask, Policy};
use crate::access::{ACCOUNT, Who, date};
use crate::gateway::Gateway;
use crate::index::{BucketSettings, Index};
use crate::record::{CannedAcl, Labels, Ownership};
use crate::server::desk::{Desk, Party};
use crate::server::visit::Visit;
use hyper::{HeaderMap, StatusCode};
use quota::Usage;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub use hooks::{Denied, Keeper};

/// Policies that are kept ready at most.
const MAX_READY: usize = 1000;

/// The text of a policy and what it says; `None`: it cannot be read any more.
type Ready = (String, Option<Arc<Policy>>);

/// Decides about requests.
pub struct Gate {
    gateway: Arc<Gateway>,
    desk: Arc<Desk>,
    /// Policies as they were read, by bucket, with the text they come from.
    ready: Mutex<BTreeMap<String, Ready>>,
    usage: Usage,
}

/// On whose behalf a request comes.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub who: Who,
    /// The key that signed, with its id.
    pub key: Option<(String, Arc<AccessKey>)>,
}

/// What a request wants, before it is judged.
pub struct Wish<'a> {
    /// The request.
    pub visit: &'a Visit,
    /// On whose behalf.
    pub caller: &'a Caller,
    /// The bucket; empty for the list of buckets.
    pub bucket: &'a str,
    /// The key.
    pub key: Option<&'a str>,
    /// The version that is asked for.
    pub version: Option<&'a str>,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Query.
    pub query: &'a Query,
    /// Tags that the request brings elsewhere than in its headers.
    pub tags: &'a [(String, String)],
    /// The bucket is to be made: nothing of it counts yet.
    pub new: bool,
}

/// Refuses, with S3's code and our cause.
pub fn denied(cause: impl std::fmt::Display) -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, format!("Access Denied: {cause}"))
}

/// `SlowDown` with the seconds after which it makes sense to come again.
pub fn slow_down(seconds: u64) -> S3Error {
    let mut e = s3_error!(SlowDown, "storage.busy: too many requests at once; repeat it in {seconds} s");
    let mut headers = HeaderMap::new();
    headers.insert(hyper::header::RETRY_AFTER, seconds.into());
    headers.insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/xml"));
    e.set_headers(headers);
    e
}

/// An error with a code that s3s does not list.
pub fn other(code: &'static str, status: StatusCode, message: impl Into<String>) -> S3Error {
    let mut e = S3Error::with_message(S3ErrorCode::Custom(code.into()), message.into());
    e.set_status_code(status);
    e
}

/// What an object carries, if it is there. Of a version: only of the current one.
fn labels(index: &Index, wish: &Wish<'_>) -> Option<Labels> {
    let current = wish.version.is_none_or(|v| v == "null");
    let object = index.object(wish.bucket, wish.key?).ok()?;
    current.then(|| object.labels.clone())
}

impl Gate {
    /// A gate before a gateway.
    pub fn new(gateway: Arc<Gateway>, desk: Arc<Desk>) -> Arc<Self> {
        Arc::new(Self { gateway, desk, ready: Mutex::new(BTreeMap::new()), usage: Usage::default() })
    }

    /// The gateway behind it.
    pub const fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Who signs with a key; `None`: nobody does.
    ///
    /// # Errors
    /// The key is not known or has run out.
    pub fn caller(&self, id: Option<&str>) -> S3Result<Caller> {
        let Some(id) = id else { return Ok(Caller { who: Who::Anonymous, key: None }) };
        let key = usable(&self.gateway, id)?;
        let who = match key.scope {
            None => Who::Root,
            Some(_) => Who::User(key.name.clone()),
        };
        Ok(Caller { who, key: Some((id.to_owned(), key)) })
    }

    /// Gives a request whose sender is known its place.
    ///
    /// # Errors
    /// `SlowDown`.
    pub fn admit(&self, visit: &Visit, caller: &Caller) -> S3Result<()> {
        let party = match &caller.key {
            Some((id, _)) => Party::Key(id.clone()),
            None => Party::stranger(visit.address),
        };
        let pass = self.desk.admit(party).map_err(|later| slow_down(later.0))?;
        visit.proven(caller.who.clone(), pass);
        Ok(())
    }

    /// Judges one action.
    ///
    /// # Errors
    /// `AccessDenied` with the cause, or the bucket does not exist.
    pub fn judge(&self, wish: &Wish<'_>, action: &Action) -> S3Result<()> {
        // Whether a bucket is made is not its own to say, and neither is who sees the list.
        let outside = action.kind == Kind::Account || wish.new;
        let index = self.gateway.index();
        let settings =
            if outside { None } else { Some(&index.bucket(wish.bucket).map_err(refusal)?.settings) };
        let policy = match settings.and_then(|s| s.policy.as_deref()) {
            None => None,
            Some(text) => {
                let unreadable = || denied("the bucket's policy cannot be read; put it again");
                Some(self.policy(wish.bucket, text).ok_or_else(unreadable))
            }
        };
        let policy = match policy {
            Some(Err(_)) if wish.caller.who == Who::Root => None,
            other => other.transpose()?,
        };
        let key = if action.kind == Kind::Object { wish.key } else { None };
        let labels = key.and_then(|_| labels(&index, wish));
        let facts = match &policy {
            Some(policy) => facts(wish, labels.as_ref().filter(|_| policy.needs_tags())),
            None => Facts::default(),
        };
        let rules = rules(settings, policy.as_deref());
        let listed = matches!(
            action.name,
            "s3:ListBucket" | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads"
        )
        .then(|| wish.query.get("prefix").unwrap_or_default());
        // Whether a bucket is there is asked without listing anything.
        let listed = listed.filter(|_| !wish.headers_only());
        let scope = wish.caller.key.as_ref().and_then(|(_, key)| key.scope.as_ref());
        let ask = Ask { who: &wish.caller.who, action, bucket: wish.bucket, key, facts: &facts };
        let object = labels.as_ref().map(|l| l.acl.unwrap_or_default());
        let answer = decide(&rules, &Case { ask, scope, object, listed });
        let Err(cause) = answer else { return Ok(()) };
        // Whoever may list the bucket learns nothing from "it is not there".
        let absent = key.is_some() && labels.is_none() && action.name == "s3:GetObject";
        let list = Ask { action: actions::find("s3:ListBucket").unwrap_or(action), key: None, ..ask };
        if absent && decide(&rules, &Case { ask: list, scope, object: None, listed: wish.key }).is_ok() {
            return Ok(());
        }
        Err(denied(cause))
    }

    /// The policy of a bucket, ready; `None`: it cannot be read any more.
    fn policy(&self, bucket: &str, text: &str) -> Option<Arc<Policy>> {
        let mut ready = crate::volume::lock(&self.ready);
        if let Some((known, policy)) = ready.get(bucket)
            && known == text
        {
            return policy.clone();
        }
        if ready.len() >= MAX_READY {
            ready.clear();
        }
        let policy = Policy::parse(text.as_bytes(), bucket).ok().map(Arc::new);
        ready.insert(bucket.to_owned(), (text.to_owned(), policy.clone()));
        policy
    }
}

impl Wish<'_> {
    fn headers_only(&self) -> bool {
        self.key.is_none()
            && self.query.iter().next().is_none()
            && self.visit.entry().operation == "REST.HEAD.BUCKET"
    }
}

/// A key that signs now.
///
/// # Errors
/// It is not known, or has run out.
pub fn usable(gateway: &Gateway, id: &str) -> S3Result<Arc<AccessKey>> {
    let key = gateway.index().access_key(id).cloned();
    let key = key.ok_or_else(|| {
        s3_error!(InvalidAccessKeyId, "This access key is not known here: it is misspelt or was revoked.")
    })?;
    if key.is_expired(seconds()) {
        return Err(s3_error!(ExpiredToken, "This access key has expired; ask for a new one."));
    }
    Ok(key)
}

fn rules<'a>(settings: Option<&BucketSettings>, policy: Option<&'a Policy>) -> Rules<'a> {
    let Some(s) = settings else { return Rules::default() };
    Rules {
        policy,
        acl: s.acl,
        lists_off: s.ownership == Some(Ownership::Enforced),
        block: s.public_access.unwrap_or_default(),
    }
}

/// A list given in a header, read.
fn canned(text: &str) -> Option<CannedAcl> {
    CannedAcl::parse(text)
}

/// What conditions of policies look at.
fn facts(wish: &Wish<'_>, existing: Option<&Labels>) -> Facts {
    const HEADERS: [(&str, &str); 15] = [
        ("user-agent", "aws:useragent"),
        ("referer", "aws:referer"),
        ("x-amz-acl", "s3:x-amz-acl"),
        ("x-amz-content-sha256", "s3:x-amz-content-sha256"),
        ("x-amz-copy-source", "s3:x-amz-copy-source"),
        ("x-amz-metadata-directive", "s3:x-amz-metadata-directive"),
        ("x-amz-server-side-encryption", "s3:x-amz-server-side-encryption"),
        ("x-amz-storage-class", "s3:x-amz-storage-class"),
        ("x-amz-grant-read", "s3:x-amz-grant-read"),
        ("x-amz-grant-write", "s3:x-amz-grant-write"),
        ("x-amz-grant-full-control", "s3:x-amz-grant-full-control"),
        ("x-amz-object-ownership", "s3:x-amz-object-ownership"),
        ("x-amz-object-lock-mode", "s3:object-lock-mode"),
        ("x-amz-object-lock-legal-hold", "s3:object-lock-legal-hold"),
        ("x-amz-object-lock-retain-until-date", "s3:object-lock-retain-until-date"),
    ];
    const MORE: [(&str, &str); 4] = [
        ("x-amz-grant-read-acp", "s3:x-amz-grant-read-acp"),
        ("x-amz-grant-write-acp", "s3:x-amz-grant-write-acp"),
        ("x-amz-website-redirect-location", "s3:x-amz-website-redirect-location"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "s3:x-amz-server-side-encryption-aws-kms-key-id"),
    ];
    let (visit, now) = (wish.visit, seconds());
    let mut out = Facts::default();
    out.add("aws:sourceip", visit.address.to_canonical().to_string());
    out.add("aws:securetransport", visit.secure.to_string());
    out.add("aws:currenttime", date::iso(now));
    out.add("aws:epochtime", now.to_string());
    out.add("s3:resourceaccount", ACCOUNT);
    who(&wish.caller.who, &mut out);
    for (header, key) in HEADERS.iter().chain(&MORE) {
        out.add_some(key, wish.headers.get(*header).and_then(|v| v.to_str().ok()));
    }
    out.add_some("s3:prefix", wish.query.get("prefix"));
    out.add_some("s3:delimiter", wish.query.get("delimiter"));
    out.add_some("s3:max-keys", wish.query.get("max-keys"));
    out.add_some("s3:versionid", wish.version);
    signed(visit.proof(), wish.query, now, &mut out);
    let header = wish.headers.get("x-amz-tagging").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let given = Query::parse(header);
    let brought = wish.tags.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    for (name, value) in given.iter().chain(brought) {
        out.add("s3:requestobjecttagkeys", name);
        out.add(format!("s3:requestobjecttag/{name}"), value);
    }
    for (name, value) in existing.map(|l| &l.tags).into_iter().flatten() {
        out.add(format!("s3:existingobjecttag/{name}"), value);
    }
    out
}

fn who(who: &Who, out: &mut Facts) {
    let kind = match who {
        Who::Root => "Account",
        Who::User(_) => "User",
        Who::Anonymous | Who::Service(_) => "Anonymous",
    };
    out.add("aws:principaltype", kind);
    if !matches!(who, Who::Anonymous) {
        out.add("aws:principalarn", who.arn());
        out.add("aws:principalaccount", ACCOUNT);
    }
    if let Who::User(name) = who {
        out.add("aws:username", name);
        out.add("aws:userid", name);
    }
}

fn signed(proof: Proof, query: &Query, now: u64, out: &mut Facts) {
    let kind = match proof {
        Proof::None => return,
        Proof::Header => "REST-HEADER",
        Proof::Query => "REST-QUERY-STRING",
        Proof::Form => "POST",
    };
    out.add("s3:authtype", kind);
    out.add("s3:signatureversion", "AWS4-HMAC-SHA256");
    let signed = query.get("X-Amz-Date").and_then(stamp);
    out.add_some("s3:signatureage", signed.map(|t| now.saturating_sub(t).saturating_mul(1000).to_string()));
}

/// `20130524T000000Z` in Unix seconds.
fn stamp(text: &str) -> Option<u64> {
    let part = |range| text.get(range);
    date::parse(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(9..11)?,
        part(11..13)?,
        part(13..15)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_signatures_are_read() {
        assert_eq!(stamp("20130524T000000Z"), Some(1_369_353_600));
        assert_eq!(stamp("2013"), None);
        assert_eq!(stamp("2013é0524T000000Z"), None);
    }

    #[test]
    fn who_is_refused_for_haste_hears_until_when() {
        let e = slow_down(3);
        assert_eq!(e.headers().unwrap()["retry-after"], "3");
        assert_eq!(e.status_code(), Some(StatusCode::SERVICE_UNAVAILABLE));
    }
}
