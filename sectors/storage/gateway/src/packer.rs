//! Group commit of small objects: those that arrive within a few milliseconds share a segment.

use crate::commit::Uploaded;
use crate::error::GatewayError;
use crate::record::Run;
use crate::volume::{Volume, segment_plain};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A small object's place and the segment that it shares.
pub type Packed = (Run, Arc<Uploaded>);

/// A small object that waits for its place.
pub struct ToPack {
    /// The bytes; under 1 MiB.
    pub bytes: Bytes,
    /// Who waits.
    pub reply: oneshot::Sender<Result<Packed, GatewayError>>,
}

/// Collects for `window` after the first object, or until the segment is full; uploads beside the next collection.
pub async fn run(volume: Arc<Volume>, window: Duration, mut inbox: mpsc::Receiver<ToPack>) {
    while let Some(first) = inbox.recv().await {
        let limit = volume.leases().iter().map(|l| segment_plain(l.profile())).min().unwrap_or(1 << 20);
        let mut group = vec![first];
        let mut total = len64(&group[0].bytes);
        let until = tokio::time::Instant::now() + window;
        // An object is below 1 MiB and a segment holds at least 4 MiB, so stopping 1 MiB short never overflows.
        while total < limit.saturating_sub(1 << 20) {
            match tokio::time::timeout_at(until, inbox.recv()).await {
                Ok(Some(next)) => {
                    total = total.saturating_add(len64(&next.bytes));
                    group.push(next);
                }
                _ => break,
            }
        }
        let volume = Arc::clone(&volume);
        tokio::spawn(async move { store(volume, group, total).await });
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
