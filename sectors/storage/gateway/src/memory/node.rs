//! An operator in memory: speaks the wire format, keeps what it is given, and can be made to lie.

use super::MemoryChain;
use crate::volume::lock;
use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::keys::{PublicKey, SecretKey};
use cairn_net::Service;
use cairn_storage_codec::SegmentId;
use cairn_storage_codec::wire::{
    self, Body, Held, Listing, LogEntry, LogPage, LogState, Reply, Request, Signed, SlotList, Status,
    WireError, code, entry_hash,
};
use cairn_storage_rules::types::{CoSigned, Fragment};
use cairn_types::{DeviceId, Hash, LeaseId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Bytes of a fragment with what was announced of it.
#[derive(Clone, Default)]
struct Piece {
    bytes: Vec<u8>,
    fragment: Option<Fragment>,
}

#[derive(Default)]
struct SlotMem {
    fence: u64,
    pieces: BTreeMap<SegmentId, Piece>,
    list: SlotList,
    standing: Option<CoSigned>,
    first: u64,
    log: BTreeMap<u64, (u64, Hash, LogEntry)>,
    served: u64,
    receipted_kib: u64,
}

type SlotKey = (LeaseId, u16, u32);

/// An operator's device.
pub struct MemoryNode {
    chain: Arc<MemoryChain>,
    device: DeviceId,
    secret: SecretKey,
    slots: Mutex<BTreeMap<SlotKey, SlotMem>>,
    /// Bytes without receipt, and staged bytes, that are taken on trust.
    exposure: Mutex<u64>,
}

fn refuse(code: &str, cause: &str) -> WireError {
    WireError::new(code, cause, "look at the test")
}

impl MemoryNode {
    /// Device `number` of the chain.
    pub fn new(chain: Arc<MemoryChain>, number: u16) -> Self {
        let device = chain.device(number);
        let secret = MemoryChain::device_key(number);
        Self { chain, device, secret, slots: Mutex::default(), exposure: Mutex::new(16 << 20) }
    }
    /// Where it is reached.
    pub fn key(&self) -> PublicKey {
        self.secret.public()
    }
    /// Its device.
    pub const fn device(&self) -> DeviceId {
        self.device
    }
    /// Sets how many bytes it takes or serves on trust.
    pub fn set_exposure(&self, bytes: u64) {
        *lock(&self.exposure) = bytes;
    }
    /// Flips a bit in every fragment; the number of fragments.
    pub fn corrupt(&self) -> usize {
        let mut slots = lock(&self.slots);
        let pieces = slots.values_mut().flat_map(|s| s.pieces.values_mut());
        pieces.filter_map(|p| p.bytes.first_mut()).map(|b| *b ^= 1).count()
    }
    /// Loses every fragment; the number of fragments.
    pub fn lose(&self) -> usize {
        let mut slots = lock(&self.slots);
        slots.values_mut().map(|s| std::mem::take(&mut s.pieces).len()).sum()
    }
    /// Fragments held.
    pub fn fragments(&self) -> usize {
        lock(&self.slots).values().map(|s| s.pieces.len()).sum()
    }
    /// Fragments under a revision.
    pub fn agreed(&self) -> usize {
        lock(&self.slots).values().map(|s| s.list.held().len()).sum()
    }
    /// KiB receipted over all slots.
    pub fn receipted_kib(&self) -> u64 {
        lock(&self.slots).values().map(|s| s.receipted_kib).sum()
    }
    /// Log entries held over all slots.
    pub fn log_entries(&self) -> usize {
        lock(&self.slots).values().map(|s| s.log.len()).sum()
    }

    fn answer(&self, request: &[u8]) -> Result<Reply, WireError> {
        let bad = |e: cairn_types::DecodeError| refuse(code::MALFORMED, &e.to_string());
        let signed = match wire::decode_request(&Bytes::copy_from_slice(request)).map_err(bad)? {
            Request::Hello => {
                return Ok(Reply::Hello(wire::sign_box_key(
                    cairn_types::NetworkId([5; 32]),
                    self.device,
                    &self.secret,
                )));
            }
            Request::Signed(signed) => signed,
            Request::Audit(_) => return Err(refuse(code::AUDIT, "nobody is drawn in memory")),
        };
        self.check(&signed)?;
        let body = signed.body().map_err(bad)?;
        let key = (signed.head.lease, signed.head.slot, signed.head.generation);
        let mut slots = lock(&self.slots);
        let slot = slots.entry(key).or_default();
        if body.writes() {
            if signed.head.fence < slot.fence {
                return Err(refuse(code::FENCE, "a higher fence was seen"));
            }
            slot.fence = signed.head.fence;
        }
        self.act(slot, signed.head.fence, body)
    }

    fn check(&self, signed: &Signed) -> Result<(), WireError> {
        let lease =
            self.chain.find(&signed.head.lease).ok_or_else(|| refuse(code::NOT_YOUR_SLOT, "no lease"))?;
        let slot = lease.slots.get(usize::from(signed.head.slot));
        let ours = slot.is_some_and(|s| s.device == self.device && s.generation == signed.head.generation);
        if !ours || signed.head.device != self.device {
            return Err(refuse(code::NOT_YOUR_SLOT, "not our slot"));
        }
        let now = self.chain.now().0;
        if signed.head.expires.0 < now || signed.head.expires.0 > now + wire::MAX_LIFE {
            return Err(refuse(code::EXPIRED, "expired"));
        }
        signed.check(&lease.key).map_err(|_| refuse(code::SIGNATURE, "not the lease's key"))
    }

    fn act(&self, slot: &mut SlotMem, fence: u64, body: Body) -> Result<Reply, WireError> {
        let exposure = *lock(&self.exposure);
        match body {
            Body::Put { segment, fragment, offset, bytes } => {
                put(slot, exposure, segment, fragment, offset, &bytes)
            }
            Body::Get { segment, offset, len } => get(slot, exposure, segment, offset, len),
            Body::Delete { segments } => {
                for id in segments.iter().filter(|id| slot.list.get(id).is_none()) {
                    slot.pieces.remove(id);
                }
                Ok(Reply::Done)
            }
            Body::List { staged, after } => Ok(list(slot, staged, after)),
            Body::Revise { revision, remove, add } => self.revise(slot, revision, &remove, &add),
            Body::Receipt(receipt) => {
                slot.receipted_kib = slot.receipted_kib.max(receipt.receipt.served_kib);
                Ok(Reply::Served { served: slot.served, receipted_kib: slot.receipted_kib })
            }
            Body::LogAppend { seq, prev, entries } => log_append(slot, fence, seq, prev, entries),
            Body::LogHead => Ok(Reply::Log(log_state(slot))),
            Body::LogRead { from, max_bytes } => log_read(slot, from, max_bytes),
            Body::LogTruncate { before } => {
                slot.log = slot.log.split_off(&before);
                slot.first = slot.first.max(before);
                Ok(Reply::Log(log_state(slot)))
            }
            Body::Status => Ok(Reply::Status(Status {
                fence: slot.fence,
                revision: slot.standing.clone(),
                exposure,
                served: slot.served,
                receipted_kib: slot.receipted_kib,
                ..Status::default()
            })),
            Body::NotePut(_) => Ok(Reply::Done),
            Body::NoteGet => Ok(Reply::Note(None)),
            Body::Confirm(_) => Err(refuse(code::REPAIR, "no agent")),
        }
    }

    fn revise(
        &self,
        slot: &mut SlotMem,
        revision: CoSigned,
        remove: &[SegmentId],
        add: &[SegmentId],
    ) -> Result<Reply, WireError> {
        let mut held = Vec::new();
        for id in add {
            let fragment = slot.pieces.get(id).and_then(|p| p.fragment);
            let fragment = fragment.ok_or_else(|| refuse(code::UNKNOWN_SEGMENT, "not staged"))?;
            held.push(Held { segment: *id, fragment });
        }
        let mut list = slot.list.clone();
        list.apply(remove, &held).map_err(|e| refuse(code::REVISION, &e.to_string()))?;
        let order = slot.standing.as_ref().map(|s| s.revision.order());
        if list.root() != revision.revision.tree || order.is_some_and(|o| o >= revision.revision.order()) {
            return Err(refuse(code::REVISION, "the revision does not follow"));
        }
        for id in remove {
            slot.pieces.remove(id);
        }
        let signed = revision.accept(&self.secret);
        (slot.list, slot.standing) = (list, Some(signed.clone()));
        Ok(Reply::Revised(signed))
    }
}

fn put(
    slot: &mut SlotMem,
    exposure: u64,
    segment: SegmentId,
    fragment: Fragment,
    offset: u64,
    bytes: &[u8],
) -> Result<Reply, WireError> {
    let staged: u64 = slot
        .pieces
        .iter()
        .filter(|(id, _)| slot.list.get(id).is_none())
        .map(|(_, p)| len64(p.bytes.len()))
        .sum();
    if staged.saturating_add(len64(bytes.len())) > exposure {
        return Err(refuse(code::EXPOSURE, "too much is staged"));
    }
    let piece = slot.pieces.entry(segment).or_default();
    if piece.fragment.is_some_and(|f| f != fragment) {
        return Err(refuse(code::FRAGMENT, "another fragment of this segment is here"));
    }
    if len64(piece.bytes.len()) == offset {
        piece.bytes.extend_from_slice(bytes);
    }
    if len64(piece.bytes.len()) == fragment.len {
        if Hash(*blake3::hash(&piece.bytes).as_bytes()) != fragment.root {
            slot.pieces.remove(&segment);
            return Err(refuse(code::FRAGMENT, "the bytes do not fit the root"));
        }
        piece.fragment = Some(fragment);
    }
    Ok(Reply::Put { have: len64(piece.bytes.len()) })
}

fn get(
    slot: &mut SlotMem,
    exposure: u64,
    segment: SegmentId,
    offset: u64,
    len: u32,
) -> Result<Reply, WireError> {
    if slot.served.saturating_sub(slot.receipted_kib << 10).saturating_add(len.into()) > exposure {
        return Err(refuse(code::EXPOSURE, "a receipt is due"));
    }
    let piece = slot.pieces.get(&segment).ok_or_else(|| refuse(code::UNKNOWN_SEGMENT, "not held"))?;
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    let to = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
    let bytes = piece.bytes.get(from..to).ok_or_else(|| refuse(code::MALFORMED, "outside"))?;
    slot.served += u64::from(len);
    Ok(Reply::Bytes(Bytes::copy_from_slice(bytes)))
}

fn list(slot: &SlotMem, staged: bool, after: u64) -> Reply {
    let all: Vec<Held> = if staged {
        let staged = slot.pieces.iter().filter(|(id, _)| slot.list.get(id).is_none());
        staged.filter_map(|(id, p)| p.fragment.map(|fragment| Held { segment: *id, fragment })).collect()
    } else {
        slot.list.held().to_vec()
    };
    let skip = usize::try_from(after).unwrap_or(usize::MAX);
    let total = len64(all.len());
    Reply::List(Listing {
        revision: slot.standing.clone(),
        total,
        entries: all.into_iter().skip(skip).collect(),
    })
}

fn log_state(slot: &SlotMem) -> LogState {
    let (next, head) = slot.log.last_key_value().map_or((slot.first, Hash::default()), |(s, e)| (s + 1, e.1));
    LogState { first: slot.first, next, head, bytes: 0, checkpoint: 0 }
}

fn log_append(
    slot: &mut SlotMem,
    fence: u64,
    seq: u64,
    prev: Hash,
    entries: Vec<LogEntry>,
) -> Result<Reply, WireError> {
    let gap = seq > log_state(slot).next;
    if gap && !entries.iter().any(|e| e.checkpoint == Some(seq)) {
        return Err(refuse(code::LOG, "a gap"));
    }
    if gap {
        slot.log.clear();
        slot.first = seq;
    }
    let before = seq.checked_sub(1).and_then(|s| slot.log.get(&s)).map(|e| e.1);
    if before.is_some_and(|b| b != prev) {
        return Err(refuse(code::LOG, "does not follow"));
    }
    let mut hash = prev;
    for (seq, entry) in (seq..).zip(entries) {
        hash = entry_hash(&hash, seq, &entry);
        match slot.log.get(&seq) {
            Some((_, old, _)) if *old == hash => continue,
            Some((old, _, _)) if *old >= fence => return Err(refuse(code::LOG, "another entry stands here")),
            _ => {}
        }
        slot.log.split_off(&seq);
        slot.log.insert(seq, (fence, hash, entry));
    }
    Ok(Reply::Log(log_state(slot)))
}

fn log_read(slot: &SlotMem, from: u64, max_bytes: u32) -> Result<Reply, WireError> {
    if from < slot.first {
        return Err(refuse(code::LOG, "truncated"));
    }
    let prev = from.checked_sub(1).and_then(|s| slot.log.get(&s)).map(|e| e.1).unwrap_or_default();
    let (mut left, mut entries) = (usize::try_from(max_bytes).unwrap_or(usize::MAX), Vec::new());
    for (_, (_, _, entry)) in slot.log.range(from..).take(8) {
        let size = entry.private.len() + entry.repair.iter().map(Vec::len).sum::<usize>();
        if size > left && !entries.is_empty() {
            break;
        }
        left = left.saturating_sub(size);
        entries.push(entry.clone());
    }
    Ok(Reply::Entries(LogPage { seq: from, prev, entries, state: log_state(slot) }))
}

fn len64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[async_trait]
impl Service for MemoryNode {
    async fn serve(&self, _: PublicKey, request: Bytes) -> Bytes {
        wire::encode_reply(&self.answer(&request)).into()
    }
}
