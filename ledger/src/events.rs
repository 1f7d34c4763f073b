//! What happened, in the order it happened: the stream that indexers, gateways and operators follow.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{AccountId, Amount, Credits, DeviceId, Epoch, Hash, LeaseId, SectorId};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[allow(missing_docs)]
pub enum Event {
    EpochLocked { epoch: Epoch },
    Seeded { epoch: Epoch },
    Transferred { from: AccountId, to: AccountId, amount: Amount },
    CreditsBought { by: AccountId, account: AccountId, credits: Credits, cost: Amount },
    OperatorRegistered { operator: AccountId },
    DeviceRegistered { device: DeviceId, operator: AccountId, sector: SectorId },
    DeviceChanged { device: DeviceId },
    DeviceExiting { device: DeviceId, until: Epoch },
    DeviceGone { device: DeviceId, bond: Amount },
    BondAdded { device: DeviceId, amount: Amount },
    LeaseOpened { lease: LeaseId, customer: AccountId, sector: SectorId },
    LeaseFunded { lease: LeaseId, credits: Credits },
    LeaseClosing { lease: LeaseId, epoch: Epoch },
    LeaseRefunded { lease: LeaseId, credits: Credits },
    SlotReassigned { lease: LeaseId, slot: u16, from: DeviceId, to: Option<DeviceId>, repair: bool },
    Fenced { lease: LeaseId, fence: u64 },
    Committed { device: DeviceId, epoch: Epoch },
    Answered { device: DeviceId, epoch: Epoch },
    Bundled { device: DeviceId, epoch: Epoch, bundle: Hash, size: u64 },
    Certified { sector: SectorId, epoch: Epoch, bundles: u32 },
    Voted { sector: SectorId, epoch: Epoch, seat: u16 },
    Settled { sector: SectorId, epoch: Epoch, settlement: Hash, charged: Credits, earned: Amount },
    Void { sector: SectorId, epoch: Epoch },
    Faulted { device: DeviceId, epoch: Epoch, code: u16, severity_ppm: u32 },
    BondLocked { device: DeviceId, lock: Hash, amount: Amount },
    BondPaid { of: DeviceId, to: AccountId, amount: Amount },
    BondReleased { device: DeviceId, lock: Hash, burned: Amount, returned: Amount },
    Claimed { sector: SectorId, operator: AccountId, amount: Amount },
    SaleMade { sector: SectorId, sale: Hash, credits: Credits },
    DisputeOpened { dispute: Hash, device: DeviceId },
    DisputeRuled { dispute: Hash, device: DeviceId, upheld: bool },
    LegalNotice { lease: LeaseId, slot: u16, device: DeviceId, notice: Hash, locked: Amount },
    SaleRefunded { sector: SectorId, sale: Hash, buyer: AccountId, credits: Credits },
    LeaseLapsed { lease: LeaseId },
    Endowed { lease: LeaseId, credits: Credits },
    EndowmentSpent { lease: LeaseId },
}
