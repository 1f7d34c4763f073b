//! Bucket policies and the public access block.

use super::convert::{answer, refusal};
use super::gate::{denied, other};
use crate::access::policy::Policy;
use crate::gateway::Gateway;
use crate::record::{PublicAccess, Setting};
use hyper::StatusCode;
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};

pub async fn put(g: &Gateway, i: PutBucketPolicyInput) -> S3Result<S3Response<PutBucketPolicyOutput>> {
    let blocked = {
        let index = g.index();
        index.bucket(&i.bucket).map_err(refusal)?.settings.public_access.is_some_and(|b| b.block_policy)
    };
    let policy =
        Policy::parse(i.policy.as_bytes(), &i.bucket).map_err(|e| s3_error!(MalformedPolicy, "{e}"))?;
    if blocked && policy.is_public() {
        return Err(denied("the public access block of the bucket refuses public policies"));
    }
    g.set_bucket(&i.bucket, Setting::Policy(Some(i.policy))).await.map_err(refusal)?;
    answer(PutBucketPolicyOutput::default())
}

/// The text of a bucket's policy.
fn text(g: &Gateway, bucket: &str) -> S3Result<String> {
    let text = g.index().bucket(bucket).map_err(refusal)?.settings.policy.clone();
    text.ok_or_else(|| s3_error!(NoSuchBucketPolicy, "The bucket policy does not exist"))
}

pub fn get(g: &Gateway, i: &GetBucketPolicyInput) -> S3Result<S3Response<GetBucketPolicyOutput>> {
    answer(GetBucketPolicyOutput { policy: Some(text(g, &i.bucket)?) })
}

pub async fn delete(
    g: &Gateway,
    i: DeleteBucketPolicyInput,
) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
    g.set_bucket(&i.bucket, Setting::Policy(None)).await.map_err(refusal)?;
    answer(DeleteBucketPolicyOutput::default())
}

pub fn status(
    g: &Gateway,
    i: &GetBucketPolicyStatusInput,
) -> S3Result<S3Response<GetBucketPolicyStatusOutput>> {
    let policy = Policy::parse(text(g, &i.bucket)?.as_bytes(), &i.bucket);
    // One that cannot be read opens nothing to anybody.
    let is_public = Some(policy.is_ok_and(|p| p.is_public()));
    answer(GetBucketPolicyStatusOutput { policy_status: Some(PolicyStatus { is_public }) })
}

pub async fn block(
    g: &Gateway,
    i: PutPublicAccessBlockInput,
) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
    let c = i.public_access_block_configuration;
    let to = PublicAccess {
        block_acls: c.block_public_acls.unwrap_or(false),
        ignore_acls: c.ignore_public_acls.unwrap_or(false),
        block_policy: c.block_public_policy.unwrap_or(false),
        restrict: c.restrict_public_buckets.unwrap_or(false),
    };
    g.set_bucket(&i.bucket, Setting::PublicAccess(Some(to))).await.map_err(refusal)?;
    answer(PutPublicAccessBlockOutput::default())
}

pub fn blocked(
    g: &Gateway,
    i: &GetPublicAccessBlockInput,
) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
    let found = g.index().bucket(&i.bucket).map_err(refusal)?.settings.public_access;
    let found = found.ok_or_else(|| {
        other(
            "NoSuchPublicAccessBlockConfiguration",
            StatusCode::NOT_FOUND,
            "The public access block configuration was not found",
        )
    })?;
    let configuration = PublicAccessBlockConfiguration {
        block_public_acls: Some(found.block_acls),
        ignore_public_acls: Some(found.ignore_acls),
        block_public_policy: Some(found.block_policy),
        restrict_public_buckets: Some(found.restrict),
    };
    answer(GetPublicAccessBlockOutput { public_access_block_configuration: Some(configuration) })
}

pub async fn unblock(
    g: &Gateway,
    i: DeletePublicAccessBlockInput,
) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
    g.set_bucket(&i.bucket, Setting::PublicAccess(None)).await.map_err(refusal)?;
    answer(DeletePublicAccessBlockOutput::default())
}
