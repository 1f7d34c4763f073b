//! How to run a node, and why it does not start.

use cairn_crypto::bls::BlsSecret;
use cairn_crypto::keys::SecretKey;
use cairn_engine::EngineError;
use cairn_ledger::genesis::{Export, Genesis};
use cairn_sector::Sectors;
use cairn_types::Refusal;
use std::path::PathBuf;
use std::time::Duration;

/// Secrets of a validator seat.
pub struct SeatKeys {
    /// Number of the seat.
    pub number: u16,
    /// Seed of the identity (ed25519) that proposes blocks.
    pub identity_seed: [u8; 32],
    /// 32 uniformly random bytes from which the key of consensus votes is derived.
    pub consensus_secret: [u8; 32],
    /// Key of seat transactions.
    pub message: SecretKey,
    /// Key of epoch seeds.
    pub vote: BlsSecret,
}

/// How to run a node.
pub struct NodeConfig {
    /// Directory of everything; created if missing. One process at a time.
    pub dir: PathBuf,
    /// The network.
    pub genesis: Genesis,
    /// Rules that this program can judge.
    pub sectors: Sectors,
    /// Secrets of a seat. Required: following a network without a seat is not part of this version.
    pub seat: Option<SeatKeys>,
    /// Time between blocks; zero: as fast as possible; at most one minute.
    pub interval: Duration,
    /// State to go on from, as the next fork of the same network, instead of the genesis allocations.
    pub import: Option<Export>,
}

/// Why a node does not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The genesis or the imported state is not usable.
    #[error("{0}")]
    Genesis(Refusal),
    /// The configuration does not fit the network.
    #[error("the node's configuration is not usable: {0}")]
    Config(String),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store on disk.
    #[error("the node's store failed: {0}; check the disk, then start again: blocks are kept by the engine")]
    Store(String),
}
