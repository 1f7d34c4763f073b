//! Transfers per second end to end: signed transactions through the HTTP API of one validator until they are final.
//!
//!     cargo run --release -p cairn-api --example transfer_speed -- [transfers] [block interval in ms]
//!
//! Client and node share this process and its cores. Transactions are signed before the clock starts.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark ends at its first fault")]

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
const ACCOUNTS: usize = 512;
/// Connections.
const CONNECTIONS: usize = 32;

fn key(n: usize) -> SecretKey {
    let mut seed = [1; 32];
    seed[..8].copy_from_slice(&u64::try_from(n).unwrap().to_le_bytes());
    SecretKey::from_seed(&seed)
}

fn account(n: usize) -> AccountId {
    Authority::Single(key(n).public()).account_id()
}

async fn node(dir: &std::path::Path, interval: Duration) -> Node {
    let seat = SeatKeys {
        number: 0,
        identity_seed: [9; 32],
        consensus_secret: [8; 32],
        message: key(9_999_999),
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
    Node::start(NodeConfig {
        dir,
        genesis,
        sectors: Sectors::new(),
        seat: Some(seat),
        interval,
        import: None,
    })
    .await
    .unwrap()
}

/// The transfers of one account, in order of nonce.
fn signed(node: &Node, n: usize, each: u64) -> Vec<Tx> {
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

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap());
    let transfers = arguments.next().unwrap_or(50_000);
    let interval = Duration::from_millis(arguments.next().unwrap_or(200));
    let each = transfers.div_ceil(u64::try_from(ACCOUNTS).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), interval).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(cairn_api::serve(node.clone(), listener, None));
    let mut shares: BTreeMap<usize, Vec<Vec<Tx>>> = BTreeMap::new();
    for n in 0..ACCOUNTS {
        shares.entry(n % CONNECTIONS).or_default().push(signed(&node, n, each));
    }
    let (first, refused) = (node.status().height, Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let tasks: Vec<_> = shares
        .into_values()
        .map(|work| tokio::spawn(hand_in(Client::new(url.clone()).unwrap(), work, refused.clone())))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let handed_in = begun.elapsed();
    let mut heights = node.heights();
    for n in 0..ACCOUNTS {
        while node.get::<Accounts>(&account(n)).await.unwrap().unwrap().nonce < each {
            heights.changed().await.unwrap();
        }
    }
    let (all, blocks) = (begun.elapsed(), node.status().height.0 - first.0);
    let total = each * u64::try_from(ACCOUNTS).unwrap();
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
    node.shutdown().await.unwrap();
}
