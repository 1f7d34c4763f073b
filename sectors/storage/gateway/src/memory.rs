//! Doubles for tests: a chain in memory and operators in memory, so that a whole gateway runs in one process.

mod chain;
mod node;

pub use chain::MemoryChain;
pub use node::MemoryNode;

use crate::error::GatewayError;
use crate::gateway::{Config, Gateway, Started, Terms};
use crate::ports::ChainPort;
use cairn_crypto::keys::PublicKey;
use cairn_net::{Faults, Local, Transport};
use cairn_types::{Credits, Rate};
use std::sync::Arc;
use std::time::Duration;

/// A chain and operators.
pub struct World {
    /// The chain.
    pub chain: Arc<MemoryChain>,
    /// The operators, by number.
    pub nodes: Vec<Arc<MemoryNode>>,
    /// The network between.
    pub net: Local,
}

impl World {
    /// `operators` operators, each a failure domain of its own.
    pub fn new(operators: u16) -> Self {
        let chain = Arc::new(MemoryChain::new(operators));
        let net = Local::new();
        let nodes: Vec<_> =
            (0..operators).map(|i| Arc::new(MemoryNode::new(Arc::clone(&chain), i))).collect();
        for node in &nodes {
            net.register(node.key(), Arc::clone(node) as Arc<dyn cairn_net::Service>);
        }
        Self { chain, nodes, net }
    }

    /// The way into the network for a gateway.
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.net.endpoint(PublicKey([9; 32])))
    }

    /// Starts a gateway for the root secret.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start(&self, root: &[u8; 32], config: Config) -> Result<Started, GatewayError> {
        let chain = Arc::clone(&self.chain) as Arc<dyn ChainPort>;
        Gateway::start(root, chain, self.transport(), config).await
    }

    /// Takes an operator off the network, or back onto it.
    pub fn set_down(&self, operator: usize, down: bool) {
        if let Some(node) = self.nodes.get(operator) {
            self.net.set_faults(&node.key(), Faults { down, ..Faults::default() });
        }
    }

    /// Settings for tests: no background work, short limits.
    pub fn config() -> Config {
        let terms = Terms {
            chunks_per_slot: 64 << 10,
            index_chunks: 16 << 10,
            escrow: Credits(1_000_000),
            index_escrow: Credits(1_000_000),
            max_rate: Rate(u64::MAX),
            max_per_domain: 1,
            class: 0,
            region: 0,
        };
        let mut config = Config::new(terms);
        config.upkeep = None;
        config.recover = Duration::from_millis(500);
        config.commit = Duration::from_secs(5);
        config
    }
}
