//! What a sector may look at: the registry at the lock, its memory, the seed, the evidence.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::keys::PublicKey;
use cairn_types::{
    AccountId, Cell, Credits, DecodeError, DeviceId, Epoch, Hash, LeaseId, NetworkId, Rate, SectorId,
    UNIT_KINDS, Units, decode_bounded,
};

use crate::{Rules, Seed};

/// Standing of a device in the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum DeviceState {
    /// May get new duties.
    Active,
    /// Keeps its duties, gets no new ones (bond under the requirement, or paused by its operator).
    Resting,
    /// Hands its duties over until this epoch, then leaves.
    Exiting {
        /// Last epoch of service.
        until: Epoch,
    },
}

/// A device as the lock froze it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DeviceEntry {
    /// Its id.
    pub id: DeviceId,
    /// The account that is paid.
    pub operator: AccountId,
    /// Sector that it serves.
    pub sector: SectorId,
    /// Its hot key.
    pub key: PublicKey,
    /// The sector's offer bytes.
    pub offer: Vec<u8>,
    /// The commitment for this epoch, posted before the lock.
    pub commitment: Option<Vec<u8>>,
    /// Digest of its answers, posted within the answer phase. Not part of the lock.
    pub answers: Option<Hash>,
    /// Admitted capacity.
    pub capacity: Units,
    /// Failure domains.
    pub domains: Vec<Hash>,
    /// Place.
    pub cell: Option<Cell>,
    /// Standing.
    pub state: DeviceState,
    /// Epoch of admission.
    pub since: Epoch,
}

/// One slot of a lease.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Slot {
    /// Who serves it.
    pub device: DeviceId,
    /// Agreed rates.
    pub rates: [Rate; UNIT_KINDS],
    /// First epoch of this device in this slot.
    pub since: Epoch,
    /// Who served it before, while repair is under way; its bond pays.
    pub lost_by: Option<DeviceId>,
    /// How often the slot changed hands.
    pub generation: u32,
}

/// A lease as the lock froze it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeaseEntry {
    /// Its id.
    pub id: LeaseId,
    /// Sector.
    pub sector: SectorId,
    /// The account that pays.
    pub customer: AccountId,
    /// The key, fresh for this lease, with which the customer co-signs evidence.
    pub key: PublicKey,
    /// The sector's order bytes.
    pub order: Vec<u8>,
    /// Slots.
    pub slots: Vec<Slot>,
    /// Capacity reserved on each slot.
    pub reserve: Units,
    /// Helpers drawn by the seed.
    pub helpers: Vec<DeviceId>,
    /// Credits ever put into escrow, as the lock saw them.
    pub deposited: Credits,
    /// First epoch.
    pub opened: Epoch,
    /// Epoch after which nothing is charged; `None` while open.
    pub closing: Option<Epoch>,
    /// Only writes with at least this fence count (a recovered customer outbids an older machine).
    pub fence: u64,
}

/// A pooled sale that waits for attribution.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SaleEntry {
    /// Its id (the transaction).
    pub id: Hash,
    /// Who bought.
    pub buyer: AccountId,
    /// The sector's bytes.
    pub sale: Vec<u8>,
    /// Credits paid.
    pub paid: Credits,
    /// First epoch in which it may be attributed.
    pub epoch: Epoch,
}

/// The registry of one sector at the lock. Iterators ascend by id.
pub trait Registry: Send + Sync {
    /// One device.
    fn device(&self, id: &DeviceId) -> Option<DeviceEntry>;
    /// All devices.
    fn devices(&self) -> Box<dyn Iterator<Item = DeviceEntry> + '_>;
    /// One lease.
    fn lease(&self, id: &LeaseId) -> Option<LeaseEntry>;
    /// All leases.
    fn leases(&self) -> Box<dyn Iterator<Item = LeaseEntry> + '_>;
    /// Leases with a slot on the device, ascending, with the slot numbers.
    fn leases_of(&self, device: &DeviceId) -> Vec<(LeaseEntry, Vec<u16>)>;
    /// Sales that wait for attribution.
    fn sales(&self) -> Vec<SaleEntry>;
}

/// Memory as bytes; what the core stores and roots.
pub trait RawMemory: Send + Sync {
    /// One value.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;
    /// All pairs whose key starts with `prefix`, ascending.
    fn scan(&self, prefix: &[u8]) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_>;
}

/// Typed view of the memory. Values that do not decode cannot exist: only this sector's own judgements wrote them.
pub struct Memory<'a, R: Rules> {
    raw: &'a dyn RawMemory,
    _rules: std::marker::PhantomData<fn() -> R>,
}

impl<'a, R: Rules> Memory<'a, R> {
    /// Wraps bytes.
    pub fn new(raw: &'a dyn RawMemory) -> Self {
        Self { raw, _rules: std::marker::PhantomData }
    }
    /// One value.
    pub fn get(&self, key: &[u8]) -> Option<R::Memory> {
        self.raw.get(key).and_then(|v| decode_bounded(&v, R::LIMITS.memory).ok())
    }
    /// All values under a prefix, ascending by key.
    pub fn scan(&self, prefix: &[u8]) -> impl Iterator<Item = (Vec<u8>, R::Memory)> + 'a {
        self.raw.scan(prefix).filter_map(|(k, v)| Some((k, decode_bounded(&v, R::LIMITS.memory).ok()?)))
    }
}

/// Everything besides evidence that judging may look at, as bytes.
#[derive(Clone, Copy)]
pub struct RawContext<'a> {
    /// The network; signatures in evidence carry it.
    pub network: NetworkId,
    /// The epoch judged.
    pub epoch: Epoch,
    /// Nominal seconds of an epoch (genesis), the only notion of time.
    pub epoch_seconds: u64,
    /// Seed of the epoch.
    pub seed: Seed,
    /// Governed numbers, encoded.
    pub params: &'a [u8],
    /// Registry at the lock.
    pub registry: &'a dyn Registry,
    /// Memory after the epoch before.
    pub memory: &'a dyn RawMemory,
}

/// The typed form of [`RawContext`].
pub struct EpochContext<'a, R: Rules> {
    /// The network; signatures in evidence carry it.
    pub network: NetworkId,
    /// The epoch judged.
    pub epoch: Epoch,
    /// Nominal seconds of an epoch.
    pub epoch_seconds: u64,
    /// Seed of the epoch.
    pub seed: Seed,
    /// Governed numbers.
    pub params: R::Params,
    /// Registry at the lock.
    pub registry: &'a dyn Registry,
    /// Memory after the epoch before.
    pub memory: Memory<'a, R>,
}

impl<'a, R: Rules> EpochContext<'a, R> {
    /// Decodes the parameters of a raw context.
    pub fn new(raw: &RawContext<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            network: raw.network,
            epoch: raw.epoch,
            epoch_seconds: raw.epoch_seconds,
            seed: raw.seed,
            params: decode_bounded(raw.params, 1 << 16)?,
            registry: raw.registry,
            memory: Memory::new(raw.memory),
        })
    }
}

/// Key by which evidence is sorted; at most [`SortKey::MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SortKey(Vec<u8>);

impl SortKey {
    /// Longest key in bytes.
    pub const MAX: usize = 96;

    /// Keeps the first [`SortKey::MAX`] bytes.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        bytes.truncate(Self::MAX);
        Self(bytes)
    }
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One item of evidence with its submitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceItem<E> {
    /// Sort key.
    pub key: SortKey,
    /// Who submitted it (the bundle's signer).
    pub from: DeviceId,
    /// The item.
    pub evidence: E,
}

/// An undecoded item.
pub type RawItem = EvidenceItem<Vec<u8>>;

/// Sorted evidence as bytes; every call opens the source anew, so that memory does not grow with the evidence.
pub trait RawEvidence: Send + Sync {
    /// Items with `from <= key < until` (open end for `None`), ascending by (key, submitter, bytes).
    fn scan(&self, from: &[u8], until: Option<&[u8]>) -> Box<dyn Iterator<Item = RawItem> + '_>;
}

/// Typed [`RawEvidence`]; items that do not decode were refused when the bundle was taken in.
pub trait EvidenceSource<R: Rules>: Send + Sync {
    /// Items with `from <= key < until`, ascending.
    fn scan(
        &self,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Box<dyn Iterator<Item = EvidenceItem<R::Evidence>> + '_>;

    /// All items.
    fn all(&self) -> Box<dyn Iterator<Item = EvidenceItem<R::Evidence>> + '_> {
        self.scan(&[], None)
    }
}

/// What a dispute on chain may look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputeContext {
    /// The network.
    pub network: NetworkId,
    /// Now.
    pub epoch: Epoch,
    /// The accused.
    pub device: DeviceEntry,
    /// The lease in question, if the claim names one.
    pub lease: Option<LeaseEntry>,
    /// Seed of the current epoch.
    pub seed: Seed,
}
