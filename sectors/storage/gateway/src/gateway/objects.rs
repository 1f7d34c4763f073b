//! Objects: putting, reading, copying.

use super::Gateway;
use super::ingest::Incoming;
use crate::digest::Digests;
use crate::error::GatewayError;
use crate::index::Condition;
use crate::record::{Algorithm, Attributes, Checksum, Etag, Labels, Mutation, Object, Placement, VersionId};
use bytes::Bytes;
use cairn_storage_codec::SegmentMeta;
use futures::{Stream, StreamExt};
use s3s::StdError;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

/// A body as it arrives.
pub type BodyStream =
    Pin<Box<dyn Stream<Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>> + Send>>;

/// Largest object: 5 TiB.
pub const MAX_OBJECT: u64 = 5 << 40;
/// Plaintext read at once: 4 MiB.
pub(super) const WINDOW: u64 = 4 << 20;

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
    /// Tags, locks, access.
    pub labels: Labels,
    /// What must hold of the object that is there.
    pub condition: Condition,
    /// Checksums to compute.
    pub algorithms: Vec<Algorithm>,
    /// Most bytes accepted.
    pub limit: u64,
    /// Bytes announced, or more; what is set aside for the body goes by it.
    pub expected: Option<u64>,
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
    /// The version; `None` where there never were any.
    pub version: Option<VersionId>,
}

/// What a copy is to be.
pub struct Copy {
    /// Target bucket.
    pub bucket: String,
    /// Target key.
    pub key: String,
    /// Instead of the source's.
    pub attributes: Option<Attributes>,
    /// Tags, locks, access.
    pub labels: Labels,
    /// What must hold of the object that is there.
    pub condition: Condition,
    /// Unix time in seconds.
    pub now: u64,
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
        let (algorithms, limit, expected) = (put.algorithms.as_slice(), put.limit, put.expected);
        let done =
            self.ingest(Incoming { body, algorithms, limit, expected, piece: 0, inline: true }).await?;
        verify(&done.digests)?;
        let etag = Etag { md5: done.digests.md5, parts: 0 };
        let checksums = done.digests.checksums;
        let object = Object {
            size: done.size,
            etag,
            modified: put.now,
            attributes: put.attributes,
            labels: put.labels,
            checksums: checksums.clone(),
            part_sizes: Vec::new(),
            part_checksums: Vec::new(),
            placement: done.placement,
        };
        let version = VersionId::at(put.now);
        let mutation = Mutation::PutObject { bucket: put.bucket, key: put.key, object, version };
        let version = self.commit(mutation, done.segments, put.condition).await?.version;
        Ok(PutDone { etag, size: done.size, checksums, version })
    }

    /// Copies an object without moving its bytes; the version made.
    ///
    /// # Errors
    /// The target bucket does not exist, the condition does not hold, or the source went meanwhile.
    pub async fn copy_object(&self, source: &Object, copy: Copy) -> Result<Option<VersionId>, GatewayError> {
        let Copy { bucket, key, attributes, labels, condition, now } = copy;
        let attributes = attributes.unwrap_or_else(|| source.attributes.clone());
        let object = Object { modified: now, attributes, labels, ..source.clone() };
        let mutation = Mutation::PutObject { bucket, key, object, version: VersionId::at(now) };
        self.commit(mutation, Vec::new(), condition).await.map(|a| a.version)
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
            (_, Some((meta, part))) => self.volume.read_held(&meta, part).await?,
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
                    async move { volume.read_held(&meta, part).await }
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

    /// Reads a range of an object to store it again: a window is read when the one before it is used up, and counts
    /// with the body that it becomes part of. Were it to count as an answer, copies could wait for each other.
    ///
    /// # Errors
    /// The index does not have what the object names; a failing read is an error of the body.
    pub fn reread_object(&self, object: &Object, range: Range<u64>) -> Result<BodyStream, GatewayError> {
        if let Placement::Inline(bytes) = &object.placement {
            return Ok(futures::stream::iter([Ok(slice(bytes, &range))]).boxed());
        }
        let windows = self.windows(&object.placement, &range)?;
        let volume = Arc::clone(&self.volume);
        let read = move |(meta, part): Window| {
            let volume = Arc::clone(&volume);
            async move {
                volume.read_alone(&meta, part).await.map(Bytes::from).map_err(|e| Box::new(e) as StdError)
            }
        };
        Ok(futures::stream::iter(windows).then(read).boxed())
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
