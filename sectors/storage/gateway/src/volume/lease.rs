//! A lease as the gateway writes to it.

use super::{read, write};
use crate::error::GatewayError;
use crate::ports::{ChainPort, NOBODY, Pen, Seat};
use cairn_sector::LeaseEntry;
use cairn_storage_codec::Profile;
use cairn_storage_rules::types::{Kind, Order};
use cairn_types::{DeviceId, Epoch, LeaseId, decode_bounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// A lease with the right to write to it.
pub struct Lease {
    pen: Pen,
    profile: Profile,
    chunks_per_slot: u64,
    seats: RwLock<Arc<Vec<Seat>>>,
    paid: AtomicBool,
    /// No more data comes here: it will be closed.
    retired: AtomicBool,
    /// Since when it is empty, once it held something.
    idle: Mutex<Idle>,
}

/// Whether a lease is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idle {
    /// It has held nothing yet.
    Fresh,
    /// It holds something.
    Used,
    /// All that it held was deleted; first seen in this epoch.
    Since(Epoch),
}

impl Lease {
    /// From the chain's entry; looks up where its devices are reached.
    ///
    /// # Errors
    /// The order does not decode, or the chain does not answer.
    pub async fn new(chain: &dyn ChainPort, entry: &LeaseEntry, pen: Pen) -> Result<Self, GatewayError> {
        let order = order(entry)?;
        let profile = Profile::new(order.k.into(), order.n.into())?;
        let seats = seats(chain, entry, &pen).await?;
        Ok(Self {
            pen,
            profile,
            chunks_per_slot: order.chunks_per_slot,
            seats: RwLock::new(Arc::new(seats)),
            paid: AtomicBool::new(true),
            retired: AtomicBool::new(false),
            idle: Mutex::new(Idle::Fresh),
        })
    }
    /// Its id.
    pub const fn id(&self) -> LeaseId {
        self.pen.lease
    }
    /// The right to write.
    pub const fn pen(&self) -> &Pen {
        &self.pen
    }
    /// k and n.
    pub const fn profile(&self) -> Profile {
        self.profile
    }
    /// Capacity of each slot in KiB.
    pub const fn chunks_per_slot(&self) -> u64 {
        self.chunks_per_slot
    }
    /// The slots as they are now.
    pub fn seats(&self) -> Arc<Vec<Seat>> {
        Arc::clone(&read(&self.seats))
    }
    /// Does its escrow cover more data?
    pub fn is_paid(&self) -> bool {
        self.paid.load(Ordering::Relaxed)
    }
    /// Says whether its escrow covers more data; what was said before.
    pub fn set_paid(&self, paid: bool) -> bool {
        self.paid.swap(paid, Ordering::Relaxed)
    }
    /// Will it be closed?
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
    /// Says whether it will be closed.
    pub fn set_retired(&self, retired: bool) {
        self.retired.store(retired, Ordering::Relaxed);
    }
    /// Notes that data are on their way to it: what is gone again before the next look was there nevertheless.
    pub fn set_used(&self) {
        *super::lock(&self.idle) = Idle::Used;
    }
    /// Notes whether it holds anything; for how many epochs it has been empty after it held something.
    pub fn idle_epochs(&self, empty: bool, now: Epoch) -> u64 {
        let mut idle = super::lock(&self.idle);
        *idle = match *idle {
            _ if !empty => Idle::Used,
            Idle::Used => Idle::Since(now),
            other => other,
        };
        match *idle {
            Idle::Since(epoch) => now.0.saturating_sub(epoch.0),
            Idle::Fresh | Idle::Used => 0,
        }
    }
    /// Takes over the slots as the chain has them.
    pub fn set_seats(&self, seats: Vec<Seat>) {
        *write(&self.seats) = Arc::new(seats);
    }
    /// Slot and device of each slot.
    pub fn devices(seats: &[Seat]) -> Vec<(u16, DeviceId)> {
        seats.iter().map(|s| (s.slot, s.device)).collect()
    }
}

/// The order of a lease.
///
/// # Errors
/// It does not decode; the lease is not one of storage.
pub fn order(entry: &LeaseEntry) -> Result<Order, GatewayError> {
    decode_bounded(&entry.order, cairn_storage_rules::LIMITS.order)
        .map_err(|e| GatewayError::Chain(format!("lease {}: {e}", entry.id)))
}

/// True for a lease of the index log.
pub fn is_index(entry: &LeaseEntry) -> bool {
    order(entry).is_ok_and(|o| o.kind == Kind::Index)
}

/// The seats of a lease.
///
/// # Errors
/// The chain does not answer.
pub async fn seats(chain: &dyn ChainPort, entry: &LeaseEntry, pen: &Pen) -> Result<Vec<Seat>, GatewayError> {
    let mut out = Vec::with_capacity(entry.slots.len());
    for (slot, held) in (0u16..).zip(&entry.slots) {
        let vacant = held.device == DeviceId::default();
        let endpoint = if vacant { NOBODY } else { chain.endpoint(&held.device).await? };
        let (generation, device) = (held.generation, held.device);
        out.push(Seat { pen: pen.clone(), slot, generation, device, endpoint });
    }
    Ok(out)
}
