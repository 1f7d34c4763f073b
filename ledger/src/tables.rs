//! Every table and row of the state. Changing one is a change of format: see docs/reference/formats.md.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::{bls::BlsPublic, keys::PublicKey, lthash::LtHash};
use cairn_sector::{Admission, DeviceState, LeaseEntry, SaleEntry, Seed, Slot};
use cairn_types::{
    AccountId, Amount, Credits, DeviceId, Epoch, Hash, Height, LeaseId, NetworkId, Price, Rate, SectorId,
    UNIT_KINDS,
};

pub use crate::endowment::EndowmentRow;
pub use crate::params::ChainParams;
use crate::settlement::Settlement;
use crate::state::tables;

tables! {
    /// The chain's own numbers; one row.
    Chain = 1, () => ChainRow;
    /// Totals of money; one row.
    Money = 2, () => MoneyRow;
    /// Accounts.
    Accounts = 3, AccountId => AccountRow;
    /// Validator seats by number.
    Seats = 4, u16 => SeatRow;
    /// Admitted sectors.
    SectorTable = 5, SectorId => SectorRow;
    /// Operators.
    Operators = 6, AccountId => OperatorRow;
    /// Devices.
    Devices = 7, DeviceId => DeviceRow;
    /// Keys that exist once in a sector.
    Uniques = 8, (SectorId, Hash) => DeviceId;
    /// Which price buckets of a (sector, class, region) hold offers.
    BucketMap = 9, (SectorId, u16, u16) => u128;
    /// Which rooms of a price bucket hold offers.
    Buckets = 10, (SectorId, u16, u16, u8) => u64;
    /// Members of a list, [`LIST_PAGE`] to a page, without gaps.
    ListPages = 11, (List, u32) => Vec<DeviceId>;
    /// Leases.
    Leases = 12, LeaseId => LeaseRow;
    /// Epochs.
    Epochs = 13, Epoch => EpochRow;
    /// Judged epochs by sector.
    SectorEpochs = 14, (Epoch, SectorId) => SectorEpochRow;
    /// What a device posted for an epoch.
    Postings = 15, (Epoch, DeviceId) => PostingRow;
    /// What an operator drew from settlements.
    Claims = 16, (SectorId, AccountId) => ClaimRow;
    /// Locked bonds.
    Locks = 17, Hash => LockRow;
    /// Locks of a device from which repair is paid.
    RepairLocks = 18, DeviceId => RepairLocksRow;
    /// Work due at a height: number of entries.
    Due = 19, Height => u32;
    /// Work due at a height, densely numbered.
    DueWork = 20, (Height, u32) => DueEntry;
    /// Open disputes.
    Disputes = 21, Hash => DisputeRow;
    /// Pooled sales that wait for attribution.
    Sales = 22, (SectorId, Hash) => SaleEntry;
    /// Length of a list.
    Lists = 23, List => u32;
    /// What disputes over one duty locked within the present window.
    Accused = 24, (DeviceId, Option<LeaseId>) => Amount;
    /// Sums over what was posted for epochs that are neither final nor void.
    EpochDigests = 25, (Epoch, SectorId) => DigestsRow;
    /// Endowments of leases, while something is left.
    Endowments = 26, LeaseId => EndowmentRow;
}

/// Members in one page of a list.
pub const LIST_PAGE: u32 = 32;

/// A list of offers: devices of about one price and about one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct List {
    /// Sector.
    pub sector: SectorId,
    /// Class of hardware.
    pub class: u16,
    /// Region; 0 holds devices of all regions.
    pub region: u16,
    /// Price bucket; see [`crate::listing::bucket`].
    pub bucket: u8,
    /// Logarithm of the room left; see [`crate::listing::room`].
    pub room: u8,
}

/// Where a listed device lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Listing {
    /// Price bucket.
    pub bucket: u8,
    /// Room.
    pub room: u8,
    /// Number in the list of its own region.
    pub own: u32,
    /// Number in the list of all regions.
    pub any: u32,
}

/// One row of general state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChainRow {
    /// The network's constant id.
    pub network: NetworkId,
    /// Fork number; transactions carry it.
    pub fork: u32,
    /// Text before the `1` of addresses.
    pub hrp: String,
    /// Height of the block under execution.
    pub height: Height,
    /// Epoch of that block.
    pub epoch: Epoch,
    /// What precedes this fork: a height here is the height of the fork's block plus this.
    pub origin: Height,
    /// Governed numbers.
    pub params: ChainParams,
    /// Pebbles of one credit (fixed-price mode).
    pub price: Price,
    /// Sectors, ascending.
    pub sectors: Vec<SectorId>,
    /// Number of seats.
    pub seats: u16,
    /// Latest seed and the epoch it belongs to.
    pub seed: (Epoch, Seed),
}

/// Totals. Both identities are checked over this row after every transition, and the row itself against a full
/// scan in tests.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MoneyRow {
    /// CRN at genesis.
    pub genesis: Amount,
    /// CRN minted since.
    pub minted: Amount,
    /// On accounts.
    pub balances: Amount,
    /// In bonds of devices and disputes, free and locked.
    pub bonds: Amount,
    /// Behind unspent credits.
    pub vault: Amount,
    /// Owed to operators, claimable against settlements.
    pub payable: Amount,
    /// Rounding remainders.
    pub dust: Amount,
    /// Stakers' pool.
    pub stakers: Amount,
    /// Treasury.
    pub treasury: Amount,
    /// Pools of sectors for standing duties, together.
    pub pools: Amount,
    /// Burned for ever.
    pub burned: Amount,
    /// Credits ever issued.
    pub issued: Credits,
    /// Credits on accounts.
    pub free: Credits,
    /// Credits in the escrow of leases.
    pub escrow: Credits,
    /// Credits paid for sales that are not attributed yet.
    pub unsettled: Credits,
    /// Credits spent.
    pub spent: Credits,
    /// Credits in endowments.
    pub endowed: Credits,
}

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AccountRow {
    /// Next nonce.
    pub nonce: u64,
    /// Pebbles.
    pub balance: Amount,
    /// Credits not in escrow.
    pub credits: Credits,
}

/// A validator seat.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SeatRow {
    /// Account that is rewarded.
    pub account: AccountId,
    /// Key of seat messages.
    pub key: PublicKey,
    /// Key of seeds, proven possessed at genesis.
    pub vote: BlsPublic,
    /// Key with which the seat signs blocks, in the engine's encoding.
    pub consensus: [u8; 96],
}

/// An admitted sector.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SectorRow {
    /// Rules version in force.
    pub version: u16,
    /// Governed numbers of the sector.
    pub params: Vec<u8>,
    /// What a unit of a standing duty earns from the pool, per kind.
    pub pool_rates: [Rate; UNIT_KINDS],
    /// Most that an epoch may draw from the pool.
    pub pool_limit: Amount,
    /// The pool.
    pub pool: Amount,
    /// Capped price of work paid from bonds (repair), per kind.
    pub bond_rates: [Rate; UNIT_KINDS],
    /// Content digest of devices and leases as a lock sees them.
    pub registry: LtHash,
    /// Latest final settlement: epoch and id.
    pub latest: Option<(Epoch, Hash)>,
    /// Memory and tally roots after the latest final settlement.
    pub memory_root: Hash,
    /// Root of cumulative charges and earnings after it.
    pub tally_root: Hash,
}

/// An operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OperatorRow {
    /// Devices ever registered; numbers the next.
    pub devices: u64,
    /// Free bonds of all devices together.
    pub free_bond: Amount,
    /// Drawn before it matured, over all sectors; the free bonds answer for it once.
    pub held: Amount,
    /// What the operator tells the world (name, contact), at most 256 bytes.
    pub info: String,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DeviceRow {
    /// Owner.
    pub operator: AccountId,
    /// Sector.
    pub sector: SectorId,
    /// Hot key.
    pub key: PublicKey,
    /// Offer in the sector's encoding.
    pub offer: Vec<u8>,
    /// What the rules admitted.
    pub admission: Admission,
    /// Capacity reserved by leases.
    pub reserved: cairn_types::Units,
    /// Standing.
    pub state: DeviceState,
    /// Epoch of admission.
    pub since: Epoch,
    /// Free bond.
    pub bond: Amount,
    /// Locked bond.
    pub locked: Amount,
    /// Where it lies on the market; `None` while it may take no duty.
    pub listed: Option<Listing>,
    /// Missing reputation (ppm) at the epoch given; see [`crate::market::reputation`].
    pub deficit: (u64, Epoch),
    /// How dear it looks to orders, in millionths of its list rate, and the settled epoch that said so; see
    /// [`crate::listing::weigh`].
    pub weight: (u32, Epoch),
    /// Duties held.
    pub duties: u32,
    /// It lost a duty and has not been heard of since: nothing new for it until it commits again.
    pub absent: bool,
}

/// A lease: what the lock shows of it, and the escrow.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeaseRow {
    /// The registry's view.
    pub entry: LeaseEntry,
    /// What the order demanded.
    pub demand: cairn_sector::Demand,
    /// Credits given back at the end; set once.
    pub refunded: Option<Credits>,
    /// Digest of free text that the customer attached (sealed keys for helpers), held off chain.
    pub note: Hash,
}

/// An epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EpochRow {
    /// First height.
    pub start: Height,
    /// Price frozen at the lock.
    pub price: Price,
    /// Seed, once there.
    pub seed: Option<Seed>,
    /// Seed of the epoch before.
    pub previous: Seed,
}

/// State of a sector's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Phase {
    /// Work and evidence.
    Open,
    /// A seat committed to a root.
    Committed,
    /// Judged and final.
    Final,
    /// No quorum in time: no charge, no slash; records carry over.
    Void,
}

/// The numbers that a settlement is made with, frozen at the lock.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Terms {
    /// Rules version.
    pub version: u16,
    /// Governed numbers of the sector.
    pub params: Vec<u8>,
    /// Rates of standing duties, per kind.
    pub pool_rates: [Rate; UNIT_KINDS],
    /// Most that this epoch may draw from the pool.
    pub pool_budget: Amount,
    /// Capped price of work paid from bonds, per kind.
    pub bond_rates: [Rate; UNIT_KINDS],
    /// Governed numbers of the chain.
    pub chain: ChainParams,
}

impl Terms {
    /// Their digest.
    pub fn root(&self) -> Hash {
        Hash::derive("cairn/terms", &[&cairn_types::encode(self)])
    }
}

/// A sector's epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SectorEpochRow {
    /// Where it stands.
    pub phase: Phase,
    /// Digest of the registry at the lock.
    pub registry_root: Hash,
    /// Governed numbers at the lock.
    pub terms: Terms,
    /// Content digests of commitments, answers and certified bundles, once the epoch is final or void. Until then they
    /// are those of [`DigestsRow`].
    pub roots: Option<[Hash; 3]>,
    /// Certified bundles.
    pub bundles: u32,
    /// Commitments of seats to their votes.
    pub votes: Vec<(u16, Hash)>,
    /// The final record.
    pub settlement: Option<Settlement>,
    /// Outcomes applied so far.
    pub applied: u32,
}

impl SectorEpochRow {
    /// Content digests of commitments, answers and certified bundles. `open`: the row of digests, if there is one.
    pub fn contents(&self, open: Option<&DigestsRow>) -> [Hash; 3] {
        self.roots.or(open.map(DigestsRow::roots)).unwrap_or_default()
    }
}

/// Sums over what was posted for a sector's epoch, 6 KiB; gone when the epoch is final or void.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DigestsRow {
    /// Commitments; frozen at the lock.
    pub commitments: LtHash,
    /// Digests of answers.
    pub answers: LtHash,
    /// Certified bundles.
    pub evidence: LtHash,
}

impl DigestsRow {
    /// The three digests.
    pub fn roots(&self) -> [Hash; 3] {
        [self.commitments.digest(), self.answers.digest(), self.evidence.digest()]
    }
}

/// What a device posted.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PostingRow {
    /// Commitment, before the lock.
    pub commitment: Option<Vec<u8>>,
    /// Digest of answers.
    pub answers: Option<Hash>,
    /// Bundle digest and size in bytes.
    pub bundle: Option<(Hash, u64)>,
    /// A certificate covers the bundle.
    pub certified: bool,
}

/// What an operator drew.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ClaimRow {
    /// Pebbles drawn, cumulative. Never falls, survives exports.
    pub drawn: Amount,
    /// Largest cumulative earnings proven from a settlement whose window has passed.
    pub matured: Amount,
}

impl ClaimRow {
    /// Drawn from this sector before it matured.
    pub fn held(&self) -> Amount {
        self.drawn.saturating_sub(self.matured)
    }
}

/// Why a bond is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LockCause {
    /// A fault: what repair leaves is slashed.
    Fault {
        /// The sector's code.
        code: u16,
    },
    /// A loss without fault: what repair leaves goes back.
    Loss,
}

/// A locked bond.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LockRow {
    /// Whose.
    pub device: DeviceId,
    /// Sector.
    pub sector: SectorId,
    /// Epoch of the settlement or dispute.
    pub epoch: Epoch,
    /// Locked at first.
    pub amount: Amount,
    /// Left after repair.
    pub left: Amount,
    /// Why.
    pub cause: LockCause,
    /// Who found it, if a dispute did.
    pub finder: Option<AccountId>,
}

/// Locks of a device that have something left, oldest first; repair is paid from losses first, then from faults. At most
/// [`crate::locks::PAYING`] of each: further ones are locked and released as well, but pay nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RepairLocksRow {
    /// Of losses: meant for repair, the rest goes back.
    pub losses: Vec<Hash>,
    /// Of faults: the rest is slashed.
    pub faults: Vec<Hash>,
}

/// Work for a later height.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum DueEntry {
    /// Distribute a locked bond.
    Release(Hash),
    /// A dispute's answer is late.
    Judge(Hash),
    /// Find a device for a slot that nobody could take.
    Refill(LeaseId, u16),
    /// A sector's epoch is void if it is not final by now.
    VoteDeadline(Epoch, SectorId),
    /// No work: the height and number of the first entry not worked off, while work lags behind.
    Backlog(Height, u32),
    /// What disputes over a duty locked no longer counts.
    Forget(DeviceId, Option<LeaseId>),
    /// An epoch's rows go, unless somebody needs them still.
    Prune(Epoch),
    /// A lease's escrow is filled from its endowment.
    Endowment(LeaseId),
}

/// An open dispute.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DisputeRow {
    /// Who accuses.
    pub accuser: AccountId,
    /// Accused.
    pub device: DeviceId,
    /// Lease in question.
    pub lease: Option<LeaseId>,
    /// The sector's claim.
    pub claim: Vec<u8>,
    /// The accuser's bond.
    pub bond: Amount,
    /// Last height for an answer.
    pub until: Height,
}

/// A slot with nobody in it yet.
pub fn vacant(slot: &Slot) -> bool {
    slot.device == DeviceId::default()
}
