//! Connections to the peers that we ask: opened once, shared by all calls, closed when idle.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cairn_crypto::PublicKey;
use iroh::endpoint::Connection;
use tokio::sync::Mutex as AsyncMutex;

use super::wire::Cut;

/// What is known of the way to one peer.
#[derive(Default)]
pub(crate) struct Way {
    pub(crate) connection: Option<Connection>,
    /// When dialling failed last, and the `issued` of the record that was tried.
    pub(crate) failed: Option<(Instant, u64)>,
}

/// One peer's place in the pool. Whoever holds `way` dials; the others wait for the outcome.
pub(crate) struct Slot {
    pub(crate) way: AsyncMutex<Way>,
    /// The open connection once more, for looking at without waiting for a dial.
    shown: Mutex<Option<Connection>>,
    in_flight: AtomicUsize,
    last_used: Mutex<Instant>,
    pub(crate) calls: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

/// Marks a slot as in use while it lives.
pub(crate) struct InUse(pub(crate) Arc<Slot>);

impl InUse {
    fn new(slot: &Arc<Slot>) -> Self {
        slot.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(slot.clone())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *lock(&self.0.last_used) = Instant::now();
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            way: AsyncMutex::default(),
            shown: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            last_used: Mutex::new(Instant::now()),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        (self.in_flight.load(Ordering::SeqCst) == 0).then(|| *lock(&self.last_used))
    }

    pub(crate) fn show(&self, connection: Option<Connection>) {
        *lock(&self.shown) = connection;
    }

    pub(crate) fn shown(&self) -> Option<Connection> {
        lock(&self.shown).clone()
    }

    /// Gives up `broken` unless another one took its place already.
    pub(crate) async fn drop_connection(&self, broken: &Connection) {
        let mut way = self.way.lock().await;
        if way.connection.as_ref().is_some_and(|open| open.stable_id() == broken.stable_id()) {
            way.connection = None;
            self.show(None);
        }
    }
}

/// All slots, at most `most` of them.
pub(crate) struct Pool {
    slots: Mutex<BTreeMap<PublicKey, Arc<Slot>>>,
    most: usize,
}

impl Pool {
    pub(crate) fn new(most: usize) -> Self {
        Self { slots: Mutex::default(), most }
    }

    /// The slot of `key`, made if needed. `None` when all places are taken by calls in flight.
    pub(crate) fn slot(&self, key: &PublicKey) -> Option<InUse> {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(key) {
            return Some(InUse::new(slot));
        }
        if slots.len() >= self.most {
            let idle = slots.iter().filter_map(|(key, slot)| Some((slot.idle_since()?, *key)));
            let (_, longest) = idle.min()?;
            close(slots.remove(&longest));
        }
        let slot = Arc::new(Slot::new());
        let in_use = InUse::new(&slot);
        slots.insert(*key, slot);
        Some(in_use)
    }

    /// The slot of `key` if there is one.
    pub(crate) fn find(&self, key: &PublicKey) -> Option<Arc<Slot>> {
        lock(&self.slots).get(key).cloned()
    }

    /// All slots.
    pub(crate) fn all(&self) -> Vec<(PublicKey, Arc<Slot>)> {
        lock(&self.slots).iter().map(|(key, slot)| (*key, slot.clone())).collect()
    }

    /// Closes what carried no call for `idle`.
    pub(crate) fn sweep(&self, idle: Duration) {
        let mut slots = lock(&self.slots);
        let unused = |slot: &Arc<Slot>| slot.idle_since().is_some_and(|since| since.elapsed() >= idle);
        let old: Vec<PublicKey> =
            slots.iter().filter(|(_, slot)| unused(slot)).map(|(key, _)| *key).collect();
        for key in old {
            close(slots.remove(&key));
        }
    }
}

fn close(slot: Option<Arc<Slot>>) {
    if let Some(connection) = slot.and_then(|slot| slot.shown()) {
        connection.close(Cut::Closing.code(), b"idle");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every value behind these locks is valid after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> PublicKey {
        PublicKey([number; 32])
    }

    #[test]
    fn a_full_pool_gives_up_the_longest_idle_peer_and_none_in_use() {
        let pool = Pool::new(2);
        let first = pool.slot(&key(1)).unwrap();
        let second = pool.slot(&key(2)).unwrap();
        assert!(pool.slot(&key(3)).is_none());
        drop(second);
        assert!(pool.slot(&key(3)).is_some());
        assert!(pool.find(&key(2)).is_none());
        assert!(pool.find(&key(1)).is_some());
        drop(first);
    }

    #[test]
    fn a_sweep_spares_what_is_in_use() {
        let pool = Pool::new(9);
        let used = pool.slot(&key(1)).unwrap();
        drop(pool.slot(&key(2)));
        pool.sweep(Duration::from_secs(3600));
        assert_eq!(pool.all().len(), 2);
        pool.sweep(Duration::ZERO);
        assert_eq!(pool.all().iter().map(|(key, _)| *key).collect::<Vec<_>>(), [key(1)]);
        drop(used);
    }
}
