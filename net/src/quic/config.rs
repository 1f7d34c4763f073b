//! What an endpoint is told when it starts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_crypto::SecretKey;
use cairn_types::NetworkId;

use crate::book::AddressBook;
use crate::relays::RelayList;
use crate::{DEADLINE, MAX_MESSAGE};

/// Bounds of an endpoint. The defaults fit an operator at home and a gateway alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections kept open to peers that we ask.
    pub peers: usize,
    /// Connections accepted in all.
    pub connections: usize,
    /// Connections accepted from one key.
    pub connections_per_key: usize,
    /// Requests of one key in work at once, their answers on the way out included; a peer that asks more waits.
    pub streams_per_key: u32,
    /// Requests in work at once, of all keys, their answers on the way out not included.
    pub requests: usize,
    /// Bytes of requests on their way in and of answers on their way out at once, of all keys; one key has a quarter
    /// of it, at least one message.
    pub message_bytes: usize,
    /// Longest time to wait for a connection.
    pub connect: Duration,
    /// A peer that could not be reached is not tried again for so long, unless its record changes.
    pub retry: Duration,
    /// Longest pause inside a message on its way in; longest time for 256 KiB on its way out.
    pub pause: Duration,
    /// Longest time for a whole message on its way in or out.
    pub transfer: Duration,
    /// A connection that carried no call for so long is closed.
    pub idle: Duration,
    /// A connection whose other end is silent for so long is lost.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: 512,
            connections: 1024,
            connections_per_key: 4,
            streams_per_key: 32,
            requests: 256,
            message_bytes: 256 << 20,
            connect: Duration::from_secs(6),
            retry: Duration::from_secs(1),
            pause: Duration::from_secs(10),
            transfer: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            silence: Duration::from_secs(6),
        }
    }
}

impl Limits {
    /// Bytes of messages of one key in memory at once.
    pub(crate) fn bytes_per_key(&self) -> usize {
        (self.message_bytes / 4).max(MAX_MESSAGE)
    }
}

/// Everything that [`super::Endpoint::bind`] needs.
pub struct QuicConfig {
    /// The network that records are for.
    pub network: NetworkId,
    /// The device key: identity on the wire and signer of the record.
    pub secret: SecretKey,
    /// Where to listen (UDP). Port 0 takes a free one; an unspecified address listens on all interfaces of its family.
    pub listen: SocketAddr,
    /// Relays to be reached through, and the only ones ever dialled.
    pub relays: RelayList,
    /// Where other peers' records are looked up.
    pub book: Arc<dyn AddressBook>,
    /// Addresses under which this endpoint is known to be reachable besides those it finds, such as a forwarded port.
    pub advertise: Vec<SocketAddr>,
    /// False: no UDP socket at all, everything goes through relays.
    pub direct: bool,
    /// How long a call may take.
    pub deadline: Duration,
    /// How long a record is valid; it is renewed at half of that.
    pub record_life: Duration,
    /// Bounds.
    pub limits: Limits,
}

impl QuicConfig {
    /// A configuration without relays, with the defaults of everything else.
    pub fn new(
        network: NetworkId,
        secret: SecretKey,
        listen: SocketAddr,
        book: Arc<dyn AddressBook>,
    ) -> Self {
        Self {
            network,
            secret,
            listen,
            relays: RelayList::none(),
            book,
            advertise: Vec::new(),
            direct: true,
            deadline: DEADLINE,
            record_life: Duration::from_secs(24 * 3600),
            limits: Limits::default(),
        }
    }
}

/// Why an endpoint did not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Relays only, and no relay.
    #[error("without direct connections and without relays nobody can be reached; name a relay")]
    NoWay,
    /// A value outside what the protocol can carry.
    #[error("the limit {0} is out of range; take the default")]
    Limit(&'static str),
    /// The socket, or the library beneath.
    #[error("cannot listen on {listen} ({cause}); is the port taken, or the address not of this machine?")]
    Socket {
        /// Where it should have listened.
        listen: SocketAddr,
        /// What went wrong.
        cause: String,
    },
}
