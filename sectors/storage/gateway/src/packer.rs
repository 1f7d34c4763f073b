//! Group commit of small objects: those that arrive while others are being stored share a segment.

use crate::commit::Uploaded;
use crate::error::GatewayError;
use crate::record::Run;
use crate::volume::{Volume, segment_plain};
use bytes::Bytes;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// A small object's place and the segment that it shares.
pub type Packed = (Run, Arc<Uploaded>);

/// A small object that waits for its place.
pub struct ToPack {
    /// The bytes; under 1 MiB.
    pub bytes: Bytes,
    /// Who waits.
    pub reply: oneshot::Sender<Result<Packed, GatewayError>>,
}

/// Groups that are stored at once.
const LANES: usize = 2;

/// Sends an object on at once while nothing is being stored. While something is, objects are collected: for `window`
/// after the first and until a lane is free; a full segment takes no more.
pub async fn run(volume: Arc<Volume>, window: Duration, mut inbox: mpsc::Receiver<ToPack>) {
    let lanes = Arc::new(Semaphore::new(LANES));
    while let Some(first) = inbox.recv().await {
        let limit = volume.leases().iter().map(|l| segment_plain(l.profile())).min().unwrap_or(1 << 20);
        let mut group = Group { total: len64(&first.bytes), objects: vec![first] };
        while let Ok(next) = inbox.try_recv() {
            group.push(next);
            if group.is_full(limit) {
                break;
            }
        }
        let busy = lanes.available_permits() < LANES;
        let until = Instant::now() + if busy { window } else { Duration::ZERO };
        let lane = async {
            tokio::time::sleep_until(until).await;
            Arc::clone(&lanes).acquire_owned().await
        };
        let mut lane = pin!(lane);
        let lane = loop {
            tokio::select! {
                biased;
                Some(next) = inbox.recv(), if !group.is_full(limit) => group.push(next),
                lane = &mut lane => break lane,
            }
        };
        let volume = Arc::clone(&volume);
        tokio::spawn(async move {
            store(volume, group.objects, group.total).await;
            drop(lane);
        });
    }
}

struct Group {
    objects: Vec<ToPack>,
    total: u64,
}

impl Group {
    fn push(&mut self, object: ToPack) {
        self.total = self.total.saturating_add(len64(&object.bytes));
        self.objects.push(object);
    }
    /// An object is below 1 MiB and a segment holds at least 4 MiB, so stopping 1 MiB short never overflows.
    const fn is_full(&self, limit: u64) -> bool {
        self.total >= limit.saturating_sub(1 << 20)
    }
}

async fn store(volume: Arc<Volume>, group: Vec<ToPack>, total: u64) {
    let done = seal(&volume, &group, total).await;
    for (i, waiting) in group.into_iter().enumerate() {
        let answer = match &done {
            Ok((runs, uploaded)) => Ok((runs[i], Arc::clone(uploaded))),
            Err(e) => Err(e.clone()),
        };
        let _ = waiting.reply.send(answer);
    }
}

async fn seal(
    volume: &Arc<Volume>,
    group: &[ToPack],
    total: u64,
) -> Result<(Vec<Run>, Arc<Uploaded>), GatewayError> {
    let mut writer = volume.writer(total).await?;
    let mut runs = Vec::with_capacity(group.len());
    for object in group {
        let (offset, len) = (writer.len(), len64(&object.bytes));
        let fit = |n: u64| u32::try_from(n).map_err(|_| GatewayError::Busy);
        runs.push(Run { segment: writer.id(), offset: fit(offset)?, len: fit(len)? });
        writer.push(&object.bytes)?;
    }
    let stored = volume.upload(writer.finish()?).await?;
    Ok((runs, Uploaded::new(Arc::clone(volume), stored)))
}

fn len64(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
