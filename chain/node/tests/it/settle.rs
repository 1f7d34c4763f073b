//! From work to money, and what anybody can redo of it.

use crate::net::{account, act, bundle, config, daemon, done, populate, sectors, settled};
use crate::toy::TOY;
use cairn_audit::{Finding, Pack, verify, verify_pack};
use cairn_ledger::events::Event;
use cairn_ledger::state::key_of;
use cairn_ledger::tables::{Accounts, SectorEpochs};
use cairn_ledger::tx::Action;
use cairn_node::Node;
use cairn_types::{Amount, Credits, Epoch, Units};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_settled_paid_and_can_be_verified() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).await.unwrap();
    let world = populate(&node).await;
    let (device, lease) = (world.device, world.lease);
    let work = tokio::spawn(daemon(node.clone(), world));
    let (epoch, id) = settled(&node, Epoch(0)).await;

    // The chain, the record and the pack agree.
    let row = node.get::<SectorEpochs>(&(epoch, TOY)).await.unwrap().unwrap();
    assert_eq!(row.settlement.as_ref().map(|s| s.id()), Some(id));
    let pack = node.pack(TOY, epoch).await.unwrap();
    let report = verify(&pack, &id, &sectors()).unwrap();
    assert_eq!((report.rows, report.bundles, report.devices, report.leases), (2, 1, 1, 1));
    assert_eq!(report.charged, Credits(90));
    // 90 credits are 180 pebbles, 90 % of them the operator's; 4 units from the pool are 8 pebbles.
    assert_eq!((report.earned, report.pool_paid), (Amount(162), Amount(8)));

    // What was altered is named.
    let mut altered = Pack::decode(&pack).unwrap();
    altered.lines[0].row.units = Units::first(91);
    let found = verify_pack(&altered, &id, &sectors()).unwrap_err();
    assert!(found.to_string().contains(&format!("payee {device}")), "{found}");
    let mut altered = Pack::decode(&pack).unwrap();
    altered.inputs.leases[0].deposited = Credits(1);
    let found = verify_pack(&altered, &id, &sectors()).unwrap_err();
    assert_eq!(found, Finding::Entry { what: format!("registry: lease {lease}") });
    let mut altered = pack.clone();
    let at = altered.len() / 2;
    altered[at] ^= 1;
    verify(&altered, &id, &sectors()).unwrap_err();

    // Earnings and the rest of an escrow come with proofs.
    let proof = node.claim_proof(TOY, account(1)).await.unwrap().unwrap();
    assert!(proof.earned >= Amount(170));
    let events = done(&node, 1, Action::Claim(proof)).await;
    assert!(events.iter().any(|e| matches!(e, Event::Claimed { amount, .. } if *amount >= Amount(170))));
    work.abort();
    refund(&node, lease).await;
    node.shutdown().await.unwrap();
}

async fn refund(node: &Node, lease: cairn_types::LeaseId) {
    done(node, 2, Action::Close { lease }).await;
    // The settlement of the lease's last epoch has nothing to charge any more.
    let closing = node.status().epoch;
    let mut heights = node.heights();
    let proof = loop {
        match node.charge_proof(TOY, lease).await.unwrap() {
            Some(p) if p.epoch >= closing => break p,
            _ => heights.changed().await.unwrap(),
        }
    };
    assert!(proof.charged >= Credits(90));
    let charged = proof.charged;
    let refund =
        Action::Refund { lease, epoch: proof.epoch, charged, index: proof.index, proof: proof.proof };
    let events = done(node, 2, refund).await;
    let back = Credits(5000 - charged.0);
    assert!(events.contains(&Event::LeaseRefunded { lease, credits: back }));
    let row = node.get::<Accounts>(&account(2)).await.unwrap().unwrap();
    assert_eq!(row.credits, Credits(10_000 - charged.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_are_served_only_after_the_cut_and_checked_when_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).await.unwrap();
    let world = populate(&node).await;
    let device = world.device;
    let future = node.upload_bundle(bundle(&node, &world, Epoch(99))).await.unwrap_err();
    assert_eq!(future.code, "bundle.target");
    let mut forged = bundle(&node, &world, node.status().epoch);
    let end = forged.len() - 1;
    forged[end] ^= 1;
    assert_eq!(node.upload_bundle(forged).await.unwrap_err().code, "bundle.signature");
    let work = tokio::spawn(daemon(node.clone(), world));
    let (epoch, _) = settled(&node, Epoch(0)).await;
    let now = node.status().epoch;
    assert_eq!(node.bundle(now, device).await.unwrap(), None);
    assert!(node.bundle(epoch, device).await.unwrap().is_some());
    work.abort();
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_history_receipts_and_proofs_tell_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).await.unwrap();
    let mut live = node.events();
    let (receipt, events) = act(&node, 1, Action::Transfer { to: account(2), amount: Amount(7) }).await;
    assert_eq!(events, [Event::Transferred { from: account(1), to: account(2), amount: Amount(7) }]);
    let block = loop {
        let block = live.recv().await.unwrap();
        if block.receipts.contains(&receipt) {
            break block;
        }
    };
    let stored = node.history(block.height, 1).unwrap();
    assert_eq!(*stored[0], *block);
    let (refused, _) =
        act(&node, 1, Action::Transfer { to: account(2), amount: Amount(u128::MAX / 4) }).await;
    assert_eq!(refused.refused.map(|r| r.0), Some("bank.insufficient".into()));
    let proof = node.prove(key_of::<Accounts>(&account(2))).await.unwrap();
    cairn_engine::light::verify_proof(
        key_of::<Accounts>(&account(2)),
        proof.value.as_deref(),
        &proof.proof,
        proof.state_root,
    )
    .unwrap();
    let certified = node.block(block.height).await.unwrap().unwrap();
    assert_eq!(certified.block.header.height, block.height.0);
    assert_eq!(node.warp(2).await.unwrap().0, node.status().epoch.0);
    node.shutdown().await.unwrap();
}
