//! Access keys, kept in the encrypted log like everything else.

use super::Gateway;
use crate::access::key::{AccessKey, Scope};
use crate::error::GatewayError;
use crate::record::Mutation;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::sync::Arc;

/// Most access keys of a gateway.
const MAX_KEYS: usize = 10_000;

impl Gateway {
    /// Adds or replaces a key that may do everything.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn put_access_key(&self, id: &str, secret: &str) -> Result<(), GatewayError> {
        let key = AccessKey::root(secret);
        if self.index().access_key(id).is_some_and(|k| **k == key) {
            return Ok(());
        }
        self.change(Mutation::PutAccessKey { id: id.into(), key }).await
    }

    /// Makes a key with a scope; its id, and the secret that is told only now. Times are Unix seconds.
    ///
    /// # Errors
    /// Name or scope cannot be kept, it ends before it begins, there are too many keys, or as [`Self::commit`].
    pub async fn new_access_key(
        &self,
        name: &str,
        scope: Scope,
        now: u64,
        expires: Option<u64>,
    ) -> Result<(String, String), GatewayError> {
        if self.index().access_keys().count() >= MAX_KEYS {
            return Err(GatewayError::Invalid("there are 10000 access keys already; revoke some"));
        }
        let mut random = [0; 40];
        getrandom::fill(&mut random).map_err(|e| GatewayError::Random(e.to_string()))?;
        let (id, secret) = random.split_at(10);
        let id = format!("CAIRN{}", &hex::encode_upper(id)[..15]);
        let secret = BASE64_URL_SAFE_NO_PAD.encode(secret);
        let key = AccessKey {
            name: name.into(),
            secret: secret.clone(),
            scope: Some(scope),
            created: now,
            expires,
        };
        key.check().map_err(GatewayError::Invalid)?;
        if key.is_expired(now) {
            return Err(GatewayError::Invalid("the key would end before it begins"));
        }
        self.change(Mutation::PutAccessKey { id: id.clone(), key }).await?;
        Ok((id, secret))
    }

    /// Keys with what they may do.
    pub fn access_keys(&self) -> Vec<(String, Arc<AccessKey>)> {
        self.index().access_keys().map(|(id, key)| (id.clone(), Arc::clone(key))).collect()
    }

    /// Withdraws a key; links that it signed end with it. Whether it was there.
    ///
    /// # Errors
    /// It is the last key that may do everything, or as [`Self::commit`].
    pub async fn delete_access_key(&self, id: &str) -> Result<bool, GatewayError> {
        {
            let index = self.index();
            let Some(key) = index.access_key(id) else { return Ok(false) };
            let roots = index.access_keys().filter(|(_, k)| k.scope.is_none()).count();
            if key.scope.is_none() && roots == 1 {
                return Err(GatewayError::Invalid("the last key without limits cannot be revoked"));
            }
        }
        self.change(Mutation::DeleteAccessKey { id: id.into() }).await?;
        Ok(true)
    }
}
