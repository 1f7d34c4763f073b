//! Access keys: a name, a secret, what they may do and where, and until when.

use super::actions::{Action, Group, Kind};
use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;

/// Most places in a scope.
pub const MAX_PLACES: usize = 64;
/// Longest name of a key in bytes.
pub const MAX_NAME: usize = 64;
/// Longest bucket and prefix together in bytes.
const MAX_PLACE: usize = 63 + 1024;

/// Where a key may act.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// What keys begin with; empty: the whole bucket.
    pub prefix: String,
}

/// What a key may do.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Scope {
    /// [`Group`]s, added up.
    pub groups: u8,
    /// Where; everywhere if empty.
    pub places: Vec<Place>,
    /// Bytes of objects that may lie in its places for a write to be taken; unlimited without.
    pub quota: Option<u64>,
}

/// An access key without its id.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AccessKey {
    /// Whom policies know by it; several keys may share a name, such as an old and a new one.
    pub name: String,
    /// What signs requests.
    pub secret: String,
    /// What it may do; everything without.
    pub scope: Option<Scope>,
    /// Unix time in seconds.
    pub created: u64,
    /// Unix time in seconds from which on it opens nothing.
    pub expires: Option<u64>,
}

/// Without the secret, so that no log gets it by accident.
impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AccessKey");
        out.field("name", &self.name).field("scope", &self.scope).field("created", &self.created);
        out.field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl AccessKey {
    /// A key that may do everything, for ever.
    pub fn root(secret: &str) -> Self {
        Self { name: "root".into(), secret: secret.into(), scope: None, created: 0, expires: None }
    }

    /// Whether it has run out at a time in Unix seconds.
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|until| now >= until)
    }

    /// Whether it can be kept.
    ///
    /// # Errors
    /// What is wrong with name or scope.
    pub fn check(&self) -> Result<(), &'static str> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.bytes().all(plain) {
            return Err("the name of a key has 1 to 64 letters, digits or + = , . @ _ -");
        }
        let Some(scope) = &self.scope else { return Ok(()) };
        if self.name == "root" {
            return Err("the name root belongs to the key without limits; choose another");
        }
        if scope.places.len() > MAX_PLACES {
            return Err("a key names at most 64 buckets or prefixes");
        }
        let bad = |p: &Place| p.bucket.is_empty() || p.bucket.len() + p.prefix.len() > MAX_PLACE;
        if scope.places.iter().any(bad) {
            return Err("a place of a key is a bucket, or a bucket and a prefix of at most 1024 bytes");
        }
        Ok(())
    }
}

/// What a request wants to do, as far as scopes look at it.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// The action.
    pub action: &'a Action,
    /// The bucket; empty for the list of buckets.
    pub bucket: &'a str,
    /// The key, of an object's action.
    pub key: Option<&'a str>,
    /// The prefix of a listing. `None`: the request lists nothing of a bucket.
    pub listed: Option<&'a str>,
}

impl Scope {
    /// Whether it covers a group of actions somewhere.
    pub const fn has(&self, group: Group) -> bool {
        self.groups & group as u8 != 0
    }

    /// Whether it covers a deed.
    pub fn allows(&self, deed: Deed<'_>) -> bool {
        if !self.has(deed.action.group) {
            return false;
        }
        let Deed { action, bucket, key, listed } = deed;
        self.places.is_empty()
            || match (action.kind, action.group) {
                (Kind::Account, _) => true,
                (Kind::Object, _) => key.is_some_and(|key| self.covers(bucket, key)),
                // What lists nothing of a bucket (does it exist, where is it) is open to whoever may list in it.
                (Kind::Bucket, Group::List) => {
                    self.place(bucket, |prefix| listed.is_none_or(|listed| listed.starts_with(prefix)))
                }
                (Kind::Bucket, _) => self.place(bucket, str::is_empty),
            }
    }

    /// Whether a key of a bucket lies in one of its places.
    pub fn covers(&self, bucket: &str, key: &str) -> bool {
        self.places.is_empty() || self.place(bucket, |prefix| key.starts_with(prefix))
    }

    /// Whether something of a bucket lies in one of its places.
    pub fn sees(&self, bucket: &str) -> bool {
        self.places.is_empty() || self.place(bucket, |_| true)
    }

    fn place(&self, bucket: &str, prefix: impl Fn(&str) -> bool) -> bool {
        self.places.iter().any(|p| p.bucket == bucket && prefix(&p.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::super::actions::find;
    use super::*;
    use proptest::prelude::*;

    fn scope(groups: &[Group], places: &[(&str, &str)]) -> Scope {
        let place = |(b, p): &(&str, &str)| Place { bucket: (*b).into(), prefix: (*p).into() };
        let groups = groups.iter().fold(0, |a, g| a | *g as u8);
        Scope { groups, places: places.iter().map(place).collect(), quota: None }
    }

    fn may(s: &Scope, action: &str, bucket: &str, key: Option<&str>, listed: Option<&str>) -> bool {
        s.allows(Deed { action: find(action).unwrap(), bucket, key, listed })
    }

    #[test]
    fn a_reader_of_a_prefix_reads_and_lists_there_only() {
        let s = scope(&[Group::Read, Group::List], &[("b", "logs/")]);
        assert!(may(&s, "s3:GetObject", "b", Some("logs/1"), None));
        assert!(!may(&s, "s3:GetObject", "b", Some("log"), None));
        assert!(!may(&s, "s3:GetObject", "c", Some("logs/1"), None));
        assert!(!may(&s, "s3:PutObject", "b", Some("logs/1"), None));
        assert!(may(&s, "s3:ListBucket", "b", None, Some("logs/2")));
        assert!(!may(&s, "s3:ListBucket", "b", None, Some("")));
        assert!(may(&s, "s3:ListBucket", "b", None, None), "whether the bucket exists");
        assert!(!may(&s, "s3:DeleteBucket", "b", None, None));
        assert!(may(&s, "s3:ListAllMyBuckets", "", None, None));
    }

    #[test]
    fn settings_need_their_own_right_on_the_whole_bucket() {
        let s = scope(&[Group::Manage], &[("b", ""), ("c", "x")]);
        assert!(may(&s, "s3:PutBucketPolicy", "b", None, None));
        assert!(!may(&s, "s3:PutBucketPolicy", "c", None, None));
        let all = scope(&[Group::Read, Group::List, Group::Write, Group::Delete], &[]);
        assert!(may(&all, "s3:CreateBucket", "new", None, None));
        assert!(!may(&all, "s3:PutBucketAcl", "new", None, None));
    }

    #[test]
    fn a_key_does_not_show_its_secret() {
        assert!(!format!("{:?}", AccessKey::root("hush")).contains("hush"));
    }

    #[test]
    fn names_and_ends() {
        let mut key = AccessKey { scope: Some(scope(&[], &[])), expires: Some(10), ..AccessKey::root("s") };
        assert!(key.check().is_err(), "root is taken");
        for (name, good) in [("ann", true), ("", false), ("a/b", false), ("a b", false)] {
            key.name = name.into();
            assert_eq!(key.check().is_ok(), good, "{name}");
        }
        assert!(!key.is_expired(9) && key.is_expired(10));
    }

    proptest! {
        /// Whatever a narrower scope allows, a wider one allows.
        #[test]
        fn wider_scopes_allow_more(groups in 0u8..32, more in 0u8..32, prefix in "[ab]{0,2}", key in "[ab]{0,3}", n in 0usize..70) {
            let action = &super::super::actions::ACTIONS[n % super::super::actions::ACTIONS.len()];
            let place = |prefix: &str| vec![Place { bucket: "b".into(), prefix: prefix.into() }];
            let narrow = Scope { groups, places: place(&prefix), quota: None };
            let wide = Scope { groups: groups | more, places: place(""), quota: None };
            let all = Scope { groups: groups | more, places: Vec::new(), quota: None };
            let deed = Deed { action, bucket: "b", key: Some(&key), listed: Some(&key) };
            prop_assert!(!narrow.allows(deed) || wide.allows(deed));
            prop_assert!(!wide.allows(deed) || all.allows(deed));
        }
    }
}
