use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::{PublicKey, SecretKey};
use cairn_net::quic::{Endpoint, QuicConfig};
use cairn_net::relay::{self, Admit, RelayConfig, RelayServer};
use cairn_net::{MemoryBook, NetError, PeerRecord, Relay, RelayList, Service, Transport};
use cairn_types::NetworkId;

pub const NETWORK: NetworkId = NetworkId([9; 32]);
/// Longest wait for something that must happen; nothing passes by being slow or quick.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn secret(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub fn book() -> Arc<MemoryBook> {
    Arc::new(MemoryBook::new(NETWORK))
}

/// An endpoint on loopback that publishes its record into `book` whenever it changes.
pub async fn endpoint(number: u8, book: &Arc<MemoryBook>, change: impl FnOnce(&mut QuicConfig)) -> Endpoint {
    let mut config = QuicConfig::new(NETWORK, secret(number), loopback(), book.clone());
    change(&mut config);
    let endpoint = Endpoint::bind(config).await.unwrap();
    let (mut changes, book) = (endpoint.watch_record(), book.clone());
    tokio::spawn(async move {
        loop {
            let record = changes.borrow_and_update().clone();
            book.insert(record).unwrap();
            if changes.changed().await.is_err() {
                return;
            }
        }
    });
    endpoint
}

/// As [`endpoint`], answering with [`Echo`].
pub async fn server(
    number: u8,
    book: &Arc<MemoryBook>,
    change: impl FnOnce(&mut QuicConfig),
) -> (Endpoint, Arc<Echo>) {
    let endpoint = endpoint(number, book, change).await;
    let echo = Arc::new(Echo::default());
    endpoint.serve(echo.clone());
    (endpoint, echo)
}

/// Answers with the first byte of the asker's key, then the request. `wait` in front of a request makes it wait.
#[derive(Default)]
pub struct Echo {
    pub calls: AtomicUsize,
    pub now: AtomicUsize,
    pub most: AtomicUsize,
    pub dropped: Arc<AtomicUsize>,
}

struct Dropped(Option<Arc<AtomicUsize>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(counter) = self.0.take() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Service for Echo {
    async fn serve(&self, from: PublicKey, request: Bytes) -> Bytes {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let mut dropped = Dropped(Some(self.dropped.clone()));
        if request.starts_with(b"wait") {
            std::future::pending::<()>().await;
        }
        if request.starts_with(b"pause") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        dropped.0 = None;
        self.now.fetch_sub(1, Ordering::SeqCst);
        [&from.0[..1], &request].concat().into()
    }
}

/// Waits until the condition holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}

/// Waits until the book knows a record that fits.
pub async fn known(book: &MemoryBook, key: PublicKey, fits: impl Fn(&PeerRecord) -> bool) -> PeerRecord {
    until("a record in the book", || book.get(&key).is_some_and(|record| fits(&record))).await;
    book.get(&key).unwrap()
}

/// Asks until it is answered.
pub async fn answered(from: &Endpoint, to: PublicKey, request: &'static [u8]) -> Bytes {
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            match from.call(&to, Bytes::from_static(request)).await {
                Ok(answer) => return answer,
                Err(error) => {
                    assert!(!matches!(error, NetError::TooLarge { .. }), "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    asked.await.expect("waited in vain for an answer")
}

/// Admits keys whose first byte is below 200.
pub struct Below200;

#[async_trait]
impl Admit for Below200 {
    async fn admit(&self, key: &PublicKey) -> Result<(), String> {
        let known = (0..200).any(|number| secret(number).public() == *key);
        if known { Ok(()) } else { Err("this key is no registered device; register it first".into()) }
    }
}

pub async fn relay_on(listen: SocketAddr, change: impl FnOnce(&mut RelayConfig)) -> RelayServer {
    let mut config = RelayConfig::new(listen, Arc::new(Below200));
    change(&mut config);
    relay::serve(config).await.unwrap()
}

pub fn list<'a>(relays: impl IntoIterator<Item = &'a RelayServer>) -> RelayList {
    RelayList::new(relays.into_iter().map(|relay| Relay { url: relay.url(), discovery: None })).unwrap()
}
