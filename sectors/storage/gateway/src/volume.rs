//! Segments at the operators: storing, reading, receipts, revisions and healing.
//!
//! A segment counts as stored once every slot has it on disk, or, where slots do not answer in time
//! ([`VolumeLimits::tail`]), once at least `k + ceil((n - k) / 2)` have ([`need`]): 8 at 4 of 12. The slots left out are
//! written to the index and healed in the background, so a segment of a healthy lease survives the loss of any n - k
//! operators, and one written while some were down or slow survives the loss of n - k counting those. One
//! slow operator costs one request `tail`, and those after it `grace`.

mod budget;
mod heal;
pub mod lease;
mod put;
mod read;
mod revise;

use budget::Budgets;
pub use lease::Lease;
pub use put::{Ready, Writer, need, segment_plain};
pub use revise::Flushed;

use crate::error::GatewayError;
use crate::index::{Index, chunks_of};
use crate::operators::Operators;
use crate::ports::{ChainPort, Seat};
use crate::record::Stored;
use cairn_storage_codec::{SegmentId, SegmentMeta, StorageKeys};
use cairn_types::{DeviceId, LeaseId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// Limits of a volume.
#[derive(Clone, Copy, Debug)]
pub struct VolumeLimits {
    /// How long one slot may take for a write.
    pub put: Duration,
    /// How long one slot may take for a read.
    pub get: Duration,
    /// How long a slot that failed before is waited for once enough others are done.
    pub grace: Duration,
    /// How long any slot is waited for once enough others are done; one that is later counts as failed.
    pub tail: Duration,
    /// Bytes of fragments and of the messages that carry them that may be in memory at once.
    pub memory: u64,
    /// Bytes of bodies that may wait to be sealed.
    pub bodies: u64,
    /// Bytes of segments that may be read, or be read and not yet taken by the client.
    pub answers: u64,
    /// Receipts are sent after this many KiB served by a slot; half of what an operator serves on trust.
    pub receipt_kib: u64,
    /// Most KiB that an operator serves or takes on trust ([`cairn_storage_rules::types::Params::exposure_kib`]).
    pub exposure_kib: u64,
}

impl Default for VolumeLimits {
    fn default() -> Self {
        Self {
            put: Duration::from_secs(10),
            get: Duration::from_secs(4),
            grace: Duration::from_millis(30),
            tail: Duration::from_millis(500),
            memory: 128 << 20,
            bodies: 64 << 20,
            answers: 96 << 20,
            receipt_kib: 4 << 10,
            exposure_kib: 16 << 10,
        }
    }
}

/// KiB served by a slot in a generation.
#[derive(Clone, Copy, Debug, Default)]
struct Served {
    /// Bytes since the base.
    bytes: u64,
    /// KiB receipted before this gateway began.
    base_kib: u64,
    /// KiB of the last receipt.
    receipted_kib: u64,
    /// The base was read from the device.
    known: bool,
}

/// One revision of a slot at a time.
type Gate = Arc<tokio::sync::Mutex<Option<revise::SlotState>>>;

/// The data leases of a customer.
pub struct Volume {
    operators: Arc<Operators>,
    chain: Arc<dyn ChainPort>,
    keys: StorageKeys,
    index: Arc<RwLock<Index>>,
    limits: VolumeLimits,
    leases: RwLock<BTreeMap<LeaseId, Arc<Lease>>>,
    log_paid: AtomicBool,
    budgets: Budgets,
    /// Chunks on each slot of a lease that segments being filled will take.
    claims: Arc<Mutex<BTreeMap<LeaseId, u64>>>,
    /// Uploaded, not yet in the index.
    pending: Mutex<BTreeMap<SegmentId, Stored>>,
    /// Not needed any more, to be deleted where they are staged.
    garbage: Mutex<BTreeMap<LeaseId, BTreeSet<SegmentId>>>,
    /// Fragments that a read found missing or wrong.
    doubtful: Mutex<BTreeSet<(SegmentId, u16)>>,
    /// Devices that failed at the last try.
    slow: Mutex<BTreeSet<DeviceId>>,
    served: Mutex<BTreeMap<(LeaseId, u16, u32), Served>>,
    slots: Mutex<BTreeMap<(LeaseId, u16, u32), Gate>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the value valid; a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
pub(crate) fn read<T>(rw: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    rw.read().unwrap_or_else(PoisonError::into_inner)
}
pub(crate) fn write<T>(rw: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    rw.write().unwrap_or_else(PoisonError::into_inner)
}

impl Volume {
    /// A volume without leases.
    pub fn new(
        operators: Arc<Operators>,
        chain: Arc<dyn ChainPort>,
        keys: StorageKeys,
        index: Arc<RwLock<Index>>,
        limits: VolumeLimits,
    ) -> Self {
        Self {
            operators,
            chain,
            keys,
            index,
            limits,
            leases: RwLock::default(),
            log_paid: AtomicBool::new(true),
            budgets: Budgets::new(&limits),
            claims: Arc::default(),
            pending: Mutex::default(),
            garbage: Mutex::default(),
            doubtful: Mutex::default(),
            slow: Mutex::default(),
            served: Mutex::default(),
            slots: Mutex::default(),
        }
    }

    /// Adds or replaces a lease.
    pub fn add_lease(&self, lease: Lease) {
        write(&self.leases).insert(lease.id(), Arc::new(lease));
    }

    /// The leases.
    pub fn leases(&self) -> Vec<Arc<Lease>> {
        read(&self.leases).values().cloned().collect()
    }

    /// A lease.
    ///
    /// # Errors
    /// It ended.
    pub fn lease(&self, id: &LeaseId) -> Result<Arc<Lease>, GatewayError> {
        let found = read(&self.leases).get(id).cloned();
        found.ok_or(GatewayError::Ended(*id))
    }

    /// Says whether the escrow of the log covers more entries, without which no data is taken either; what was said
    /// before.
    pub fn set_log_paid(&self, paid: bool) -> bool {
        self.log_paid.swap(paid, Ordering::Relaxed)
    }
    /// See [`Self::set_log_paid`].
    pub fn log_is_paid(&self) -> bool {
        self.log_paid.load(Ordering::Relaxed)
    }

    /// Reads the slots of all leases from the chain again.
    ///
    /// # Errors
    /// The chain does not answer.
    pub async fn refresh(&self) -> Result<(), GatewayError> {
        self.operators.refresh_epoch().await?;
        for lease in self.leases() {
            match self.chain.lease(&lease.id()).await? {
                Some(entry) if entry.closing.is_none() => {
                    lease.set_seats(lease::seats(&*self.chain, &entry, lease.pen()).await?);
                }
                // It lapsed, or somebody closed it: what it held cannot be had any more.
                _ => drop(write(&self.leases).remove(&lease.id())),
            }
        }
        Ok(())
    }

    /// Fragments of a slot's capacity that are taken, in KiB.
    fn used_chunks(&self, lease: &LeaseId) -> u64 {
        let stored = read(&self.index).chunks_of(lease);
        let pending = lock(&self.pending);
        let under_way =
            pending.values().filter(|s| s.meta.lease() == lease).map(|s| chunks_of(&s.meta)).sum();
        stored.saturating_add(under_way)
    }

    /// Takes segments that nothing refers to off the operators' hands at the next revision.
    pub fn discard<'a>(&self, dead: impl IntoIterator<Item = &'a SegmentMeta>) {
        let mut garbage = lock(&self.garbage);
        for meta in dead {
            garbage.entry(*meta.lease()).or_default().insert(*meta.id());
        }
    }

    /// The segment is in the index now.
    pub fn committed(&self, id: &SegmentId) {
        lock(&self.pending).remove(id);
    }

    /// The segment will not get into the index.
    pub fn abandon(&self, id: &SegmentId) {
        if let Some(stored) = lock(&self.pending).remove(id) {
            self.discard([&stored.meta]);
        }
    }

    /// Devices that failed at the last try.
    pub fn slow(&self) -> Vec<DeviceId> {
        lock(&self.slow).iter().copied().collect()
    }

    fn mark(&self, seat: &Seat, answered: bool) {
        let mut slow = lock(&self.slow);
        if answered {
            slow.remove(&seat.device);
        } else {
            slow.insert(seat.device);
        }
    }

    fn is_slow(&self, seat: &Seat) -> bool {
        lock(&self.slow).contains(&seat.device)
    }
}
