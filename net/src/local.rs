//! A network inside one process, with faults on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::PublicKey;

use crate::{DEADLINE, NetError, Service, Transport, check_size};

/// What goes wrong on the way to a peer. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Not reachable at all.
    pub down: bool,
    /// Every n-th request is lost before the peer sees it; 0 = none.
    pub drop_request: u64,
    /// Every n-th answer is lost after the peer did its work; 0 = none.
    pub drop_answer: u64,
    /// Every n-th answer arrives with one bit flipped; 0 = none.
    pub corrupt: u64,
    /// Waiting time before the peer sees a request.
    pub delay: Duration,
}

struct Peer {
    service: Arc<dyn Service>,
    faults: Faults,
    calls: u64,
}

/// The network: share it by cloning.
#[derive(Clone, Default)]
pub struct Local {
    peers: Arc<Mutex<BTreeMap<PublicKey, Peer>>>,
}

impl Local {
    /// A network with nobody in it.
    pub fn new() -> Self {
        Self::default()
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Peer>> {
        // The map is valid after every statement; a panic elsewhere does not spoil it.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `service` answer for `key`; replaces an earlier one (a restarted device) and keeps its faults.
    pub fn register(&self, key: PublicKey, service: Arc<dyn Service>) {
        let mut peers = self.peers();
        let faults = peers.get(&key).map(|p| p.faults).unwrap_or_default();
        peers.insert(key, Peer { service, faults, calls: 0 });
    }

    /// Nobody answers for `key` any more.
    pub fn remove(&self, key: &PublicKey) {
        self.peers().remove(key);
    }

    /// Sets what goes wrong on the way to `key` and counts its calls anew. False if nobody answers for the key.
    pub fn set_faults(&self, key: &PublicKey, faults: Faults) -> bool {
        let mut peers = self.peers();
        let Some(peer) = peers.get_mut(key) else { return false };
        (peer.faults, peer.calls) = (faults, 0);
        true
    }

    /// The way into the network for the holder of `key`, with [`DEADLINE`].
    pub fn endpoint(&self, key: PublicKey) -> Endpoint {
        Endpoint { net: self.clone(), key, deadline: DEADLINE }
    }

    /// The peer's service, its faults and the number of this call.
    fn dial(&self, to: &PublicKey) -> Result<(Arc<dyn Service>, Faults, u64), NetError> {
        let mut peers = self.peers();
        let peer = peers.get_mut(to).ok_or(NetError::UnknownPeer(*to))?;
        peer.calls = peer.calls.saturating_add(1);
        Ok((peer.service.clone(), peer.faults, peer.calls))
    }
}

/// One peer's way into a [`Local`] network.
#[derive(Clone)]
pub struct Endpoint {
    net: Local,
    key: PublicKey,
    deadline: Duration,
}

impl Endpoint {
    /// The same endpoint with another deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// True for every n-th call, never for n = 0.
fn strikes(every: u64, call: u64) -> bool {
    every != 0 && call.is_multiple_of(every)
}

#[async_trait]
impl Transport for Endpoint {
    async fn call(&self, to: &PublicKey, request: Bytes) -> Result<Bytes, NetError> {
        check_size(&request)?;
        let (service, faults, call) = self.net.dial(to)?;
        if faults.down {
            return Err(NetError::Down(*to));
        }
        if strikes(faults.drop_request, call) {
            return Err(NetError::Lost(*to));
        }
        let exchange = async {
            if !faults.delay.is_zero() {
                tokio::time::sleep(faults.delay).await;
            }
            service.serve(self.key, request).await
        };
        let answer = tokio::time::timeout(self.deadline, exchange)
            .await
            .map_err(|_| NetError::Timeout { peer: *to, after: self.deadline })?;
        check_size(&answer)?;
        if strikes(faults.drop_answer, call) {
            return Err(NetError::Lost(*to));
        }
        Ok(if strikes(faults.corrupt, call) { corrupted(&answer) } else { answer })
    }
}

/// One bit in the middle flipped.
fn corrupted(answer: &Bytes) -> Bytes {
    let mut bytes = answer.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_MESSAGE;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Echo(AtomicU64);

    #[async_trait]
    impl Service for Echo {
        async fn serve(&self, from: PublicKey, request: Bytes) -> Bytes {
            self.0.fetch_add(1, Ordering::SeqCst);
            [&from.0[..1], &request].concat().into()
        }
    }

    const ME: PublicKey = PublicKey([1; 32]);
    const YOU: PublicKey = PublicKey([2; 32]);

    fn pair() -> (Local, Arc<Echo>, Endpoint) {
        let (net, echo) = (Local::new(), Arc::new(Echo::default()));
        net.register(YOU, echo.clone());
        let endpoint = net.endpoint(ME);
        (net, echo, endpoint)
    }

    #[tokio::test]
    async fn a_call_reaches_the_peer_under_the_senders_key() {
        let (_, _, me) = pair();
        assert_eq!(me.call(&YOU, Bytes::from_static(b"x")).await, Ok(Bytes::from_static(b"\x01x")));
        assert_eq!(me.call(&ME, Bytes::new()).await, Err(NetError::UnknownPeer(ME)));
    }

    #[tokio::test]
    async fn messages_over_the_limit_are_refused_both_ways() {
        let (_, echo, me) = pair();
        let over = me.call(&YOU, vec![0; MAX_MESSAGE + 1].into()).await;
        assert_eq!(over, Err(NetError::TooLarge { got: MAX_MESSAGE + 1, limit: MAX_MESSAGE }));
        assert_eq!(echo.0.load(Ordering::SeqCst), 0);
        let over = me.call(&YOU, vec![0; MAX_MESSAGE].into()).await;
        assert_eq!(over, Err(NetError::TooLarge { got: MAX_MESSAGE + 1, limit: MAX_MESSAGE }));
    }

    #[tokio::test]
    async fn each_fault_strikes_where_it_says() {
        let (net, echo, me) = pair();
        let call = || me.call(&YOU, Bytes::from_static(b"abc"));
        let set = |faults| assert!(net.set_faults(&YOU, faults));
        set(Faults { down: true, ..Faults::default() });
        assert_eq!(call().await, Err(NetError::Down(YOU)));
        set(Faults { drop_request: 2, ..Faults::default() });
        assert!(call().await.is_ok());
        assert_eq!(call().await, Err(NetError::Lost(YOU)));
        assert_eq!(echo.0.load(Ordering::SeqCst), 1);
        set(Faults { drop_answer: 1, ..Faults::default() });
        assert_eq!(call().await, Err(NetError::Lost(YOU)));
        assert_eq!(echo.0.load(Ordering::SeqCst), 2);
        set(Faults { corrupt: 1, ..Faults::default() });
        assert_eq!(call().await, Ok(Bytes::from_static(b"\x01acc")));
        set(Faults::default());
        assert_eq!(call().await, Ok(Bytes::from_static(b"\x01abc")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_meets_the_deadline() {
        let (net, echo, me) = pair();
        net.set_faults(&YOU, Faults { delay: Duration::from_secs(9), ..Faults::default() });
        let after = Duration::from_secs(5);
        let me = me.with_deadline(after);
        assert_eq!(me.call(&YOU, Bytes::new()).await, Err(NetError::Timeout { peer: YOU, after }));
        assert_eq!(echo.0.load(Ordering::SeqCst), 0);
    }
}
