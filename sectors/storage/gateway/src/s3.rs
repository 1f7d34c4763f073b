//! The S3 protocol over the gateway. HTTP, XML and signatures are s3s's; what an operation means is ours. Operations
//! that are not here answer `NotImplemented`.

mod auth;
mod checksum;
mod convert;
mod listing;
mod objects;
mod uploads;

pub use auth::GatewayAuth;

use crate::gateway::Gateway;
use convert::{answer, refusal, seconds, timestamp};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};
use std::sync::Arc;

/// Answers S3 requests.
#[derive(Clone)]
pub struct GatewayS3 {
    gateway: Arc<Gateway>,
    region: String,
}

impl GatewayS3 {
    /// Over a gateway; `region` is what it says when asked.
    pub fn new(gateway: Arc<Gateway>, region: impl Into<String>) -> Self {
        Self { gateway, region: region.into() }
    }
}

#[async_trait::async_trait]
impl S3 for GatewayS3 {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let name = req.input.bucket;
        self.gateway.create_bucket(&name, seconds()).await.map_err(refusal)?;
        answer(CreateBucketOutput { location: Some(format!("/{name}")) })
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.gateway.index().bucket(&req.input.bucket).map_err(refusal)?;
        answer(HeadBucketOutput { bucket_region: Some(self.region.clone()), ..Default::default() })
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.gateway.delete_bucket(&req.input.bucket).await.map_err(refusal)?;
        answer(DeleteBucketOutput::default())
    }

    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let prefix = req.input.prefix.clone().unwrap_or_default();
        let index = self.gateway.index();
        let found = index.buckets().filter(|(name, _)| name.starts_with(&prefix));
        let bucket = |(name, bucket): (&String, &crate::index::Bucket)| Bucket {
            name: Some(name.clone()),
            creation_date: Some(timestamp(bucket.created)),
            bucket_region: None,
        };
        let buckets = Some(found.map(bucket).collect());
        answer(ListBucketsOutput { buckets, prefix: req.input.prefix, ..Default::default() })
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.gateway.index().bucket(&req.input.bucket).map_err(refusal)?;
        // The first region is written as none.
        let named = (self.region != "us-east-1").then(|| self.region.clone().into());
        answer(GetBucketLocationOutput { location_constraint: named })
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        objects::put(&self.gateway, req).await
    }
    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        objects::get(&self.gateway, req.input).await
    }
    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        objects::head(&self.gateway, req.input)
    }
    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        objects::delete(&self.gateway, req.input).await
    }
    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        objects::delete_many(&self.gateway, req.input).await
    }
    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        objects::copy(&self.gateway, req.input).await
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        listing::first(&self.gateway, req.input)
    }
    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        listing::second(&self.gateway, req.input)
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        uploads::create(&self.gateway, req.input).await
    }
    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        uploads::part(&self.gateway, req).await
    }
    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        uploads::part_copy(&self.gateway, req.input).await
    }
    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        uploads::complete(&self.gateway, req.input).await
    }
    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        uploads::abort(&self.gateway, req.input).await
    }
    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        uploads::list_parts(&self.gateway, req.input)
    }
    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        uploads::list(&self.gateway, req.input)
    }
}
