//! The pool keeps its bounds and says why something does not get in.

use crate::net::{PATIENCE, account, act, config, device_tx, done, nonce, populate, signed};
use cairn_ledger::tx::{Action, Duty};
use cairn_node::Node;
use cairn_types::{Amount, Epoch, Hash};
use std::time::Duration;

fn transfer(amount: u128) -> Action {
    Action::Transfer { to: account(2), amount: Amount(amount) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_may_queue_nonces_up_to_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).await.unwrap();
    act(&node, 1, transfer(1)).await;
    node.set_interval(Duration::from_secs(5));
    let first = nonce(&node, 1).await;
    let mut last = Hash::default();
    let mut code = None;
    for n in 0..80 {
        match node.submit(signed(&node, 1, first + n, transfer(1))).await {
            Ok(id) => last = id,
            Err(r) => {
                code = Some((n, r.code));
                break;
            }
        }
    }
    assert_eq!(code, Some((64, "pool.full")));
    let gap = node.submit(signed(&node, 2, 5, transfer(1))).await.unwrap_err();
    assert_eq!(gap.code, "tx.nonce");
    node.set_interval(Duration::from_millis(20));
    let (_, receipt, _) = node.wait(last, PATIENCE).await.unwrap();
    assert_eq!(receipt.refused, None);
    assert_eq!(nonce(&node, 1).await, first + 64);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_never_be_in_a_block_is_refused_at_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).await.unwrap();
    let n = nonce(&node, 1).await;
    let code = |tx| {
        let node = node.clone();
        async move { node.submit(tx).await.unwrap_err().code }
    };
    let mut foreign = signed(&node, 1, n, transfer(1));
    if let cairn_ledger::tx::Tx::Account(t, _) = &mut foreign {
        t.fork = 9;
    }
    assert_eq!(code(foreign).await, "tx.network");
    let mut forged = signed(&node, 1, n, transfer(1));
    if let cairn_ledger::tx::Tx::Account(t, _) = &mut forged {
        t.action = transfer(2);
    }
    assert_eq!(code(forged).await, "tx.signature");
    assert_eq!(code(signed(&node, 77, 0, transfer(1))).await, "tx.fee");
    assert_eq!(node.simulate(&signed(&node, 1, n + 1, transfer(1))).await.unwrap_err().code, "tx.nonce");
    let dry = node.simulate(&signed(&node, 1, n, transfer(0))).await.unwrap();
    assert_eq!(dry.refused.map(|r| r.0), Some("transfer.zero".into()));
    assert_eq!(nonce(&node, 1).await, n);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_posting_that_is_left_out_of_blocks_has_a_refused_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).await.unwrap();
    let world = populate(&node).await;
    let early = Duty::Bundle { epoch: Epoch(77), hash: Hash::default(), size: 1 };
    assert_eq!(node.submit(device_tx(&node, world.device, early)).await.unwrap_err().code, "epoch.unknown");
    // Phase 2 does not ask the sector; execution does.
    let duty = Duty::Commit { epoch: node.status().epoch.plus(1), commitment: vec![0; 65] };
    let id = node.submit(device_tx(&node, world.device, duty)).await.unwrap();
    let (_, receipt, _) = node.wait(id, PATIENCE).await.unwrap();
    let code = receipt.refused.map(|r| r.0).unwrap();
    // The epoch may have ended on the way.
    assert!(["commit.size", "commit.phase"].contains(&code.as_str()), "{code}");
    // The receipt is told first, then the pool forgets the transaction.
    let emptied = async {
        while node.status().pool > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, emptied).await.expect("it leaves the pool");
    done(&node, 1, transfer(1)).await;
    node.shutdown().await.unwrap();
}
