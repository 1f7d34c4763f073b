//! A body on its way in. Arrival, digests and sealing run beside each other, a batch at a time, and full segments are
//! stored beside all three.

use super::Gateway;
use super::objects::BodyStream;
use crate::commit::Uploaded;
use crate::digest::{Digester, Digests};
use crate::error::GatewayError;
use crate::packer::ToPack;
use crate::record::{Algorithm, Placement, Run};
use crate::volume::Writer;
use bytes::Bytes;
use cairn_storage_codec::SegmentMeta;
use cairn_storage_codec::pack::{INLINE_MAX, PACK_BELOW};
use futures::StreamExt;
use s3s::StdError;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// Segments of one upload that may be on their way at once.
const IN_FLIGHT: usize = 4;
/// Bytes that are digested and sealed in one go: 512 KiB.
const BATCH: u64 = 512 << 10;
/// Bytes of one body that wait for digests and sealing at most: what is collected before it is known how a body is
/// stored, which is more than two batches and a chunk.
const WAITING: u64 = 2 * PACK_BELOW;
/// How long a client may send nothing while it holds memory.
const STALL: Duration = Duration::from_secs(60);

/// A body with what is known of it.
pub(super) struct Incoming<'a> {
    pub body: BodyStream,
    /// Checksums to compute besides MD5.
    pub algorithms: &'a [Algorithm],
    /// Most bytes accepted.
    pub limit: u64,
    /// Bytes announced; only a hint.
    pub expected: Option<u64>,
    /// Bytes of the largest piece in which it comes, beyond what the network brings at once.
    pub piece: u64,
    /// Whether a very small one may lie in the index.
    pub inline: bool,
}

/// A body that is stored and not yet in the index.
pub(super) struct Ingested {
    pub size: u64,
    pub digests: Digests,
    pub placement: Placement,
    pub segments: Vec<Arc<Uploaded>>,
}

impl Gateway {
    /// Stores a body: inline, packed with others, or in segments of its own.
    pub(super) async fn ingest(&self, incoming: Incoming<'_>) -> Result<Ingested, GatewayError> {
        let Incoming { body, algorithms, limit, expected, piece, inline } = incoming;
        let most = WAITING.saturating_add(piece);
        let waiting = expected.map_or(most, |e| e.min(most));
        let permit = self.volume.body_memory(waiting).await?;
        let mut arriving = Arriving { body, size: 0, limit };
        let mut digester = Digester::new(algorithms);
        let head = arriving.batch(PACK_BELOW).await?;
        if arriving.size < PACK_BELOW {
            head.iter().for_each(|chunk| digester.update(chunk));
            return self.ingest_small(joined(head), digester.finish(), inline).await;
        }
        let (mut digest, mut stream) = (Lane::Here(digester), Streaming::new(self, expected));
        let mut batch = head;
        while !batch.is_empty() {
            let same = batch.clone();
            digest = Lane::work(digest.back().await?, move |digester| {
                same.iter().for_each(|chunk| digester.update(chunk));
                Ok(())
            });
            stream.push(batch).await?;
            batch = arriving.batch(BATCH).await?;
        }
        let segments = stream.finish().await?;
        let digests = digest.back().await?.finish();
        drop(permit);
        let runs = segments.iter().map(|s| run(s.meta())).collect::<Result<Vec<_>, _>>()?;
        Ok(Ingested { size: arriving.size, digests, placement: Placement::Runs(runs), segments })
    }

    async fn ingest_small(
        &self,
        bytes: Bytes,
        digests: Digests,
        inline: bool,
    ) -> Result<Ingested, GatewayError> {
        let size = len64(bytes.len());
        let (placement, segments) = if bytes.is_empty() {
            (Placement::Runs(Vec::new()), Vec::new())
        } else if inline && size <= INLINE_MAX {
            (Placement::Inline(bytes.to_vec()), Vec::new())
        } else {
            let (run, segment) = self.pack(bytes).await?;
            (Placement::Runs(vec![run]), vec![segment])
        };
        Ok(Ingested { size, digests, placement, segments })
    }

    async fn pack(&self, bytes: Bytes) -> Result<(Run, Arc<Uploaded>), GatewayError> {
        for grown in [false, true] {
            let (reply, answer) = oneshot::channel();
            let ask = ToPack { bytes: bytes.clone(), reply };
            self.packer.send(ask).await.map_err(|_| GatewayError::Busy)?;
            match answer.await.unwrap_or(Err(GatewayError::Busy)) {
                Err(GatewayError::Full) if !grown => self.grow().await?,
                other => return other,
            }
        }
        Err(GatewayError::Full)
    }

    async fn writer(&self, expected: u64) -> Result<Writer, GatewayError> {
        match self.volume.writer(expected).await {
            Err(GatewayError::Full) => {
                self.grow().await?;
                self.volume.writer(expected).await
            }
            other => other,
        }
    }
}

fn run(meta: &SegmentMeta) -> Result<Run, GatewayError> {
    let len = u32::try_from(meta.plain_len()).map_err(|_| GatewayError::Invalid("a segment over 4 GiB"))?;
    Ok(Run { segment: *meta.id(), offset: 0, len })
}

fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    match chunks.len() {
        1 => chunks.remove(0),
        _ => chunks.concat().into(),
    }
}

/// A body as it arrives, counted.
struct Arriving {
    body: BodyStream,
    size: u64,
    limit: u64,
}

impl Arriving {
    /// The next bytes, at least `least` of them unless the body ends; none at its end.
    async fn batch(&mut self, least: u64) -> Result<Vec<Bytes>, GatewayError> {
        let (mut out, start) = (Vec::new(), self.size);
        while self.size.saturating_sub(start) < least {
            let stalled = || GatewayError::Body(format!("nothing arrived for {} s", STALL.as_secs()));
            let next = tokio::time::timeout(STALL, self.body.next()).await.map_err(|_| stalled())?;
            let Some(chunk) = next else { break };
            // A copy fails with what its source failed with.
            let failed = |e: StdError| match e.downcast::<GatewayError>() {
                Ok(of_source) => *of_source,
                Err(e) => GatewayError::Body(e.to_string()),
            };
            let chunk = chunk.map_err(failed)?;
            self.size = self.size.saturating_add(len64(chunk.len()));
            if self.size > self.limit {
                return Err(GatewayError::TooLarge(self.limit));
            }
            if !chunk.is_empty() {
                out.push(chunk);
            }
        }
        Ok(out)
    }
}

/// A value that is worked on beside its owner, one step after the other. A step computes and waits for nobody, so
/// that however many there are, all of them end.
enum Lane<T> {
    Here(T),
    Away(JoinHandle<Result<T, GatewayError>>),
}

impl<T: Send + 'static> Lane<T> {
    fn work(mut value: T, step: impl FnOnce(&mut T) -> Result<(), GatewayError> + Send + 'static) -> Self {
        Self::Away(tokio::task::spawn_blocking(move || step(&mut value).map(|()| value)))
    }

    async fn back(self) -> Result<T, GatewayError> {
        match self {
            Self::Here(value) => Ok(value),
            Self::Away(task) => task.await.unwrap_or_else(|e| Err(GatewayError::Body(e.to_string()))),
        }
    }
}

/// A large body on its way into segments.
struct Streaming<'a> {
    gateway: &'a Gateway,
    tasks: JoinSet<(usize, Result<Arc<Uploaded>, GatewayError>)>,
    lane: Option<Lane<Writer>>,
    done: Vec<Option<Arc<Uploaded>>>,
    /// Bytes still to come, as announced.
    left: Option<u64>,
}

impl<'a> Streaming<'a> {
    fn new(gateway: &'a Gateway, left: Option<u64>) -> Self {
        Self { gateway, tasks: JoinSet::new(), lane: None, done: Vec::new(), left }
    }

    async fn push(&mut self, batch: Vec<Bytes>) -> Result<(), GatewayError> {
        let mut rest = VecDeque::from(batch);
        while !rest.is_empty() {
            let writer = match self.lane.take() {
                Some(lane) => lane.back().await?,
                None => self.gateway.writer(self.left.filter(|l| *l > 0).unwrap_or(u64::MAX)).await?,
            };
            let (now, len) = front(&mut rest, writer.room());
            self.left = self.left.map(|left| left.saturating_sub(len));
            if len == writer.room() {
                self.send(writer, now).await?;
            } else {
                self.lane = Some(Lane::work(writer, move |writer| fill(writer, &now)));
            }
        }
        Ok(())
    }

    /// Seals the end of a segment and stores it, beside whatever comes next.
    async fn send(&mut self, mut writer: Writer, last: Vec<Bytes>) -> Result<(), GatewayError> {
        while self.tasks.len() >= IN_FLIGHT {
            self.take().await?;
        }
        let (volume, number) = (Arc::clone(&self.gateway.volume), self.done.len());
        self.done.push(None);
        self.tasks.spawn(async move {
            let sealed = tokio::task::spawn_blocking(move || {
                fill(&mut writer, &last)?;
                writer.finish()
            });
            let stored = match sealed.await.unwrap_or_else(|e| Err(GatewayError::Body(e.to_string()))) {
                Ok(ready) => volume.upload(ready).await,
                Err(e) => Err(e),
            };
            (number, stored.map(|s| Uploaded::new(volume, s)))
        });
        Ok(())
    }

    async fn take(&mut self) -> Result<(), GatewayError> {
        if let Some(done) = self.tasks.join_next().await {
            let (number, uploaded) = done.map_err(|e| GatewayError::Body(e.to_string()))?;
            self.done[number] = Some(uploaded?);
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<Arc<Uploaded>>, GatewayError> {
        if let Some(lane) = self.lane.take() {
            let writer = lane.back().await?;
            if !writer.is_empty() {
                self.send(writer, Vec::new()).await?;
            }
        }
        while !self.tasks.is_empty() {
            self.take().await?;
        }
        Ok(self.done.into_iter().flatten().collect())
    }
}

fn fill(writer: &mut Writer, chunks: &[Bytes]) -> Result<(), GatewayError> {
    chunks.iter().try_for_each(|chunk| writer.push(chunk))
}

/// Takes at most `room` bytes from the front; how many there are.
fn front(chunks: &mut VecDeque<Bytes>, room: u64) -> (Vec<Bytes>, u64) {
    let (mut out, mut len) = (Vec::new(), 0u64);
    while len < room
        && let Some(mut chunk) = chunks.pop_front()
    {
        let fits = usize::try_from(room.saturating_sub(len)).unwrap_or(usize::MAX).min(chunk.len());
        out.push(chunk.split_to(fits));
        len = len.saturating_add(len64(fits));
        if !chunk.is_empty() {
            chunks.push_front(chunk);
        }
    }
    (out, len)
}

fn len64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_what_fits_and_nothing_is_lost() {
        let mut chunks: VecDeque<Bytes> = [&b"abc"[..], b"defg", b"h"].map(Bytes::from_static).into();
        let (now, len) = front(&mut chunks, 5);
        assert_eq!((now.concat().as_slice(), len), (&b"abcde"[..], 5));
        let (now, len) = front(&mut chunks, 100);
        assert_eq!((now.concat().as_slice(), len), (&b"fgh"[..], 3));
        assert!(chunks.is_empty());
        assert_eq!(front(&mut chunks, 5).1, 0);
    }
}
