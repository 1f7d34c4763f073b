//! Request bodies with limits.

use crate::answer::{Answer, Failure};
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use cairn_types::Refusal;
use futures::StreamExt as _;
use std::time::Duration;

/// Bytes above the limit of a body that are still read and thrown away. Answering before the client has finished
/// sending would cut the connection, and the client would never see why.
const DRAIN: usize = 64 << 20;
/// Longest time for a body to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(body: Body, limit: usize) -> Answer<Bytes> {
    let late = |_| {
        let refusal =
            Refusal::new("api.slow", "the body did not arrive in time", "send it faster or in smaller parts");
        Failure::new(StatusCode::REQUEST_TIMEOUT, refusal)
    };
    tokio::time::timeout(PATIENCE, collect(body, limit)).await.map_err(late)?
}

async fn collect(body: Body, limit: usize) -> Answer<Bytes> {
    let mut stream = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut seen: usize = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| Failure::argument(format!("the body broke off: {e}")))?;
        seen = seen.saturating_add(chunk.len());
        if seen <= limit {
            kept.extend_from_slice(&chunk);
        } else if seen > limit.saturating_add(DRAIN) {
            break;
        } else {
            kept = BytesMut::new();
        }
    }
    if seen > limit {
        let cause = format!("the body exceeds the limit of {limit} bytes");
        let refusal = Refusal::with("api.size", cause, "send less at once");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, refusal));
    }
    Ok(kept.freeze())
}

/// The kind of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `application/octet-stream`, or nothing said.
    Octets,
    /// `application/json`.
    Json,
}

/// Reads the content type.
pub(crate) fn kind(headers: &HeaderMap) -> Answer<Kind> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Kind::Octets) };
    let text = value.to_str().unwrap_or_default();
    match text.split(';').next().unwrap_or_default().trim() {
        "application/octet-stream" => Ok(Kind::Octets),
        "application/json" => Ok(Kind::Json),
        other => {
            let cause = format!("bodies of type {other:?} are not read here");
            let remedy = "send application/octet-stream or application/json";
            Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Refusal::with("api.type", cause, remedy)))
        }
    }
}
