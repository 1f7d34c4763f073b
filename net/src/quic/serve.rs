//! The answering side: who may have how much open at once, and what happens to those who misbehave.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cairn_crypto::PublicKey;
use iroh::Endpoint as Socket;
use iroh::endpoint::{Connection, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::config::Limits;
use super::stats::{PeerStats, path_of};
use super::wire::{self, Cut, Fault, Streams};
use crate::{Service, check_size};

/// Unit of the budgets of bytes, so that they fit the 32 bits of a semaphore's permits.
const BUDGET_UNIT: usize = 4 << 10;

/// What all connections of one key share.
struct Gate {
    key: PublicKey,
    connections: Mutex<Vec<Connection>>,
    bytes: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    requests: AtomicU64,
    refused: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// All gates, and what all keys share.
pub(super) struct Gates {
    limits: Limits,
    gates: Mutex<BTreeMap<PublicKey, Arc<Gate>>>,
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// A connection's place at its gate; gives it back when dropped.
struct Entered {
    gates: Arc<Gates>,
    gate: Arc<Gate>,
    id: usize,
}

impl Gates {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            gates: Mutex::default(),
            connections: Arc::new(Semaphore::new(limits.connections)),
            requests: Arc::new(Semaphore::new(limits.requests)),
            bytes: Arc::new(Semaphore::new(limits.message_bytes / BUDGET_UNIT)),
        }
    }

    /// Lets a connection in, unless its key has too many.
    fn enter(self: &Arc<Self>, key: PublicKey, connection: &Connection) -> Option<Entered> {
        let mut gates = lock(&self.gates);
        let gate = gates.entry(key).or_insert_with(|| Arc::new(Gate::new(key, &self.limits)));
        let mut connections = lock(&gate.connections);
        if connections.len() >= self.limits.connections_per_key {
            return None;
        }
        connections.push(connection.clone());
        drop(connections);
        Some(Entered { gates: self.clone(), gate: gate.clone(), id: connection.stable_id() })
    }

    pub(super) fn stats(&self) -> Vec<PeerStats> {
        lock(&self.gates).values().map(|gate| gate.stats()).collect()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut gates = lock(&self.gates.gates);
        let mut connections = lock(&self.gate.connections);
        connections.retain(|connection| connection.stable_id() != self.id);
        if connections.is_empty() {
            gates.remove(&self.gate.key);
        }
    }
}

impl Gate {
    fn new(key: PublicKey, limits: &Limits) -> Self {
        Self {
            key,
            connections: Mutex::default(),
            bytes: Arc::new(Semaphore::new(limits.bytes_per_key() / BUDGET_UNIT)),
            turns: Arc::new(Semaphore::new(
                usize::try_from(limits.streams_per_key).unwrap_or(usize::MAX >> 3),
            )),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    fn stats(&self) -> PeerStats {
        let newest = lock(&self.connections).last().cloned();
        let (path, rtt) = newest.as_ref().map(path_of).unwrap_or_default();
        PeerStats {
            key: self.key,
            inbound: true,
            path,
            rtt,
            calls: self.requests.load(Ordering::Relaxed),
            failures: self.refused.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
        }
    }
}

/// Accepts connections until the socket closes.
pub(super) async fn accept(socket: Socket, gates: Arc<Gates>, service: Arc<dyn Service>) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = socket.accept().await {
        while connections.try_join_next().is_some() {}
        let Ok(place) = gates.connections.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let (gates, service) = (gates.clone(), service.clone());
        connections.spawn(async move {
            serve_connection(incoming, &gates, service).await;
            drop(place);
        });
    }
}

async fn serve_connection(incoming: Incoming, gates: &Arc<Gates>, service: Arc<dyn Service>) {
    let Ok(accepting) = incoming.accept() else { return };
    let Ok(Ok(connection)) = timeout(gates.limits.connect, accepting).await else { return };
    let from = PublicKey(*connection.remote_id().as_bytes());
    let Some(entered) = gates.enter(from, &connection) else {
        connection.close(Cut::Busy.code(), b"too many connections of this key");
        return;
    };
    let mut requests = JoinSet::new();
    loop {
        while requests.try_join_next().is_some() {}
        // The number of open streams is held by the transport: a peer that has all of them open cannot open more.
        let streams = match timeout(gates.limits.idle.saturating_mul(2), connection.accept_bi()).await {
            Ok(Ok(streams)) => streams,
            Err(_) if !requests.is_empty() => continue,
            // The asking side closes what it does not use in half of that time.
            Err(_) => break connection.close(Cut::Closing.code(), b"idle"),
            Ok(Err(_)) => break,
        };
        let request = Request {
            gates: gates.clone(),
            gate: entered.gate.clone(),
            connection: connection.clone(),
            service: service.clone(),
            from,
        };
        requests.spawn(request.serve(Streams::new(streams)));
    }
    debug!(peer = %from, "connection ended");
}

/// One request in work.
struct Request {
    gates: Arc<Gates>,
    gate: Arc<Gate>,
    connection: Connection,
    service: Arc<dyn Service>,
    from: PublicKey,
}

impl Request {
    async fn serve(self, mut streams: Streams) {
        match self.answer(&mut streams).await {
            Ok(()) => {
                self.gate.requests.fetch_add(1, Ordering::Relaxed);
                streams.done();
            }
            Err(cut) => {
                self.gate.refused.fetch_add(1, Ordering::Relaxed);
                debug!(peer = %self.from, ?cut, "request cut");
                streams.cut(cut);
                if matches!(cut, Cut::TooLarge | Cut::Malformed) {
                    // Whoever breaks the protocol loses the connection, and with it all that it has open.
                    self.connection.close(cut.code(), b"protocol broken");
                }
            }
        }
    }

    async fn answer(&self, streams: &mut Streams) -> Result<(), Cut> {
        let limits = &self.gates.limits;
        let length = timeout(limits.pause, wire::length(&mut streams.recv)).await.map_err(|_| Cut::Slow)?;
        let length = length.map_err(fault)?;
        let room = self.room(length).await?;
        let body = wire::body(&mut streams.recv, length, limits.pause);
        let request = timeout(limits.transfer, body).await.map_err(|_| Cut::Slow)?.map_err(fault)?;
        self.gate.received.fetch_add(count(length), Ordering::Relaxed);
        let own_turn = wait(limits.transfer, self.gate.turns.clone().acquire_owned()).await?;
        let turn = wait(limits.transfer, self.gates.requests.clone().acquire_owned()).await?;
        let answer = tokio::select! {
            answer = self.service.serve(self.from, request) => answer,
            // The peer gave up: what it asked for is dropped half way.
            _ = streams.send.stopped() => return Err(Cut::Cancelled),
        };
        drop(room);
        check_size(&answer).map_err(|_| Cut::TooLarge)?;
        // The turn is kept until there is room, so that answers in memory are bounded, and no longer: an asker that does
        // not take its answer must not take the others' turns.
        let room = self.room(answer.len()).await?;
        drop(turn);
        self.send(streams, answer).await?;
        drop((room, own_turn));
        Ok(())
    }

    /// Memory for a message: first of the key's own share, so that a waiting key holds nothing of the others'.
    async fn room(&self, length: usize) -> Result<[OwnedSemaphorePermit; 2], Cut> {
        let longest = self.gates.limits.transfer;
        let units = u32::try_from(length.div_ceil(BUDGET_UNIT)).map_err(|_| Cut::TooLarge)?;
        let own = wait(longest, self.gate.bytes.clone().acquire_many_owned(units)).await?;
        let all = wait(longest, self.gates.bytes.clone().acquire_many_owned(units)).await?;
        Ok([own, all])
    }

    async fn send(&self, streams: &mut Streams, answer: Bytes) -> Result<(), Cut> {
        let (length, limits) = (answer.len(), &self.gates.limits);
        let sent = timeout(limits.transfer, wire::send(&mut streams.send, answer, limits.pause)).await;
        sent.map_err(|_| Cut::Slow)?.map_err(fault)?;
        self.gate.sent.fetch_add(count(length), Ordering::Relaxed);
        Ok(())
    }
}

/// Waits for a permit, at most for `longest`.
async fn wait<T, E>(longest: Duration, permit: impl Future<Output = Result<T, E>>) -> Result<T, Cut> {
    timeout(longest, permit).await.map_err(|_| Cut::Busy)?.map_err(|_| Cut::Closing)
}

fn fault(fault: Fault) -> Cut {
    match fault {
        Fault::TooLarge(_) => Cut::TooLarge,
        Fault::Short => Cut::Malformed,
        Fault::Stalled => Cut::Slow,
        Fault::Reset(_) => Cut::Cancelled,
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every value behind these locks is valid after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
