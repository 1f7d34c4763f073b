//! What an endpoint knows of its peers, for status pages and doctors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_crypto::PublicKey;
use iroh::TransportAddr;
use iroh::endpoint::Connection;

use super::pool::{Pool, Slot};

/// The way that packets take now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// Straight to this address.
    Direct(SocketAddr),
    /// Through the relay with this URL.
    Relay(String),
}

/// One peer in numbers. Bytes are those of messages, without what the protocol adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStats {
    /// Who.
    pub key: PublicKey,
    /// True if the peer asks us, false if we ask it.
    pub inbound: bool,
    /// The way packets take; `None` without a connection.
    pub path: Option<Path>,
    /// Round trip over that way.
    pub rtt: Option<Duration>,
    /// Calls made, or requests answered.
    pub calls: u64,
    /// Those of the calls that failed, or requests cut short.
    pub failures: u64,
    /// Bytes of messages to the peer.
    pub sent: u64,
    /// Bytes of messages from the peer.
    pub received: u64,
}

/// Path and round trip of a connection.
pub(super) fn path_of(connection: &Connection) -> (Option<Path>, Option<Duration>) {
    let paths = connection.paths();
    let Some(selected) = paths.iter().find(|path| path.is_selected()) else { return (None, None) };
    let path = match selected.remote_addr() {
        TransportAddr::Ip(addr) => Some(Path::Direct(*addr)),
        TransportAddr::Relay(url) => Some(Path::Relay(url.to_string())),
        _ => None,
    };
    (path, Some(selected.rtt()))
}

pub(super) fn of_slot(key: PublicKey, slot: &Slot) -> PeerStats {
    let open = slot.shown().filter(|connection| connection.close_reason().is_none());
    let (path, rtt) = open.as_ref().map(path_of).unwrap_or_default();
    PeerStats {
        key,
        inbound: false,
        path,
        rtt,
        calls: slot.calls.load(Ordering::Relaxed),
        failures: slot.failures.load(Ordering::Relaxed),
        sent: slot.sent.load(Ordering::Relaxed),
        received: slot.received.load(Ordering::Relaxed),
    }
}

pub(super) fn asked(pool: &Arc<Pool>) -> Vec<PeerStats> {
    pool.all().iter().map(|(key, slot)| of_slot(*key, slot)).collect()
}
