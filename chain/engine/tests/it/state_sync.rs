//! State sync over HTTP on the loopback, with values of variable size.

use crate::toy::key;
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use cairn_engine::{
    Engine, Executed, Execution, FinalBlock, Hash, Header, Key, Machine, SoloConfig, Step, StoredBlock,
    identity_public,
    light::SeatSet,
    start,
    sync::{Carrier, SyncConfig, SyncError, Synced, fetch},
    vote_public,
};
use futures::future::BoxFuture;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const NETWORK: &[u8] = b"sync";
/// A row in the middle of the size of a lease's; one in 500 is as large as rows may be.
const SIZES: u64 = 600;

fn mixed(n: u64) -> u64 {
    let x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

fn value(n: u64) -> Vec<u8> {
    let size = if n % 500 == 499 { 65_536 } else { mixed(n) % SIZES };
    (0..size).map(|i| u8::try_from(mixed(n ^ (i / 8)) & 0xff).unwrap()).collect()
}

/// Writes so many rows in each of the first blocks; overwrites and deletes some of the block before.
struct Bulk {
    rows: u64,
    blocks: u64,
}

struct Done(Option<Executed>);

impl Execution for Done {
    fn step(&mut self, _: Vec<(Key, Option<Vec<u8>>)>) -> Step {
        self.0.take().map_or_else(|| Step::Refuse("asked twice".into()), Step::Done)
    }
}

impl Machine for Bulk {
    fn genesis_id(&self) -> Hash {
        [1; 32]
    }

    fn propose(&self, header: &Header) -> Box<dyn Execution> {
        self.process(header, &[])
    }

    fn process(&self, header: &Header, _: &[u8]) -> Box<dyn Execution> {
        let mut writes = std::collections::BTreeMap::new();
        if header.height <= self.blocks {
            let first = header.height * self.rows;
            for n in first..first + self.rows {
                writes.insert(key(1, n), Some(value(n)));
            }
            for n in (first - self.rows..first).step_by(10).filter(|_| header.height > 1) {
                writes.insert(key(1, n), (n % 20 == 0).then(|| value(n + 1)));
            }
        }
        writes.insert(key(2, 0), Some(header.height.to_be_bytes().to_vec()));
        Box::new(Done(Some(Executed { body: Vec::new(), writes: writes.into_iter().collect() })))
    }

    fn finalized(&self, _: &FinalBlock) {}
}

/// What a server did, and how it misbehaves.
#[derive(Default)]
struct Desk {
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Answers that it will still give; then it fails.
    left: AtomicU64,
    /// Each so-and-so-many-th answer has a flipped bit; zero: none.
    lie: u64,
}

async fn serve(
    State((engine, desk)): State<(Engine, Arc<Desk>)>,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    let count = desk.requests.fetch_add(1, Ordering::Relaxed) + 1;
    if count > desk.left.load(Ordering::Relaxed) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let mut bytes = engine.serve_sync(body.to_vec()).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    desk.bytes.fetch_add(u64::try_from(bytes.len()).unwrap(), Ordering::Relaxed);
    if desk.lie != 0 && count % desk.lie == 0 {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }
    Ok(bytes)
}

async fn open(engine: &Engine, answers: u64, lie: u64) -> (String, Arc<Desk>) {
    let desk = Arc::new(Desk { left: AtomicU64::new(answers), lie, ..Desk::default() });
    let router = Router::new().route("/sync", post(serve)).with_state((engine.clone(), desk.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sync", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, desk)
}

/// Asks one server after the other.
struct Http {
    client: reqwest::Client,
    urls: Vec<String>,
}

impl Carrier for Http {
    fn carry(
        &self,
        request: Vec<u8>,
        most: usize,
        attempt: u32,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let url = self.urls[usize::try_from(attempt).unwrap() % self.urls.len()].clone();
        let sent = self.client.post(url).body(request).send();
        Box::pin(async move {
            let mut answer = sent.await.and_then(|r| r.error_for_status()).map_err(|e| e.to_string())?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|e| e.to_string())? {
                if body.len() + chunk.len() > most {
                    return Err("the answer is too long".into());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        })
    }
}

async fn grown(dir: &Path, rows: u64, blocks: u64) -> (Engine, StoredBlock) {
    let config = SoloConfig {
        interval: Duration::ZERO,
        ..SoloConfig::new(dir.join("server"), NETWORK, [3; 32], [4; 32])
    };
    let engine = start(config, Arc::new(Bulk { rows, blocks })).unwrap();
    engine.height().wait_for(|height| *height > blocks).await.unwrap();
    let stored = engine.block(blocks).await.unwrap().unwrap();
    // The chain goes on while its past is served.
    engine.set_interval(Duration::from_millis(50));
    (engine, stored)
}

async fn pull(dir: &Path, stored: &StoredBlock, urls: &[&String], ops: u64) -> Result<Synced, SyncError> {
    let seats = SeatSet::new(NETWORK, &[(identity_public(&[3; 32]), vote_public(&[4; 32]))]).unwrap();
    let config = SyncConfig {
        dir: dir.to_owned(),
        ops,
        parallel: 8,
        seats,
        block: stored.bytes.clone(),
        certificate: stored.certificate.clone().unwrap(),
    };
    // Another crate of a workspace build may have taken the default provider out of the HTTP client.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let carrier = Arc::new(Http { client, urls: urls.iter().map(|url| (*url).clone()).collect() });
    tokio::task::spawn_blocking(move || fetch(config, carrier)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_fetched_over_http_goes_on_after_a_stop_and_believes_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, stored) = grown(dir.path(), 2000, 4).await;
    let (honest, all) = open(&engine, u64::MAX, 0).await;
    let whole = pull(&dir.path().join("whole"), &stored, &[&honest], 64).await.unwrap();
    assert_eq!((whole.height, whole.state_root), (4, stored.block.state_root));
    let requests = all.requests.load(Ordering::Relaxed);
    assert!(requests > 40 && all.bytes.load(Ordering::Relaxed) > 2_000_000, "{requests} requests");

    // The server goes away in the middle: what was fetched stays.
    let half = dir.path().join("half");
    let (weak, _) = open(&engine, requests / 2, 0).await;
    let stopped = pull(&half, &stored, &[&weak], 64).await;
    assert!(matches!(&stopped, Err(SyncError::Fetch(cause)) if cause.contains("no server")), "{stopped:?}");
    let (again, rest) = open(&engine, u64::MAX, 0).await;
    assert_eq!(pull(&half, &stored, &[&again], 64).await.unwrap(), whole);
    let asked = rest.requests.load(Ordering::Relaxed);
    assert!(asked < requests * 3 / 4, "{asked} of {requests} requests were repeated");

    // A server that lies now and then costs a request; one that always lies, and nobody else, ends the sync.
    let (liar, lies) = open(&engine, u64::MAX, 5).await;
    assert_eq!(pull(&dir.path().join("liar"), &stored, &[&liar, &honest], 64).await.unwrap(), whole);
    assert_eq!(lies.requests.load(Ordering::Relaxed), requests);
    let instead = all.requests.load(Ordering::Relaxed) - requests;
    assert_eq!(instead, requests / 5, "each lie is asked for again elsewhere");
    let (forger, _) = open(&engine, u64::MAX, 1).await;
    assert!(pull(&dir.path().join("forger"), &stored, &[&forger], 64).await.is_err());
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, stored) = grown(dir.path(), 1, 1).await;
    for request in [vec![], vec![9; 3], vec![0; 25], vec![0xff; 25], vec![0; 4096]] {
        assert!(engine.serve_sync(request).await.is_err());
    }
    let mut forged = stored.clone();
    forged.bytes[40] ^= 1;
    let refused = pull(&dir.path().join("x"), &forged, &[&String::new()], 64).await;
    assert!(matches!(refused, Err(SyncError::Target(_))), "{refused:?}");
    engine.shutdown().await.unwrap();
}

/// `cargo test -p cairn-engine -- --ignored --nocapture measure_sync`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, stored) = grown(dir.path(), 5_000, 20).await;
    for ops in [32, 256] {
        let (url, desk) = open(&engine, u64::MAX, 0).await;
        let begun = Instant::now();
        let synced = pull(&dir.path().join(format!("sync-{ops}")), &stored, &[&url], ops).await.unwrap();
        let (requests, bytes) = (desk.requests.load(Ordering::Relaxed), desk.bytes.load(Ordering::Relaxed));
        println!(
            "{ops} at once: {} operations, {requests} requests, {bytes} bytes, {:?}",
            synced.ops,
            begun.elapsed()
        );
    }
    engine.shutdown().await.unwrap();
}
