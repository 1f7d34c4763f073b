//! An S3 endpoint over sixteen real operators on one disk, without a chain: what the data plane costs by itself.
//! `cargo run --release --example disk_s3 -- DIR` prints one JSON object as the devnet does, then serves until
//! interrupted. DIR must be empty.

use cairn_net::{Local, Transport};
use cairn_sector::{DeviceEntry, LeaseEntry};
use cairn_storage_gateway::gateway::Gateway;
use cairn_storage_gateway::memory::{MemoryChain, World};
use cairn_storage_gateway::ports::ChainPort;
use cairn_storage_gateway::server::{ServerConfig, serve};
use cairn_storage_node::disk::RealDisk;
use cairn_storage_node::{ChainView, Identity, StorageNode, Store};
use cairn_storage_rules::types::Params;
use cairn_types::{DeviceId, Epoch, LeaseId, NetworkId};
use std::sync::Arc;
use std::time::Duration;

const OPERATORS: u16 = 16;

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

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: disk_s3 DIR (an empty directory)")?;
    let (chain, net) = (Arc::new(MemoryChain::new(OPERATORS)), Local::new());
    for n in 0..OPERATORS {
        let disk = Arc::new(RealDisk::new(format!("{dir}/{n}"))?);
        let store = Arc::new(Store::open(disk, 64 << 30)?);
        let key = MemoryChain::device_key(n);
        let address = key.public();
        let identity = Arc::new(Identity { device: chain.device(n), key });
        let view = Arc::new(View(Arc::clone(&chain)));
        let node = StorageNode::new(identity, store, view, Params::default(), Arc::default());
        net.register(address, Arc::new(node));
    }
    let mut config = World::config();
    config.terms.chunks_per_slot = 16 << 20;
    config.upkeep = Some(Duration::from_secs(2));
    let transport: Arc<dyn Transport> = Arc::new(net.endpoint(cairn_crypto::keys::PublicKey([9; 32])));
    let gateway = Gateway::start(&[7; 32], chain, transport, config).await?.gateway;
    let (access_key, secret_key) = ("AKIADISK000000000000", "disk-secret-key-of-no-worth-at-all");
    gateway.put_access_key(access_key, secret_key).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let server = serve(listener, gateway, ServerConfig::default())?;
    println!(
        r#"{{"api":"","s3":{{"endpoint":"http://{}","access_key":"{access_key}","secret_key":"{secret_key}","region":"us-east-1"}},"accounts":[],"pid":{}}}"#,
        server.address(),
        std::process::id()
    );
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
