//! The same gateway over the operators' real service, each with a simulated disk.
#![allow(clippy::unwrap_used)] // Helpers of tests, which may fail loudly.

use crate::support::*;
use cairn_net::{Local, Transport};
use cairn_sector::{DeviceEntry, LeaseEntry};
use cairn_storage_gateway::gateway::Gateway;
use cairn_storage_gateway::memory::MemoryChain;
use cairn_storage_gateway::ports::ChainPort;
use cairn_storage_node::disk::SimDisk;
use cairn_storage_node::{ChainView, Identity, StorageNode, Store};
use cairn_storage_rules::types::Params;
use cairn_types::{DeviceId, Epoch, LeaseId, NetworkId};
use std::sync::Arc;

struct View(Arc<MemoryChain>);

#[async_trait::async_trait]
impl ChainView for View {
    async fn lease(&self, id: &LeaseId) -> Option<LeaseEntry> {
        self.0.find(id)
    }
    async fn device(&self, _: &DeviceId) -> Option<DeviceEntry> {
        None
    }
    fn epoch(&self) -> Epoch {
        self.0.now()
    }
    fn network(&self) -> NetworkId {
        ChainPort::network(&*self.0)
    }
}

struct Town {
    chain: Arc<MemoryChain>,
    net: Local,
    disks: Vec<Arc<SimDisk>>,
    keys: Vec<cairn_crypto::keys::PublicKey>,
}

fn town(n: u16) -> Town {
    let chain = Arc::new(MemoryChain::new(n));
    let (net, mut disks, mut keys) = (Local::new(), Vec::new(), Vec::new());
    for i in 0..n {
        let disk = Arc::new(SimDisk::new());
        let store = Arc::new(Store::open(Arc::clone(&disk) as Arc<_>, 1 << 30).unwrap());
        let key = MemoryChain::device_key(i);
        keys.push(key.public());
        let identity = Arc::new(Identity { device: chain.device(i), key });
        let view = Arc::new(View(Arc::clone(&chain)));
        let node = StorageNode::new(identity, store, view, Params::default(), Arc::default());
        net.register(keys[usize::from(i)], Arc::new(node));
        disks.push(disk);
    }
    Town { chain, net, disks, keys }
}

impl Town {
    async fn start(&self) -> Arc<Gateway> {
        let transport: Arc<dyn Transport> = Arc::new(self.net.endpoint(self.keys[0]));
        let chain = Arc::clone(&self.chain) as Arc<dyn ChainPort>;
        let mut config = config();
        config.snapshot_after = 50_000;
        Gateway::start(&ROOT, chain, transport, config).await.unwrap().gateway
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_operators_store_serve_agree_and_give_back_after_a_recovery() {
    let town = town(8);
    let g = town.start().await;
    g.create_bucket("b", 1).await.unwrap();
    let sizes = [10usize, 5000, 300_000, 9_000_000];
    for (i, size) in sizes.into_iter().enumerate() {
        put(&g, &format!("k{i}"), &bytes(size, 4)).await.unwrap();
    }
    for i in 0..30u32 {
        put(&g, "again", &bytes(4000, i)).await.unwrap();
    }
    assert_eq!(g.flush_revisions().await.unwrap().failed, 0);
    for _ in 0..4 {
        assert!(get(&g, "k3").await.unwrap() == bytes(9_000_000, 4));
    }
    g.flush_receipts().await;
    drop(g);
    let g = town.start().await;
    for (i, size) in sizes.into_iter().enumerate() {
        assert!(get(&g, &format!("k{i}")).await.unwrap() == bytes(size, 4));
    }
    assert!(get(&g, "again").await.unwrap() == bytes(4000, 29));
    put(&g, "new", &bytes(50_000, 1)).await.unwrap();
    g.delete_object("b", "k3").await.unwrap();
    assert_eq!(g.flush_revisions().await.unwrap().failed, 0);
    assert!(get(&g, "new").await.unwrap() == bytes(50_000, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_operators_that_trust_16_mib_take_a_large_object() {
    let town = town(4);
    let g = town.start().await;
    g.create_bucket("b", 1).await.unwrap();
    let data = bytes(50_000_000, 1);
    put(&g, "large", &data).await.unwrap();
    assert!(get(&g, "large").await.unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_that_real_operators_lost_come_back() {
    let town = town(8);
    let g = town.start().await;
    g.create_bucket("b", 1).await.unwrap();
    let data = bytes(200_000, 1);
    put(&g, "k", &data).await.unwrap();
    g.flush_revisions().await.unwrap();
    let rotten: usize = town.disks[..2].iter().map(|d| d.rot("")).sum();
    assert!(rotten > 0);
    assert!(get(&g, "k").await.unwrap() == data);
    for _ in 0..4 {
        g.heal().await.unwrap();
        g.flush_revisions().await.unwrap();
    }
    assert_eq!(g.health().incomplete, 0);
    // Now four others may go: k is 2 of 6.
    for key in &town.keys[2..6] {
        town.net.set_faults(key, cairn_net::Faults { down: true, ..Default::default() });
    }
    assert!(get(&g, "k").await.unwrap() == data);
}
