//! What the index log says: typed mutations, versioned and frozen.
//!
//! Replaying them in order gives the index; nothing else does. A mutation carries every value that its effect
//! depends on (times included), so that replay needs no clock.

mod settings;

pub use settings::{
    CannedAcl, Expire, Filter, FilterForm, Label, Labels, LockMode, Logging, Noncurrent, ObjectLock,
    Ownership, PublicAccess, Retention, Rule, Setting, Span, Tags, VersionId, Versioning,
};

use crate::access::key::AccessKey;
use crate::index::Version;
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_storage_codec::{SegmentId, SegmentMeta};
use cairn_types::Hash;
use std::collections::BTreeMap;

/// Where a piece of an object lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Run {
    /// The segment.
    pub segment: SegmentId,
    /// First byte in the segment's plaintext.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
}

/// The bytes of an object or part.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Placement {
    /// In the index itself (at most 4 KiB).
    Inline(Vec<u8>),
    /// One after the other in segments.
    Runs(Vec<Run>),
}

impl Placement {
    /// Bytes of segments that it refers to.
    pub fn runs(&self) -> &[Run] {
        match self {
            Self::Inline(_) => &[],
            Self::Runs(runs) => runs,
        }
    }
}

/// What a slot holds of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SlotRoot {
    /// Generation of the slot; a later one holds bytes with another pad.
    pub generation: u32,
    /// BLAKE3 of the padded fragment: what the revision names.
    pub root: Hash,
}

/// A segment at the operators.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Stored {
    /// What is needed to read it.
    pub meta: SegmentMeta,
    /// By slot; `None` where it could not be stored yet.
    pub roots: Vec<Option<SlotRoot>>,
}

/// Algorithm of a stored checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Algorithm {
    /// CRC-32 (ISO HDLC).
    Crc32,
    /// CRC-32C.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// A checksum as clients write it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Checksum {
    /// Algorithm.
    pub algorithm: Algorithm,
    /// Base64; of a composite one with `-N` behind it.
    pub value: String,
    /// A checksum of the parts' checksums.
    pub composite: bool,
}

/// Entity tag: MD5 of the body, or of the parts' MD5s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Etag {
    /// The digest.
    pub md5: [u8; 16],
    /// Parts; 0 for an object that was put at once.
    pub parts: u32,
}

impl std::fmt::Display for Etag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.md5))?;
        if self.parts > 0 { write!(f, "-{}", self.parts) } else { Ok(()) }
    }
}

/// Headers and metadata that a client gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attributes {
    /// Standard headers (lower-case names: `content-type`, `cache-control`...).
    pub headers: BTreeMap<String, String>,
    /// User metadata without the `x-amz-meta-` prefix.
    pub user: BTreeMap<String, String>,
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Object {
    /// Bytes.
    pub size: u64,
    /// Entity tag.
    pub etag: Etag,
    /// Unix time in seconds of the last write.
    pub modified: u64,
    /// Headers and metadata.
    pub attributes: Attributes,
    /// Tags, locks, access.
    pub labels: Labels,
    /// Checksums that the client asked for.
    pub checksums: Vec<Checksum>,
    /// Sizes of the parts of a multipart object; empty otherwise.
    pub part_sizes: Vec<u64>,
    /// Their checksums by the algorithm of the first of [`Self::checksums`], where each part has one.
    pub part_checksums: Vec<String>,
    /// Where the bytes lie.
    pub placement: Placement,
}

/// An uploaded part.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Part {
    /// Bytes.
    pub size: u64,
    /// MD5 of the part.
    pub md5: [u8; 16],
    /// Unix time in seconds.
    pub modified: u64,
    /// Checksums that the client asked for.
    pub checksums: Vec<Checksum>,
    /// Where the bytes lie.
    pub placement: Placement,
}

/// A multipart upload under way.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Upload {
    /// Bucket.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Unix time in seconds of its start.
    pub started: u64,
    /// What the object will carry.
    pub attributes: Attributes,
    /// As [`Self::attributes`].
    pub labels: Labels,
    /// Algorithm announced for its parts.
    pub algorithm: Option<Algorithm>,
}

/// Id of a multipart upload: 16 random bytes.
pub type UploadId = [u8; 16];

/// One change of the index.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Mutation {
    /// A bucket was made.
    CreateBucket {
        /// Name.
        name: String,
        /// Unix time in seconds.
        created: u64,
        /// What differs from a new bucket's settings, in an order in which each fits the ones before.
        settings: Vec<Setting>,
    },
    /// A bucket was set to something.
    SetBucket {
        /// Name.
        name: String,
        /// What it was set to.
        setting: Setting,
    },
    /// An empty bucket was removed, with its unfinished uploads.
    DeleteBucket {
        /// Name.
        name: String,
    },
    /// A segment was stored. Lives as long as something refers to it.
    AddSegment(Stored),
    /// What a slot holds of a segment became known: healed, taken over by another device, or found lost.
    SetRoot {
        /// The segment.
        segment: SegmentId,
        /// The slot.
        slot: u16,
        /// `None`: the slot does not hold it.
        root: Option<SlotRoot>,
    },
    /// An object was put or copied.
    PutObject {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// The object.
        object: Object,
        /// Its version.
        version: VersionId,
    },
    /// The current version of an object was deleted; where versions are kept, a delete marker came over it.
    DeleteObject {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// Version of the marker.
        version: VersionId,
    },
    /// A version or delete marker was removed.
    DeleteVersion {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// What clients call it.
        version: VersionId,
    },
    /// A version is there: how snapshots restate objects.
    PutVersion {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// The version.
        version: Version,
    },
    /// Versions up to this one were given.
    Numbered {
        /// The last one.
        last: VersionId,
    },
    /// What an object carries was changed.
    SetLabel {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// Version; `None`: the current one.
        version: Option<VersionId>,
        /// What it carries now.
        label: Label,
    },
    /// A multipart upload was started.
    CreateUpload {
        /// Id.
        id: UploadId,
        /// The upload.
        upload: Upload,
    },
    /// A part was uploaded (again).
    PutPart {
        /// Upload.
        id: UploadId,
        /// 1..=10000.
        number: u16,
        /// The part.
        part: Part,
    },
    /// The parts became an object.
    CompleteUpload {
        /// Upload.
        id: UploadId,
        /// Chosen parts with their MD5s, ascending.
        parts: Vec<(u16, [u8; 16])>,
        /// Unix time in seconds.
        modified: u64,
        /// Checksums of the whole.
        checksums: Vec<Checksum>,
        /// Version of the object.
        version: VersionId,
    },
    /// The upload was dropped.
    AbortUpload {
        /// Upload.
        id: UploadId,
    },
    /// An access key was added or replaced.
    PutAccessKey {
        /// Access key id.
        id: String,
        /// Its secret, and what it may do.
        key: AccessKey,
    },
    /// An access key was withdrawn.
    DeleteAccessKey {
        /// Access key id.
        id: String,
    },
}

impl Mutation {
    /// The version that it makes.
    pub const fn version(&self) -> Option<VersionId> {
        match self {
            Self::PutObject { version, .. }
            | Self::DeleteObject { version, .. }
            | Self::CompleteUpload { version, .. } => Some(*version),
            Self::PutVersion { version, .. } => Some(version.id),
            Self::Numbered { last } => Some(*last),
            _ => None,
        }
    }
    /// Makes the version that it makes higher than `last`; the highest one given then.
    pub fn number(&mut self, last: VersionId) -> VersionId {
        match self {
            Self::PutObject { version, .. }
            | Self::DeleteObject { version, .. }
            | Self::CompleteUpload { version, .. } => {
                *version = version.after(last);
                *version
            }
            _ => last,
        }
    }
}

/// Plaintext of a log entry's private part.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Body {
    /// Changes, in order.
    Mutations(Vec<Mutation>),
    /// A piece of a snapshot: the pieces joined are the borsh bytes of the mutations that rebuild the index.
    Snapshot {
        /// Number of this piece, from 0.
        piece: u32,
        /// Pieces in total.
        pieces: u32,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// What a log entry says to the customer's own machines.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Private {
    /// [`crate::seal::VERSION`].
    pub version: u8,
    /// Fence of the writer.
    pub fence: u64,
    /// Hash of the entry before; zero before the first. A replica forgets it when it truncates.
    pub prev: Hash,
    /// What it says.
    pub body: Body,
}
