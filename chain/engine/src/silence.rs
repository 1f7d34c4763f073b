//! The network of a lone validator: nobody to talk to, no socket, no port.

use crate::block::Identity;
use commonware_actor::{Feedback, Unreliable};
use commonware_p2p::{
    BlockedSubscription, Blocker, CheckedSender, LimitedSender, Message, PeerSetSubscription, PeerSetUpdate,
    Provider, Receiver, Recipients, TrackedPeers,
};
use commonware_runtime::IoBufs;
use commonware_utils::{
    NZUsize,
    channel::{mpsc, ring},
    ordered::Set,
};
use std::{
    convert::Infallible,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// Both ends of a channel on which nothing ever travels.
#[derive(Clone, Debug)]
pub(crate) struct Silence;

impl LimitedSender for Silence {
    type PublicKey = Identity;
    type Checked<'a> = Silence;

    fn check(&mut self, _: Recipients<Identity>) -> Result<Silence, SystemTime> {
        Ok(Silence)
    }
}

impl CheckedSender for Silence {
    type PublicKey = Identity;

    fn recipients(&self) -> Vec<Identity> {
        Vec::new()
    }

    fn send(self, _: impl Into<IoBufs> + Send, _: bool) -> Unreliable<Feedback> {
        Unreliable::new(Feedback::Ok)
    }
}

impl Receiver for Silence {
    type Error = Infallible;
    type PublicKey = Identity;

    async fn recv(&mut self) -> Result<Message<Identity>, Infallible> {
        std::future::pending().await
    }

    fn capacity(&self) -> NonZeroUsize {
        NZUsize!(1)
    }
}

/// The peer set of a lone validator: itself, for ever.
#[derive(Clone, Debug)]
pub(crate) struct Alone {
    me: Identity,
    /// Kept so that subscriptions stay open.
    subscribers: Arc<Mutex<Vec<mpsc::UnboundedSender<PeerSetUpdate<Identity>>>>>,
    blocked: Arc<Mutex<Vec<ring::Sender<Set<Identity>>>>>,
}

impl Alone {
    pub(crate) fn new(me: Identity) -> Self {
        Self { me, subscribers: Arc::default(), blocked: Arc::default() }
    }

    fn peers(&self) -> TrackedPeers<Identity> {
        TrackedPeers::primary(Set::from_iter_dedup([self.me.clone()]))
    }
}

impl Provider for Alone {
    type PublicKey = Identity;

    async fn peer_set(&mut self, _: u64) -> Option<TrackedPeers<Identity>> {
        Some(self.peers())
    }

    async fn subscribe(&mut self) -> PeerSetSubscription<Identity> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = sender.send(PeerSetUpdate { index: 0, latest: self.peers(), all: self.peers() });
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }
}

impl Blocker for Alone {
    type PublicKey = Identity;

    fn block(&mut self, _: Identity) -> Feedback {
        Feedback::Ok
    }

    fn blocked(&mut self) -> BlockedSubscription<Identity> {
        let (sender, receiver) = ring::channel(NZUsize!(1));
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }
}
