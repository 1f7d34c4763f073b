//! What customers, repair agents and storage nodes say to each other, byte by byte.
//!
//! A message is one version byte ([`VERSION`]) and a borsh value: [`Request`] one way, `Result<Reply, WireError>` the
//! other. Every request may be repeated: after a lost answer ask again. [`Signed`] binds a request to one device and an
//! expiry epoch; the body enters the signature as its BLAKE3. Of [`Body::Put`] only what stands in front of the
//! fragment's bytes does: the root of the fragment binds those, and the device checks it before it keeps them.
//!
//! A slot is filled in two steps. [`Body::Put`] brings fragments, which are *staged*: durable once whole, but nobody is
//! paid or punished for them. [`Body::Revise`] names the change of the fragment list and brings the revision over the
//! new list; both sides compute it with [`SlotList`].

mod direct;
mod log;
mod note;
mod slot;
#[cfg(test)]
mod tests;

pub use direct::{PUT_BACK, PUT_FRONT, decode_reply, decode_request, encode_signed, message_len, put_around};
pub use log::{
    LogEntry, LogPage, LogState, MAX_LOG_BATCH, MAX_PARTS, RepairPart, entry_hash, open_part, seal_part,
};
pub use note::{Grant, MAX_NOTE, Note, NoteSecret, box_secret, check_box_key, sign_box_key};
pub use slot::{Held, SlotError, SlotList};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use cairn_crypto::keys::{PublicKey, SecretKey, Signature, SignatureError};
use cairn_crypto::sealed::BoxPublic;
use cairn_storage_rules::params::MAX_AUDIT_CHUNKS;
use cairn_storage_rules::types::{Ask, CoSigned, Fragment, LeafProof, Revision, SignedReceipt, Signer};
use cairn_types::{DecodeError, DeviceId, Epoch, Hash, LeaseId, NetworkId, Refusal, decode_bounded, encode};

use crate::segment::SegmentId;

/// Version byte in front of every message.
pub const VERSION: u8 = 1;
/// Most bytes of a message: what the transport carries.
pub const MAX_MESSAGE: usize = 8 << 20;
/// Most bytes of a fragment in one [`Body::Put`], and most bytes of one [`Body::Get`]: 4 MiB.
pub const MAX_PART: u32 = 4 << 20;
/// Most segment ids in one request.
pub const MAX_IDS: usize = 16_384;
/// Most entries in one [`Listing`].
pub const MAX_LISTED: usize = 16_384;
/// Most chunks in one [`Reply::Audited`].
pub const MAX_AUDITED: usize = MAX_AUDIT_CHUNKS as usize;
/// Most epochs between now and the expiry of a request.
pub const MAX_LIFE: u64 = 2;
/// Signature domain of requests.
pub const REQUEST: &str = "cairn/storage/request/v1";

/// What is sent to a storage node.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// From anybody: who are you? Answered with [`Reply::Hello`].
    Hello,
    /// From a customer or a repair agent.
    Signed(Box<Signed>),
    /// From a drawn auditor. Answered with [`Reply::Audited`].
    Audit(AuditAsk),
}

/// A drawn auditor's question. The chunks follow from the signature ([`cairn_storage_rules::audit::positions`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AuditAsk {
    /// Who asks whom in which epoch.
    pub ask: Ask,
    /// The auditor's signature ([`cairn_storage_rules::sign::AUDIT`]).
    pub signature: Signature,
}

/// A request under the lease's key, or under an agent's device key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signed {
    /// What the signature covers besides the body.
    pub head: Head,
    /// [`Body`] in borsh.
    #[borsh(serialize_with = "direct::write", deserialize_with = "direct::read")]
    pub body: Bytes,
    /// Leave of another lease's customer, for an agent that reads an index log.
    pub grant: Option<Grant>,
    /// Over (head, BLAKE3 of body; of a [`Body::Put`] of what stands in front of its bytes), domain [`REQUEST`], by
    /// whom `head.signer` names.
    pub signature: Signature,
}

/// Whom a request is for and from. 127 bytes, 159 from an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// The network.
    pub network: NetworkId,
    /// The lease.
    pub lease: LeaseId,
    /// The slot.
    pub slot: u16,
    /// Generation of the slot, as on the chain.
    pub generation: u32,
    /// Fence of the customer's machine. Writes below the highest one seen are refused.
    pub fence: u64,
    /// The device that is asked.
    pub device: DeviceId,
    /// Last epoch in which the request is valid; at most [`MAX_LIFE`] ahead.
    pub expires: Epoch,
    /// Distinguishes requests in logs; not checked, since every request may be repeated.
    pub nonce: u64,
    /// Who signs.
    pub signer: Signer,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[allow(
    clippy::large_enum_variant,
    reason = "a body is built once and encoded; a box would burden every caller"
)]
pub enum Body {
    /// Part of a fragment, parts in order. Repeating what is there already is harmless. Durable, and answered with
    /// `have == fragment.len`, once whole; a crash before that forgets the parts. Answer: [`Reply::Put`].
    Put {
        /// The segment.
        segment: SegmentId,
        /// Root and length of the padded fragment.
        fragment: Fragment,
        /// Where `bytes` begin.
        offset: u64,
        /// At most [`MAX_PART`].
        #[borsh(serialize_with = "direct::write", deserialize_with = "direct::read")]
        bytes: Bytes,
    },
    /// Bytes of a fragment, staged or standing. Answer: [`Reply::Bytes`].
    Get {
        /// The segment.
        segment: SegmentId,
        /// First byte.
        offset: u64,
        /// At most [`MAX_PART`].
        len: u32,
    },
    /// Forgets staged fragments; unknown ones are skipped. What stands is removed by [`Body::Revise`]. Answer:
    /// [`Reply::Done`].
    Delete {
        /// At most [`MAX_IDS`].
        segments: Vec<SegmentId>,
    },
    /// What the slot holds. Answer: [`Reply::List`].
    List {
        /// True: staged fragments, by segment id. False: the standing list, in the order of the tree.
        staged: bool,
        /// Entries to skip.
        after: u64,
    },
    /// The next revision: first `remove`, then `add` (staged fragments), see [`SlotList::apply`]. Answer:
    /// [`Reply::Revised`] with the device's signature. Repeating the standing revision returns it again.
    Revise {
        /// Signed by customer or agent.
        revision: CoSigned,
        /// Fragments that leave, in this order; at most [`MAX_IDS`].
        remove: Vec<SegmentId>,
        /// Staged fragments that join, in this order; at most [`MAX_IDS`].
        add: Vec<SegmentId>,
    },
    /// KiB served so far, cumulative. Answer: [`Reply::Served`].
    Receipt(SignedReceipt),
    /// Entries of the replicated log, strictly in sequence; on disk before the answer. Answer: [`Reply::Log`].
    LogAppend {
        /// Number of the first entry.
        seq: u64,
        /// [`entry_hash`] of the entry before; zero before the first.
        prev: Hash,
        /// Together at most [`MAX_LOG_BATCH`] bytes.
        entries: Vec<LogEntry>,
    },
    /// Where the log stands. Answer: [`Reply::Log`].
    LogHead,
    /// Entries from `seq` on. Answer: [`Reply::Entries`].
    LogRead {
        /// First entry wanted.
        from: u64,
        /// Stop before more than this; at least one entry is returned. At most [`MAX_PART`].
        max_bytes: u32,
    },
    /// Forgets entries before `before`, which must be covered by a checkpoint ([`LogEntry::checkpoint`]). Answer:
    /// [`Reply::Log`].
    LogTruncate {
        /// First entry kept.
        before: u64,
    },
    /// Sealed keys for the lease's helpers, replacing earlier ones. Answer: [`Reply::Done`].
    NotePut(Note),
    /// The note. Answer: [`Reply::Note`].
    NoteGet,
    /// Figures of the slot. Answer: [`Reply::Status`].
    Status,
    /// From one agent to the other: check a repaired slot and confirm it. The head names the repaired slot's lease,
    /// number and generation, but the other agent as device. Answer: [`Reply::Confirmed`].
    Confirm(Revision),
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// To [`Request::Hello`].
    Hello(Hello),
    /// Bytes of the fragment present.
    Put {
        /// Whole and durable when this is the fragment's length.
        have: u64,
    },
    /// Bytes of a fragment, exactly as many as were asked for.
    Bytes(#[borsh(serialize_with = "direct::write", deserialize_with = "direct::read")] Bytes),
    /// What the slot holds.
    List(Listing),
    /// The standing revision, signed by both sides.
    Revised(CoSigned),
    /// KiB served and receipted.
    Served {
        /// Bytes served in this slot and generation so far.
        served: u64,
        /// KiB of the latest receipt.
        receipted_kib: u64,
    },
    /// State of the log.
    Log(LogState),
    /// A piece of the log.
    Entries(LogPage),
    /// The note; `None` if there is none.
    Note(Option<Note>),
    /// Figures of the slot.
    Status(Status),
    /// The other agent's confirmation ([`cairn_storage_rules::sign::confirm`]).
    Confirmed(Signature),
    /// The chunks that an auditor asked for, in that order, each with its way to the commitment; `None`: lost. At most
    /// [`MAX_AUDITED`].
    Audited(Vec<Option<LeafProof>>),
}

/// Who a device is, and where boxes for it are sealed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Hello {
    /// The network that it serves.
    pub network: NetworkId,
    /// Its id.
    pub device: DeviceId,
    /// Its key for sealed boxes.
    pub box_key: BoxPublic,
    /// Its signature over (network, device, box key); see [`check_box_key`].
    pub signature: Signature,
}

/// A piece of a slot's list.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Listing {
    /// The standing revision.
    pub revision: Option<CoSigned>,
    /// Entries of the whole list.
    pub total: u64,
    /// At most [`MAX_LISTED`].
    pub entries: Vec<Held>,
}

/// Figures of a slot on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Status {
    /// Highest fence seen.
    pub fence: u64,
    /// The standing revision.
    pub revision: Option<CoSigned>,
    /// Bytes staged, not under a revision.
    pub staged: u64,
    /// Bytes that may be staged before a revision has to come.
    pub exposure: u64,
    /// Bytes served in this slot and generation.
    pub served: u64,
    /// KiB of the latest receipt.
    pub receipted_kib: u64,
    /// Bytes free on the device, under its offer.
    pub free: u64,
    /// Only reads are served.
    pub read_only: bool,
}

/// A refusal, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, BorshSerialize, BorshDeserialize)]
#[error("{code}: {cause}; {remedy}")]
pub struct WireError {
    /// Stable, one of [`code`].
    pub code: String,
    /// What is wrong, with figures.
    pub cause: String,
    /// What to do next.
    pub remedy: String,
}

/// Codes of [`WireError`].
pub mod code {
    /// The device's offer, the lease's reserve or the disk is full.
    pub const FULL: &str = "storage.full";
    /// A newer machine of the customer wrote.
    pub const FENCE: &str = "storage.fence";
    /// Too many bytes without signature or receipt.
    pub const EXPOSURE: &str = "storage.unsigned-exposure";
    /// Not held.
    pub const UNKNOWN_SEGMENT: &str = "storage.unknown-segment";
    /// The device does not hold this slot in this generation.
    pub const NOT_YOUR_SLOT: &str = "storage.not-your-slot";
    /// Only reads are served.
    pub const READ_ONLY: &str = "storage.read-only";
    /// Not signed by who may ask this.
    pub const SIGNATURE: &str = "storage.signature";
    /// The bytes on disk are lost or rotten.
    pub const DAMAGED: &str = "storage.damaged";
    /// Past its expiry, or too far from it.
    pub const EXPIRED: &str = "storage.expired";
    /// Not a request of this format, or outside its limits.
    pub const MALFORMED: &str = "storage.malformed";
    /// The revision does not follow from the standing one and the change named.
    pub const REVISION: &str = "storage.revision";
    /// A fragment's bytes do not fit its root, or parts do not follow each other.
    pub const FRAGMENT: &str = "storage.fragment";
    /// The log does not continue there.
    pub const LOG: &str = "storage.log";
    /// A receipt that does not fit the lease, or falls.
    pub const RECEIPT: &str = "storage.receipt";
    /// The device failed; its operator must look.
    pub const DISK: &str = "storage.disk";
    /// Not drawn to audit this device, or asked too often.
    pub const AUDIT: &str = "storage.audit";
    /// The repair does not check out.
    pub const REPAIR: &str = "storage.repair";
}

impl WireError {
    /// A refusal.
    pub fn new(code: &str, cause: impl Into<String>, remedy: &str) -> Self {
        Self { code: code.into(), cause: cause.into(), remedy: remedy.into() }
    }
}

impl From<Refusal> for WireError {
    fn from(r: Refusal) -> Self {
        Self::new(r.code, r.cause.into_owned(), r.remedy)
    }
}

/// What a request's signature covers.
fn signed_bytes(head: &Head, body: &[u8]) -> Vec<u8> {
    encode(&(*head, Hash(*blake3::hash(direct::covered(body)).as_bytes())))
}

impl Signed {
    /// Signs a request with the key of whom `head.signer` names.
    pub fn new(head: Head, body: &Body, grant: Option<Grant>, key: &SecretKey) -> Self {
        let body = Bytes::from(encode(body));
        let signature = key.sign(REQUEST, &signed_bytes(&head, &body));
        Self { head, body, grant, signature }
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// The signature does not fit.
    pub fn check(&self, key: &PublicKey) -> Result<(), SignatureError> {
        key.verify(REQUEST, &signed_bytes(&self.head, &self.body), &self.signature)
    }

    /// The body, within its limits.
    ///
    /// # Errors
    /// Malformed bytes or a limit exceeded.
    pub fn body(&self) -> Result<Body, DecodeError> {
        let body = match direct::put_body(&self.body) {
            Some(put) => put?,
            None => decode_bounded(&self.body, MAX_MESSAGE)?,
        };
        body.check_limits()?;
        Ok(body)
    }

    /// The message that carries this request.
    pub fn message(self) -> Vec<u8> {
        encode_request(&Request::Signed(Box::new(self)))
    }
}

/// Refuses `got` over `limit`.
fn limit(got: usize, limit: usize) -> Result<(), DecodeError> {
    if got > limit { Err(DecodeError::TooLarge { got, limit }) } else { Ok(()) }
}

impl Body {
    fn check_limits(&self) -> Result<(), DecodeError> {
        let part = usize::try_from(MAX_PART).unwrap_or(usize::MAX);
        let wide = |n: &u32| usize::try_from(*n).unwrap_or(usize::MAX);
        match self {
            Self::Put { bytes, .. } => limit(bytes.len(), part),
            Self::Get { len, .. } => limit(wide(len), part),
            Self::Delete { segments } => limit(segments.len(), MAX_IDS),
            Self::Revise { remove, add, .. } => limit(remove.len(), MAX_IDS).and(limit(add.len(), MAX_IDS)),
            Self::LogAppend { entries, .. } => log::check_batch(entries),
            Self::LogRead { max_bytes, .. } => limit(wide(max_bytes), part),
            Self::NotePut(note) => note.check_limits(),
            _ => Ok(()),
        }
    }

    /// True if the slot may hold more afterwards; such requests are refused in read-only.
    pub const fn grows(&self) -> bool {
        match self {
            Self::Put { .. } | Self::LogAppend { .. } => true,
            Self::Revise { add, .. } => !add.is_empty(),
            _ => false,
        }
    }

    /// True if the request changes what the slot holds; such requests obey the fence.
    pub const fn writes(&self) -> bool {
        matches!(
            self,
            Self::Put { .. }
                | Self::Delete { .. }
                | Self::Revise { .. }
                | Self::LogAppend { .. }
                | Self::LogTruncate { .. }
                | Self::NotePut(_)
        )
    }
}

fn versioned<T: BorshSerialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    value.serialize(&mut bytes).expect("writing to memory cannot fail");
    bytes
}

fn unversioned<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, DecodeError> {
    limit(bytes.len(), MAX_MESSAGE)?;
    match bytes.split_first() {
        Some((&VERSION, rest)) => decode_bounded(rest, MAX_MESSAGE),
        Some((other, _)) => Err(DecodeError::Malformed(format!("version {other}, known is {VERSION}"))),
        None => Err(DecodeError::Malformed("an empty message".into())),
    }
}

/// Bytes of a request.
pub fn encode_request(request: &Request) -> Vec<u8> {
    versioned(request)
}

/// Bytes of an answer.
pub fn encode_reply(reply: &Result<Reply, WireError>) -> Vec<u8> {
    versioned(reply)
}

/// Limits of an answer that its decoding does not hold by itself.
fn check_reply(reply: &Result<Reply, WireError>) -> Result<(), DecodeError> {
    match reply {
        Ok(Reply::List(list)) => limit(list.entries.len(), MAX_LISTED),
        Ok(Reply::Note(Some(note))) => note.check_limits(),
        Ok(Reply::Audited(proofs)) => limit(proofs.len(), MAX_AUDITED),
        Err(e) => limit(e.code.len().max(e.cause.len()).max(e.remedy.len()), 4096),
        _ => Ok(()),
    }
}
