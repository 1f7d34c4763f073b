//! A network of one seat in a temporary directory, with its API on a port of the system's choice.

use cairn_api::{DevnetControl, PeerFacts, PeerStore, Services, serve_until};
use cairn_client::{Account, Client};
use cairn_crypto::{Authority, BlsSecret, SecretKey};
use cairn_ledger::genesis::{Export, Genesis, GenesisSeat};
use cairn_ledger::tables::ChainParams;
use cairn_node::{Node, NodeConfig, SeatKeys};
use cairn_sector::Sectors;
use cairn_types::{AccountId, Amount, Price, Refusal};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// 1,000 CRN.
pub const WEALTH: Amount = Amount(1_000_000_000_000);

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

pub fn id(n: u8) -> AccountId {
    Authority::Single(key(n).public()).account_id()
}

/// What the node hands out as its join link.
pub const LINK: &str = "cairn:join/of-this-test";

/// (key, issued, expires) in borsh stands for a record of a peer here.
fn read_peer(bytes: &[u8]) -> Result<PeerFacts, Refusal> {
    let (key, issued, expires) = cairn_types::decode(bytes)
        .map_err(|e| Refusal::with("peer.malformed", e.to_string(), "send a record"))?;
    Ok(PeerFacts { key, issued, expires })
}

fn seat_keys() -> SeatKeys {
    SeatKeys {
        number: 0,
        identity_seed: [9; 32],
        consensus_secret: [8; 32],
        message: key(9),
        vote: BlsSecret::from_seed(&[7; 32]),
    }
}

fn genesis() -> Genesis {
    let keys = seat_keys();
    Genesis {
        name: "api test".into(),
        hrp: "cairn".into(),
        fork: 0,
        params: ChainParams {
            epoch_blocks: 40,
            epoch_seconds: 10,
            answer_blocks: 10,
            cut_blocks: 10,
            certify_blocks: 20,
            vote_blocks: 38,
            ..ChainParams::default()
        },
        price: Price(1_000_000),
        allocations: vec![(id(1), WEALTH), (id(9), WEALTH)],
        credits: Vec::new(),
        seats: vec![GenesisSeat {
            account: id(9),
            key: keys.message.public(),
            vote: keys.vote.public(),
            consensus: cairn_engine::vote_public(&keys.consensus_secret),
            possession: keys.vote.pop_prove(),
        }],
        sectors: Vec::new(),
    }
}

pub struct Net {
    pub client: Client,
    pub node: Node,
    pub url: String,
    stop: Option<oneshot::Sender<()>>,
    _dir: tempfile::TempDir,
}

impl Net {
    pub async fn start(devnet: Option<Arc<dyn DevnetControl>>) -> Self {
        Self::start_from(devnet, None).await
    }

    /// A network that goes on from an exported state.
    pub async fn start_from(devnet: Option<Arc<dyn DevnetControl>>, import: Option<Export>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = NodeConfig {
            dir: dir.path().join("node"),
            genesis: genesis(),
            sectors: Sectors::new(),
            seat: Some(seat_keys()),
            interval: Duration::from_millis(20),
            import,
        };
        let node = Node::start(config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let peers = PeerStore { read: Arc::new(read_peer), file: dir.path().join("peers") };
        let services = Services { devnet, peers: Some(peers), join: Some(LINK.into()) };
        tokio::spawn(serve_until(node.clone(), listener, services, shutdown));
        Self { client: Client::new(url.clone()).unwrap(), node, url, stop: Some(stop), _dir: dir }
    }

    /// The account that the genesis made rich.
    pub fn rich(&self) -> Account {
        Account::new(self.client.clone(), key(1))
    }

    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.node.shutdown().await.unwrap();
    }
}
