//! The processes of the NAT lab (`cargo xtask e2e nat`): a relay, a storing peer, an asking peer.
//!
//! Each prints one JSON object on a line when it is ready and one for each command read from standard input; it ends
//! with its standard input. Records go through files in a directory that all share, as they go through the chain's
//! nodes in a network.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::{PublicKey, SecretKey};
use cairn_net::quic::{Endpoint, Path as Way, QuicConfig};
use cairn_net::relay::{self, Admit, Certificate, RelayConfig};
use cairn_net::{AddressBook, PeerRecord, Relay, RelayList, Service, Transport};
use cairn_types::NetworkId;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const NETWORK: NetworkId = NetworkId([7; 32]);
/// Longest time to wait for a peer to come back.
const PATIENCE: Duration = Duration::from_secs(60);

const USAGE: &str = "usage: nat_peer cert DIR IP.. | relay LISTEN DIR | store SEED LISTEN DIR RELAY-IP.. | \
                     ask SEED LISTEN DIR RELAY-IP..";
/// Port of every relay, for HTTPS and for address discovery alike.
const RELAY_PORT: u16 = 3340;

#[tokio::main]
async fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match &args[..] {
        ["cert", dir, ips @ ..] => certificate(Path::new(dir), ips),
        ["relay", listen, dir] => run_relay(listen.parse()?, Path::new(dir)).await,
        ["store", seed, listen, dir, relays @ ..] => {
            let peer = peer(seed.parse()?, listen.parse()?, Path::new(dir), relays).await?;
            peer.serve(Arc::new(Store::default()));
            commands(peer).await
        }
        ["ask", seed, listen, dir, relays @ ..] => {
            commands(peer(seed.parse()?, listen.parse()?, Path::new(dir), relays).await?).await
        }
        _ => Err(USAGE.into()),
    }
}

/// One self-signed certificate for all relays of the lab.
fn certificate(dir: &Path, ips: &[&str]) -> Outcome {
    let names: Vec<String> = ips.iter().map(|ip| (*ip).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names)?;
    std::fs::write(dir.join("chain.pem"), made.cert.pem())?;
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem())?;
    println!("{{\"ready\":true}}");
    Ok(())
}

struct Everybody;

#[async_trait]
impl Admit for Everybody {
    async fn admit(&self, _: &PublicKey) -> Result<(), String> {
        Ok(())
    }
}

async fn run_relay(ip: IpAddr, dir: &Path) -> Outcome {
    let listen = SocketAddr::new(ip, RELAY_PORT);
    let mut config = RelayConfig::new(listen, Arc::new(Everybody));
    config.certificate = Some(Certificate { chain: dir.join("chain.pem"), key: dir.join("key.pem") });
    config.discovery = Some(listen);
    let relay = relay::serve(config).await?;
    println!("{{\"ready\":true,\"url\":\"{}\"}}", relay.url());
    let mut lines = stdin();
    while lines.next_line().await?.is_some() {
        let bytes: u64 = relay.usage().iter().map(|usage| usage.received).sum();
        println!("{{\"received\":{bytes},\"clients\":{}}}", relay.usage().len());
    }
    relay.close().await;
    Ok(())
}

fn stdin() -> Lines<BufReader<Stdin>> {
    BufReader::new(tokio::io::stdin()).lines()
}

/// Records as files named by their key.
struct Directory(PathBuf);

#[async_trait]
impl AddressBook for Directory {
    async fn lookup(&self, key: &PublicKey) -> Option<PeerRecord> {
        PeerRecord::from_bytes(&std::fs::read(self.0.join(key.to_string())).ok()?).ok()
    }
}

fn publish(dir: &Path, record: &PeerRecord) -> Outcome {
    let draft = dir.join(format!("{}.draft", record.key));
    std::fs::write(&draft, record.to_bytes())?;
    std::fs::rename(&draft, dir.join(record.key.to_string()))?;
    Ok(())
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

async fn peer(seed: u8, listen: SocketAddr, dir: &Path, relays: &[&str]) -> Outcome<Endpoint> {
    let listed = relays
        .iter()
        .map(|ip| Relay { url: format!("https://{ip}:{RELAY_PORT}"), discovery: Some(RELAY_PORT) });
    let mut config = QuicConfig::new(NETWORK, secret(seed), listen, Arc::new(Directory(dir.to_owned())));
    if !relays.is_empty() {
        config.relays = RelayList::new(listed)?.with_roots_file(&dir.join("chain.pem"))?;
    }
    let peer = Endpoint::bind(config).await?;
    if !relays.is_empty() {
        tokio::time::timeout(PATIENCE, peer.online()).await.map_err(|_| "no relay can be reached")?;
    }
    let (mut changes, dir) = (peer.watch_record(), dir.to_owned());
    publish(&dir, &peer.record())?;
    tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            let record = changes.borrow_and_update().clone();
            if let Err(error) = publish(&dir, &record) {
                eprintln!("cannot publish the record: {error}");
            }
        }
    });
    println!("{{\"ready\":true,\"home\":\"{}\"}}", peer.home_relay().unwrap_or_default());
    Ok(peer)
}

/// Keeps what it is given (`P`, 8 bytes of name, content) and gives it back (`G`, name).
#[derive(Default)]
struct Store(Mutex<BTreeMap<Bytes, Bytes>>);

#[async_trait]
impl Service for Store {
    async fn serve(&self, _: PublicKey, mut request: Bytes) -> Bytes {
        if request.len() < 9 {
            return Bytes::from_static(b"short");
        }
        let kind = request.split_to(1);
        let name = request.split_to(8);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &kind[..] {
            b"P" => {
                kept.insert(name, request);
                Bytes::from_static(b"kept")
            }
            _ => kept.get(&name).cloned().unwrap_or_default(),
        }
    }
}

/// `transfer SEED BYTES`: upload and download, `until SEED`: ask until answered, `record`: what is published.
async fn commands(peer: Endpoint) -> Outcome {
    let mut lines = stdin();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split_whitespace().collect();
        match &words[..] {
            ["transfer", seed, bytes] => {
                transfer(&peer, secret(seed.parse()?).public(), bytes.parse()?).await
            }
            ["until", seed] => until(&peer, secret(seed.parse()?).public()).await,
            _ => {
                let record = peer.record();
                let addrs: Vec<String> = record.addrs.iter().map(ToString::to_string).collect();
                println!(
                    "{{\"home\":\"{}\",\"addrs\":\"{}\"}}",
                    peer.home_relay().unwrap_or_default(),
                    addrs.join(" ")
                );
            }
        }
    }
    peer.close().await;
    Ok(())
}

fn way(peer: &Endpoint, key: &PublicKey) -> String {
    match peer.stats_of(key).and_then(|stats| stats.path) {
        Some(Way::Direct(_)) => "direct".into(),
        Some(Way::Relay(url)) => url,
        None => "none".into(),
    }
}

async fn transfer(peer: &Endpoint, key: PublicKey, bytes: usize) {
    let content: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
    let put = Bytes::from([b"P", &b"contents"[..], &content].concat());
    let start = Instant::now();
    let stored = peer.call(&key, put).await;
    let read = peer.call(&key, Bytes::from_static(b"Gcontents")).await;
    let same = stored.as_deref() == Ok(&b"kept"[..]) && read.as_deref() == Ok(&content[..]);
    let error = stored.err().or(read.err()).map(|e| e.to_string()).unwrap_or_default();
    println!(
        "{{\"same\":{same},\"way\":\"{}\",\"ms\":{},\"error\":\"{error}\"}}",
        way(peer, &key),
        start.elapsed().as_millis()
    );
}

async fn until(peer: &Endpoint, key: PublicKey) {
    let (start, mut tries) = (Instant::now(), 0);
    while start.elapsed() < PATIENCE {
        tries += 1;
        if peer.call(&key, Bytes::from_static(b"Gnothing!")).await.is_ok() {
            println!(
                "{{\"ms\":{},\"tries\":{tries},\"way\":\"{}\"}}",
                start.elapsed().as_millis(),
                way(peer, &key)
            );
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{{\"ms\":{},\"tries\":{tries},\"way\":\"none\"}}", start.elapsed().as_millis());
}
