//! Peers of the same process first, the network for the rest.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::PublicKey;

use crate::{NetError, Transport};

/// Asks `near`; whom `near` does not know is asked through `far`. A near peer that is down is down: its faults are
/// not hidden by asking elsewhere.
#[derive(Clone)]
pub struct Either {
    near: Arc<dyn Transport>,
    far: Arc<dyn Transport>,
}

impl Either {
    /// Joins two transports; `near` is asked first, for example a [`crate::Local`] endpoint.
    pub fn new(near: Arc<dyn Transport>, far: Arc<dyn Transport>) -> Self {
        Self { near, far }
    }
}

#[async_trait]
impl Transport for Either {
    async fn call(&self, to: &PublicKey, request: Bytes) -> Result<Bytes, NetError> {
        match self.near.call(to, request.clone()).await {
            Err(NetError::UnknownPeer(_)) => self.far.call(to, request).await,
            answered => answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Faults, Local, Service};

    struct Says(&'static [u8]);

    #[async_trait]
    impl Service for Says {
        async fn serve(&self, _: PublicKey, _: Bytes) -> Bytes {
            Bytes::from_static(self.0)
        }
    }

    #[tokio::test]
    async fn near_peers_are_asked_first_and_only_unknown_ones_further_away() {
        let (both, only_far, nobody) = (PublicKey([2; 32]), PublicKey([3; 32]), PublicKey([4; 32]));
        let (near, far) = (Local::new(), Local::new());
        near.register(both, Arc::new(Says(b"near")));
        far.register(both, Arc::new(Says(b"far")));
        far.register(only_far, Arc::new(Says(b"far")));
        let me = PublicKey([1; 32]);
        let either = Either::new(Arc::new(near.endpoint(me)), Arc::new(far.endpoint(me)));
        let ask = |key: PublicKey| {
            let either = either.clone();
            async move { either.call(&key, Bytes::new()).await }
        };
        assert_eq!(ask(both).await, Ok(Bytes::from_static(b"near")));
        assert_eq!(ask(only_far).await, Ok(Bytes::from_static(b"far")));
        assert_eq!(ask(nobody).await, Err(NetError::UnknownPeer(nobody)));
        near.set_faults(&both, Faults { down: true, ..Faults::default() });
        assert_eq!(ask(both).await, Err(NetError::Down(both)));
    }
}
