//! Where the access log of a bucket goes.

use super::convert::{answer, refusal, unsupported};
use crate::gateway::Gateway;
use crate::record::{Logging, Setting};
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};

/// Longest prefix in bytes: a name behind it still is a key.
const MAX_PREFIX: usize = 800;

pub async fn put(g: &Gateway, i: PutBucketLoggingInput) -> S3Result<S3Response<PutBucketLoggingOutput>> {
    let to = match i.bucket_logging_status.logging_enabled {
        None => None,
        Some(to) => {
            unsupported(to.target_grants.is_some_and(|g| !g.is_empty()), "grants on access logs")?;
            let partitioned = to.target_object_key_format.is_some_and(|f| f.partitioned_prefix.is_some());
            unsupported(partitioned, "a partitioned prefix of access logs")?;
            if to.target_prefix.len() > MAX_PREFIX {
                return Err(s3_error!(InvalidArgument, "the prefix of a log has at most {MAX_PREFIX} bytes"));
            }
            if g.index().bucket(&to.target_bucket).is_err() {
                return Err(s3_error!(
                    InvalidTargetBucketForLogging,
                    "The target bucket for logging does not exist; create it first"
                ));
            }
            Some(Logging { bucket: to.target_bucket, prefix: to.target_prefix })
        }
    };
    g.set_bucket(&i.bucket, Setting::Logging(to)).await.map_err(refusal)?;
    answer(PutBucketLoggingOutput::default())
}

pub fn get(g: &Gateway, i: &GetBucketLoggingInput) -> S3Result<S3Response<GetBucketLoggingOutput>> {
    let found = g.index().bucket(&i.bucket).map_err(refusal)?.settings.logging.clone();
    let shown = |to: Logging| LoggingEnabled {
        target_bucket: to.bucket,
        target_grants: None,
        target_object_key_format: None,
        target_prefix: to.prefix,
    };
    answer(GetBucketLoggingOutput { logging_enabled: found.map(shown) })
}
