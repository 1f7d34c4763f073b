//! The client against a running node.

use crate::net::{Net, WEALTH, id, key};
use cairn_client::{Account, Client, ClientError, TrustedSeats};
use cairn_ledger::events::Event;
use cairn_ledger::tables::Accounts;
use cairn_ledger::tx::{AccountTx, Action, Tx};
use cairn_types::{Amount, Credits, Height, encode};
use futures::StreamExt as _;
use serde_json::Value;

const GIFT: Amount = Amount(5_000_000_000);

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_arrives_and_is_proven() {
    let net = Net::start(None).await;
    let done = net.rich().transfer(id(2), GIFT).await.unwrap();
    assert_eq!(done.events, [Event::Transferred { from: id(1), to: id(2), amount: GIFT }]);
    assert_eq!(net.client.account(&id(2)).await.unwrap().balance, GIFT);

    let rich = net.client.account(&id(1)).await.unwrap();
    assert_eq!((rich.nonce, rich.balance.0), (1, WEALTH.0 - GIFT.0 - done.receipt.fee.0));

    let chain = net.client.chain().await.unwrap();
    let seats = TrustedSeats::new(chain.network, chain.fork, &net.client.seats().await.unwrap()).unwrap();
    let proven = net.client.get_verified::<Accounts>(&id(2), &seats).await.unwrap();
    assert_eq!(proven.value.unwrap().balance, GIFT);
    assert!(proven.height >= done.height);
    assert_eq!(net.client.get_verified::<Accounts>(&id(3), &seats).await.unwrap().value, None);

    let found = net.client.transaction(&done.receipt.tx).await.unwrap().unwrap();
    assert_eq!(found, done);
    let block = net.client.block(done.height).await.unwrap().unwrap();
    assert!(block.certificate.is_some());
    assert_eq!(net.client.block(Height(1 << 40)).await.unwrap(), None);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_are_bought_and_refusals_carry_code_cause_and_remedy() {
    let net = Net::start(None).await;
    let rich = net.rich();
    let done = rich.buy_credits(id(2), Credits(1_000_000), WEALTH).await.unwrap();
    assert!(matches!(done.events[..], [Event::CreditsBought { credits: Credits(1_000_000), .. }]));
    assert_eq!(net.client.account(&id(2)).await.unwrap().credits, Credits(1_000_000));

    let before = net.client.account(&id(1)).await.unwrap();
    let trial = rich.dry_run(Action::Transfer { to: id(2), amount: GIFT }).await.unwrap();
    assert!(trial.fee > Amount::ZERO && trial.refused.is_none());
    assert_eq!(net.client.account(&id(1)).await.unwrap(), before, "a trial changes nothing");

    let refused = rich.transfer(id(2), Amount(u128::MAX)).await.unwrap_err();
    assert!(refused.is("bank.insufficient"), "{refused}");
    assert!(!refused.cause.is_empty() && !refused.remedy.is_empty());
    assert_eq!(
        rich.dry_run(Action::Transfer { to: id(2), amount: Amount(0) }).await.unwrap_err().code,
        "transfer.zero"
    );
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_signatures_networks_and_nonces_are_refused_before_the_pool() {
    let net = Net::start(None).await;
    let Tx::Account(good, _) = net.rich().sign(Action::Transfer { to: id(2), amount: GIFT }).await.unwrap()
    else {
        panic!("an account's transaction")
    };
    let refused = async |tx: AccountTx, signer: u8| {
        net.client.submit_and_wait(&Tx::by_account(tx, &key(signer))).await.unwrap_err().code
    };
    assert_eq!(refused((*good).clone(), 2).await, "tx.signature");
    assert_eq!(refused(AccountTx { fork: 1, ..(*good).clone() }, 1).await, "tx.network");
    let poor = AccountTx { authority: cairn_crypto::Authority::Single(key(4).public()), ..(*good).clone() };
    assert_eq!(refused(poor, 4).await, "tx.fee");
    net.client.submit_and_wait(&Tx::by_account((*good).clone(), &key(1))).await.unwrap();
    let late = AccountTx { tip: Amount(1), ..(*good).clone() };
    assert_eq!(refused(late, 1).await, "tx.nonce");
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_transactions_are_taken_and_answered_with_readable_events() {
    let net = Net::start(None).await;
    let tx = net.rich().sign(Action::Transfer { to: id(2), amount: GIFT }).await.unwrap();
    cairn_client::use_ring();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http
        .post(format!("{}/v1/transactions?wait=true", net.url))
        .header("content-type", "application/json");
    let body = serde_json::json!({"tx": hex::encode(encode(&tx))}).to_string();
    let answer: Value =
        serde_json::from_str(&request.body(body).send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(answer["id"], tx.id().to_string());
    assert!(answer["refused"].is_null());
    let event = &answer["events"][0];
    assert_eq!(
        (event["type"].as_str(), event["fields"]["amount_pebbles"].as_str()),
        (Some("Transferred"), Some("5000000000"))
    );
    let to = cairn_crypto::address::encode("cairn", &id(2)).unwrap();
    assert_eq!(event["fields"]["to"], to);

    let path = format!("{}/v1/accounts/{to}", net.url);
    let account: Value =
        serde_json::from_str(&http.get(path).send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(
        (account["balance_pebbles"].as_str(), account["credits_micro_usd"].as_str()),
        (Some("5000000000"), Some("0"))
    );
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_stream_tells_past_and_future_in_order_and_once() {
    let net = Net::start(None).await;
    let rich = net.rich();
    rich.transfer(id(2), Amount(1)).await.unwrap();
    let mut stream = net.client.events(Height(1));
    let mut seen = Vec::new();
    let mut last = None;
    for amount in 2..=3 {
        rich.transfer(id(2), Amount(amount)).await.unwrap();
    }
    while seen.len() < 3 {
        let at = stream.next().await.unwrap().unwrap();
        assert!(last < Some((at.height, at.index)), "in order and once");
        last = Some((at.height, at.index));
        if let Event::Transferred { amount, .. } = at.event {
            seen.push(amount.0);
        }
    }
    assert_eq!(seen, [1, 2, 3]);

    let (mut past, mut from) = (Vec::new(), Height(1));
    while from <= last.unwrap().0 {
        let (events, next) = net.client.history(from, 256).await.unwrap();
        past.extend(events.into_iter().filter(|e| matches!(e.event, Event::Transferred { .. })));
        from = next;
    }
    assert_eq!(past.len(), 3);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_are_watched_with_their_heights_and_seeds() {
    let net = Net::start(None).await;
    let mut ticks = net.client.watch_epochs();
    let first = ticks.next().await.unwrap().unwrap();
    assert_eq!(first.end.0 - first.start.0, 40);
    let seeded = loop {
        let tick = ticks.next().await.unwrap().unwrap();
        if tick.epoch > first.epoch && tick.seed.is_some() {
            break tick;
        }
    };
    assert_eq!(seeded.start, first.start.plus(40 * (seeded.epoch.0 - first.epoch.0)));
    let path = format!("{}/v1/epochs/{}", net.url, seeded.epoch.0);
    cairn_client::use_ring();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let epoch: Value =
        serde_json::from_str(&http.get(path).send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(epoch["start_height"], seeded.start.0);
    assert_eq!(epoch["seed"], hex::encode(seeded.seed.unwrap().0));
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_is_replaced_by_the_next() {
    let net = Net::start(None).await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let client = Client::with_urls(vec![gone.clone(), net.url.clone()]).unwrap();
    assert_eq!(client.url(), gone);
    let rich = Account::new(client.clone(), key(1));
    rich.transfer(id(2), GIFT).await.unwrap();
    assert_eq!(client.url(), net.url);
    assert_eq!(client.account(&id(2)).await.unwrap().balance, GIFT);
    // A transaction finds the next node as a read does.
    let client = Client::with_urls(vec![gone.clone(), net.url.clone()]).unwrap();
    let tx = rich.sign(Action::Transfer { to: id(3), amount: GIFT }).await.unwrap();
    client.submit_and_wait(&tx).await.unwrap();
    let nowhere = Client::with_urls(vec![gone.clone(), gone]).unwrap();
    assert!(nowhere.status().await.is_err_and(|e| e.is_unreachable()));
    assert!(Client::with_urls(vec![net.url.clone(); 17]).is_err_and(|e| e.is("client.url")));
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_genesis_metrics_and_absences_are_told() {
    let net = Net::start(None).await;
    net.rich().transfer(id(2), GIFT).await.unwrap();
    let (status, genesis) = (net.client.status().await.unwrap(), net.client.genesis().await.unwrap());
    assert_eq!((&status.network, status.fork), (&genesis.network, 0));
    assert_eq!((genesis.hrp.as_str(), genesis.seats.len()), ("cairn", 1));
    let metrics = net.client.metrics().await.unwrap();
    assert!(
        metrics.contains("\ncairn_block_height ") && metrics.contains("cairn_money_pebbles{pot=\"vault\"} 0")
    );

    let sector = cairn_types::SectorId(1);
    assert_eq!(net.client.leases_of(&id(1)).await.unwrap(), []);
    assert_eq!(net.client.lease(&cairn_types::LeaseId([1; 32])).await.unwrap(), None);
    assert_eq!(net.client.transaction(&cairn_types::Hash([1; 32])).await.unwrap(), None);
    assert_eq!(net.client.settlement(sector, cairn_types::Epoch(0)).await.unwrap(), None);
    assert!(net.client.pack(sector, cairn_types::Epoch(0)).await.is_err_and(|e| !e.is(ClientError::GARBLED)));
    assert!(net.client.upload_bundle(vec![1, 2, 3]).await.is_err_and(|e| !e.is(ClientError::GARBLED)));
    net.stop().await;
}
