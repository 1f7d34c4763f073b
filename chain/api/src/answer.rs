//! Refusals over HTTP, and how arguments are read.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cairn_crypto::address;
use cairn_types::{AccountId, Epoch, Hash, Refusal, SectorId};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was refused. Nothing was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusalBody {
    /// Stable, machine-readable, `room.reason`.
    #[schema(example = "tx.nonce")]
    pub code: String,
    /// What is wrong, with the numbers.
    #[schema(example = "nonce 3 where 4 is next")]
    pub cause: String,
    /// What to do next.
    #[schema(example = "read the account and sign again")]
    pub remedy: String,
}

/// A refusal with its status.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: StatusCode,
    pub refusal: Refusal,
}

/// What handlers return.
pub(crate) type Answer<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: StatusCode, refusal: Refusal) -> Self {
        Self { status, refusal }
    }

    /// An argument that cannot be read.
    pub(crate) fn argument(cause: impl Into<String>) -> Self {
        let remedy = "see /openapi.json for what this path takes";
        Self::new(StatusCode::BAD_REQUEST, Refusal::with("api.argument", cause, remedy))
    }

    /// Nothing there.
    pub(crate) fn missing(code: &'static str, cause: impl Into<String>, remedy: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Refusal::with(code, cause, remedy))
    }

    /// A refused transaction or upload: well formed, but the rules say no.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        let status = match refusal.code {
            "tx.malformed" | "bundle.malformed" => StatusCode::BAD_REQUEST,
            "tx.size" | "bundle.size" => StatusCode::PAYLOAD_TOO_LARGE,
            "tx.nonce" => StatusCode::CONFLICT,
            code => internal(code).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY),
        };
        Self::new(status, refusal)
    }
}

/// Refusals that are the node's condition, not the caller's mistake.
fn internal(code: &str) -> Option<StatusCode> {
    match code.split_once('.') {
        Some(("node" | "pool", _)) => Some(StatusCode::SERVICE_UNAVAILABLE),
        Some(("state" | "engine" | "store", _)) => Some(StatusCode::INTERNAL_SERVER_ERROR),
        _ => None,
    }
}

/// A refused read: what is not there is "not found".
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            code if code.ends_with(".unknown") => StatusCode::NOT_FOUND,
            code => internal(code).unwrap_or(StatusCode::CONFLICT),
        };
        Self::new(status, refusal)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Refusal { code, cause, remedy } = self.refusal;
        let body =
            RefusalBody { code: code.to_owned(), cause: cause.into_owned(), remedy: remedy.to_owned() };
        let mut answer = (self.status, Json(body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// Reads an account: a bech32m address of this network, or 64 hexadecimal digits.
pub(crate) fn account(hrp: &str, text: &str) -> Answer<AccountId> {
    if let Some(id) = AccountId::from_hex(text) {
        return Ok(id);
    }
    address::decode(hrp, text).map_err(|e| {
        let remedy = "give an address of this network or 64 hexadecimal digits";
        Failure::new(StatusCode::BAD_REQUEST, Refusal::with("api.address", e.to_string(), remedy))
    })
}

/// Shows an account; a prefix that cannot be one shows the hexadecimal id.
pub(crate) fn show_account(hrp: &str, id: &AccountId) -> String {
    address::encode(hrp, id).unwrap_or_else(|_| id.to_string())
}

/// Reads 64 hexadecimal digits.
pub(crate) fn id(what: &str, text: &str) -> Answer<[u8; 32]> {
    Hash::from_hex(text)
        .map(|h| h.0)
        .ok_or_else(|| Failure::argument(format!("the {what} is not 64 hexadecimal digits")))
}

/// Reads a sector's number.
pub(crate) fn sector(text: &str) -> Answer<SectorId> {
    text.parse().map(SectorId).map_err(|_| Failure::argument("the sector is not a number up to 65535"))
}

/// Reads an epoch.
pub(crate) fn epoch(text: &str) -> Answer<Epoch> {
    text.parse().map(Epoch).map_err(|_| Failure::argument("the epoch is not a number"))
}
