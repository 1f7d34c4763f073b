//! The whole state as bytes.

use crate::http::STREAM_SILENCE;
use crate::{Client, ClientError};
use reqwest::Method;
use std::io::Write;

/// Largest exported state in bytes.
pub const EXPORT_LIMIT: u64 = 1 << 30;

impl Client {
    /// Writes the state at one final height, as `cairn devnet --import` reads it, to `out`; returns its bytes. The
    /// node's word: compare the digest of what was written with one that you trust.
    ///
    /// # Errors
    ///
    /// `export.busy` and `api.busy`; `client.file` where `out` does not take it; errors of transport.
    pub async fn export_state(&self, out: &mut (impl Write + Send)) -> Result<u64, ClientError> {
        let mut answer = self.http().open(self.http().request(Method::GET, "/v1/export")).await?;
        let mut written: u64 = 0;
        loop {
            let chunk = tokio::time::timeout(STREAM_SILENCE, answer.chunk()).await;
            let chunk = chunk.map_err(|_| ClientError::unreachable("the export stopped coming"))?;
            let Some(chunk) = chunk.map_err(ClientError::unreachable)? else { return Ok(written) };
            written = written.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if written > EXPORT_LIMIT {
                return Err(ClientError::garbled(format!("the export exceeds {EXPORT_LIMIT} bytes")));
            }
            out.write_all(&chunk).map_err(|e| {
                ClientError::new(
                    "client.file",
                    format!("the export cannot be written: {e}"),
                    "check the disk",
                )
            })?;
        }
    }
}
