//! Multipart uploads.

use super::ingest::Incoming;
use super::objects::WINDOW;
use super::{BodyStream, Gateway};
use crate::digest::Digests;
use crate::error::GatewayError;
use crate::index::{Applied, Condition};
use crate::log::salt;
use crate::record::{Algorithm, Checksum, Mutation, Part, Upload, UploadId, VersionId};

/// A part to be uploaded.
pub struct PutPart {
    /// Bucket.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Upload.
    pub id: UploadId,
    /// 1..=10000.
    pub number: u16,
    /// Checksums to compute.
    pub algorithms: Vec<Algorithm>,
    /// Most bytes accepted.
    pub limit: u64,
    /// Bytes announced, or more; what is set aside for the body goes by it.
    pub expected: Option<u64>,
    /// The body is a stored object's ([`Gateway::reread_object`]).
    pub copied: bool,
    /// Unix time in seconds.
    pub now: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartDone {
    /// MD5 of the part.
    pub md5: [u8; 16],
    /// Checksums computed.
    pub checksums: Vec<Checksum>,
}

impl Gateway {
    /// Starts an upload.
    ///
    /// # Errors
    /// The bucket does not exist.
    pub async fn create_upload(&self, upload: Upload) -> Result<UploadId, GatewayError> {
        let mut id: UploadId = [0; 16];
        id.copy_from_slice(&salt()?[..16]);
        self.change(Mutation::CreateUpload { id, upload }).await?;
        Ok(id)
    }

    /// Uploads a part. `verify` sees the digests once the body has ended and may refuse.
    ///
    /// # Errors
    /// As [`Gateway::put_object`], or there is no such upload.
    pub async fn put_part(
        &self,
        put: PutPart,
        body: BodyStream,
        verify: impl FnOnce(&Digests) -> Result<(), GatewayError> + Send,
    ) -> Result<PartDone, GatewayError> {
        self.index().upload(&put.bucket, &put.key, &put.id)?;
        // Never inline: the runs of parts are joined at the end.
        let (algorithms, limit, expected) = (put.algorithms.as_slice(), put.limit, put.expected);
        let piece = if put.copied { WINDOW } else { 0 };
        let done = self.ingest(Incoming { body, algorithms, limit, expected, piece, inline: false }).await?;
        verify(&done.digests)?;
        let Digests { md5, checksums } = done.digests;
        let (size, modified, placement) = (done.size, put.now, done.placement);
        let part = Part { size, md5, modified, checksums: checksums.clone(), placement };
        let mutation = Mutation::PutPart { id: put.id, number: put.number, part };
        self.commit(mutation, done.segments, Condition::default()).await?;
        Ok(PartDone { md5, checksums })
    }

    /// Makes the parts an object.
    ///
    /// # Errors
    /// A part is missing, too small or out of order, or there is no such upload.
    pub async fn complete_upload(
        &self,
        (bucket, key, id): (&str, &str, UploadId),
        parts: Vec<(u16, [u8; 16])>,
        checksums: Vec<Checksum>,
        condition: Condition,
        now: u64,
    ) -> Result<Applied, GatewayError> {
        self.index().upload(bucket, key, &id)?;
        let version = VersionId::at(now);
        let mutation = Mutation::CompleteUpload { id, parts, modified: now, checksums, version };
        self.commit(mutation, Vec::new(), condition).await
    }

    /// Drops an upload.
    ///
    /// # Errors
    /// There is no such upload.
    pub async fn abort_upload(&self, bucket: &str, key: &str, id: UploadId) -> Result<(), GatewayError> {
        self.index().upload(bucket, key, &id)?;
        self.change(Mutation::AbortUpload { id }).await
    }
}
