//! The asking side: a connection to the peer, one stream for each request.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use cairn_crypto::PublicKey;
use iroh::endpoint::{Connection, VarInt};
use iroh::{EndpointAddr, TransportAddr};
use tokio::time::timeout;
use tracing::debug;

use super::Inner;
use super::pool::{Slot, Way};
use super::wire::{self, ALPN, Cut, Fault, Streams};
use crate::record::{PeerRecord, now_ms};
use crate::{MAX_MESSAGE, NetError};

/// Why an exchange failed, as far as this side can tell.
enum Broken {
    /// The peer has not seen the request.
    NotSent,
    /// The peer may have carried it out.
    Lost,
    /// The peer cut the stream and said why.
    Cut(VarInt),
    /// The answer is too long.
    TooLarge(usize),
}

impl Inner {
    /// Asks once. A connection that turns out to be dead before the request left is replaced once; anything later is
    /// for the caller to decide.
    pub(super) async fn ask(&self, to: &PublicKey, request: Bytes) -> Result<Bytes, NetError> {
        let in_use = self.pool.slot(to).ok_or(NetError::Down(*to))?;
        let slot = &in_use.0;
        slot.calls.fetch_add(1, Ordering::Relaxed);
        let asked = self.ask_over(slot, to, request).await;
        if asked.is_err() {
            slot.failures.fetch_add(1, Ordering::Relaxed);
        }
        asked
    }

    async fn ask_over(&self, slot: &Slot, to: &PublicKey, request: Bytes) -> Result<Bytes, NetError> {
        let (first, reused) = self.connection(slot, to).await?;
        let ended = match exchange(&first, slot, request.clone(), self.limits.transfer).await {
            Err(Broken::NotSent) if reused => {
                slot.drop_connection(&first).await;
                let (second, _) = self.connection(slot, to).await?;
                exchange(&second, slot, request, self.limits.transfer).await
            }
            ended => ended,
        };
        match ended {
            Ok(answer) => Ok(answer),
            Err(Broken::TooLarge(got)) => Err(NetError::TooLarge { got, limit: MAX_MESSAGE }),
            Err(Broken::Cut(code)) if code == Cut::Busy.code() => Err(NetError::Down(*to)),
            Err(Broken::NotSent) => Err(NetError::Down(*to)),
            Err(Broken::Lost | Broken::Cut(_)) => Err(NetError::Lost(*to)),
        }
    }

    /// The open connection, or a new one; true if it was open already.
    async fn connection(&self, slot: &Slot, to: &PublicKey) -> Result<(Connection, bool), NetError> {
        let mut way = slot.way.lock().await;
        if let Some(open) = way.connection.as_ref().filter(|open| open.close_reason().is_none()) {
            return Ok((open.clone(), true));
        }
        way.connection = None;
        slot.show(None);
        let connection = self.dial(&mut way, to).await?;
        way.connection = Some(connection.clone());
        way.failed = None;
        slot.show(Some(connection.clone()));
        Ok((connection, false))
    }

    async fn dial(&self, way: &mut Way, to: &PublicKey) -> Result<Connection, NetError> {
        let record = self.believed(to).await?;
        let pause = self.limits.retry;
        if way.failed.is_some_and(|(when, issued)| issued == record.issued && when.elapsed() < pause) {
            return Err(NetError::Down(*to));
        }
        let target = self.target(&record).ok_or(NetError::UnknownPeer(*to))?;
        let dialled = timeout(self.limits.connect, self.socket.connect(target, ALPN)).await;
        let reason = match dialled {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer in time".to_owned(),
        };
        debug!(peer = %to, reason, "dialling failed");
        way.failed = Some((Instant::now(), record.issued));
        Err(NetError::Down(*to))
    }

    /// The peer's record, if the book has one that its key signed for this network and that holds now.
    async fn believed(&self, to: &PublicKey) -> Result<PeerRecord, NetError> {
        let unknown = NetError::UnknownPeer(*to);
        let Some(record) = self.book.lookup(to).await else { return Err(unknown) };
        if record.key != *to {
            debug!(asked = %to, got = %record.key, "the book answered with another key");
            return Err(unknown);
        }
        match record.verify(&self.network, now_ms()) {
            Ok(()) => Ok(record),
            Err(error) => {
                debug!(peer = %to, %error, "the book's record is not believed");
                Err(unknown)
            }
        }
    }

    /// Relays of the record that we know, and its addresses. `None` if the key is no point of the curve.
    fn target(&self, record: &PeerRecord) -> Option<EndpointAddr> {
        let id = iroh::PublicKey::from_bytes(&record.key.0).ok()?;
        let relays = record.relays.iter().filter_map(|url| self.relays.find(url)).map(TransportAddr::Relay);
        let addrs = record.addrs.iter().copied().map(TransportAddr::Ip);
        Some(EndpointAddr::from_parts(id, relays.chain(addrs)))
    }
}

async fn exchange(
    connection: &Connection,
    slot: &Slot,
    request: Bytes,
    pause: std::time::Duration,
) -> Result<Bytes, Broken> {
    let mut streams = Streams::new(connection.open_bi().await.map_err(|_| Broken::NotSent)?);
    slot.sent.fetch_add(count(request.len()), Ordering::Relaxed);
    let sent = wire::send(&mut streams.send, request, pause).await;
    sent.map_err(|fault| match fault {
        Fault::Reset(Some(code)) => Broken::Cut(code),
        _ => Broken::Lost,
    })?;
    let answer = match wire::length(&mut streams.recv).await {
        Ok(length) => wire::body(&mut streams.recv, length, pause).await,
        Err(fault) => Err(fault),
    };
    match answer {
        Ok(answer) => {
            slot.received.fetch_add(count(answer.len()), Ordering::Relaxed);
            streams.done();
            Ok(answer)
        }
        Err(Fault::TooLarge(got)) => {
            streams.cut(Cut::TooLarge);
            Err(Broken::TooLarge(got))
        }
        Err(Fault::Reset(Some(code))) => Err(Broken::Cut(code)),
        Err(_) => Err(Broken::Lost),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
