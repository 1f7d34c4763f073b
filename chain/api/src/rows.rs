//! Rows of the state as JSON.

use crate::answer::show_account;
use borsh::BorshSerialize;
use cairn_ledger::listing::reputation;
use cairn_ledger::tables::{
    AccountRow, ChainParams, ChainRow, DeviceRow, DigestsRow, EpochRow, LeaseRow, OperatorRow, Phase,
    SeatRow, SectorEpochRow, SectorRow,
};
use cairn_sector::{DeviceState, Slot};
use cairn_types::{AccountId, DeviceId, Epoch, Hash, LeaseId, Rate, SectorId, Units, encode};
use serde::Serialize;
use utoipa::ToSchema;

/// Frozen bytes in hexadecimal.
pub(crate) fn octets<T: BorshSerialize>(value: &T) -> String {
    hex::encode(encode(value))
}

/// Governed numbers of the chain.
#[derive(Serialize, ToSchema)]
pub(crate) struct ParamsView {
    /// Blocks of an epoch.
    epoch_blocks: u64,
    /// Nominal seconds of an epoch.
    epoch_seconds: u64,
    /// Blocks after the lock for answers.
    answer_blocks: u64,
    /// Blocks after the end for bundles.
    cut_blocks: u64,
    /// Blocks after the end for certificates.
    certify_blocks: u64,
    /// Blocks after the end for votes.
    vote_blocks: u64,
    /// Epochs that earnings stay held and bonds locked.
    window_epochs: u64,
    /// Epochs of notice before a device leaves.
    exit_epochs: u64,
    /// Blocks to answer a dispute.
    /// Epochs that a lease may stay unpaid before it ends.
    unpaid_epochs: u64,
    dispute_blocks: u64,
    /// Burned for each account transaction.
    base_fee_pebbles: String,
    /// Burned for each of its bytes.
    byte_fee_pebbles: String,
    /// Share of a customer's fee that is burned.
    burn_ppm: u64,
    /// Share for stakers.
    stakers_ppm: u64,
    /// Share for the treasury.
    treasury_ppm: u64,
    /// Bond of a dispute's accuser.
    dispute_bond_micro_usd: String,
}

impl ParamsView {
    pub(crate) fn new(p: &ChainParams) -> Self {
        Self {
            epoch_blocks: p.epoch_blocks,
            epoch_seconds: p.epoch_seconds,
            answer_blocks: p.answer_blocks,
            cut_blocks: p.cut_blocks,
            certify_blocks: p.certify_blocks,
            vote_blocks: p.vote_blocks,
            window_epochs: p.window_epochs,
            exit_epochs: p.exit_epochs,
            unpaid_epochs: p.unpaid_epochs,
            dispute_blocks: p.dispute_blocks,
            base_fee_pebbles: p.base_fee.0.to_string(),
            byte_fee_pebbles: p.byte_fee.0.to_string(),
            burn_ppm: p.burn_ppm,
            stakers_ppm: p.stakers_ppm,
            treasury_ppm: p.treasury_ppm,
            dispute_bond_micro_usd: p.dispute_bond.0.to_string(),
        }
    }
}

/// A validator seat.
#[derive(Serialize, ToSchema)]
pub(crate) struct SeatView {
    /// Number.
    seat: u16,
    /// Who is rewarded.
    account: String,
    /// Key of seat messages and of the identity, hexadecimal.
    key: String,
    /// Key of seeds, hexadecimal.
    vote_key: String,
    /// Key of votes on blocks, hexadecimal.
    consensus_key: String,
    /// `SeatRow`.
    borsh: String,
}

impl SeatView {
    pub(crate) fn new(hrp: &str, seat: u16, row: &SeatRow) -> Self {
        Self {
            seat,
            account: show_account(hrp, &row.account),
            key: hex::encode(row.key.0),
            vote_key: hex::encode(row.vote.0),
            consensus_key: hex::encode(row.consensus),
            borsh: octets(row),
        }
    }
}

/// What a client needs to know of the network.
#[derive(Serialize, ToSchema)]
pub(crate) struct GenesisView {
    /// Name.
    name: String,
    /// Network id: the digest of the genesis without its fork number.
    network: String,
    /// The same digest, to be compared with the genesis file.
    genesis_hash: String,
    /// Fork number.
    fork: u32,
    /// Text before the `1` of addresses.
    hrp: String,
    /// Pebbles of 1,000,000 micro-dollars ($1).
    price_pebbles_per_usd: String,
    /// Governed numbers.
    params: ParamsView,
    /// Validator seats.
    seats: Vec<SeatView>,
    /// Sectors.
    sectors: Vec<SectorView>,
    /// `ChainRow`.
    chain_borsh: String,
}

impl GenesisView {
    pub(crate) fn new(
        name: String,
        chain: &ChainRow,
        seats: Vec<SeatView>,
        sectors: Vec<SectorView>,
    ) -> Self {
        Self {
            name,
            network: chain.network.to_string(),
            genesis_hash: chain.network.to_string(),
            fork: chain.fork,
            hrp: chain.hrp.clone(),
            // Scaled by 10^6 for one micro-dollar, so the bare number is pebbles of a dollar.
            price_pebbles_per_usd: chain.price.0.to_string(),
            params: ParamsView::new(&chain.params),
            seats,
            sectors,
            chain_borsh: octets(chain),
        }
    }
}

/// An account.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountView {
    /// Address.
    address: String,
    /// The same, hexadecimal.
    id: String,
    /// Next nonce.
    nonce: u64,
    /// CRN.
    balance_pebbles: String,
    /// Credits not in escrow.
    credits_micro_usd: String,
    /// `AccountRow`.
    borsh: String,
}

impl AccountView {
    pub(crate) fn new(hrp: &str, id: &AccountId, row: &AccountRow) -> Self {
        Self {
            address: show_account(hrp, id),
            id: id.to_string(),
            nonce: row.nonce,
            balance_pebbles: row.balance.0.to_string(),
            credits_micro_usd: row.credits.0.to_string(),
            borsh: octets(row),
        }
    }
}

/// An operator.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorView {
    /// Address.
    address: String,
    /// What the operator tells the world.
    info: String,
    /// Free bonds of all devices together.
    free_bond_pebbles: String,
    /// Devices ever registered.
    devices_registered: u64,
    /// Devices that are still there, at most 256.
    devices: Vec<DeviceView>,
    /// `OperatorRow`.
    borsh: String,
}

impl OperatorView {
    pub(crate) fn new(hrp: &str, id: &AccountId, row: &OperatorRow, devices: Vec<DeviceView>) -> Self {
        Self {
            address: show_account(hrp, id),
            info: row.info.clone(),
            free_bond_pebbles: row.free_bond.0.to_string(),
            devices_registered: row.devices,
            devices,
            borsh: octets(row),
        }
    }
}

/// Rates or units, one a kind; the meaning is the sector's.
fn units(units: &Units) -> Vec<String> {
    units.0.iter().map(ToString::to_string).collect()
}

fn rates(rates: &[Rate]) -> Vec<String> {
    rates.iter().map(|rate| rate.0.to_string()).collect()
}

/// A device.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceView {
    /// Id.
    id: String,
    /// Owner.
    operator: String,
    /// Sector.
    sector: u16,
    /// Hot key, hexadecimal.
    key: String,
    /// `active`, `resting` or `exiting`.
    state: &'static str,
    /// Last epoch of service of an exiting device.
    exit_epoch: Option<u64>,
    /// Epoch of admission.
    since_epoch: u64,
    /// Admitted capacity by kind of unit.
    capacity_units: Vec<String>,
    /// Reserved by leases.
    reserved_units: Vec<String>,
    /// Asked rates by kind of unit, in 10^-12 micro-dollars.
    rates_pico_micro_usd: Vec<String>,
    /// Free bond.
    bond_pebbles: String,
    /// Locked bond.
    locked_pebbles: String,
    /// Reputation, 1,000,000 is full.
    reputation_ppm: u64,
    /// How dear orders see it, 1,000,000 is as it lists; retrieval audits move it.
    price_weight_ppm: u32,
    /// Duties held.
    duties: u32,
    /// Whether the market offers it.
    listed: bool,
    /// `DeviceRow`.
    borsh: String,
}

impl DeviceView {
    pub(crate) fn new(hrp: &str, id: &DeviceId, row: &DeviceRow, now: Epoch, half_life: u64) -> Self {
        let (state, exit_epoch) = match row.state {
            DeviceState::Active => ("active", None),
            DeviceState::Resting => ("resting", None),
            DeviceState::Exiting { until } => ("exiting", Some(until.0)),
        };
        Self {
            id: id.to_string(),
            operator: show_account(hrp, &row.operator),
            sector: row.sector.0,
            key: hex::encode(row.key.0),
            state,
            exit_epoch,
            since_epoch: row.since.0,
            capacity_units: units(&row.admission.capacity),
            reserved_units: units(&row.reserved),
            rates_pico_micro_usd: rates(&row.admission.rates),
            bond_pebbles: row.bond.0.to_string(),
            locked_pebbles: row.locked.0.to_string(),
            reputation_ppm: reputation(row.deficit, now, half_life),
            price_weight_ppm: row.weight.0,
            duties: row.duties,
            listed: row.listed.is_some(),
            borsh: octets(row),
        }
    }
}

/// One slot of a lease.
#[derive(Serialize, ToSchema)]
pub(crate) struct SlotView {
    /// Number.
    slot: usize,
    /// Who serves it; absent while nobody does.
    device: Option<String>,
    /// First epoch of this device.
    since_epoch: u64,
    /// Who lost it, while it is rebuilt.
    lost_by: Option<String>,
    /// How often it changed hands.
    generation: u32,
    /// Agreed rates by kind of unit, in 10^-12 micro-dollars.
    rates_pico_micro_usd: Vec<String>,
}

impl SlotView {
    fn new(slot: usize, s: &Slot) -> Self {
        Self {
            slot,
            device: (!cairn_ledger::tables::vacant(s)).then(|| s.device.to_string()),
            since_epoch: s.since.0,
            lost_by: s.lost_by.map(|d| d.to_string()),
            generation: s.generation,
            rates_pico_micro_usd: rates(&s.rates),
        }
    }
}

/// A lease.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeaseView {
    /// Id.
    id: String,
    /// Sector.
    sector: u16,
    /// Who pays.
    customer: String,
    /// Key that co-signs evidence, hexadecimal.
    key: String,
    /// Slots.
    slots: Vec<SlotView>,
    /// Helpers drawn by the seed.
    helpers: Vec<String>,
    /// Credits ever put into escrow.
    deposited_micro_usd: String,
    /// Credits given back, once it ended.
    refunded_micro_usd: Option<String>,
    /// First epoch.
    opened_epoch: u64,
    /// Epoch after which nothing is charged; absent while open.
    closing_epoch: Option<u64>,
    /// Only writes with at least this fence count.
    fence: u64,
    /// `LeaseRow`.
    borsh: String,
}

impl LeaseView {
    pub(crate) fn new(hrp: &str, id: &LeaseId, row: &LeaseRow) -> Self {
        let entry = &row.entry;
        Self {
            id: id.to_string(),
            sector: entry.sector.0,
            customer: show_account(hrp, &entry.customer),
            key: hex::encode(entry.key.0),
            slots: entry.slots.iter().enumerate().map(|(i, slot)| SlotView::new(i, slot)).collect(),
            helpers: entry.helpers.iter().map(ToString::to_string).collect(),
            deposited_micro_usd: entry.deposited.0.to_string(),
            refunded_micro_usd: row.refunded.map(|c| c.0.to_string()),
            opened_epoch: entry.opened.0,
            closing_epoch: entry.closing.map(|e| e.0),
            fence: entry.fence,
            borsh: octets(row),
        }
    }
}

/// An admitted sector.
#[derive(Serialize, ToSchema)]
pub(crate) struct SectorView {
    /// Number.
    sector: u16,
    /// Rules version in force.
    version: u16,
    /// Pool for standing duties.
    pool_pebbles: String,
    /// Most that an epoch draws from it.
    pool_limit_pebbles: String,
    /// Epoch of the latest final settlement.
    settled_epoch: Option<u64>,
    /// Its id.
    settlement: Option<String>,
    /// Root of the sector's memory.
    memory_root: String,
    /// Root of cumulative charges and earnings.
    tally_root: String,
    /// `SectorRow`.
    borsh: String,
}

impl SectorView {
    pub(crate) fn new(sector: SectorId, row: &SectorRow) -> Self {
        Self {
            sector: sector.0,
            version: row.version,
            pool_pebbles: row.pool.0.to_string(),
            pool_limit_pebbles: row.pool_limit.0.to_string(),
            settled_epoch: row.latest.map(|(epoch, _)| epoch.0),
            settlement: row.latest.map(|(_, id)| id.to_string()),
            memory_root: row.memory_root.to_string(),
            tally_root: row.tally_root.to_string(),
            borsh: octets(row),
        }
    }
}

/// A sector's epoch.
#[derive(Serialize, ToSchema)]
pub(crate) struct SectorEpochView {
    /// Sector.
    sector: u16,
    /// `open`, `committed`, `final` or `void`.
    phase: &'static str,
    /// Rules version at the lock.
    version: u16,
    /// Digest of the registry at the lock.
    registry_root: String,
    /// Digest of the governed numbers at the lock.
    terms_root: String,
    /// Digest of commitments.
    commitments_root: String,
    /// Digest of answers.
    answers_root: String,
    /// Digest of certified bundles.
    evidence_root: String,
    /// Certified bundles.
    bundles: u32,
    /// Id of the settlement, once final.
    settlement: Option<String>,
    /// Charged to escrows.
    charged_micro_usd: Option<String>,
    /// Earned by operators from charges and sales.
    earned_pebbles: Option<String>,
    /// Outcomes applied so far.
    outcomes_applied: u32,
    /// `SectorEpochRow`.
    borsh: String,
}

impl SectorEpochView {
    pub(crate) fn new(sector: SectorId, row: &SectorEpochRow, open: Option<&DigestsRow>) -> Self {
        let [commitments, answers, evidence] = row.contents(open).map(|root| root.to_string());
        let phase = match row.phase {
            Phase::Open => "open",
            Phase::Committed => "committed",
            Phase::Final => "final",
            Phase::Void => "void",
        };
        let settlement = row.settlement.as_ref();
        Self {
            sector: sector.0,
            phase,
            version: row.terms.version,
            registry_root: row.registry_root.to_string(),
            terms_root: row.terms.root().to_string(),
            commitments_root: commitments,
            answers_root: answers,
            evidence_root: evidence,
            bundles: row.bundles,
            settlement: settlement.map(|s| s.id().to_string()),
            charged_micro_usd: settlement.map(|s| s.charged.0.to_string()),
            earned_pebbles: settlement.map(|s| s.earned.0.to_string()),
            outcomes_applied: row.applied,
            borsh: octets(row),
        }
    }
}

/// An epoch with its heights.
#[derive(Serialize, ToSchema)]
pub(crate) struct EpochView {
    /// Epoch.
    epoch: u64,
    /// First height: the lock.
    start_height: u64,
    /// Last height for digests of answers.
    answer_until_height: u64,
    /// First height of the next epoch.
    end_height: u64,
    /// Last height for digests of bundles.
    cut_until_height: u64,
    /// Last height for certificates.
    certify_until_height: u64,
    /// Last height for votes.
    vote_until_height: u64,
    /// Pebbles of $1, frozen at the lock.
    price_pebbles_per_usd: String,
    /// Seed, hexadecimal, once known.
    seed: Option<String>,
    /// Sectors.
    sectors: Vec<SectorEpochView>,
    /// `EpochRow`.
    borsh: String,
}

impl EpochView {
    pub(crate) fn new(
        epoch: Epoch,
        row: &EpochRow,
        params: &ChainParams,
        sectors: Vec<SectorEpochView>,
    ) -> Self {
        let end = row.start.plus(params.epoch_blocks);
        Self {
            epoch: epoch.0,
            start_height: row.start.0,
            answer_until_height: row.start.plus(params.answer_blocks).0,
            end_height: end.0,
            cut_until_height: end.plus(params.cut_blocks).0,
            certify_until_height: end.plus(params.certify_blocks).0,
            vote_until_height: end.plus(params.vote_blocks).0,
            price_pebbles_per_usd: row.price.0.to_string(),
            seed: row.seed.map(|seed| Hash(seed.0).to_string()),
            sectors,
            borsh: octets(row),
        }
    }
}
