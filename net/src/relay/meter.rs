//! Counts and bounds what each key sends and receives through the relay.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cairn_crypto::PublicKey;
use futures::{Sink, Stream};
use iroh_relay::ExportKeyingMaterial;
use iroh_relay::protos::streams::StreamError;
use iroh_relay::server::streams::Bucket;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep_until};
use tokio_websockets::{Message, Payload, WebSocketStream};

use super::RelayLimits;

/// Most keys whose use is remembered.
pub const MAX_METERS: usize = 100_000;
/// How often a rate is refilled.
const REFILL: Duration = Duration::from_millis(100);

/// What a key has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Whose.
    pub key: PublicKey,
    /// Bytes that the relay took from it.
    pub received: u64,
    /// Bytes that the relay gave to it.
    pub sent: u64,
    /// Its open connections.
    pub connections: usize,
    /// How often it had to wait for its rate.
    pub throttled: u64,
}

/// One key's counters and rate.
pub(super) struct Meter {
    key: PublicKey,
    received: AtomicU64,
    sent: AtomicU64,
    throttled: AtomicU64,
    connections: AtomicUsize,
    bucket: Option<Mutex<Bucket>>,
}

/// The meters of all keys.
pub(super) struct Meters {
    meters: Mutex<BTreeMap<PublicKey, Arc<Meter>>>,
    bytes_per_second: u32,
    burst: u32,
}

/// A place among the relay's connections, given back with the last clone.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

/// A connection's share of a meter.
pub(super) struct Metered(Arc<Meter>);

impl Drop for Metered {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meters {
    pub(super) fn new(limits: &RelayLimits) -> Self {
        Self { meters: Mutex::default(), bytes_per_second: limits.bytes_per_second, burst: limits.burst }
    }

    /// Counts one more connection of `key`.
    pub(super) fn enter(&self, key: PublicKey) -> Metered {
        let mut meters = lock(&self.meters);
        if meters.len() >= MAX_METERS && !meters.contains_key(&key) {
            meters.retain(|_, meter| meter.connections.load(Ordering::Relaxed) > 0);
        }
        let meter = meters.entry(key).or_insert_with(|| Arc::new(self.meter(key)));
        meter.connections.fetch_add(1, Ordering::Relaxed);
        Metered(meter.clone())
    }

    fn meter(&self, key: PublicKey) -> Meter {
        // A bucket refuses a rate of less than one byte a refill; so slow a relay has no limit of use to anybody.
        let bucket = Bucket::new(self.burst.max(1).into(), self.bytes_per_second.into(), REFILL).ok();
        Meter {
            key,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            bucket: bucket.map(Mutex::new),
        }
    }

    /// Keys with open connections.
    pub(super) fn connected(&self) -> Vec<PublicKey> {
        let meters = lock(&self.meters);
        let open = meters.values().filter(|meter| meter.connections.load(Ordering::Relaxed) > 0);
        open.map(|meter| meter.key).collect()
    }

    pub(super) fn usage(&self) -> Vec<Usage> {
        let usage = |meter: &Arc<Meter>| Usage {
            key: meter.key,
            received: meter.received.load(Ordering::Relaxed),
            sent: meter.sent.load(Ordering::Relaxed),
            connections: meter.connections.load(Ordering::Relaxed),
            throttled: meter.throttled.load(Ordering::Relaxed),
        };
        lock(&self.meters).values().map(usage).collect()
    }
}

impl Meter {
    /// Counts what came in; says until when its sender has to wait.
    fn take(&self, length: usize) -> Option<tokio::time::Instant> {
        self.received.fetch_add(count(length), Ordering::Relaxed);
        let until = lock(self.bucket.as_ref()?).consume(length).err()?;
        self.throttled.fetch_add(1, Ordering::Relaxed);
        Some(until)
    }
}

/// A client's websocket as the relay protocol wants it: a stream and a sink of bytes, metered from admission on.
pub(super) struct Framed<T> {
    io: WebSocketStream<T>,
    metered: Option<Metered>,
    /// Held as long as the connection lives.
    place: Option<Place>,
    /// A frame that came too early for its sender's rate, and when it may pass.
    held: Option<(Bytes, Pin<Box<Sleep>>)>,
}

impl<T> Framed<T> {
    pub(super) fn new(io: WebSocketStream<T>) -> Self {
        Self { io, metered: None, place: None, held: None }
    }

    pub(super) fn meter(&mut self, metered: Metered, place: Place) {
        self.metered = Some(metered);
        self.place = Some(place);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Framed<T> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        loop {
            match ready!(Pin::new(&mut self.io).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(StreamError::from_std(error)))),
                Some(Ok(message)) if message.is_close() => return Poll::Ready(None),
                Some(Ok(message)) if message.is_binary() => {
                    return Poll::Ready(Some(Ok(message.into_payload().into())));
                }
                // Pings are answered beneath; text means nothing here.
                Some(Ok(_)) => {}
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for Framed<T> {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some((_, until)) = &mut this.held {
                ready!(until.as_mut().poll(cx));
                return Poll::Ready(this.held.take().map(|(frame, _)| Ok(frame)));
            }
            let frame = match ready!(this.poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match this.metered.as_ref().and_then(|metered| metered.0.take(frame.len())) {
                Some(until) => this.held = Some((frame, Box::pin(sleep_until(until)))),
                None => return Poll::Ready(Some(Ok(frame))),
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Sink<Bytes> for Framed<T> {
    type Error = StreamError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.io).poll_ready(cx).map_err(StreamError::from_std)
    }

    fn start_send(mut self: Pin<&mut Self>, bytes: Bytes) -> Result<(), StreamError> {
        if let Some(metered) = &self.metered {
            metered.0.sent.fetch_add(count(bytes.len()), Ordering::Relaxed);
        }
        let message = Message::binary(Payload::from(bytes));
        Pin::new(&mut self.io).start_send(message).map_err(StreamError::from_std)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.io).poll_flush(cx).map_err(StreamError::from_std)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.io).poll_close(cx).map_err(StreamError::from_std)
    }
}

impl<T> ExportKeyingMaterial for Framed<T> {
    /// Nothing: clients then prove their key by signing a challenge, one round trip more, and the relay works behind
    /// any proxy that ends TLS.
    fn export_keying_material<U: AsMut<[u8]>>(&self, _: U, _: &[u8], _: Option<&[u8]>) -> Option<U> {
        None
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every value behind these locks is valid after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meters(bytes_per_second: u32) -> Meters {
        Meters::new(&RelayLimits { bytes_per_second, burst: 1000, ..RelayLimits::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn all_connections_of_a_key_share_one_rate() {
        let meters = meters(1000);
        let (key, other) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let (first, second, third) = (meters.enter(key), meters.enter(key), meters.enter(other));
        assert_eq!(first.0.take(600), None);
        let now = tokio::time::Instant::now();
        let until = second.0.take(600).unwrap();
        assert!(until > now && until <= now + Duration::from_secs(1));
        assert_eq!(third.0.take(600), None);
        drop(first);
        let usage = meters.usage();
        assert_eq!((usage[0].received, usage[0].connections, usage[0].throttled), (1200, 1, 1));
        assert_eq!((usage[1].received, usage[1].connections, usage[1].throttled), (600, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_is_no_limit() {
        let meter = meters(0).enter(PublicKey([1; 32]));
        for _ in 0..100 {
            assert_eq!(meter.0.take(1 << 20), None);
        }
    }
}
