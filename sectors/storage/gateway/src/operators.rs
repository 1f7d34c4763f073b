//! Talking to operators: one signed request, one answer.

use crate::error::{GatewayError, ShardError};
use crate::pool::{Cargo, Pool};
use crate::ports::{ChainPort, Seat};
use bytes::Bytes;
use cairn_net::{NetError, Transport};
use cairn_storage_codec::SegmentId;
use cairn_storage_codec::wire::{self, Body, Head, Listing, LogEntry, LogPage, LogState, Reply, Request};
use cairn_storage_rules::types::{CoSigned, Fragment, SignedReceipt, Signer};
use cairn_types::{Epoch, Hash, NetworkId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The operators as the gateway reaches them.
pub struct Operators {
    transport: Arc<dyn Transport>,
    chain: Arc<dyn ChainPort>,
    network: NetworkId,
    epoch: AtomicU64,
    nonce: AtomicU64,
    buffers: Pool,
}

impl Operators {
    /// Over a transport; the epoch is read from the chain.
    ///
    /// # Errors
    /// The chain does not answer.
    pub async fn new(transport: Arc<dyn Transport>, chain: Arc<dyn ChainPort>) -> Result<Self, GatewayError> {
        let (network, epoch) = (chain.network(), chain.epoch().await?);
        let (epoch, nonce) = (AtomicU64::new(epoch.0), AtomicU64::new(0));
        Ok(Self { transport, chain, network, epoch, nonce, buffers: Pool::default() })
    }

    /// The network.
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    /// Reads the epoch again; requests are signed for it.
    ///
    /// # Errors
    /// The chain does not answer.
    pub async fn refresh_epoch(&self) -> Result<(), GatewayError> {
        self.epoch.store(self.chain.epoch().await?.0, Ordering::Relaxed);
        Ok(())
    }

    async fn ask(&self, at: &Seat, body: Body) -> Result<Reply, ShardError> {
        match self.ask_once(at, &body).await {
            Err(e) if e.code == wire::code::EXPIRED => {
                self.refresh_epoch().await.map_err(|_| ShardError::Unreachable)?;
                self.ask_once(at, &body).await.map_err(shard_error)
            }
            Err(e) if matches!(e.code.as_str(), wire::code::FENCE | wire::code::SIGNATURE) => {
                Err(self.superseded(at).await)
            }
            other => other.map_err(shard_error),
        }
    }

    /// A refused key or fence: either a newer gateway took over, or the device has not seen our own taking over yet.
    /// The chain knows.
    async fn superseded(&self, at: &Seat) -> ShardError {
        match self.chain.lease(&at.pen.lease).await {
            Ok(Some(lease)) if lease.fence > at.pen.fence => ShardError::Fenced,
            _ => ShardError::Unreachable,
        }
    }

    async fn ask_once(&self, at: &Seat, body: &Body) -> Result<Reply, wire::WireError> {
        let head = self.head(at);
        let mut buffer = self.buffers.take(wire::message_len(body));
        buffer.bytes = wire::encode_signed(std::mem::take(&mut buffer.bytes), head, body, None, &at.pen.key);
        self.exchange(at, buffer.freeze()).await
    }

    fn head(&self, at: &Seat) -> Head {
        Head {
            network: self.network,
            lease: at.pen.lease,
            slot: at.slot,
            generation: at.generation,
            fence: at.pen.fence,
            device: at.device,
            expires: Epoch(self.epoch.load(Ordering::Relaxed).saturating_add(1)),
            nonce: self.nonce.fetch_add(1, Ordering::Relaxed),
            signer: Signer::Customer,
        }
    }

    /// Room for a fragment of `len` bytes and for the message around it.
    pub(crate) fn cargo(&self, len: usize) -> Cargo {
        Cargo::new(&self.buffers, wire::PUT_FRONT, len, wire::PUT_BACK)
    }

    /// A fragment with the message that brings it to its slot.
    pub(crate) fn packet(&self, at: &Seat, segment: SegmentId, fragment: Fragment, cargo: Cargo) -> Packet {
        let len = u32::try_from(fragment.len).unwrap_or(u32::MAX);
        let (front, back) = wire::put_around(self.head(at), &segment, &fragment, len, &at.pen.key);
        let (message, bytes) = cargo.send(&front, &back);
        let message = (fragment.len <= wire::MAX_PART.into()).then_some(message);
        Packet { segment, fragment, bytes, message }
    }

    /// Brings a fragment to its slot; returns when it is whole and safe on disk.
    ///
    /// # Errors
    /// [`ShardError`]; the call may be repeated.
    pub(crate) async fn bring(&self, at: &Seat, packet: &Packet) -> Result<(), ShardError> {
        let Packet { segment, fragment, bytes, message } = packet;
        let Some(message) = message else { return self.put(at, *segment, *fragment, bytes).await };
        match self.exchange(at, message.clone()).await {
            Ok(Reply::Put { have }) if have == fragment.len => Ok(()),
            Ok(other) => Err(unexpected(&other)),
            Err(e) if matches!(e.code.as_str(), wire::code::FENCE | wire::code::SIGNATURE) => {
                Err(self.superseded(at).await)
            }
            // It is signed for an epoch that has gone.
            Err(e) if e.code == wire::code::EXPIRED => self.put(at, *segment, *fragment, bytes).await,
            Err(e) => Err(shard_error(e)),
        }
    }

    async fn exchange(&self, at: &Seat, message: Bytes) -> Result<Reply, wire::WireError> {
        let mut answer = self.transport.call(&at.endpoint, message.clone()).await;
        // Every request may be repeated; a peer that is down is not asked again.
        for _ in 0..REPEAT {
            if !matches!(answer, Err(NetError::Lost(_))) {
                break;
            }
            answer = self.transport.call(&at.endpoint, message.clone()).await;
        }
        let lost = |e: NetError| wire::WireError::new(LOST, e.to_string(), "ask again");
        let bad = |e: cairn_types::DecodeError| wire::WireError::new(LOST, e.to_string(), "ask again");
        wire::decode_reply(&answer.map_err(lost)?).map_err(bad)?
    }

    /// Who the device is and where boxes for it go; checked with its key.
    ///
    /// # Errors
    /// It does not answer, or its answer is not signed by it.
    pub async fn hello(&self, at: &Seat) -> Result<wire::Hello, ShardError> {
        let message = wire::encode_request(&Request::Hello);
        match self.exchange(at, message.into()).await.map_err(shard_error)? {
            Reply::Hello(hello) if hello.device == at.device => {
                let signed = wire::check_box_key(&hello, &at.endpoint);
                signed.map(|()| hello).map_err(|e| ShardError::Refused(e.to_string()))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Stores a fragment in parts; returns when it is whole and safe on disk.
    ///
    /// # Errors
    /// [`ShardError`]; the call may be repeated.
    pub async fn put(
        &self,
        at: &Seat,
        segment: SegmentId,
        fragment: Fragment,
        bytes: &Bytes,
    ) -> Result<(), ShardError> {
        let part = usize::try_from(wire::MAX_PART).unwrap_or(usize::MAX);
        let mut offset = 0usize;
        loop {
            let end = offset.saturating_add(part).min(bytes.len());
            let (at_byte, bytes_of_part) = (len64(offset), bytes.slice(offset..end));
            let body = Body::Put { segment, fragment, offset: at_byte, bytes: bytes_of_part };
            match self.ask(at, body).await? {
                Reply::Put { have } if have == fragment.len => return Ok(()),
                Reply::Put { have } if have == len64(end) && end < bytes.len() => offset = end,
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Reads `len` bytes at `offset` of a fragment.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn get(
        &self,
        at: &Seat,
        segment: SegmentId,
        offset: u64,
        len: u64,
    ) -> Result<Bytes, ShardError> {
        let mut out = Vec::new();
        let end = offset.saturating_add(len);
        let mut from = offset;
        while from < end {
            let part = u32::try_from(end - from).unwrap_or(u32::MAX).min(wire::MAX_PART);
            match self.ask(at, Body::Get { segment, offset: from, len: part }).await? {
                Reply::Bytes(bytes) if len64(bytes.len()) == u64::from(part) => {
                    from += u64::from(part);
                    if out.is_empty() && from == end {
                        return Ok(bytes);
                    }
                    out.extend_from_slice(&bytes);
                }
                other => return Err(unexpected(&other)),
            }
        }
        Ok(out.into())
    }

    /// Forgets staged fragments.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn delete(&self, at: &Seat, segments: Vec<SegmentId>) -> Result<(), ShardError> {
        match self.ask(at, Body::Delete { segments }).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// What the slot holds, from entry `after` on.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn list(&self, at: &Seat, staged: bool, after: u64) -> Result<Listing, ShardError> {
        match self.ask(at, Body::List { staged, after }).await? {
            Reply::List(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    /// Brings the next revision; the countersigned one comes back.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn revise(
        &self,
        at: &Seat,
        revision: CoSigned,
        remove: Vec<SegmentId>,
        add: Vec<SegmentId>,
    ) -> Result<CoSigned, ShardError> {
        match self.ask(at, Body::Revise { revision, remove, add }).await? {
            Reply::Revised(signed) => Ok(signed),
            other => Err(unexpected(&other)),
        }
    }

    /// Hands over a receipt; (bytes served, KiB receipted) as the device counts them.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn receipt(&self, at: &Seat, receipt: SignedReceipt) -> Result<(u64, u64), ShardError> {
        match self.ask(at, Body::Receipt(receipt)).await? {
            Reply::Served { served, receipted_kib } => Ok((served, receipted_kib)),
            other => Err(unexpected(&other)),
        }
    }

    /// Figures of the slot.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn status(&self, at: &Seat) -> Result<wire::Status, ShardError> {
        match self.ask(at, Body::Status).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Stores the helpers' note.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn note(&self, at: &Seat, note: wire::Note) -> Result<(), ShardError> {
        match self.ask(at, Body::NotePut(note)).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn log(&self, at: &Seat, body: Body) -> Result<LogState, ShardError> {
        match self.ask(at, body).await? {
            Reply::Log(state) => Ok(state),
            other => Err(unexpected(&other)),
        }
    }

    /// Appends log entries.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn log_append(
        &self,
        at: &Seat,
        seq: u64,
        prev: Hash,
        entries: Vec<LogEntry>,
    ) -> Result<LogState, ShardError> {
        self.log(at, Body::LogAppend { seq, prev, entries }).await
    }

    /// Where the log stands.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn log_head(&self, at: &Seat) -> Result<LogState, ShardError> {
        self.log(at, Body::LogHead).await
    }

    /// Forgets entries before `before`.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn log_truncate(&self, at: &Seat, before: u64) -> Result<LogState, ShardError> {
        self.log(at, Body::LogTruncate { before }).await
    }

    /// Entries from `from` on.
    ///
    /// # Errors
    /// [`ShardError`].
    pub async fn log_read(&self, at: &Seat, from: u64) -> Result<LogPage, ShardError> {
        match self.ask(at, Body::LogRead { from, max_bytes: wire::MAX_PART }).await? {
            Reply::Entries(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }
}

/// A fragment on its way to a slot.
pub(crate) struct Packet {
    segment: SegmentId,
    pub fragment: Fragment,
    bytes: Bytes,
    /// What brings it, where one message is enough.
    message: Option<Bytes>,
}

impl Packet {
    /// A fragment that lies alone in memory.
    pub const fn alone(segment: SegmentId, fragment: Fragment, bytes: Bytes) -> Self {
        Self { segment, fragment, bytes, message: None }
    }
}

/// How often an exchange that was lost on the way is repeated.
const REPEAT: usize = 2;
/// Local code for "no answer"; never on the wire.
const LOST: &str = "local.lost";

fn shard_error(e: wire::WireError) -> ShardError {
    match e.code.as_str() {
        LOST => ShardError::Unreachable,
        wire::code::UNKNOWN_SEGMENT | wire::code::DAMAGED => ShardError::NotFound,
        wire::code::EXPOSURE => ShardError::Exposure,
        wire::code::LOG => ShardError::Log,
        _ => ShardError::Refused(e.to_string()),
    }
}

fn unexpected(reply: &Reply) -> ShardError {
    ShardError::Refused(format!("an answer that does not fit the question ({})", kind(reply)))
}

const fn kind(reply: &Reply) -> &'static str {
    match reply {
        Reply::Bytes(_) => "bytes",
        Reply::Put { .. } => "put",
        _ => "other",
    }
}

fn len64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
