//! Data plane between customers and operators: one request to a device key, one answer from it.
//!
//! The room knows keys and bytes, never what the bytes mean. [`Transport`] sends, [`Service`] answers, [`Local`]
//! joins both inside one process and can be told to fail. [`quic::Endpoint`] crosses machines, NATs included, with
//! the help of an [`AddressBook`] and of relays ([`relay::serve`]). [`Either`] asks neighbours of the same process first.

mod book;
mod either;
pub mod fuzz;
mod local;
pub mod quic;
mod record;
pub mod relay;
mod relays;

pub use book::{AddressBook, MAX_BOOK, MemoryBook};
pub use either::Either;
pub use local::{Endpoint, Faults, Local};
pub use record::{
    MAX_ADDRS, MAX_CLOCK_SKEW, MAX_RECORD, MAX_RECORD_LIFE, MAX_RELAY_URL, MAX_RELAYS, PeerRecord,
    RECORD_DOMAIN, RecordError, now_ms,
};
pub use relays::{MAX_RELAY_LIST, Relay, RelayError, RelayList};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::PublicKey;
use std::time::Duration;

/// Most bytes of a request or an answer: 8 MiB.
pub const MAX_MESSAGE: usize = 8 << 20;
/// How long a call may take unless the transport was told otherwise.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Why no answer came. After [`NetError::Timeout`] and [`NetError::Lost`] the request may have been carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Nobody answers to this key.
    #[error("no peer is known under {0:?}; look the device up again, it may have changed its key")]
    UnknownPeer(PublicKey),
    /// The peer is known but cannot be reached.
    #[error("{0:?} is not reachable; try another slot and come back later")]
    Down(PublicKey),
    /// Request or answer was lost on the way.
    #[error("the exchange with {0:?} was lost on the way; ask again, every request may be repeated")]
    Lost(PublicKey),
    /// No answer in time.
    #[error("{peer:?} did not answer within {} ms; try another slot and ask again later", after.as_millis())]
    Timeout {
        /// Who was asked.
        peer: PublicKey,
        /// The deadline that passed.
        after: Duration,
    },
    /// Over [`MAX_MESSAGE`].
    #[error("a message of {got} bytes exceeds the limit of {limit}; send it in parts")]
    TooLarge {
        /// Bytes of the message.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// Sends requests under the sender's own key.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends one request to the device with key `to` and waits for its answer.
    ///
    /// # Errors
    /// [`NetError`]; a message over [`MAX_MESSAGE`] is refused on both ways.
    async fn call(&self, to: &PublicKey, request: Bytes) -> Result<Bytes, NetError>;
}

/// Answers requests. `from` is the key that the transport authenticated, not what the bytes claim.
#[async_trait]
pub trait Service: Send + Sync {
    /// Answers one request; every failure is an answer too. Calls may run side by side and may be dropped half way
    /// when the caller gives up.
    async fn serve(&self, from: PublicKey, request: Bytes) -> Bytes;
}

/// Refuses a message that is too long for any transport.
///
/// # Errors
/// [`NetError::TooLarge`].
pub fn check_size(message: &[u8]) -> Result<(), NetError> {
    let got = message.len();
    if got > MAX_MESSAGE { Err(NetError::TooLarge { got, limit: MAX_MESSAGE }) } else { Ok(()) }
}
