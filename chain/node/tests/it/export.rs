//! A state goes on in another fork with everything that people own.

use crate::net::{World, account, config, daemon, done, populate, settled, signed};
use crate::toy::TOY;
use cairn_ledger::genesis::Export;
use cairn_ledger::invariants;
use cairn_ledger::tables::{Accounts, Claims, Money};
use cairn_ledger::tx::Action;
use cairn_node::{Node, NodeError};
use cairn_types::{Amount, Epoch, decode, encode};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_keeps_balances_nonces_watermarks_and_goes_on_settling() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::start(config(old.path())).await.unwrap();
    let world = populate(&node).await;
    let (device, lease) = (world.device, world.lease);
    let work = tokio::spawn(daemon(node.clone(), world));
    settled(&node, Epoch(0)).await;
    let proof = node.claim_proof(TOY, account(1)).await.unwrap().unwrap();
    done(&node, 1, Action::Claim(proof)).await;
    work.abort();
    let stale = signed(&node, 2, 2, Action::Transfer { to: account(1), amount: Amount(5) });
    let export = node.export_state().await.unwrap();
    node.shutdown().await.unwrap();
    let export: Export = decode(&encode(&export)).unwrap();
    invariants::check(&export.rows.iter().cloned().collect()).unwrap();

    let mut next = config(new.path());
    next.import = Some(export.clone());
    let node = Node::start(next).await.unwrap();
    let status = node.status();
    assert_eq!((status.fork, status.origin), (1, export.height));
    assert!(status.height > export.height);
    assert!(status.epoch.0 >= (export.height.0 - 1) / 10);
    for who in [1, 2] {
        let before = row_of::<Accounts>(&export, &account(who));
        assert_eq!(node.get::<Accounts>(&account(who)).await.unwrap(), before);
    }
    let drawn = row_of::<Claims>(&export, &(TOY, account(1))).unwrap().drawn;
    assert!(drawn >= Amount(170));
    assert_eq!(node.get::<Claims>(&(TOY, account(1))).await.unwrap().unwrap().drawn, drawn);
    assert_eq!(node.submit(stale).await.unwrap_err().code, "tx.network");

    // Work goes on where it was: the next settlement builds on the memory that came along.
    let work = tokio::spawn(daemon(node.clone(), World { device, lease }));
    let (epoch, _) = settled(&node, status.epoch.plus(1)).await;
    let proof = node.claim_proof(TOY, account(1)).await.unwrap().unwrap();
    assert!(proof.epoch >= epoch && proof.earned > drawn);
    done(&node, 1, Action::Claim(proof)).await;
    work.abort();
    let money = node.get::<Money>(&()).await.unwrap().unwrap();
    invariants::identities(&money).unwrap();
    node.shutdown().await.unwrap();

    // A restart needs the export no more; another state in the same directory is refused.
    let node = Node::start(config(new.path())).await.unwrap();
    assert_eq!(node.status().fork, 1);
    node.shutdown().await.unwrap();
    let mut wrong = config(old.path());
    wrong.import = Some(export);
    assert!(matches!(Node::start(wrong).await, Err(NodeError::Config(_))));
}

fn row_of<T: cairn_ledger::state::Table>(export: &Export, key: &T::Key) -> Option<T::Row> {
    let at = cairn_ledger::state::key_of::<T>(key);
    let (_, bytes) = export.rows.iter().find(|(k, _)| *k == at)?;
    cairn_ledger::state::open_entry::<T>(bytes).map(|(_, row)| row)
}
