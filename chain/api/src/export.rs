//! The whole state, as a file to start a fork from.

use crate::answer::{Answer, RefusalBody};
use crate::guard::busy;
use crate::server::Api;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cairn_node::StateFile;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Bytes sent at once.
const CHUNK: usize = 1 << 20;
/// Longest time that a reader may take for a chunk.
const PATIENCE: Duration = Duration::from_secs(30);

/// The state at one final height, every table of it, as a file for `cairn devnet --import`. One at a time; blocks come
/// slower while it is read. A file that breaks off says so by the length in its head.
#[utoipa::path(
    get, path = "/v1/export", tag = "node",
    responses(
        (status = 200, description = "docs/reference/formats.md, \"Genesis and export\"", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = RefusalBody),
        (status = 503, description = "Another one is under way", body = RefusalBody),
    )
)]
pub(crate) async fn export(State(api): State<Api>) -> Answer<Response> {
    let turn = api.exports.clone().try_acquire_owned().map_err(|_| busy("another export is under way"))?;
    let export = api.node.export_state().await?;
    let status = api.node.status();
    let file = StateFile { network: status.network, fork: status.fork, export };
    let bytes = Bytes::from(file.encode()?);
    drop(file);
    let length = bytes.len();
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(send(bytes, sender, turn));
    let chunks = futures::stream::unfold(receiver, |mut receiver| async move {
        Some((Ok::<_, Infallible>(receiver.recv().await?), receiver))
    });
    let head = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((head, Body::from_stream(chunks)).into_response())
}

/// Holds bytes and turn until the reader has everything, or has stopped reading.
async fn send(mut bytes: Bytes, sender: mpsc::Sender<Bytes>, _turn: OwnedSemaphorePermit) {
    while !bytes.is_empty() {
        let chunk = bytes.split_to(CHUNK.min(bytes.len()));
        if sender.send_timeout(chunk, PATIENCE).await.is_err() {
            return;
        }
    }
}
