//! A network of one seat with the toy sector, people to act on it, and a device's daily work.

use crate::toy::{RATE, TOY, Toy, Work};
use cairn_audit::Bundle;
use cairn_crypto::authority::{Authority, Signatures};
use cairn_crypto::bls::BlsSecret;
use cairn_crypto::keys::SecretKey;
use cairn_ledger::events::Event;
use cairn_ledger::executor::Receipt;
use cairn_ledger::genesis::{Genesis, GenesisSeat, GenesisSector};
use cairn_ledger::tables::{Accounts, ChainParams, Postings};
use cairn_ledger::tx::{
    ACCOUNT_DOMAIN, AccountTx, Action, DEVICE_DOMAIN, DEVICE_PROOF_DOMAIN, DeviceTx, Duty, Tx, device_proof,
};
use cairn_node::{Node, NodeConfig, SeatKeys};
use cairn_sector::Sectors;
use cairn_types::{
    AccountId, Amount, Credits, DeviceId, Epoch, Hash, Height, LeaseId, Price, Rate, Refusal, encode,
};
use std::path::Path;
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const CRN: u128 = 1_000_000_000;

pub fn sectors() -> Sectors {
    Sectors::new().with::<Toy>()
}

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

pub fn account(n: u8) -> AccountId {
    Authority::Single(key(n).public()).account_id()
}

pub fn params() -> ChainParams {
    ChainParams {
        epoch_blocks: 10,
        epoch_seconds: 1,
        answer_blocks: 3,
        cut_blocks: 2,
        certify_blocks: 4,
        vote_blocks: 9,
        window_epochs: 1,
        exit_epochs: 1,
        ..ChainParams::default()
    }
}

pub fn genesis() -> Genesis {
    let vote = BlsSecret::from_seed(&[201; 32]);
    let seat = GenesisSeat {
        account: account(9),
        key: key(200).public(),
        vote: vote.public(),
        consensus: cairn_engine::vote_public(&[202; 32]),
        possession: vote.pop_prove(),
    };
    let toy = GenesisSector {
        id: TOY,
        version: 1,
        params: encode(&0u64),
        pool_rates: [RATE, Rate(0), Rate(0), Rate(0)],
        pool_limit: Amount(1_000_000),
        bond_rates: Default::default(),
    };
    Genesis {
        name: "test".into(),
        hrp: "cairn".into(),
        fork: 0,
        params: params(),
        price: Price(2_000_000),
        allocations: vec![
            (account(1), Amount(1000 * CRN)),
            (account(2), Amount(1000 * CRN)),
            (account(9), Amount(CRN)),
        ],
        credits: vec![],
        seats: vec![seat],
        sectors: vec![toy],
    }
}

pub fn config(dir: &Path) -> NodeConfig {
    NodeConfig {
        dir: dir.to_owned(),
        genesis: genesis(),
        sectors: sectors(),
        seat: Some(SeatKeys {
            number: 0,
            identity_seed: [200; 32],
            consensus_secret: [202; 32],
            message: key(200),
            vote: BlsSecret::from_seed(&[201; 32]),
        }),
        interval: Duration::from_millis(50),
        import: None,
    }
}

pub async fn nonce(node: &Node, n: u8) -> u64 {
    node.get::<Accounts>(&account(n)).await.unwrap().unwrap_or_default().nonce
}

pub fn signed(node: &Node, n: u8, nonce: u64, action: Action) -> Tx {
    let status = node.status();
    let tx = AccountTx {
        network: status.network,
        fork: status.fork,
        authority: Authority::Single(key(n).public()),
        nonce,
        valid_until: Height(1_000_000),
        tip: Amount::ZERO,
        action,
    };
    let signature = key(n).sign(ACCOUNT_DOMAIN, &encode(&tx));
    Tx::Account(Box::new(tx), Signatures::single(signature))
}

/// Sends an account's action and waits until it is final.
pub async fn act(node: &Node, n: u8, action: Action) -> (Receipt, Vec<Event>) {
    let tx = signed(node, n, nonce(node, n).await, action);
    let id = node.submit(tx).await.unwrap();
    let (_, receipt, events) = node.wait(id, PATIENCE).await.expect("the transaction becomes final");
    (receipt, events)
}

/// As [`act`], done without refusal.
pub async fn done(node: &Node, n: u8, action: Action) -> Vec<Event> {
    let (receipt, events) = act(node, n, action).await;
    assert_eq!(receipt.refused, None);
    events
}

/// A device and a lease on it, the pool funded.
pub struct World {
    pub device: DeviceId,
    pub lease: LeaseId,
}

/// Account 1 operates a device with hot key 50, account 2 orders from it.
pub async fn populate(node: &Node) -> World {
    let network = node.status().network;
    done(node, 1, Action::Operator { info: "one".into() }).await;
    let proof = key(50).sign(DEVICE_PROOF_DOMAIN, &device_proof(&network, &account(1)));
    let register = Action::Register {
        sector: TOY,
        key: key(50).public(),
        proof,
        offer: encode(&1000u64),
        bond: Amount(CRN),
    };
    let events = done(node, 1, register).await;
    let device = events
        .iter()
        .find_map(|e| match e {
            Event::DeviceRegistered { device, .. } => Some(*device),
            _ => None,
        })
        .unwrap();
    done(node, 1, Action::FundPool { sector: TOY, amount: Amount(CRN) }).await;
    done(
        node,
        2,
        Action::BuyCredits { account: account(2), credits: Credits(10_000), max_cost: Amount(CRN) },
    )
    .await;
    let order = Action::Order {
        sector: TOY,
        order: encode(&10u64),
        key: key(60).public(),
        escrow: Credits(5_000),
        note: Hash::default(),
    };
    let events = done(node, 2, order).await;
    let lease = events
        .iter()
        .find_map(|e| match e {
            Event::LeaseOpened { lease, .. } => Some(*lease),
            _ => None,
        })
        .unwrap();
    World { device, lease }
}

pub fn device_tx(node: &Node, device: DeviceId, duty: Duty) -> Tx {
    let status = node.status();
    let tx = DeviceTx { network: status.network, fork: status.fork, device, duty };
    let signature = key(50).sign(DEVICE_DOMAIN, &encode(&tx));
    Tx::Device(Box::new(tx), signature)
}

/// Evidence of 90 leased and 4 standing units in an epoch.
pub fn bundle(node: &Node, world: &World, epoch: Epoch) -> Vec<u8> {
    let work = |lease, units| encode(&Work { lease, units, fault: false });
    let items = vec![work(Some(world.lease), 90), work(None, 4)];
    let network = node.status().network;
    Bundle { network, sector: TOY, epoch, device: world.device, items }.sign(&key(50)).encode()
}

/// The device's daemon: commits, uploads, posts; until dropped.
pub async fn daemon(node: Node, world: World) {
    let mut heights = node.heights();
    loop {
        let now = node.status().epoch;
        if let Err(r) = duties(&node, &world, now).await {
            assert!(["pool.known", "pool.full", "node.busy", "node.engine"].contains(&r.code), "{r}");
        }
        if heights.changed().await.is_err() {
            return;
        }
    }
}

async fn duties(node: &Node, world: &World, now: Epoch) -> Result<(), Refusal> {
    let row = |e: Epoch| async move {
        node.get::<Postings>(&(e, world.device)).await.map(Option::unwrap_or_default)
    };
    if row(now.plus(1)).await?.commitment.is_none() {
        let duty = Duty::Commit { epoch: now.plus(1), commitment: encode(&vec![1u8]) };
        let _ = node.submit(device_tx(node, world.device, duty)).await;
    }
    node.upload_bundle(bundle(node, world, now)).await?;
    if now.0 == 0 {
        return Ok(());
    }
    let last = now.minus(1);
    if row(last).await?.bundle.is_none() && node.status().epoch_progress <= 3 {
        let bytes = bundle(node, world, last);
        let (hash, size) = (cairn_audit::bundle_hash(&bytes), u64::try_from(bytes.len()).unwrap());
        let _ = node.submit(device_tx(node, world.device, Duty::Bundle { epoch: last, hash, size })).await;
    }
    Ok(())
}

/// Waits until a settlement that charged something, not older than `from`, is final and taken over by the store.
pub async fn settled(node: &Node, from: Epoch) -> (Epoch, Hash) {
    let wait = async {
        let mut heights = node.heights();
        loop {
            for epoch in from.0..=node.status().epoch.0 {
                if let Some((s, _)) = node.settlement(TOY, Epoch(epoch)).await.unwrap()
                    && !s.charged.is_zero()
                {
                    return (Epoch(epoch), s.id());
                }
            }
            heights.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("an epoch is settled")
}
