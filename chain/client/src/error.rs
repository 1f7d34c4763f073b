//! What went wrong, as code, cause and remedy.

use cairn_types::Refusal;
use std::fmt;

/// A refusal of the node or of this client. Nothing was changed, except where the code is `client.unknown-outcome`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// Stable and machine-readable, `room.reason`; codes of this client begin with `client.`.
    pub code: String,
    /// What is wrong, with the numbers.
    pub cause: String,
    /// What to do next.
    pub remedy: String,
}

impl ClientError {
    /// Code of an answer that never came: node down, connection cut, time over.
    pub const UNREACHABLE: &'static str = "client.unreachable";
    /// Code of an answer that is not what the API promises.
    pub const GARBLED: &'static str = "client.garbled";
    /// Code of a proof or certificate that does not hold.
    pub const UNPROVEN: &'static str = "client.unproven";
    /// Code of a verified answer that is older than one seen before.
    pub const STALE: &'static str = "client.stale";
    /// Code of a transaction that was accepted and not seen final in time.
    pub const UNKNOWN_OUTCOME: &'static str = "client.unknown-outcome";

    /// Puts one together.
    pub fn new(code: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.into(), cause: cause.into(), remedy: remedy.into() }
    }

    /// Whether the code is this one.
    pub fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// Whether the same request may succeed later without any change: the node was not there.
    pub fn is_unreachable(&self) -> bool {
        self.is(Self::UNREACHABLE)
    }

    /// Whether the node said that it cannot tell yet.
    pub fn is_starting(&self) -> bool {
        self.is("node.starting")
    }

    pub(crate) fn unreachable(cause: impl fmt::Display) -> Self {
        Self::new(Self::UNREACHABLE, cause.to_string(), "check that the node runs and that the URL is right")
    }

    pub(crate) fn garbled(cause: impl fmt::Display) -> Self {
        Self::new(Self::GARBLED, cause.to_string(), "check that the URL is a node's API of the same version")
    }

    pub(crate) fn unproven(cause: impl fmt::Display) -> Self {
        Self::new(Self::UNPROVEN, cause.to_string(), "do not trust this node; ask another one")
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.code, self.cause, self.remedy)
    }
}

impl std::error::Error for ClientError {}

impl From<Refusal> for ClientError {
    fn from(r: Refusal) -> Self {
        Self::new(r.code, r.cause, r.remedy)
    }
}

impl From<(String, String, String)> for ClientError {
    fn from((code, cause, remedy): (String, String, String)) -> Self {
        Self { code, cause, remedy }
    }
}
