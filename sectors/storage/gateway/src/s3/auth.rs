//! Access keys from the index.

use super::gate::usable;
use crate::gateway::Gateway;
use s3s::S3Result;
use s3s::auth::{S3Auth, SecretKey};
use std::sync::Arc;

/// Looks secrets up in the gateway's index. A key that was revoked or has run out opens nothing, nor does a link that
/// it signed.
pub struct GatewayAuth(pub Arc<Gateway>);

#[async_trait::async_trait]
impl S3Auth for GatewayAuth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        usable(&self.0, access_key).map(|key| SecretKey::from(key.secret.as_str()))
    }
}
