//! Requests with limits on time and bytes.

use crate::ClientError;
use crate::wire::RefusalBody;
use bytes::{Bytes, BytesMut};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for an answer; longer than the API's own limit on waiting for finality.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest silence of a stream; the API sends a sign of life more often.
pub(crate) const STREAM_SILENCE: Duration = Duration::from_secs(60);
/// Largest JSON answer in bytes.
pub(crate) const JSON_LIMIT: usize = 64 << 20;
/// Most nodes of a client.
const MAX_URLS: usize = 16;
/// Octets.
pub(crate) const OCTETS: &str = "application/octet-stream";

/// The connection pool and the addresses.
#[derive(Debug)]
pub(crate) struct Http {
    pool: reqwest::Client,
    /// At least one.
    urls: Vec<String>,
    /// Which of them is asked, modulo their number.
    current: AtomicUsize,
}

/// Chooses the cryptography of TLS for this process, unless somebody did: HTTP clients refuse to be made without one.
pub fn use_ring() {
    // An error only says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Http {
    pub(crate) fn new(urls: Vec<String>) -> Result<Self, ClientError> {
        let bad =
            |cause: String| ClientError::new("client.url", cause, "use a URL like http://127.0.0.1:7070");
        if urls.is_empty() || urls.len() > MAX_URLS {
            return Err(bad(format!("{} URLs of nodes are given, 1 to {MAX_URLS} are used", urls.len())));
        }
        let mut clean = Vec::with_capacity(urls.len());
        for url in urls {
            let parsed = reqwest::Url::parse(&url).map_err(|e| bad(format!("{url:?} is no URL: {e}")))?;
            if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
                return Err(bad(format!("{url:?} is neither HTTP nor HTTPS")));
            }
            clean.push(url.trim_end_matches('/').to_owned());
        }
        use_ring();
        let pool = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .build()
            .map_err(ClientError::unreachable)?;
        Ok(Self { pool, urls: clean, current: AtomicUsize::new(0) })
    }

    pub(crate) fn url(&self) -> &str {
        let current = self.current.load(Ordering::Relaxed).checked_rem(self.urls.len()).unwrap_or(0);
        // The constructor refuses an empty list.
        self.urls.get(current).map_or("", String::as_str)
    }

    /// Sends; when no answer comes, the next request goes to the next node.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let asked = self.current.load(Ordering::Relaxed);
        request.send().await.map_err(|cause| {
            let next = asked.wrapping_add(1);
            // Several requests that fail at once move on by one node together.
            let _ = self.current.compare_exchange(asked, next, Ordering::Relaxed, Ordering::Relaxed);
            transport(cause)
        })
    }

    /// Asks one node after the other until one is there. Only for requests that may be repeated.
    pub(crate) async fn anywhere<T, F>(&self, ask: impl Fn() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        for _ in 1..self.urls.len() {
            match ask().await {
                Err(cause) if cause.is_unreachable() => {}
                answer => return answer,
            }
        }
        ask().await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.pool.request(method, format!("{}{path}", self.url()))
    }

    /// A JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        self.json_within(request, ANSWER).await
    }

    /// A JSON answer to a request that may take this long.
    pub(crate) async fn json_within<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        time: Duration,
    ) -> Result<T, ClientError> {
        let body = self.bytes_within(request, JSON_LIMIT, time).await?;
        serde_json::from_slice(&body)
            .map_err(|e| ClientError::garbled(format!("the answer is not as documented: {e}")))
    }

    /// The bytes of an answer.
    pub(crate) async fn bytes(&self, request: RequestBuilder, limit: usize) -> Result<Bytes, ClientError> {
        self.bytes_within(request, limit, ANSWER).await
    }

    /// The bytes of an answer to a request that may take this long.
    pub(crate) async fn bytes_within(
        &self,
        request: RequestBuilder,
        limit: usize,
        time: Duration,
    ) -> Result<Bytes, ClientError> {
        let response = self.send(request.timeout(time)).await?;
        read(accepted(response).await?, limit).await
    }

    /// An answer that goes on.
    pub(crate) async fn open(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let answer = tokio::time::timeout(ANSWER, self.send(request)).await;
        let response = answer.map_err(|_| ClientError::unreachable("no answer in time"))??;
        accepted(response).await
    }
}

/// Turns refusals with these codes into `None`.
pub(crate) fn absent<T>(answer: Result<T, ClientError>, codes: &[&str]) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(e) if codes.iter().any(|code| e.is(code)) => Ok(None),
        Err(e) => Err(e),
    }
}

fn transport(error: reqwest::Error) -> ClientError {
    // The outer message only says "error sending request"; the reason lies below.
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    ClientError::unreachable(text)
}

async fn accepted(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = read(response, 64 << 10).await?;
    Err(refused(status, &body))
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<RefusalBody>(body) {
        Ok(r) => ClientError::new(r.code, r.cause, r.remedy),
        Err(_) => ClientError::garbled(format!("HTTP {status} without a refusal in the body")),
    }
}

async fn read(mut response: Response, limit: usize) -> Result<Bytes, ClientError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(ClientError::garbled(format!("the answer exceeds {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
