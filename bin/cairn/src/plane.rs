//! The data plane of a process: where others are found, where it is found, whom a relay admits.

use anyhow::Result;
use async_trait::async_trait;
use cairn_api::{PeerFacts, PeerStore};
use cairn_client::Client;
use cairn_crypto::JoinLink;
use cairn_crypto::keys::{PublicKey, SecretKey};
use cairn_net::quic::{Endpoint, QuicConfig};
use cairn_net::relay::Admit;
use cairn_net::{AddressBook, PeerRecord, Relay, RelayList};
use cairn_types::{NetworkId, Refusal};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::home::now_ms;
use crate::output::Failure;

/// How long a record is used before the node is asked again.
const FRESH: Duration = Duration::from_secs(5);
/// How long nobody asks again for a key that has no record.
const ABSENT: Duration = Duration::from_millis(500);
/// Longest wait for a node's answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Most keys that are remembered.
const REMEMBERED: usize = 16_384;
/// How often a device says where it is.
pub const ANNOUNCE: Duration = Duration::from_secs(60);
/// Pause after an announcement that did not arrive.
const AGAIN: Duration = Duration::from_secs(2);
/// How long an admitted key is not asked about.
const ADMITTED: Duration = Duration::from_secs(60);
/// How long a refused key is not asked about.
const REFUSED: Duration = Duration::from_secs(2);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps are valid after every statement; a panic elsewhere does not spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where records of peers come from: the network's nodes, remembered. A node that is away, or that was restarted and
/// knows nobody yet, does not take from us what we know.
pub struct ChainBook {
    nodes: Vec<Client>,
    network: NetworkId,
    known: Mutex<BTreeMap<PublicKey, (Instant, Option<PeerRecord>)>>,
}

impl ChainBook {
    /// A book over the nodes of a network.
    pub fn new(nodes: Vec<Client>, network: NetworkId) -> Self {
        Self { nodes, network, known: Mutex::default() }
    }

    fn remembered(&self, key: &PublicKey) -> Option<(Duration, Option<PeerRecord>)> {
        locked(&self.known).get(key).map(|(at, record)| (at.elapsed(), record.clone()))
    }

    fn remember(&self, key: &PublicKey, found: Option<PeerRecord>) -> Option<PeerRecord> {
        let mut known = locked(&self.known);
        if known.len() >= REMEMBERED && !known.contains_key(key) {
            known.clear();
        }
        let old = known.get(key).and_then(|(_, record)| record.clone());
        let now = now_ms();
        let best = [old, found].into_iter().flatten().filter(|r| r.expires > now).max_by_key(|r| r.issued);
        known.insert(*key, (Instant::now(), best.clone()));
        best
    }

    /// The newest record that any node has: a device announces itself to all, but some may have been away.
    async fn ask(&self, key: &PublicKey) -> Option<PeerRecord> {
        let asked = self.nodes.iter().map(|node| tokio::time::timeout(ANSWER, node.peer(key)));
        let answers = futures::future::join_all(asked).await;
        let records = answers.into_iter().filter_map(|answer| {
            let record = PeerRecord::from_bytes(&answer.ok()?.ok()??).ok()?;
            (record.key == *key && record.verify(&self.network, now_ms()).is_ok()).then_some(record)
        });
        records.max_by_key(|record| record.issued)
    }
}

#[async_trait]
impl AddressBook for ChainBook {
    async fn lookup(&self, key: &PublicKey) -> Option<PeerRecord> {
        match self.remembered(key) {
            Some((age, Some(record))) if age < FRESH && record.expires > now_ms() => return Some(record),
            Some((age, None)) if age < ABSENT => return None,
            _ => {}
        }
        let found = self.ask(key).await;
        self.remember(key, found)
    }
}

/// How the node's API reads records of peers.
pub fn peer_store(network: NetworkId, dir: &Path) -> PeerStore {
    let read = move |bytes: &[u8]| {
        let bad = |e: cairn_net::RecordError| {
            let text = e.to_string();
            let cause = text.split("; ").next().unwrap_or(&text).to_owned();
            Refusal::with("peer.record", cause, "sign a fresh record for this network, and check the clock")
        };
        let record = PeerRecord::from_bytes(bytes).map_err(bad)?;
        record.verify(&network, now_ms()).map_err(bad)?;
        Ok(PeerFacts { key: record.key, issued: record.issued, expires: record.expires })
    };
    PeerStore { read: Arc::new(read), file: dir.join("peers.bin") }
}

/// A client for each node of a join link.
pub fn nodes(link: &JoinLink) -> Result<Vec<Client>> {
    Ok(link.nodes.iter().map(|url| Client::new(url.clone())).collect::<Result<_, _>>()?)
}

/// Opens a process's way into the network.
pub async fn endpoint(
    nodes: Vec<Client>,
    network: NetworkId,
    secret: SecretKey,
    listen: SocketAddr,
    advertise: Option<SocketAddr>,
    relays: &[String],
) -> Result<Endpoint> {
    let list = relays.iter().map(|url| Relay { url: url.clone(), discovery: None });
    let relays = RelayList::new(list).map_err(|e| plain("net.relay", &e))?;
    let book = Arc::new(ChainBook::new(nodes, network));
    let mut config = QuicConfig::new(network, secret, listen, book);
    config.relays = relays;
    config.advertise = advertise.into_iter().collect();
    Endpoint::bind(config).await.map_err(|e| plain("net.listen", &e))
}

/// Errors of the data plane are sentences that end with their remedy.
pub fn plain(code: &str, error: &dyn std::fmt::Display) -> anyhow::Error {
    let text = error.to_string();
    let (cause, remedy) = text.rsplit_once("; ").unwrap_or((&text, "see the cause"));
    Failure::new(code, cause, remedy)
}

/// Tells every node where a device can be reached: now, every minute, and whenever it changes. Ends when it is aborted.
pub async fn announce(endpoint: Endpoint, nodes: Vec<Client>) {
    let mut changes = endpoint.watch_record();
    loop {
        let record = changes.borrow_and_update().clone();
        let told = futures::future::join_all(nodes.iter().map(|node| node.announce(record.to_bytes()))).await;
        let failed = told.iter().filter_map(|answer| answer.as_ref().err());
        let pause = match failed.inspect(|error| tracing::debug!(%error, "plane.announce")).count() {
            0 => ANNOUNCE,
            _ => AGAIN,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Whom a relay carries: the keys of registered devices, and those of accounts with credits or leases.
pub struct Members {
    client: Client,
    known: Mutex<BTreeMap<PublicKey, (Instant, bool)>>,
}

impl Members {
    /// The members that the network's nodes know.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    fn remember(&self, key: &PublicKey, member: bool) {
        let mut known = locked(&self.known);
        if known.len() >= REMEMBERED && !known.contains_key(key) {
            // Strangers are many and come once: members stay as long as there is room.
            known.retain(|_, (_, member)| *member);
            if known.len() >= REMEMBERED {
                known.clear();
            }
        }
        known.insert(*key, (Instant::now(), member));
    }
}

#[async_trait]
impl Admit for Members {
    async fn admit(&self, key: &PublicKey) -> Result<(), String> {
        let stranger = || {
            Err("this relay carries registered devices and customers of its network only; register, or buy credits"
                .to_owned())
        };
        let known = locked(&self.known).get(key).copied();
        match known {
            Some((at, true)) if at.elapsed() < ADMITTED => return Ok(()),
            Some((at, false)) if at.elapsed() < REFUSED => return stranger(),
            _ => {}
        }
        match tokio::time::timeout(ANSWER, self.client.role_of(key)).await {
            Ok(Ok(role)) => {
                self.remember(key, role.is_some());
                if role.is_some() { Ok(()) } else { stranger() }
            }
            // A node that is away does not cut off whom it vouched for before.
            _ if known.is_some_and(|(_, member)| member) => Ok(()),
            _ => Err("no node answers the relay's question who you are; try again in a moment".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId([9; 32]);

    fn nobody() -> Client {
        Client::new("http://127.0.0.1:1").unwrap()
    }

    fn record(issued: u64, life: Duration) -> PeerRecord {
        let addr: SocketAddr = ([127, 0, 0, 1], 7071).into();
        PeerRecord::sign(NETWORK, &SecretKey::from_seed(&[1; 32]), [], [addr], issued, life)
    }

    #[tokio::test]
    async fn what_was_known_outlives_the_node() {
        let book = ChainBook::new(vec![nobody()], NETWORK);
        let now = now_ms();
        let key = record(now, Duration::from_secs(60)).key;
        assert_eq!(book.lookup(&key).await, None);
        book.remember(&key, Some(record(now, Duration::from_secs(60))));
        locked(&book.known).values_mut().for_each(|v| v.0 -= FRESH * 2);
        assert_eq!(book.lookup(&key).await.unwrap().issued, now, "the node is gone, the record is not");
        // An older one does not replace it, and an expired one is none.
        assert_eq!(book.remember(&key, Some(record(now - 5, Duration::from_secs(60)))).unwrap().issued, now);
        let other = ChainBook::new(vec![nobody()], NETWORK);
        assert_eq!(other.remember(&key, Some(record(now - 1000, Duration::from_millis(10)))), None);
    }

    #[tokio::test]
    async fn a_relay_keeps_its_members_while_the_node_is_away_and_takes_no_new_ones() {
        let members = Members::new(nobody());
        let key = |n: u8| PublicKey([n; 32]);
        assert!(members.admit(&key(1)).await.unwrap_err().contains("no node answers"));
        members.remember(&key(1), true);
        members.remember(&key(2), false);
        assert!(members.admit(&key(1)).await.is_ok());
        assert!(members.admit(&key(2)).await.unwrap_err().contains("registered devices"));
        locked(&members.known).values_mut().for_each(|v| v.0 -= ADMITTED * 2);
        assert!(members.admit(&key(1)).await.is_ok(), "it was a member when the node was last there");
    }

    #[test]
    fn a_flood_of_strangers_does_not_push_members_out() {
        let members = Members::new(nobody());
        members.remember(&PublicKey([255; 32]), true);
        for n in 0..REMEMBERED + 10 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            members.remember(&PublicKey(key), false);
        }
        let known = locked(&members.known);
        assert!(known.len() <= REMEMBERED && known.contains_key(&PublicKey([255; 32])));
    }

    #[test]
    fn the_node_reads_records_of_its_own_network_only() {
        let dir = tempfile::tempdir().unwrap();
        let read = peer_store(NETWORK, dir.path()).read;
        let good = record(now_ms(), Duration::from_secs(60));
        assert_eq!(read(&good.to_bytes()).unwrap().key, good.key);
        assert_eq!(read(b"no record").unwrap_err().code, "peer.record");
        let elsewhere = peer_store(NetworkId([8; 32]), dir.path()).read;
        assert_eq!(elsewhere(&good.to_bytes()).unwrap_err().code, "peer.record");
    }
}
