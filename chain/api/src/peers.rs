//! Where devices can be reached: signed records, the newest of each key.
//!
//! The node carries these records and vouches for nothing in them but that their key is a registered device's:
//! whoever dials verifies the signature. What a record looks like is the data plane's business; the program that runs
//! the API passes in how one is read.

use crate::answer::{Answer, Failure, RefusalBody};
use crate::body;
use crate::registry;
use crate::server::Api;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::PublicKey;
use cairn_types::{Refusal, decode_bounded, encode};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use utoipa::ToSchema;

/// Largest record in bytes.
pub const MAX_RECORD: usize = 4096;
/// Most records that are kept.
pub const MAX_RECORDS: usize = 16_384;
/// Largest file that is read back: all records at their largest.
const MAX_FILE: usize = MAX_RECORDS * (MAX_RECORD + 4) + 4;
/// How soon changes are on disk. Devices announce themselves anew anyway, but only once a minute: without the file a
/// restarted node would know nobody meanwhile.
const WRITE: Duration = Duration::from_secs(1);

/// What a record says, once its signature was verified for this network and this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// Whose it is.
    pub key: PublicKey,
    /// Rises with every record of a key.
    pub issued: u64,
    /// Until when it counts, milliseconds since 1970.
    pub expires: u64,
}

/// Reads and verifies a record.
pub type ReadPeer = Arc<dyn Fn(&[u8]) -> Result<PeerFacts, Refusal> + Send + Sync>;

/// How the API keeps records of peers.
#[derive(Clone)]
pub struct PeerStore {
    /// Reads and verifies a record.
    pub read: ReadPeer,
    /// File in which records outlive the process.
    pub file: PathBuf,
}

#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
struct Kept {
    issued: u64,
    expires: u64,
    bytes: Vec<u8>,
}

/// The records.
pub(crate) struct Peers {
    store: Option<PeerStore>,
    kept: Mutex<BTreeMap<PublicKey, Kept>>,
    /// Changes so far.
    changes: watch::Sender<u64>,
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Peers {
    /// Reads what an earlier process left, and writes changes back until `stop`.
    pub(crate) fn start(store: Option<PeerStore>, stop: watch::Receiver<bool>) -> Arc<Self> {
        let peers = Arc::new(Self { store, kept: Mutex::default(), changes: watch::channel(0).0 });
        if let Some(store) = &peers.store {
            peers.load(&store.file);
            let (me, file) = (peers.clone(), store.file.clone());
            tokio::spawn(async move { me.keep(file, stop).await });
        }
        peers
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Kept>> {
        // The map is valid after every statement; a panic elsewhere does not spoil it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file that is missing or damaged is nothing to stop for: devices announce themselves every minute.
    fn load(&self, file: &FilePath) {
        let Ok(bytes) = std::fs::read(file) else { return };
        let records: Vec<Vec<u8>> = match decode_bounded(&bytes, MAX_FILE) {
            Ok(records) => records,
            Err(cause) => return tracing::warn!(%cause, "api.peers.file_ignored"),
        };
        for record in records {
            if let Ok((facts, _)) = self.read(&record) {
                self.put(facts, &record);
            }
        }
    }

    async fn keep(&self, file: PathBuf, mut stop: watch::Receiver<bool>) {
        let mut changes = self.changes.subscribe();
        let mut stopping = false;
        while !stopping {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => stopping = true,
                () = tokio::time::sleep(WRITE) => {}
            }
            if changes.has_changed().unwrap_or(false) {
                changes.borrow_and_update();
                let now = now_ms();
                let live: Vec<Vec<u8>> = {
                    let mut kept = self.kept();
                    kept.retain(|_, k| k.expires > now);
                    kept.values().map(|k| k.bytes.clone()).collect()
                };
                if let Err(cause) = write(&file, &encode(&live)) {
                    tracing::warn!(%cause, "api.peers.not_written");
                }
            }
        }
    }

    fn read(&self, bytes: &[u8]) -> Result<(PeerFacts, usize), Refusal> {
        let store = self.store.as_ref().ok_or_else(|| {
            Refusal::new("peer.unsupported", "this node keeps no records of peers", "ask another node")
        })?;
        (store.read)(bytes).map(|facts| (facts, bytes.len()))
    }

    /// True if the record is the newest of its key now.
    fn put(&self, facts: PeerFacts, bytes: &[u8]) -> bool {
        let mut kept = self.kept();
        if kept.get(&facts.key).is_some_and(|k| k.issued >= facts.issued) {
            return false;
        }
        if !kept.contains_key(&facts.key) && kept.len() >= MAX_RECORDS {
            // Somebody has to go: whose record ends first announced itself the longest time ago.
            let first = kept.iter().min_by_key(|(_, k)| k.expires).map(|(key, _)| *key);
            first.and_then(|key| kept.remove(&key));
        }
        kept.insert(facts.key, Kept { issued: facts.issued, expires: facts.expires, bytes: bytes.to_vec() });
        drop(kept);
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
        true
    }

    fn get(&self, key: &PublicKey) -> Option<Kept> {
        let now = now_ms();
        self.kept().get(key).filter(|k| k.expires > now).cloned()
    }
}

/// Whole or absent after a crash.
fn write(file: &FilePath, bytes: &[u8]) -> io::Result<()> {
    let draft = file.with_extension("new");
    std::fs::write(&draft, bytes)?;
    std::fs::rename(&draft, file)
}

/// A record that was taken in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Announced {
    /// Whose it is.
    key: String,
    /// False: a record as new or newer was there.
    newest: bool,
}

/// Announces where a device can be reached. The newest record of a key counts; only keys of registered devices have one.
#[utoipa::path(
    put, path = "/v1/peers", tag = "peers",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "A signed peer record, at most 4 KiB"),
    responses((status = 200, body = Announced), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn announce(State(api): State<Api>, body: Body) -> Answer<Json<Announced>> {
    let bytes = body::read(body, MAX_RECORD).await?;
    let (facts, _) = api.peers.read(&bytes).map_err(Failure::refused)?;
    if api.registry.picture(&api.node).await?.device(&facts.key).is_none() {
        return Err(Failure::refused(Refusal::new(
            "peer.device",
            "the record's key is not that of a registered device",
            "register the device first; a new registration counts after a second",
        )));
    }
    let key = hex::encode(facts.key.0);
    let newest = api.peers.put(facts, &bytes);
    Ok(Json(Announced { key, newest }))
}

/// Where a device can be reached.
#[derive(Serialize, ToSchema)]
pub(crate) struct PeerView {
    /// Its key.
    key: String,
    /// When it was made, milliseconds since 1970 by the device's clock.
    issued_ms: u64,
    /// Until when it counts.
    expires_ms: u64,
    /// The signed record. Verify it: the node is not trusted for it.
    borsh: String,
}

/// The newest record of a key that has not expired.
#[utoipa::path(
    get, path = "/v1/peers/{key}", tag = "peers", params(("key" = String, Path, description = "64 hexadecimal digits")),
    responses(
        (status = 200, body = PeerView),
        (status = 404, description = "`peer.unknown`: it did not announce itself here", body = RefusalBody),
        (status = "4XX", body = RefusalBody),
    )
)]
pub(crate) async fn find(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<PeerView>> {
    let key = registry::key(&text)?;
    let found = api.peers.get(&key).ok_or_else(|| {
        let cause = "no record of this key is known, or it has expired";
        Failure::missing(
            "peer.unknown",
            cause,
            "ask again in a minute: devices announce themselves that often",
        )
    })?;
    Ok(Json(PeerView {
        key: hex::encode(key.0),
        issued_ms: found.issued,
        expires_ms: found.expires,
        borsh: hex::encode(found.bytes),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (key, issued, expires) in borsh stands for a record here.
    fn store(file: PathBuf) -> PeerStore {
        let read = |bytes: &[u8]| {
            let (key, issued, expires): ([u8; 32], u64, u64) = cairn_types::decode(bytes)
                .map_err(|_| Refusal::new("peer.malformed", "no record", "send one"))?;
            Ok(PeerFacts { key: PublicKey(key), issued, expires })
        };
        PeerStore { read: Arc::new(read), file }
    }

    fn put(peers: &Peers, key: u8, issued: u64, expires: u64) -> bool {
        let bytes = encode(&([key; 32], issued, expires));
        let (facts, _) = peers.read(&bytes).unwrap();
        peers.put(facts, &bytes)
    }

    #[tokio::test]
    async fn the_newest_record_counts_and_expired_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let peers = Peers::start(Some(store(dir.path().join("peers"))), watch::channel(false).1);
        let later = now_ms() + 60_000;
        assert!(put(&peers, 1, 5, later));
        assert!(!put(&peers, 1, 5, later) && !put(&peers, 1, 4, later));
        assert!(put(&peers, 1, 6, later));
        assert_eq!(peers.get(&PublicKey([1; 32])).unwrap().issued, 6);
        assert!(put(&peers, 2, 5, 1));
        assert!(peers.get(&PublicKey([2; 32])).is_none());
    }

    #[tokio::test]
    async fn a_full_store_gives_up_the_record_that_ends_first() {
        let dir = tempfile::tempdir().unwrap();
        let peers = Peers::start(Some(store(dir.path().join("peers"))), watch::channel(false).1);
        let later = now_ms() + 60_000;
        {
            let mut kept = peers.kept();
            for n in 0..MAX_RECORDS {
                let mut key = [9; 32];
                key[..8].copy_from_slice(&n.to_le_bytes());
                let expires = later + u64::try_from(n).unwrap();
                kept.insert(PublicKey(key), Kept { issued: 1, expires, bytes: Vec::new() });
            }
        }
        assert!(put(&peers, 1, 1, later + 99));
        assert_eq!(peers.kept().len(), MAX_RECORDS);
        let mut first = [9; 32];
        first[..8].copy_from_slice(&0usize.to_le_bytes());
        assert!(peers.get(&PublicKey(first)).is_none());
        assert!(peers.get(&PublicKey([1; 32])).is_some());
    }

    #[tokio::test]
    async fn records_outlive_the_process_and_damage_is_no_reason_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("peers");
        let (stop_tx, stop) = watch::channel(false);
        let peers =
            Peers { store: Some(store(file.clone())), kept: Mutex::default(), changes: watch::channel(0).0 };
        let keeping = async {
            put(&peers, 1, 5, now_ms() + 60_000);
            put(&peers, 2, 5, now_ms());
            stop_tx.send_replace(true);
        };
        tokio::join!(peers.keep(file.clone(), stop.clone()), keeping);
        let again = Peers::start(Some(store(file.clone())), stop.clone());
        assert_eq!(again.kept().keys().copied().collect::<Vec<_>>(), [PublicKey([1; 32])]);
        std::fs::write(&file, b"\xff\xff\xff\xff").unwrap();
        assert!(Peers::start(Some(store(file)), stop).kept().is_empty());
    }

    #[tokio::test]
    async fn a_node_without_a_reader_says_so() {
        let peers = Peers::start(None, watch::channel(false).1);
        assert_eq!(peers.read(b"x").unwrap_err().code, "peer.unsupported");
    }
}
