//! What can go wrong, with a code that stays.

use crate::record::VersionId;
use cairn_storage_codec::CodecError;
use cairn_types::LeaseId;

/// Why an operator did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// No answer in time, or no connection.
    #[error("the operator does not answer; it may be down, try others or later")]
    Unreachable,
    /// A newer gateway took over.
    #[error("a newer gateway took over; stop this one, or recover to take over again")]
    Fenced,
    /// Too many bytes without a receipt or a revision.
    #[error("the operator waits for a receipt or a revision; send it and ask again")]
    Exposure,
    /// The log does not continue where the entry begins.
    #[error("the operator's log does not continue there; compare it and send what lies in between")]
    Log,
    /// It has no such fragment or log entry.
    #[error("the operator does not hold what was asked for; rebuild it from the others")]
    NotFound,
    /// It refused, with its own words.
    #[error("the operator refused: {0}")]
    Refused(String),
}

/// Errors of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// No such bucket.
    #[error("bucket {0:?} does not exist; create it or check the spelling")]
    NoSuchBucket(String),
    /// The bucket is there already.
    #[error("bucket {0:?} exists already; use it or choose another name")]
    BucketExists(String),
    /// The bucket has objects.
    #[error("bucket {0:?} holds objects; delete them before the bucket")]
    BucketNotEmpty(String),
    /// The bucket is in a state that does not allow it.
    #[error("the state of the bucket does not allow it: {0}")]
    BucketState(&'static str),
    /// No such object.
    #[error("key {0:?} does not exist; list the bucket to see what does")]
    NoSuchKey(String),
    /// No such version of an object.
    #[error("version {1} of key {0:?} does not exist; list the versions to see which do")]
    NoSuchVersion(String, VersionId),
    /// A delete marker has neither bytes nor labels.
    #[error("the version is a delete marker; name another version, or delete this one")]
    Marker,
    /// Retention or legal hold.
    #[error("object lock does not allow it: {0}; wait until it ends, or end the hold")]
    Locked(&'static str),
    /// Retention or hold where there is no object lock.
    #[error("the bucket has no object lock; enable it before locking objects")]
    NoLock,
    /// No such multipart upload.
    #[error("the multipart upload does not exist, was completed or aborted; start a new one")]
    NoSuchUpload,
    /// A part named at completion was not uploaded so.
    #[error("part {0} was not uploaded with this tag; upload it again or list the parts")]
    InvalidPart(u16),
    /// Parts out of order.
    #[error("parts must be named in ascending order; sort them by number")]
    InvalidPartOrder,
    /// A part other than the last is under 5 MiB.
    #[error("part {0} is smaller than 5 MiB and not the last; upload larger parts")]
    PartTooSmall(u16),
    /// Nothing or too much given.
    #[error("the argument is not acceptable: {0}")]
    Invalid(&'static str),
    /// A condition of the request does not hold.
    #[error("a condition of the request does not hold; read the object again")]
    PreconditionFailed,
    /// The body is not what its checksum says.
    #[error("the body does not match its {0}; send it again")]
    BadDigest(&'static str),
    /// The checksum given is not well-formed.
    #[error("the {0} is not a well-formed digest; send it as base64")]
    InvalidDigest(&'static str),
    /// The client stopped sending.
    #[error("the body ended early or broke off ({0}); send it again")]
    Body(String),
    /// A newer gateway took over.
    #[error("storage.fence: a newer gateway took over; stop this one, or recover to take over again")]
    Fenced,
    /// Too few operators for a safe write.
    #[error("storage.quorum: {have} of the {need} operators needed stored the {what}; bring operators back")]
    Quorum {
        /// What was to be stored.
        what: &'static str,
        /// Operators that did.
        have: u16,
        /// Operators needed.
        need: u16,
    },
    /// The write was sent and not confirmed in time.
    #[error(
        "storage.unconfirmed: too few operators confirmed the write in time; it may still take effect, repeat it"
    )]
    Unconfirmed,
    /// More bytes than allowed.
    #[error("the body exceeds {0} bytes; use a multipart upload or smaller objects")]
    TooLarge(u64),
    /// No escrow covers more data.
    #[error(
        "storage.unpaid: the escrow of the leases is used up; buy credits for this account and repeat the request \
         (reading goes on meanwhile)"
    )]
    Unpaid,
    /// The lease that held the data ended.
    #[error("storage.ended: lease {0} that held this object ended, closed or unpaid; delete the object")]
    Ended(LeaseId),
    /// No lease has room.
    #[error(
        "storage.full: no lease has room for more, and the account's credits do not pay for another; delete something or buy credits"
    )]
    Full,
    /// Too few operators for a read.
    #[error("storage.unavailable: {0}")]
    Unavailable(CodecError),
    /// Overload.
    #[error("storage.busy: too many requests at once; repeat it a little later")]
    Busy,
    /// The chain did not do what was asked.
    #[error("storage.chain: {0}")]
    Chain(String),
    /// The log contradicts itself.
    #[error("storage.log: {0}; recover with more operators reachable, or report this")]
    Log(String),
    /// Too few replicas of the log answered to be sure of having its end.
    #[error(
        "storage.recover: {have} of the {need} log replicas needed answered; bring operators back, or accept fewer \
         and risk the latest writes"
    )]
    TooFewReplicas {
        /// Replicas that answered.
        have: u16,
        /// Replicas needed.
        need: u16,
    },
    /// There is a log, sealed under another key.
    #[error("storage.key: the index log does not open under this key; check the recovery phrase")]
    WrongKey,
    /// Nothing to recover.
    #[error(
        "storage.recover: this key has no lease on the chain; check the recovery phrase or create the storage"
    )]
    NothingToRecover,
    /// Encoding refused; a bug.
    #[error("storage.codec: {0}")]
    Codec(CodecError),
    /// The machine gave no randomness.
    #[error("storage.random: {0}")]
    Random(String),
}

impl From<CodecError> for GatewayError {
    fn from(e: CodecError) -> Self {
        match e {
            CodecError::TooFewFragments { .. } => Self::Unavailable(e),
            e => Self::Codec(e),
        }
    }
}
