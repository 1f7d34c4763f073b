//! What a node tells.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::merkle::rows::RowProof;
use cairn_ledger::events::Event;
use cairn_ledger::executor::Receipt;
use cairn_types::{Credits, DeviceId, Epoch, Height, NetworkId};
use std::time::Duration;

/// How a node is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The network's constant id.
    pub network: NetworkId,
    /// Fork; transactions carry it.
    pub fork: u32,
    /// Heights before this fork: a block's own height plus this is the network's height.
    pub origin: Height,
    /// Text before the `1` of addresses.
    pub hrp: String,
    /// Name of the network.
    pub name: String,
    /// Height of the newest final block.
    pub height: Height,
    /// Epoch of that block.
    pub epoch: Epoch,
    /// Blocks of an epoch.
    pub epoch_blocks: u64,
    /// Blocks of the current epoch that are final, `1..=epoch_blocks`; 0 before the first block.
    pub epoch_progress: u64,
    /// Time between blocks.
    pub interval: Duration,
    /// Timestamp of the newest final block, milliseconds since 1970; 0 before the first block.
    pub timestamp_ms: u64,
    /// Transactions waiting in the pool.
    pub pool: usize,
    /// The seat that this node holds.
    pub seat: Option<u16>,
    /// Why the node cannot judge at present, in a sentence; `None` when all is well.
    pub trouble: Option<String>,
}

/// What happened in a final block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockEvents {
    /// Height.
    pub height: Height,
    /// Epoch.
    pub epoch: Epoch,
    /// Milliseconds since 1970, as the proposer said.
    pub timestamp_ms: u64,
    /// A receipt for each transaction, in order.
    pub receipts: Vec<Receipt>,
    /// Events; those before the first receipt's `from` belong to the start of the block.
    pub events: Vec<Event>,
}

/// Cumulative charge of a lease in the latest final settlement; what a refund needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeProof {
    /// The settlement's epoch.
    pub epoch: Epoch,
    /// Cumulative charge.
    pub charged: Credits,
    /// Position in the tree of charges.
    pub index: u64,
    /// Merkle path.
    pub proof: RowProof,
}

/// A device's part in the retrieval audits of an epoch, both ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditsOf {
    /// Devices that it is to audit.
    pub audits: Vec<DeviceId>,
    /// Devices that are to audit it.
    pub auditors: Vec<DeviceId>,
}
