//! Asking storage nodes: signs, sends, reads the answer. For repair agents and for tests.

use cairn_crypto::keys::{PublicKey, SecretKey};
use cairn_net::{NetError, Transport};
use cairn_storage_codec::wire::{
    Body, Grant, Head, Hello, Reply, Request, WireError, code, decode_reply, encode_request, encode_signed,
};
use cairn_types::Refusal;
use std::sync::Arc;

/// Why an exchange brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No answer.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The node refused.
    #[error(transparent)]
    Refused(#[from] WireError),
    /// An answer that does not belong to the request, or does not decode.
    #[error("the answer makes no sense ({0}); ask another slot and report the device")]
    Nonsense(String),
}

impl From<CallError> for Refusal {
    fn from(e: CallError) -> Self {
        Refusal::with(code::REPAIR, e.to_string(), "try again later or with other slots")
    }
}

/// Sends requests of one signer.
#[derive(Clone)]
pub struct Caller {
    transport: Arc<dyn Transport>,
}

impl Caller {
    /// Over a transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// One exchange.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ask(
        &self,
        to: &PublicKey,
        head: Head,
        body: &Body,
        grant: Option<Grant>,
        key: &SecretKey,
    ) -> Result<Reply, CallError> {
        let message = encode_signed(Vec::new(), head, body, grant, key);
        self.send(to, message).await
    }

    /// Who is there?
    ///
    /// # Errors
    /// [`CallError`]; check the signature with [`cairn_storage_codec::wire::check_box_key`].
    pub async fn hello(&self, to: &PublicKey) -> Result<Hello, CallError> {
        match self.send(to, encode_request(&Request::Hello)).await? {
            Reply::Hello(hello) => Ok(hello),
            other => Err(nonsense(&other)),
        }
    }

    async fn send(&self, to: &PublicKey, message: Vec<u8>) -> Result<Reply, CallError> {
        let answer = self.transport.call(to, message.into()).await?;
        Ok(decode_reply(&answer).map_err(|e| CallError::Nonsense(e.to_string()))??)
    }
}

/// An answer of another kind than was asked for.
pub fn nonsense(reply: &Reply) -> CallError {
    let text = format!("{reply:?}");
    CallError::Nonsense(text.chars().take(60).collect())
}
