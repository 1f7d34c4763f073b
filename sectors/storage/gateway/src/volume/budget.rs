//! Memory that requests share: each takes what it will need before it begins, and waits while others have it.

use super::{Volume, VolumeLimits};
use crate::error::GatewayError;
use bytes::Bytes;
use cairn_storage_codec::SegmentMeta;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many times what is read is in memory while it is read: cells, what they decode to, and copies.
const READING: u64 = 3;

/// A part of a budget, given back when dropped.
pub struct Share(OwnedSemaphorePermit);

impl Share {
    /// Gives back all but `bytes`.
    fn keep(&mut self, bytes: u64) {
        let surplus = self.0.num_permits().saturating_sub(kib(bytes));
        drop(self.0.split(surplus));
    }
}

/// KiB, rounded up, at least one.
fn kib(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(usize::MAX)
}

/// Bytes that may be in memory for one purpose. Whoever waits longest is served first.
pub(super) struct Budget {
    free: Arc<Semaphore>,
    all: usize,
}

impl Budget {
    fn new(bytes: u64) -> Self {
        let all = kib(bytes).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    /// Waits for this many bytes; for all there are where that is less, so that nothing waits for ever.
    ///
    /// # Errors
    /// The gateway stops.
    pub(super) async fn take(&self, bytes: u64) -> Result<Share, GatewayError> {
        let permits = u32::try_from(kib(bytes).min(self.all)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).acquire_many_owned(permits).await;
        permit.map(Share).map_err(|_| GatewayError::Busy)
    }
}

/// What a volume has in memory for requests.
pub(super) struct Budgets {
    /// Fragments and their messages.
    pub fragments: Budget,
    bodies: Budget,
    answers: Budget,
}

impl Budgets {
    pub fn new(limits: &VolumeLimits) -> Self {
        Self {
            fragments: Budget::new(limits.memory),
            bodies: Budget::new(limits.bodies),
            answers: Budget::new(limits.answers),
        }
    }
}

/// Bytes that count until the last holder lets go of them.
struct Held {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Volume {
    /// Memory for the part of a body that waits to be sealed.
    ///
    /// # Errors
    /// The gateway stops.
    pub async fn body_memory(&self, bytes: u64) -> Result<Share, GatewayError> {
        self.budgets.bodies.take(bytes).await
    }

    /// As [`Volume::read`], within the budget of answers while it is read.
    ///
    /// # Errors
    /// As [`Volume::read`].
    pub async fn read_alone(
        self: &Arc<Self>,
        meta: &Arc<SegmentMeta>,
        range: Range<u64>,
    ) -> Result<Vec<u8>, GatewayError> {
        let len = range.end.saturating_sub(range.start);
        let _share = self.budgets.answers.take(len.saturating_mul(READING)).await?;
        self.read(meta, range).await
    }

    /// As [`Volume::read`], within the budget of answers: cells, what they decode to and its copies while it is read,
    /// and the plaintext until the last handle on it is gone.
    ///
    /// # Errors
    /// As [`Volume::read`].
    pub async fn read_held(
        self: &Arc<Self>,
        meta: &Arc<SegmentMeta>,
        range: Range<u64>,
    ) -> Result<Bytes, GatewayError> {
        let len = range.end.saturating_sub(range.start);
        let mut share = self.budgets.answers.take(len.saturating_mul(READING)).await?;
        let bytes = self.read(meta, range).await?;
        share.keep(len);
        Ok(Bytes::from_owner(Held { bytes, _share: share }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_share_counts_until_it_is_dropped() {
        let budget = Budget::new(10 << 10);
        let mut first = budget.take(8 << 10).await.unwrap();
        assert!(budget.take(4 << 10).now_or_never().is_none());
        first.keep(5000);
        let second = budget.take(5 << 10).now_or_never().unwrap().unwrap();
        assert!(budget.take(1).now_or_never().is_none());
        drop((first, second));
        // More than there is: all of it, instead of waiting for ever.
        let all = budget.take(1 << 40).now_or_never().unwrap().unwrap();
        assert_eq!(all.0.num_permits(), 10);
    }
}
