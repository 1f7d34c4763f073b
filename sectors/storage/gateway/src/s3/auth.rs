//! Access keys from the index.

use crate::gateway::Gateway;
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};
use std::sync::Arc;

/// Looks secrets up in the gateway's index.
pub struct GatewayAuth(pub Arc<Gateway>);

#[async_trait::async_trait]
impl S3Auth for GatewayAuth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let index = self.0.index();
        let secret = index.secret(access_key).map(SecretKey::from);
        secret.ok_or_else(|| s3_error!(InvalidAccessKeyId, "This access key is not known here."))
    }
}
