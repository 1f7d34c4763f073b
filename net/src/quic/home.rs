//! Where this endpoint can be reached: its record, and the relay that holds a connection to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cairn_crypto::SecretKey;
use cairn_types::NetworkId;
use iroh::{Endpoint as Socket, RelayUrl, Watcher};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info};

use super::QuicConfig;
use super::pool::Pool;
use super::stats::{Path, path_of};
use super::wire::Cut;
use crate::record::{PeerRecord, now_ms};
use crate::relays::RelayList;

/// How long the home relay may be away before another is taken.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long a relay that went away is not considered, if there are others.
const BENCH: Duration = Duration::from_secs(20);

/// Makes records with rising `issued`.
pub(super) struct Issuer {
    network: NetworkId,
    secret: SecretKey,
    relays: Vec<String>,
    life: Duration,
    last: u64,
}

impl Issuer {
    pub(super) fn new(config: &QuicConfig, secret: SecretKey) -> Self {
        let relays = config.relays.urls().collect();
        Self { network: config.network, secret, relays, life: config.record_life, last: 0 }
    }

    /// A record of what is known now, newer than all before.
    pub(super) fn next(&mut self, socket: &Socket) -> PeerRecord {
        self.last = now_ms().max(self.last.saturating_add(1));
        self.sign(socket, self.last)
    }

    fn sign(&self, socket: &Socket, issued: u64) -> PeerRecord {
        let home = connected(socket).map(|url| url.to_string());
        let others = self.relays.iter().filter(|url| Some(*url) != home.as_ref()).cloned();
        let relays: Vec<String> = home.clone().into_iter().chain(others).collect();
        // What the socket is bound to is known at once; the library names it only after its first look around.
        let mut addrs: Vec<SocketAddr> = socket.bound_sockets();
        addrs.retain(|addr| !addr.ip().is_unspecified());
        addrs.extend(socket.addr().ip_addrs());
        // The widest reach first: what exceeds a record's limit is cut from the end.
        addrs.sort_by_key(|addr| (reach(&addr.ip()), *addr));
        addrs.dedup();
        PeerRecord::sign(self.network, &self.secret, relays, addrs, issued, self.life)
    }
}

/// 0 for addresses that the whole internet can use, 1 within a site, 2 within this machine.
fn reach(ip: &IpAddr) -> u8 {
    match ip.to_canonical() {
        ip if ip.is_loopback() => 2,
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() => 1,
        IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => 1,
        _ => 0,
    }
}

/// The relay that holds a connection to us.
pub(super) fn connected(socket: &Socket) -> Option<RelayUrl> {
    let status = socket.home_relay_status().get();
    status.iter().find(|relay| relay.is_connected()).map(|relay| relay.url().clone())
}

pub(super) fn refusal(socket: &Socket) -> Option<String> {
    let status = socket.home_relay_status().get();
    status.iter().find_map(|relay| relay.auth_denied_reason().map(str::to_owned))
}

/// Keeps the record true: makes a new one when an address or the home relay changes, and before it expires.
pub(super) async fn publish(socket: Socket, mut issuer: Issuer, known: watch::Sender<PeerRecord>) {
    let mut addrs = socket.watch_addr();
    let mut home = socket.home_relay_status();
    let half = issuer.life / 2;
    let mut renew = Instant::now() + half;
    loop {
        let now = issuer.next(&socket);
        let news = { !same_place(&known.borrow(), &now) } || Instant::now() >= renew;
        if news {
            renew = Instant::now() + half;
            known.send_replace(now);
        }
        let ended = tokio::select! {
            seen = addrs.updated() => seen.is_err(),
            seen = home.updated() => seen.is_err(),
            () = sleep_until(renew) => false,
        };
        if ended {
            return;
        }
    }
}

fn same_place(one: &PeerRecord, other: &PeerRecord) -> bool {
    one.relays == other.relays && one.addrs == other.addrs
}

/// Takes another relay soon after the home relay went away. Left to itself the library looks for one only with its
/// next regular report, up to half a minute later.
pub(super) async fn guard(socket: Socket, list: RelayList, pool: Arc<Pool>) {
    let configs: Vec<iroh::RelayConfig> = list.configs().collect();
    let mut benched: Vec<(RelayUrl, Instant)> = Vec::new();
    let mut home = socket.home_relay_status();
    loop {
        let lost =
            home.get().iter().find(|relay| !relay.is_connected() && relay.last_error().is_some()).cloned();
        if let Some(lost) = lost {
            sleep(PATIENCE).await;
            if home.get().iter().any(|relay| relay.url() == lost.url() && !relay.is_connected()) {
                hang_up(&pool, lost.url());
                let known = benched.iter().any(|(url, _)| url == lost.url());
                if !known && configs.len() > benched.len() + 1 {
                    info!(relay = %lost.url(), "home relay is away, taking another");
                    socket.remove_relay(lost.url()).await;
                    benched.push((lost.url().clone(), Instant::now() + BENCH));
                }
            }
        }
        let back = benched.iter().map(|(_, until)| *until).min();
        let back = back.unwrap_or_else(|| Instant::now() + BENCH);
        tokio::select! {
            seen = home.updated() => if seen.is_err() { return },
            () = sleep_until(back) => {}
        }
        let now = Instant::now();
        for (url, _) in benched.extract_if(.., |(_, until)| *until <= now) {
            if let Some(config) = configs.iter().find(|config| config.url == url) {
                debug!(relay = %url, "considered again");
                socket.insert_relay(url, Arc::new(config.clone())).await;
            }
        }
    }
}

/// Connections that lead through a dead relay end now and not after a silence.
fn hang_up(pool: &Pool, relay: &RelayUrl) {
    let through = Path::Relay(relay.to_string());
    for (_, slot) in pool.all() {
        if let Some(connection) = slot.shown()
            && path_of(&connection).0.as_ref() == Some(&through)
        {
            connection.close(Cut::Closing.code(), b"relay lost");
        }
    }
}
