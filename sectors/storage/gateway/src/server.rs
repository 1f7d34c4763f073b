//! The HTTP server around the S3 service.

mod impatient;

use crate::gateway::Gateway;
use crate::s3::{GatewayAuth, GatewayS3};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use impatient::Impatient;
use s3s::Body;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

/// How long a client may take nothing of an answer, which holds memory meanwhile.
const STALL: Duration = Duration::from_secs(60);

/// Limits of the server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Region that it names.
    pub region: String,
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Requests at once; more are answered `SlowDown`.
    pub requests: usize,
    /// How long a client may take to send a request's headers.
    pub header: Duration,
    /// How long requests under way may take to end at a shutdown.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            connections: 512,
            requests: 256,
            header: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// A running server.
pub struct ServerHandle {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl ServerHandle {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
    /// Stops accepting, lets requests under way end, and returns.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Serves S3 on a listener until shut down. Plain HTTP: bind it to loopback only, or put TLS in front.
///
/// # Errors
/// The listener has no address.
pub fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    config: ServerConfig,
) -> std::io::Result<ServerHandle> {
    let address = listener.local_addr()?;
    let mut builder = S3ServiceBuilder::new(GatewayS3::new(Arc::clone(&gateway), config.region.clone()));
    builder.set_auth(GatewayAuth(Arc::clone(&gateway)));
    builder.set_route(crate::car::IpfsRoute::new(gateway));
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(accept(listener, builder.build(), config, stopped));
    Ok(ServerHandle { address, stop, task })
}

async fn accept(
    listener: TcpListener,
    service: S3Service,
    config: ServerConfig,
    mut stopped: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(config.connections));
    let requests = Arc::new(Semaphore::new(config.requests));
    let graceful = GracefulShutdown::new();
    loop {
        let permit = tokio::select! {
            _ = stopped.wait_for(|s| *s) => break,
            permit = Arc::clone(&connections).acquire_owned() => permit,
        };
        let stream = tokio::select! {
            _ = stopped.wait_for(|s| *s) => break,
            accepted = listener.accept() => accepted,
        };
        let (Ok(permit), Ok((stream, _))) = (permit, stream) else {
            // Out of descriptors, for instance: others will be given back.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let watched = graceful.watcher();
        let (service, requests, header) = (service.clone(), Arc::clone(&requests), config.header);
        tokio::spawn(async move {
            connection(stream, service, requests, header, watched).await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(config.drain, graceful.shutdown()).await;
}

async fn connection(
    stream: TcpStream,
    service: S3Service,
    requests: Arc<Semaphore>,
    header: Duration,
    watched: hyper_util::server::graceful::Watcher,
) {
    let _ = stream.set_nodelay(true);
    let handle = service_fn(move |request: Request<Incoming>| {
        let (service, requests) = (service.clone(), Arc::clone(&requests));
        async move {
            let Ok(permit) = requests.try_acquire_owned() else { return Ok(slow_down().map(Answer::free)) };
            let answer = hyper::service::Service::call(&service, request).await;
            // A request counts until the last byte of its answer is on its way.
            answer.map(|a| a.map(|body| Answer { body, _permit: Some(permit) }))
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(header).half_close(true);
    let stream = Impatient::new(stream, STALL);
    let served = watched.watch(http.serve_connection(TokioIo::new(stream), handle)).await;
    if let Err(e) = served {
        tracing::debug!(error = %e, "a connection ended");
    }
}

/// The body of an answer with the request's place among those at once.
struct Answer {
    body: Body,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Answer {
    const fn free(body: Body) -> Self {
        Self { body, _permit: None }
    }
}

impl hyper::body::Body for Answer {
    type Data = <Body as hyper::body::Body>::Data;
    type Error = <Body as hyper::body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn slow_down() -> Response<Body> {
    let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code><Message>storage.busy: too many \
                requests at once; repeat it a little later</Message></Error>";
    let mut answer = Response::new(Body::from(bytes::Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/xml"));
    answer
}

/// Reads a whole body; for tests of the answers.
///
/// # Errors
/// The body breaks off.
pub async fn read_all(body: Body) -> Result<bytes::Bytes, s3s::StdError> {
    body.collect().await.map(http_body_util::Collected::to_bytes)
}
