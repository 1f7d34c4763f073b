//! Transfers per second end to end: signed transactions through the HTTP API of one validator until they are final.
//!
//!     cargo run --release -p cairn-api --example transfer_speed -- [transfers] [block interval in ms]
//!
//! Client and node share this process and its cores. Transactions are signed before the clock starts.
use cairn_client::Client;
use cairn_crypto::{Authority, BlsSecret, SecretKey};
use cairn_ledger::genesis::{Genesis, GenesisSeat};
use cairn_ledger::tables::{Accounts, ChainParams};
use cairn_ledger::tx::{AccountTx, Action, Tx};
use cairn_node::{Node, NodeConfig, SeatKeys};
use cairn_sector::Sectors;
use cairn_types::{AccountId, Amount, Height, Price};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Accounts that send; each has up to 64 transactions in flight, as the pool allows.
const ACCOUNTS: u32 = 512;
/// Connections.
const CONNECTIONS: u32 = 32;

fn key(n: u32) -> SecretKey {
    let mut seed = [1; 32];
    seed[..4].copy_from_slice(&n.to_le_bytes());
    SecretKey::from_seed(&seed)
}

fn account(n: u32) -> AccountId {
    Authority::Single(key(n).public()).account_id()
}

async fn node(dir: &std::path::Path, interval: Duration) -> Result<Node, Fault> {
    let seat = SeatKeys {
        number: 0,
        identity_seed: [9; 32],
        consensus_secret: [8; 32],
        message: key(u32::MAX),
        vote: BlsSecret::from_seed(&[7; 32]),
    };
    let mut allocations: Vec<_> = (0..ACCOUNTS).map(|n| (account(n), Amount(1_000_000_000_000))).collect();
    allocations.sort();
    let genesis = Genesis {
        name: "bench".into(),
        hrp: "cairn".into(),
        fork: 0,
        params: ChainParams::default(),
        price: Price(1_000_000),
        allocations,
        credits: Vec::new(),
        seats: vec![GenesisSeat {
            account: account(0),
            key: seat.message.public(),
            vote: seat.vote.public(),
            consensus: cairn_engine::vote_public(&seat.consensus_secret),
            possession: seat.vote.pop_prove(),
        }],
        sectors: Vec::new(),
    };
    let dir = dir.to_owned();
    let seat = Some(seat);
    Ok(Node::start(NodeConfig { dir, genesis, sectors: Sectors::new(), seat, interval, import: None })
        .await?)
}

/// The transfers of one account, in order of nonce.
fn signed(node: &Node, n: u32, each: u64) -> Vec<Tx> {
    let (status, secret) = (node.status(), key(n));
    let to = account((n + 1) % ACCOUNTS);
    let one = |nonce| {
        let tx = AccountTx {
            network: status.network,
            fork: status.fork,
            authority: Authority::Single(secret.public()),
            nonce,
            valid_until: Height(status.height.0 + 100_000),
            tip: Amount::ZERO,
            action: Action::Transfer { to, amount: Amount(1) },
        };
        Tx::by_account(tx, &secret)
    };
    (0..each).map(one).collect()
}

/// Hands in what is left of several accounts' transactions, one after the other; a full pool is tried again.
async fn hand_in(client: Client, work: Vec<Vec<Tx>>, refused: Arc<AtomicU64>) {
    let longest = work.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..longest {
        for tx in work.iter().filter_map(|txs| txs.get(at)) {
            while let Err(error) = client.submit(tx).await {
                assert!(["pool.full", "api.busy", "node.busy"].contains(&error.code.as_str()), "{error}");
                refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let transfers = arguments.first().copied().unwrap_or(50_000);
    let interval = Duration::from_millis(arguments.get(1).copied().unwrap_or(200));
    let each = transfers.div_ceil(u64::from(ACCOUNTS));
    let dir = tempfile::tempdir()?;
    let node = node(dir.path(), interval).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(cairn_api::serve(node.clone(), listener, cairn_api::Services::default()));
    let mut shares: BTreeMap<u32, Vec<Vec<Tx>>> = BTreeMap::new();
    for n in 0..ACCOUNTS {
        shares.entry(n % CONNECTIONS).or_default().push(signed(&node, n, each));
    }
    let (first, refused) = (node.status().height, Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let tasks: Vec<_> = shares
        .into_values()
        .map(|work| Ok(tokio::spawn(hand_in(Client::new(url.clone())?, work, refused.clone()))))
        .collect::<Result<_, Fault>>()?;
    for task in tasks {
        task.await?;
    }
    let handed_in = begun.elapsed();
    let mut heights = node.heights();
    for n in 0..ACCOUNTS {
        while node.get::<Accounts>(&account(n)).await?.is_none_or(|row| row.nonce < each) {
            heights.changed().await?;
        }
    }
    let (all, blocks) = (begun.elapsed(), node.status().height.0 - first.0);
    let total = each * u64::from(ACCOUNTS);
    let rate = |time: Duration| u128::from(total) * 1000 / time.as_millis().max(1);
    println!(
        "{total} transfers, {ACCOUNTS} accounts, {CONNECTIONS} connections, a block every {} ms",
        interval.as_millis()
    );
    println!(
        "handed in after {handed_in:.2?} ({}/s), final after {all:.2?}: {}/s",
        rate(handed_in),
        rate(all)
    );
    println!(
        "{blocks} blocks, {} a block; refused and tried again: {}",
        total / blocks.max(1),
        refused.load(Ordering::Relaxed)
    );
    node.shutdown().await?;
    Ok(())
}
