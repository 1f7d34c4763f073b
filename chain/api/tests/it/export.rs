//! A state leaves one network as bytes and goes on in the next fork.

use crate::net::{Net, WEALTH, id, key};
use cairn_client::{Account, ClientError};
use cairn_ledger::tx::Action;
use cairn_node::StateFile;
use cairn_types::Amount;

const GIFT: Amount = Amount(5_000_000_000);

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_state_goes_on_under_a_new_fork_and_old_signatures_do_not() {
    let old = Net::start(None).await;
    old.rich().transfer(id(2), GIFT).await.unwrap();
    let poor = Account::new(old.client.clone(), key(2));
    let stale = poor.sign(Action::Transfer { to: id(3), amount: Amount(1) }).await.unwrap();
    let mut bytes = Vec::new();
    let written = old.client.export_state(&mut bytes).await.unwrap();
    assert_eq!(usize::try_from(written).unwrap(), bytes.len());
    let file = StateFile::decode(&bytes).unwrap();
    assert_eq!((file.network, file.fork), (old.node.status().network, 0));
    let (rich, gifted) =
        (old.client.account(&id(1)).await.unwrap(), old.client.account(&id(2)).await.unwrap());
    assert!(rich.balance < WEALTH && rich.nonce == 1 && gifted.balance == GIFT);
    old.stop().await;

    let new = Net::start_from(None, Some(file.export.clone())).await;
    let status = new.client.status().await.unwrap();
    assert_eq!((status.fork, &status.network), (1, &file.network.to_string()));
    assert!(status.height > file.export.height.0);
    assert_eq!(new.client.account(&id(1)).await.unwrap(), rich);
    assert_eq!(new.client.account(&id(2)).await.unwrap(), gifted);
    let replayed = new.client.submit(&stale).await;
    assert!(replayed.is_err_and(|e| e.is("tx.network")));
    assert_eq!(new.client.account(&id(2)).await.unwrap(), gifted);
    let poor = Account::new(new.client.clone(), key(2));
    poor.transfer(id(3), Amount(1)).await.unwrap();
    assert_eq!(new.client.account(&id(3)).await.unwrap().balance, Amount(1));
    new.stop().await;
}

/// A file that takes nothing.
struct Full;

impl std::io::Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("no room"))
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_an_export_and_the_next_one_gets_its_turn() {
    let net = Net::start(None).await;
    net.rich().transfer(id(2), GIFT).await.unwrap();
    let refused: ClientError = net.client.export_state(&mut Full).await.unwrap_err();
    assert!(refused.is("client.file"), "{refused}");
    let mut bytes = Vec::new();
    // The turn of the one that broke off ends when the server notices.
    while let Err(busy) = net.client.export_state(&mut bytes).await {
        assert!(busy.is("api.busy"), "{busy}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    StateFile::decode(&bytes).unwrap();
    net.stop().await;
}
