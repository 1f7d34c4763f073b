//! What the market needs to know of offers and orders.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{Cell, Credits, Hash, Rate, UNIT_KINDS, Units};

/// An accepted offer, in the market's words.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Admission {
    /// Work that the device may hold at once (reserved by leases) and, per epoch, be paid for.
    pub capacity: Units,
    /// Asked rates per kind of unit.
    pub rates: [Rate; UNIT_KINDS],
    /// The one rate that orders the price buckets.
    pub list_rate: Rate,
    /// Bond, in credits; the ledger converts at the price of the epoch.
    pub bond: Credits,
    /// Keys that may exist once in the sector (a meter's serial, a gateway's EUI).
    pub unique: Vec<Hash>,
    /// Failure domains, coarse to fine (site, network). Two devices that share one are not independent.
    pub domains: Vec<Hash>,
    /// Class of hardware; orders name one.
    pub class: u16,
    /// Region code; orders name one, 0 = anywhere.
    pub region: u16,
    /// Place, at the sector's published resolution.
    pub cell: Option<Cell>,
}

/// What an order needs.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Demand {
    /// Devices wanted, all different, `1..=64`.
    pub slots: u16,
    /// Most slots in one failure domain; 0 = no limit (a devnet).
    pub max_per_domain: u16,
    /// Capacity reserved on each device.
    pub reserve: Units,
    /// Class of hardware.
    pub class: u16,
    /// Region, 0 = anywhere.
    pub region: u16,
    /// Highest list rate that the customer accepts.
    pub max_rate: Rate,
    /// Least escrow with which the lease may open.
    pub min_escrow: Credits,
    /// Helpers drawn by the seed besides the slots (repair agents, auditors), at most 8.
    pub helpers: u16,
    /// Epochs until the lease ends by itself; 0 = open end.
    pub epochs: u64,
}

/// Rates at which one offer serves one order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Quote {
    /// Rate per kind of unit.
    pub rates: [Rate; UNIT_KINDS],
}
