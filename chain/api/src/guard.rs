//! What surrounds every request: a limit on time and number, JSON for every failure, counters.

use crate::answer::Failure;
use crate::server::Api;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cairn_types::Refusal;
use futures::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest time until an answer begins; above the longest wait for finality and for a body together.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs a request inside its limits.
pub(crate) async fn around(State(api): State<Api>, request: Request, next: Next) -> Response {
    let known = matches!(request.uri().path(), path if path.len() <= 4096);
    let answer = match (known, api.running.clone().try_acquire_owned()) {
        (false, _) => Failure::argument("the path is too long").into_response(),
        (true, Err(_)) => busy("too many requests at once").into_response(),
        (true, Ok(_permit)) => limited(request, next).await,
    };
    let mut answer = as_json(answer);
    count(&api, answer.status());
    // Browsers must not guess types of foreign bytes.
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// The node has enough to do.
pub(crate) fn busy(cause: &'static str) -> Failure {
    let refusal = Refusal::new("api.busy", cause, "try again in a moment");
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, refusal)
}

async fn limited(request: Request, next: Next) -> Response {
    let run = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(PATIENCE, run).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => {
            tracing::error!("a request made the API panic");
            let refusal = Refusal::new(
                "api.defect",
                "the request met a defect of this program",
                "report it with the request",
            );
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, refusal).into_response()
        }
        Err(_) => {
            let refusal = Refusal::new(
                "api.timeout",
                "the node did not answer in time",
                "try again; look at /v1/status",
            );
            Failure::new(StatusCode::GATEWAY_TIMEOUT, refusal).into_response()
        }
    }
}

/// Failures of the HTTP library itself come as text; ours are JSON.
fn as_json(answer: Response) -> Response {
    let status = answer.status();
    let json = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if json || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let see = "see /openapi.json for paths and what they take";
    let refusal = match status {
        StatusCode::NOT_FOUND => Refusal::new("api.path", "there is no such path", see),
        StatusCode::METHOD_NOT_ALLOWED => {
            Refusal::new("api.method", "the path does not take this method", see)
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal::new("api.size", "the body is too large", "send less at once")
        }
        other => Refusal::with("api.argument", format!("the request cannot be read (HTTP {other})"), see),
    };
    let mut replaced = Failure::new(status, refusal).into_response();
    if let Some(allow) = answer.headers().get(header::ALLOW) {
        replaced.headers_mut().insert(header::ALLOW, allow.clone());
    }
    replaced
}

fn count(api: &Api, status: StatusCode) {
    let counter = match status.as_u16() {
        400..=499 => &api.counters.refused,
        500..=599 => &api.counters.failed,
        _ => &api.counters.answered,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}
