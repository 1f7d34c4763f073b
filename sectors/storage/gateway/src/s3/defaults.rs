//! What S3 answers for settings that nobody made. They cannot be made here either: setting them is not implemented.

use super::convert::{answer, refusal};
use crate::gateway::Gateway;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Response, S3Result};

fn exists(g: &Gateway, bucket: &str) -> S3Result<()> {
    g.index().bucket(bucket).map(|_| ()).map_err(refusal)
}

/// The error for a setting that is not there.
pub fn unset<T>(g: &Gateway, bucket: &str, code: S3ErrorCode) -> S3Result<S3Response<T>> {
    exists(g, bucket)?;
    let mut error = S3Error::with_message(code, "the bucket has no such configuration");
    error.set_status_code(hyper::StatusCode::NOT_FOUND);
    Err(error)
}

/// The answer for a setting that is not there, or to its removal.
pub fn empty<T: Default>(g: &Gateway, bucket: &str) -> S3Result<S3Response<T>> {
    exists(g, bucket)?;
    answer(T::default())
}

/// Who pays: always the owner.
pub fn payment(g: &Gateway, bucket: &str) -> S3Result<S3Response<GetBucketRequestPaymentOutput>> {
    exists(g, bucket)?;
    answer(GetBucketRequestPaymentOutput { payer: Some(Payer::from_static(Payer::BUCKET_OWNER)) })
}
