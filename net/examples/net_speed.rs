//! Speed of the transports on loopback: direct QUIC, through a relay, inside the process.
//!
//!     cargo run --release -p cairn-net --example net_speed
//!
//! Both ends and the relay share this process and its cores. Bytes are those of requests; answers are four bytes.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::{PublicKey, SecretKey};
use cairn_net::quic::{Endpoint, QuicConfig};
use cairn_net::relay::{self, Admit, RelayConfig};
use cairn_net::{Local, MemoryBook, Relay, RelayList, Service, Transport};
use cairn_types::NetworkId;
use futures::StreamExt;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const NETWORK: NetworkId = NetworkId([7; 32]);
/// Bytes of one run with large requests; a relay gets an eighth of it.
const VOLUME: usize = 256 << 20;
/// Requests of one run with small ones.
const SMALL_RUN: usize = 20_000;
const LARGE: usize = 4 << 20;
const SMALL: usize = 1 << 10;
/// Calls at once.
const AT_ONCE: usize = 8;

struct Counts;

#[async_trait]
impl Service for Counts {
    async fn serve(&self, _: PublicKey, request: Bytes) -> Bytes {
        Bytes::copy_from_slice(&u32::try_from(request.len()).unwrap_or(0).to_le_bytes())
    }
}

/// Answers with as many bytes as the request asks for.
struct Gives(Bytes);

#[async_trait]
impl Service for Gives {
    async fn serve(&self, _: PublicKey, _: Bytes) -> Bytes {
        self.0.clone()
    }
}

struct Everybody;

#[async_trait]
impl Admit for Everybody {
    async fn admit(&self, _: &PublicKey) -> Result<(), String> {
        Ok(())
    }
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

async fn peer(seed: u8, book: &Arc<MemoryBook>, relays: &RelayList, direct: bool) -> Outcome<Endpoint> {
    let listen: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let mut config = QuicConfig::new(NETWORK, secret(seed), listen, book.clone());
    config.relays = relays.clone();
    config.direct = direct;
    let peer = Endpoint::bind(config).await?;
    if !relays.is_empty() {
        tokio::time::timeout(Duration::from_secs(30), peer.online()).await?;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    book.insert(peer.record())?;
    Ok(peer)
}

/// `calls` requests of `size` bytes, [`AT_ONCE`] at a time.
async fn run(
    way: &str,
    what: &str,
    asker: &dyn Transport,
    to: PublicKey,
    size: usize,
    calls: usize,
) -> Outcome {
    let request = Bytes::from(vec![7; size]);
    asker.call(&to, request.clone()).await?;
    let start = Instant::now();
    let asked = futures::stream::iter(0..calls).map(|_| asker.call(&to, request.clone()));
    let failed =
        asked.buffer_unordered(AT_ONCE).filter(|answer| std::future::ready(answer.is_err())).count().await;
    let seconds = start.elapsed().as_secs_f64();
    let bytes = match what {
        "down" => LARGE * calls,
        _ => size * calls,
    };
    println!(
        "{way:>8} {what:>5} {:>8} B x {calls:>6}: {:>8.1} MB/s {:>9.0} requests/s, {failed} failed",
        bytes / calls,
        bytes as f64 / 1e6 / seconds,
        calls as f64 / seconds
    );
    Ok(())
}

async fn measure(way: &str, asker: &dyn Transport, up: PublicKey, down: PublicKey, share: usize) -> Outcome {
    run(way, "up", asker, up, LARGE, VOLUME / share / LARGE).await?;
    run(way, "down", asker, down, 8, VOLUME / share / LARGE).await?;
    run(way, "up", asker, up, SMALL, SMALL_RUN / share).await
}

#[tokio::main]
async fn main() -> Outcome {
    let gives = Arc::new(Gives(Bytes::from(vec![9; LARGE])));
    let (up, down, me) = (secret(1).public(), secret(2).public(), secret(3).public());
    let local = Local::new();
    local.register(up, Arc::new(Counts));
    local.register(down, gives.clone());
    measure("local", &local.endpoint(me), up, down, 1).await?;

    let mut config = RelayConfig::new((Ipv4Addr::LOCALHOST, 0).into(), Arc::new(Everybody));
    config.limits.bytes_per_second = 0;
    let relay = relay::serve(config).await?;
    let relays = RelayList::new([Relay { url: relay.url(), discovery: None }])?;
    for (way, relays, direct, share) in [("direct", RelayList::none(), true, 1), ("relay", relays, false, 8)]
    {
        let book = Arc::new(MemoryBook::new(NETWORK));
        let (one, two) = (peer(1, &book, &relays, direct).await?, peer(2, &book, &relays, direct).await?);
        one.serve(Arc::new(Counts));
        two.serve(gives.clone());
        let asker = peer(3, &book, &relays, direct).await?;
        measure(way, &asker, up, down, share).await?;
        for peer in [&asker, &one, &two] {
            peer.close().await;
        }
    }
    relay.close().await;
    Ok(())
}
