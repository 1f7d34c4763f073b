//! JSON of the API, as far as this client reads it. Unknown fields are ignored, so that nodes may add some.

use crate::ClientError;
use borsh::BorshDeserialize;
use serde::{Deserialize, Serialize};

/// Body of every refusal.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RefusalBody {
    /// Stable code.
    pub code: String,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

/// How the node is doing.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Network id, 64 hexadecimal digits.
    pub network: String,
    /// Fork number.
    pub fork: u32,
    /// Height of the newest final block.
    pub height: u64,
    /// Epoch of that block.
    pub epoch: u64,
    /// Name of the network.
    #[serde(default)]
    pub name: String,
    /// Timestamp of the newest block, milliseconds since 1970.
    #[serde(default)]
    pub block_timestamp_ms: u64,
    /// Time between blocks.
    #[serde(default)]
    pub block_interval_ms: u64,
    /// Transactions that wait for a block.
    #[serde(default)]
    pub pool_transactions: u64,
}

/// A record of a peer that was taken in.
#[derive(Clone, Debug, Deserialize)]
pub struct Announced {
    /// False: a record as new was there.
    pub newest: bool,
}

/// Whose a key is.
#[derive(Clone, Debug, Deserialize)]
pub struct KeyOwner {
    /// `device` or `customer`.
    pub role: String,
}

/// The join link of a node.
#[derive(Clone, Debug, Deserialize)]
pub struct JoinAnswer {
    /// The link.
    pub link: String,
}

/// What is on offer in a sector. Rates are in 10^-12 credits a unit; absent while nobody offers.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Market {
    /// Devices that take new duties.
    pub devices: u64,
    /// How many of them share no failure domain with another.
    pub domains: u64,
    /// Lowest list rate.
    pub lowest_rate: Option<String>,
    /// The middle one.
    pub median_rate: Option<String>,
    /// The highest.
    pub highest_rate: Option<String>,
    /// Units an epoch that these devices can do, by kind.
    pub capacity: Vec<String>,
    /// Of it reserved by leases.
    pub reserved: Vec<String>,
}

/// What a client needs to know of a network.
#[derive(Clone, Debug, Deserialize)]
pub struct GenesisFacts {
    /// Network id, 64 hexadecimal digits.
    pub network: String,
    /// Fork number.
    pub fork: u32,
    /// Text before the `1` of addresses.
    pub hrp: String,
    /// Digest that the genesis block is bound to, hexadecimal.
    pub genesis_hash: String,
    /// Seats, by number. Trust them only where they come from a source that you trust.
    pub seats: Vec<SeatFacts>,
    /// Sectors of the network.
    pub sectors: Vec<SectorFacts>,
    /// The chain's row: governed numbers, price, heights.
    pub chain_borsh: String,
}

/// A seat's public keys.
#[derive(Clone, Debug, Deserialize)]
pub struct SeatFacts {
    /// Seat number.
    pub seat: u16,
    /// `SeatRow` in borsh, hexadecimal.
    pub borsh: String,
}

/// A sector.
#[derive(Clone, Debug, Deserialize)]
pub struct SectorFacts {
    /// Number.
    pub sector: u16,
    /// Rules version in force.
    pub version: u16,
}

/// Anything whose typed form is the borsh bytes.
#[derive(Clone, Debug, Deserialize)]
pub struct Boxed {
    /// Bytes in hexadecimal.
    pub borsh: String,
}

/// A row with its proof.
#[derive(Clone, Debug, Deserialize)]
pub struct ProvenRow {
    /// Height of the block that the proof is for.
    pub height: u64,
    /// Stored entry, hexadecimal; absent where there is none.
    pub value: Option<String>,
    /// Proof against that block's state root, hexadecimal.
    pub proof: String,
    /// The block, hexadecimal.
    pub block: String,
    /// Its certificate, hexadecimal; absent where only a descendant has one.
    pub certificate: Option<String>,
}

/// A final block.
#[derive(Clone, Debug, Deserialize)]
pub struct BlockAnswer {
    /// Height.
    pub height: u64,
    /// The block, hexadecimal.
    pub block: String,
    /// Its certificate, hexadecimal.
    pub certificate: Option<String>,
}

/// A transaction that was accepted, and what became of it if the answer waited.
#[derive(Clone, Debug, Deserialize)]
pub struct Accepted {
    /// Transaction id, hexadecimal.
    pub id: String,
    /// Height of its block once final.
    pub height: Option<u64>,
    /// `Receipt` in borsh, hexadecimal.
    pub receipt_borsh: Option<String>,
    /// Its events.
    #[serde(default)]
    pub events: Vec<Boxed>,
}

/// An event of the stream or of the history.
#[derive(Clone, Debug, Deserialize)]
pub struct EventJson {
    /// Height of the block.
    pub height: u64,
    /// Number within the block.
    pub index: u32,
    /// `Event` in borsh, hexadecimal.
    pub borsh: String,
}

/// A page of the history.
#[derive(Clone, Debug, Deserialize)]
pub struct HistoryPage {
    /// Events in order.
    pub events: Vec<EventJson>,
    /// Height to go on from.
    pub next: u64,
}

/// Leases of a customer.
#[derive(Clone, Debug, Deserialize)]
pub struct LeaseList {
    /// Height up to which the list is complete.
    pub height: u64,
    /// Lease ids, hexadecimal, in order of opening.
    pub leases: Vec<String>,
}

/// Proof of a cumulative charge.
#[derive(Clone, Debug, Deserialize)]
pub struct ChargeAnswer {
    /// Epoch of the settlement.
    pub epoch: u64,
    /// Credits, decimal.
    pub charged_micro_usd: String,
    /// Position in the tree of charges.
    pub index: u64,
    /// `RowProof` in borsh, hexadecimal.
    pub proof_borsh: String,
}

/// A digest that was taken in.
#[derive(Clone, Debug, Deserialize)]
pub struct Uploaded {
    /// Digest, hexadecimal.
    pub hash: String,
}

/// Decodes hexadecimal.
pub(crate) fn octets(text: &str) -> Result<Vec<u8>, ClientError> {
    hex::decode(text).map_err(|e| ClientError::garbled(format!("not hexadecimal: {e}")))
}

/// Decodes borsh in hexadecimal. The length of the answer bounds the work.
pub(crate) fn open<T: BorshDeserialize>(text: &str) -> Result<T, ClientError> {
    cairn_types::decode(&octets(text)?).map_err(ClientError::garbled)
}
