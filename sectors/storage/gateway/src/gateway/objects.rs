//! Objects: putting, reading, copying.

use super::Gateway;
use crate::commit::Uploaded;
use crate::digest::{Digester, Digests};
use crate::error::GatewayError;
use crate::index::Condition;
use crate::packer::ToPack;
use crate::record::{Algorithm, Attributes, Checksum, Etag, Mutation, Object, Placement, Run};
use crate::volume::Writer;
use bytes::{Bytes, BytesMut};
use cairn_storage_codec::SegmentMeta;
use cairn_storage_codec::pack::{INLINE_MAX, PACK_BELOW};
use futures::{Stream, StreamExt};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A body as it arrives.
pub type BodyStream =
    Pin<Box<dyn Stream<Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>> + Send>>;

/// Segments of one upload that may be on their way at once.
const IN_FLIGHT: usize = 4;
/// Largest object: 5 TiB.
pub const MAX_OBJECT: u64 = 5 << 40;
/// Plaintext read at once: 4 MiB.
const WINDOW: u64 = 4 << 20;

/// A read of one segment.
type Window = (Arc<SegmentMeta>, Range<u64>);

/// What is put besides the body.
pub struct Put {
    /// Bucket.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Headers and metadata.
    pub attributes: Attributes,
    /// What must hold of the object that is there.
    pub condition: Condition,
    /// Checksums to compute.
    pub algorithms: Vec<Algorithm>,
    /// Most bytes accepted.
    pub limit: u64,
    /// Unix time in seconds.
    pub now: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutDone {
    /// Entity tag.
    pub etag: Etag,
    /// Bytes.
    pub size: u64,
    /// Checksums computed.
    pub checksums: Vec<Checksum>,
}

/// A body that is stored and not yet in the index.
pub(super) struct Ingested {
    pub size: u64,
    pub digests: Digests,
    pub placement: Placement,
    pub segments: Vec<Arc<Uploaded>>,
}

impl Gateway {
    /// Puts an object. `verify` sees the digests once the body has ended and may refuse; nothing is stored then.
    ///
    /// # Errors
    /// The body breaks off, is refused or too large, or too few operators store it.
    pub async fn put_object(
        &self,
        put: Put,
        body: BodyStream,
        verify: impl FnOnce(&Digests) -> Result<(), GatewayError> + Send,
    ) -> Result<PutDone, GatewayError> {
        self.index().bucket(&put.bucket)?;
        let done = self.ingest(body, &put.algorithms, put.limit, true).await?;
        verify(&done.digests)?;
        let etag = Etag { md5: done.digests.md5, parts: 0 };
        let checksums = done.digests.checksums;
        let object = Object {
            size: done.size,
            etag,
            modified: put.now,
            attributes: put.attributes,
            checksums: checksums.clone(),
            part_sizes: Vec::new(),
            placement: done.placement,
        };
        let mutation = Mutation::PutObject { bucket: put.bucket, key: put.key, object };
        self.commit(mutation, done.segments, put.condition).await?;
        Ok(PutDone { etag, size: done.size, checksums })
    }

    /// Copies an object without moving its bytes.
    ///
    /// # Errors
    /// Source or target bucket do not exist.
    pub async fn copy_object(
        &self,
        source: &Object,
        bucket: &str,
        key: &str,
        attributes: Option<Attributes>,
        now: u64,
    ) -> Result<(), GatewayError> {
        let mut object = source.clone();
        object.modified = now;
        if let Some(attributes) = attributes {
            object.attributes = attributes;
        }
        let mutation = Mutation::PutObject { bucket: bucket.into(), key: key.into(), object };
        self.commit(mutation, Vec::new(), Condition::default()).await
    }

    /// Stores a body: inline, packed with others, or in segments of its own.
    pub(super) async fn ingest(
        &self,
        mut body: BodyStream,
        algorithms: &[Algorithm],
        limit: u64,
        inline: bool,
    ) -> Result<Ingested, GatewayError> {
        let mut digester = Digester::new(algorithms);
        let (mut head, mut size) = (BytesMut::new(), 0u64);
        while len64(head.len()) < PACK_BELOW {
            let Some(chunk) = next(&mut body, &mut digester, &mut size, limit).await? else {
                return self.ingest_small(head.freeze(), digester, inline).await;
            };
            head.extend_from_slice(&chunk);
        }
        let mut stream = Streaming { gateway: self, tasks: JoinSet::new(), writer: None, done: Vec::new() };
        stream.push(&head).await?;
        drop(head);
        while let Some(chunk) = next(&mut body, &mut digester, &mut size, limit).await? {
            stream.push(&chunk).await?;
        }
        let segments = stream.finish().await?;
        let runs = segments.iter().map(|s| run(s.meta())).collect::<Result<Vec<_>, _>>()?;
        Ok(Ingested { size, digests: digester.finish(), placement: Placement::Runs(runs), segments })
    }

    async fn ingest_small(
        &self,
        bytes: Bytes,
        digester: Digester,
        inline: bool,
    ) -> Result<Ingested, GatewayError> {
        let (size, digests) = (len64(bytes.len()), digester.finish());
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

    async fn writer(&self) -> Result<Writer, GatewayError> {
        match self.volume.writer(u64::MAX).await {
            Err(GatewayError::Full) => {
                self.grow().await?;
                self.volume.writer(u64::MAX).await
            }
            other => other,
        }
    }

    /// Reads a range of an object, window by window. The first window is read before this returns, so that an
    /// object that cannot be read is an error and not a broken body.
    ///
    /// # Errors
    /// Too few operators answer.
    pub async fn read_object(
        self: &Arc<Self>,
        object: Arc<Object>,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, GatewayError>> + Send + Sync + use<>, GatewayError> {
        let mut windows = self.windows(&object.placement, &range)?.into_iter();
        let first = match (&object.placement, windows.next()) {
            (Placement::Inline(bytes), _) => slice(bytes, &range),
            (_, Some((meta, part))) => self.volume.read(&meta, part).await?.into(),
            (_, None) => Bytes::new(),
        };
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Result<Bytes, GatewayError>>(1);
        let volume = Arc::clone(&self.volume);
        let rest: Vec<_> = windows.collect();
        tokio::spawn(async move {
            if sender.send(Ok(first)).await.is_err() {
                return;
            }
            let mut reads = futures::stream::iter(rest)
                .map(|(meta, part)| {
                    let volume = Arc::clone(&volume);
                    async move { volume.read(&meta, part).await.map(Bytes::from) }
                })
                .buffered(2);
            while let Some(bytes) = reads.next().await {
                let failed = bytes.is_err();
                if sender.send(bytes).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(futures::stream::poll_fn(move |context| receiver.poll_recv(context)))
    }

    /// A range cut into reads of single segments.
    fn windows(&self, placement: &Placement, range: &Range<u64>) -> Result<Vec<Window>, GatewayError> {
        let index = self.index();
        let (mut at, mut out) = (0u64, Vec::new());
        for run in placement.runs() {
            let end = at.saturating_add(run.len.into());
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                let lost =
                    || GatewayError::Log("an object names a segment that the index does not have".into());
                let meta = Arc::clone(&index.segment(&run.segment).ok_or_else(lost)?.meta);
                let start = u64::from(run.offset).saturating_add(from - at);
                let stop = u64::from(run.offset).saturating_add(to - at);
                cut(&meta, start..stop, &mut out);
            }
            at = end;
        }
        Ok(out)
    }
}

/// Windows that end at stripes, so that no cell is fetched twice.
fn cut(meta: &Arc<SegmentMeta>, range: Range<u64>, out: &mut Vec<Window>) {
    let record = u64::try_from(cairn_storage_codec::stream::RECORD_PLAIN).unwrap_or(u64::MAX);
    let stripe = record.saturating_mul(meta.profile().k().into()).max(1);
    let window = stripe.saturating_mul((WINDOW / stripe).max(1));
    let mut at = range.start;
    while at < range.end {
        let next = (at / window).saturating_add(1).saturating_mul(window).min(range.end);
        out.push((Arc::clone(meta), at..next));
        at = next;
    }
}

fn slice(bytes: &[u8], range: &Range<u64>) -> Bytes {
    let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
    Bytes::copy_from_slice(&bytes[at(range.start)..at(range.end)])
}

fn run(meta: &SegmentMeta) -> Result<Run, GatewayError> {
    let len = u32::try_from(meta.plain_len()).map_err(|_| GatewayError::Invalid("a segment over 4 GiB"))?;
    Ok(Run { segment: *meta.id(), offset: 0, len })
}

/// The next piece of a body, counted and digested.
async fn next(
    body: &mut BodyStream,
    digester: &mut Digester,
    size: &mut u64,
    limit: u64,
) -> Result<Option<Bytes>, GatewayError> {
    let Some(chunk) = body.next().await else { return Ok(None) };
    let chunk = chunk.map_err(|e| GatewayError::Body(e.to_string()))?;
    *size = size.saturating_add(len64(chunk.len()));
    if *size > limit {
        return Err(GatewayError::TooLarge(limit));
    }
    digester.update(&chunk);
    Ok(Some(chunk))
}

/// A large body on its way into segments.
struct Streaming<'a> {
    gateway: &'a Gateway,
    tasks: JoinSet<(usize, Result<Arc<Uploaded>, GatewayError>)>,
    writer: Option<Writer>,
    done: Vec<Option<Arc<Uploaded>>>,
}

impl Streaming<'_> {
    async fn push(&mut self, mut bytes: &[u8]) -> Result<(), GatewayError> {
        while !bytes.is_empty() {
            let mut writer = match self.writer.take() {
                Some(writer) => writer,
                None => self.gateway.writer().await?,
            };
            let room = usize::try_from(writer.room()).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            writer.push(now)?;
            bytes = later;
            if writer.room() == 0 {
                self.send(writer).await?;
            } else {
                self.writer = Some(writer);
            }
        }
        Ok(())
    }

    async fn send(&mut self, writer: Writer) -> Result<(), GatewayError> {
        while self.tasks.len() >= IN_FLIGHT {
            self.take().await?;
        }
        let (volume, number) = (Arc::clone(&self.gateway.volume), self.done.len());
        self.done.push(None);
        let ready = writer.finish()?;
        self.tasks.spawn(async move {
            let stored = volume.upload(ready).await;
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
        if let Some(writer) = self.writer.take().filter(|w| !w.is_empty()) {
            self.send(writer).await?;
        }
        while !self.tasks.is_empty() {
            self.take().await?;
        }
        Ok(self.done.into_iter().flatten().collect())
    }
}

fn len64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
