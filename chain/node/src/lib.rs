//! A running node: pool, block store, registry mirror, evidence store, settlement worker.
//!
//! Start with [`Node`].

mod config;
mod node;
mod types;

pub use cairn_engine::{Proof, StoredBlock};
pub use config::{NodeConfig, NodeError, SeatKeys};
pub use node::Node;
pub use types::{BlockEvents, ChargeProof, Status};
