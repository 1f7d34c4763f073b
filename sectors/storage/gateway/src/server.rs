//! The HTTP server around the S3 service.

pub mod desk;
mod door;
pub mod form;
mod impatient;
mod journal;
pub mod paced;
mod places;
pub mod visit;

use crate::access::net::Net;
use crate::gateway::Gateway;
use crate::s3::gate::{Gate, Keeper};
use crate::s3::{GatewayAuth, GatewayS3};
use desk::{Desk, Shares};
use door::Door;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use impatient::Impatient;
use journal::Journal;
use paced::Pace;
use places::{Place, Places};
use s3s::Body;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a client may take nothing of an answer, which holds memory meanwhile.
const STALL: Duration = Duration::from_secs(60);
/// Largest XML body: a completion of 10,000 parts, a deletion of 1,000 keys of 1,024 bytes. 4 MiB.
pub(crate) const MAX_XML: usize = 4 << 20;
/// Bytes that are read ahead of a connection at most, headers included.
const MAX_AHEAD: usize = 128 << 10;

/// Limits of the server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Region that it names.
    pub region: String,
    /// Connections at once; when there are more, idle ones are closed.
    pub connections: usize,
    /// Connections at once of one client (an IPv4 address, an IPv6 /64).
    pub client_connections: usize,
    /// Who gets how much of the work.
    pub shares: Shares,
    /// How slowly a body may come.
    pub pace: Pace,
    /// How long a client may take to send a request's headers.
    pub header: Duration,
    /// How long requests under way may take to end at a shutdown.
    pub drain: Duration,
    /// How often access logs are stored.
    pub journal: Duration,
    /// Proxies in front whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub proxies: Vec<Net>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            connections: 512,
            client_connections: 384,
            shares: Shares::default(),
            pace: Pace::default(),
            header: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            journal: Duration::from_secs(30),
            proxies: Vec::new(),
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
/// The listener has no address, or the machine gives no randomness.
pub fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    config: ServerConfig,
) -> std::io::Result<ServerHandle> {
    let address = listener.local_addr()?;
    let desk = Desk::new(config.shares);
    let gate = Gate::new(Arc::clone(&gateway), Arc::clone(&desk));
    let mut builder = S3ServiceBuilder::new(GatewayS3::new(Arc::clone(&gateway), config.region.clone()));
    builder.set_auth(GatewayAuth(Arc::clone(&gateway)));
    builder.set_route(crate::car::IpfsRoute::new(Arc::clone(&gateway)));
    builder.set_access(Keeper(Arc::clone(&gate)));
    let mut limits = S3Config::default();
    limits.xml_max_body_size = MAX_XML;
    // Forms are read by `door`, which holds no file in memory; what would get past it must stay small.
    limits.post_object_max_file_size = 0;
    limits.form_max_fields_size = 0;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(limits))));
    let mut first = [0; 8];
    getrandom::fill(&mut first).map_err(std::io::Error::other)?;
    let (journal, delivery) = Journal::start(gateway, config.journal);
    let door = Arc::new(Door {
        service: builder.build(),
        gate,
        desk,
        journal,
        pace: config.pace,
        proxies: config.proxies.clone(),
        ids: AtomicU64::new(u64::from_le_bytes(first)),
    });
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        let drain = config.drain;
        accept(listener, door, config, stopped).await;
        // What was logged last is stored, if that is still possible.
        let _ = tokio::time::timeout(drain, delivery).await;
    });
    Ok(ServerHandle { address, stop, task })
}

async fn accept(
    listener: TcpListener,
    door: Arc<Door>,
    config: ServerConfig,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Places::new(config.connections, config.client_connections);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|s| *s) => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, for instance: others will be given back.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let peer = peer.ip().to_canonical();
        // Nobody idle could make room: the newest has to go.
        let Some(place) = places.enter(peer) else { continue };
        let (door, header, watched) = (Arc::clone(&door), config.header, graceful.watcher());
        tokio::spawn(connection(stream, peer, door, header, watched, place));
    }
    drop(listener);
    let _ = tokio::time::timeout(config.drain, graceful.shutdown()).await;
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    door: Arc<Door>,
    header: Duration,
    watched: hyper_util::server::graceful::Watcher,
    place: Place,
) {
    let _ = stream.set_nodelay(true);
    let handle =
        service_fn(|request: Request<Incoming>| Arc::clone(&door).serve(request, peer, place.begin()));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(header).half_close(true).max_buf_size(MAX_AHEAD);
    let stream = Impatient::new(stream, STALL);
    let served = tokio::select! {
        served = watched.watch(http.serve_connection(TokioIo::new(stream), handle)) => served,
        () = place.dismissed() => return,
    };
    if let Err(e) = served {
        tracing::debug!(error = %e, "a connection ended");
    }
}

/// Reads a whole body; for tests of the answers.
///
/// # Errors
/// The body breaks off.
pub async fn read_all(body: Body) -> Result<bytes::Bytes, s3s::StdError> {
    body.collect().await.map(http_body_util::Collected::to_bytes)
}
