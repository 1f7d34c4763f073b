//! A node that lies: real certificates and proofs of a real engine, changed on their way to the client.

use axum::Json;
use axum::extract::{Path, State};
use cairn_client::{Client, ClientError, TrustedSeats, engine_network};
use cairn_crypto::{BlsPublic, PublicKey};
use cairn_engine::{
    Engine, Executed, Execution, FinalBlock, Hash as EngineHash, Header, Key, Machine, SoloConfig, Step,
    start,
};
use cairn_ledger::state::key_of;
use cairn_ledger::tables::{AccountRow, Accounts, SeatRow};
use cairn_types::{AccountId, Amount, NetworkId, encode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const NETWORK: NetworkId = NetworkId([5; 32]);
const RICH: AccountId = AccountId([1; 32]);
const POOR: AccountId = AccountId([2; 32]);

fn row() -> AccountRow {
    AccountRow { nonce: 3, balance: Amount(77), ..AccountRow::default() }
}

/// Writes one account in each block.
struct OneAccount;
struct Once;

impl Execution for Once {
    fn step(&mut self, _: Vec<(Key, Option<Vec<u8>>)>) -> Step {
        let mut value = encode(&RICH);
        value.extend(encode(&row()));
        Step::Done(Executed { body: Vec::new(), writes: vec![(key_of::<Accounts>(&RICH), Some(value))] })
    }
}

impl Machine for OneAccount {
    fn genesis_id(&self) -> EngineHash {
        [4; 32]
    }
    fn propose(&self, _: &Header) -> Box<dyn Execution> {
        Box::new(Once)
    }
    fn process(&self, _: &Header, _: &[u8]) -> Box<dyn Execution> {
        Box::new(Once)
    }
    fn finalized(&self, _: &FinalBlock) {}
}

/// How the answer is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    Value,
    OtherRow,
    Absent,
    Proof,
    Height,
    Certificate,
    NoCertificate,
    OtherBlock,
}

#[derive(Clone)]
struct Liar {
    engine: Engine,
    lie: Lie,
}

fn flip(field: &mut Value) {
    let mut bytes = hex::decode(field.as_str().unwrap()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    *field = Value::from(hex::encode(bytes));
}

async fn answer(State(liar): State<Liar>, Path(text): Path<String>) -> Json<Value> {
    let key: Key = hex::decode(text).unwrap().try_into().unwrap();
    let asked = if liar.lie == Lie::OtherRow { key_of::<Accounts>(&RICH) } else { key };
    let found = liar.engine.prove(asked).await.unwrap();
    let height = if liar.lie == Lie::OtherBlock { found.height - 1 } else { found.height };
    let block = liar.engine.block(height).await.unwrap().unwrap();
    let mut out = json!({
        "height": height,
        "value": found.value.map(hex::encode),
        "proof": hex::encode(found.proof),
        "block": hex::encode(block.bytes),
        "certificate": block.certificate.map(hex::encode),
    });
    match liar.lie {
        Lie::None | Lie::OtherRow | Lie::OtherBlock => {}
        Lie::Value => flip(&mut out["value"]),
        Lie::Absent => out["value"] = Value::Null,
        Lie::Proof => flip(&mut out["proof"]),
        Lie::Height => out["height"] = Value::from(found.height + 1),
        Lie::Certificate => flip(&mut out["certificate"]),
        Lie::NoCertificate => out["certificate"] = Value::Null,
    }
    Json(out)
}

/// A client of a node that lies in this way.
async fn client_of(engine: &Engine, lie: Lie) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let state = Liar { engine: engine.clone(), lie };
    let router = axum::Router::new().route("/v1/state/{key}", axum::routing::get(answer)).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::new(url).unwrap()
}

fn seat(identity: u8, vote: u8) -> SeatRow {
    SeatRow {
        account: AccountId::default(),
        key: PublicKey(cairn_engine::identity_public(&[identity; 32])),
        vote: BlsPublic([0; 96]),
        consensus: cairn_engine::vote_public(&[vote; 32]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_node_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = SoloConfig::new(dir.path(), engine_network(NETWORK, 0), [1; 32], [2; 32]);
    config.interval = Duration::from_millis(20);
    let engine = start(config, Arc::new(OneAccount)).unwrap();
    engine.height().wait_for(|height| *height >= 3).await.unwrap();
    let seats = TrustedSeats::new(NETWORK, 0, &[seat(1, 2)]).unwrap();

    let honest = client_of(&engine, Lie::None).await;
    let rich = honest.get_verified::<Accounts>(&RICH, &seats).await.unwrap();
    assert_eq!(rich.value, Some(row()));
    assert!(rich.height.0 >= 3 && rich.timestamp_ms > 0);
    assert_eq!(honest.get_verified::<Accounts>(&POOR, &seats).await.unwrap().value, None);

    for lie in [Lie::Value, Lie::Absent, Lie::Proof, Lie::Height, Lie::Certificate, Lie::NoCertificate] {
        let caught = client_of(&engine, lie).await.get_verified::<Accounts>(&RICH, &seats).await.unwrap_err();
        assert_eq!(caught.code, ClientError::UNPROVEN, "{lie:?}: {caught}");
    }
    // A true row of another key does not pass for this one.
    let other = client_of(&engine, Lie::OtherRow).await;
    assert!(other.get_verified::<Accounts>(&POOR, &seats).await.unwrap_err().is(ClientError::UNPROVEN));

    for (network, fork, seat) in
        [(NETWORK, 1, seat(1, 2)), (NetworkId([6; 32]), 0, seat(1, 2)), (NETWORK, 0, seat(1, 3))]
    {
        let strangers = TrustedSeats::new(network, fork, &[seat]).unwrap();
        let refused = honest.get_verified::<Accounts>(&RICH, &strangers).await.unwrap_err();
        assert_eq!(refused.code, ClientError::UNPROVEN);
    }
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_under_another_block_of_the_same_seats_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = SoloConfig::new(dir.path(), engine_network(NETWORK, 0), [1; 32], [2; 32]);
    config.interval = Duration::from_millis(20);
    let engine = start(config, Arc::new(OneAccount)).unwrap();
    engine.height().wait_for(|height| *height >= 3).await.unwrap();
    let seats = TrustedSeats::new(NETWORK, 0, &[seat(1, 2)]).unwrap();
    let client = client_of(&engine, Lie::OtherBlock).await;
    let caught = client.get_verified::<Accounts>(&RICH, &seats).await.unwrap_err();
    assert_eq!(caught.code, ClientError::UNPROVEN);
    engine.shutdown().await.unwrap();
}
