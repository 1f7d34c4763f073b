//! What a bucket is set to, and what an object carries besides its bytes and headers.

use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// A version of an object: rises with each write of the gateway, whatever the bucket. The upper 44 bits are the Unix
/// time in seconds of the write.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct VersionId(pub u64);

impl VersionId {
    /// The version of a key that was written where versions are not kept. Its place in time is another number.
    pub const NULL: Self = Self(0);

    /// The first version of a second.
    pub const fn at(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1 << 20))
    }
    /// Unix time in seconds of the write.
    pub const fn seconds(self) -> u64 {
        self.0 >> 20
    }
    /// This or, if it is not higher, the one after `last`.
    #[must_use]
    pub fn after(self, last: Self) -> Self {
        self.max(Self(last.0.saturating_add(1)))
    }
    /// Of the name that clients use.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "null" {
            return Some(Self::NULL);
        }
        let digits =
            name.len() == 16 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let id = u64::from_str_radix(name, 16).ok().filter(|id| digits && *id != 0)?;
        Some(Self(id))
    }
}

impl std::fmt::Display for VersionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::NULL { f.write_str("null") } else { write!(f, "{:016x}", self.0) }
    }
}

/// Whether a bucket keeps what is overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Versioning {
    /// It never did.
    #[default]
    Never,
    /// Every write makes a version.
    Enabled,
    /// It did: writes replace the null version, older versions stay.
    Suspended,
}

/// How strict a retention is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LockMode {
    /// Who may bypass it can shorten it and delete.
    Governance,
    /// Nobody can, until it ends.
    Compliance,
}

/// Until when a version must not be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Retention {
    /// How strict.
    pub mode: LockMode,
    /// Unix time in seconds.
    pub until: u64,
}

/// A time span as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Span {
    /// Days.
    Days(u32),
    /// Years of 365 days.
    Years(u32),
}

impl Span {
    /// Days of it; saturating.
    pub const fn days(self) -> u32 {
        match self {
            Self::Days(days) => days,
            Self::Years(years) => years.saturating_mul(365),
        }
    }
}

/// Object lock of a bucket, which once on stays on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ObjectLock {
    /// Retention of new versions that bring none.
    pub default: Option<(LockMode, Span)>,
}

/// Which objects a lifecycle rule is about: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Filter {
    /// The key starts with this.
    pub prefix: String,
    /// The object has these tags.
    pub tags: Tags,
    /// It has more bytes than this.
    pub over: Option<u64>,
    /// It has fewer bytes than this.
    pub under: Option<u64>,
}

/// When the current version expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Expire {
    /// So many days after it was written.
    Days(u32),
    /// From this Unix time in seconds on.
    Date(u64),
    /// A delete marker without versions behind it.
    Markers,
}

/// When versions that are not current expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Noncurrent {
    /// So many days after the version was succeeded.
    pub days: u32,
    /// Newer ones that stay all the same; 0 = none.
    pub keep: u32,
}

/// How S3 wrote a rule's filter, so that it is given back in the same form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum FilterForm {
    /// A prefix beside the rule's id, the older form.
    Prefix,
    /// An element with at most one condition.
    One,
    /// Several conditions joined.
    And,
}

/// A lifecycle rule.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Rule {
    /// Unique in its bucket; at most 255 characters.
    pub id: String,
    /// Whether it is applied.
    pub enabled: bool,
    /// What it is about.
    pub filter: Filter,
    /// How that was written.
    pub form: FilterForm,
    /// Of current versions.
    pub expire: Option<Expire>,
    /// Of the others.
    pub noncurrent: Option<Noncurrent>,
    /// Uploads are dropped so many days after their start.
    pub abort: Option<u32>,
}

/// An access control list in one of S3's canned forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CannedAcl {
    /// The owner alone.
    #[default]
    Private,
    /// Anybody reads.
    PublicRead,
    /// Anybody reads and writes.
    PublicReadWrite,
    /// Anybody with an access key reads.
    AuthenticatedRead,
    /// The owner of the bucket reads.
    BucketOwnerRead,
    /// The owner of the bucket has full control.
    BucketOwnerFullControl,
    /// Access logs may be written.
    LogDeliveryWrite,
}

/// Who owns what others write into a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Ownership {
    /// The bucket's owner; ACLs have no effect.
    Enforced,
    /// The bucket's owner, if the writer agrees.
    Preferred,
    /// The writer.
    Writer,
}

/// What is refused to the public whatever policies and ACLs say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PublicAccess {
    /// New public ACLs are refused.
    pub block_acls: bool,
    /// Public ACLs have no effect.
    pub ignore_acls: bool,
    /// New public policies are refused.
    pub block_policy: bool,
    /// Public policies have no effect on the public.
    pub restrict: bool,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Logging {
    /// Bucket.
    pub bucket: String,
    /// What the names of log objects start with.
    pub prefix: String,
}

/// One setting of a bucket, as a whole: it replaces what was there.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Setting {
    /// Versioning.
    Versioning(Versioning),
    /// Object lock, on from now on.
    ObjectLock(ObjectLock),
    /// Lifecycle rules; none: no configuration.
    Lifecycle(Vec<Rule>),
    /// Tags; none: no configuration.
    Tags(Tags),
    /// Bucket policy, as JSON.
    Policy(Option<String>),
    /// Rules for scripts of other origins, encoded.
    Cors(Option<String>),
    /// Access control list.
    Acl(CannedAcl),
    /// Object ownership.
    Ownership(Option<Ownership>),
    /// Public access block.
    PublicAccess(Option<PublicAccess>),
    /// Access log.
    Logging(Option<Logging>),
}

/// What an object carries besides bytes and headers. It can change without a new version.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Labels {
    /// Tags; at most 10.
    pub tags: Tags,
    /// Retention.
    pub retention: Option<Retention>,
    /// Legal hold.
    pub hold: bool,
    /// Access control list; `None`: the owner alone.
    pub acl: Option<CannedAcl>,
}

/// One label of an object, as a whole: it replaces what was there.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Label {
    /// Tags.
    Tags(Tags),
    /// Retention.
    Retention(Option<Retention>),
    /// Legal hold.
    Hold(bool),
    /// Access control list.
    Acl(Option<CannedAcl>),
}
