//! A running node: pool, block store, registry mirror, evidence store, settlement worker.
//!
//! Start with [`Node`]. The ledger's code decides what blocks mean; this crate brings it rows, keeps what it says,
//! and does a seat's duties. It knows sectors only through the `Sectors` that it is given.

mod audits;
mod config;
mod export;
mod files;
mod judge;
mod kv;
mod machine;
mod node;
mod owed;
mod pool;
mod reads;
mod shared;
mod start;
mod store;
mod types;
mod worker;

pub use cairn_engine::{Proof, StoredBlock};
pub use config::{NodeConfig, NodeError, SeatKeys};
pub use export::{EXPORT_LIMIT, StateFile};
pub use node::Node;
pub use types::{AuditsOf, BlockEvents, ChargeProof, Status};
