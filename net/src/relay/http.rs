//! The relay's outside: HTTP, the upgrade to a websocket, proof of the key, admission.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_crypto::PublicKey;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use iroh_relay::KeyCache;
use iroh_relay::http::{CLIENT_AUTH_HEADER, ProtocolVersion, RELAY_PATH, RELAY_PROBE_PATH};
use iroh_relay::protos::handshake;
use iroh_relay::server::client::Config;
use iroh_relay::server::clients::Clients;
use iroh_relay::server::streams::RelayedStream;
use iroh_relay::server::{Access, Metrics, OnDisconnectGuard};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use super::meter::{Framed, Meters, Place};
use super::{Admit, RelayLimits};

/// Longest websocket frame taken from a client; the protocol's packets are at most 64 KiB.
const MAX_FRAME: usize = 256 << 10;
/// Keys whose decoded form is kept, so that passing on a packet costs no arithmetic.
const KEY_CACHE: usize = 16 << 10;
/// Pause after the system refused a connection, so that an exhausted limit does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest reason told to a refused client.
const MAX_REASON: usize = 300;

/// What all connections share.
pub(super) struct Shared {
    admit: Arc<dyn Admit>,
    limits: RelayLimits,
    clients: Clients,
    pub(super) meters: Meters,
    metrics: Arc<Metrics>,
    keys: KeyCache,
    refused: AtomicU64,
}

impl Shared {
    pub(super) fn new(admit: Arc<dyn Admit>, limits: RelayLimits) -> Self {
        let meters = Meters::new(&limits);
        let (clients, metrics) = (Clients::default(), Arc::default());
        Self {
            admit,
            limits,
            clients,
            meters,
            metrics,
            keys: KeyCache::new(KEY_CACHE),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn disconnect(&self, key: &PublicKey) -> bool {
        iroh::PublicKey::from_bytes(&key.0).is_ok_and(|id| self.clients.disconnect(id, None))
    }

    pub(super) async fn shutdown(&self) {
        self.clients.shutdown().await;
    }

    /// Asks again about everybody who is connected, and cuts whoever is not admitted any more.
    async fn recheck(&self) {
        for key in self.meters.connected() {
            if let Err(reason) = self.admit.admit(&key).await {
                info!(%key, reason, "no longer admitted");
                self.disconnect(&key);
            }
        }
    }
}

/// Accepts connections, and asks again about those that are open, until it is aborted.
pub(super) async fn run(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, shared: Arc<Shared>) {
    tokio::join!(accept(listener, tls, shared.clone()), recheck(shared));
}

async fn recheck(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(shared.limits.recheck.max(Duration::from_millis(50)));
    loop {
        tick.tick().await;
        shared.recheck().await;
    }
}

async fn accept(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(shared.limits.connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            debug!(%peer, "no place for another connection");
            continue;
        };
        let (tls, shared) = (tls.clone(), shared.clone());
        connections.spawn(async move { serve(stream, tls, Visit { shared, place: Arc::new(place) }).await });
    }
}

/// One TCP connection and its place; the place is given back when its last part has ended.
#[derive(Clone)]
struct Visit {
    shared: Arc<Shared>,
    place: Place,
}

async fn serve(stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, visit: Visit) {
    // Packets are written whole: waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_http(stream, visit).await,
        Some(config) => {
            let handshake = TlsAcceptor::from(config).accept(stream);
            if let Ok(Ok(stream)) = timeout(visit.shared.limits.establish, handshake).await {
                serve_http(stream, visit).await;
            }
        }
    }
}

async fn serve_http<T>(stream: T, visit: Visit)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let establish = visit.shared.limits.establish;
    let service = hyper::service::service_fn(move |request| {
        let answer = answer(request, &visit);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(establish)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        debug!(%error, "connection ended");
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

fn answer(request: Request<Incoming>, visit: &Visit) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, RELAY_PATH) => match Greeting::of(request.headers()) {
            Ok(greeting) => {
                let response = greeting.response();
                tokio::spawn(upgraded(request, greeting.version, visit.clone()));
                response
            }
            Err(why) => plain(StatusCode::BAD_REQUEST, why),
        },
        (&Method::GET, RELAY_PROBE_PATH) => plain(StatusCode::OK, ""),
        (&Method::GET, "/healthz") => plain(StatusCode::OK, "ok\n"),
        _ => plain(StatusCode::NOT_FOUND, "this is a relay of a Cairn network; peers connect to /relay\n"),
    }
}

/// What a client must say to become a websocket.
struct Greeting {
    accept: String,
    version: ProtocolVersion,
}

impl Greeting {
    fn of(headers: &HeaderMap) -> Result<Self, &'static str> {
        let text =
            |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !text(UPGRADE).eq_ignore_ascii_case("websocket") || text(SEC_WEBSOCKET_VERSION) != "13" {
            return Err("only websockets of version 13 are relayed\n");
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).ok_or("the websocket key is missing\n")?;
        let offered = text(SEC_WEBSOCKET_PROTOCOL).split(',');
        let version = offered.filter_map(|name| ProtocolVersion::match_from_str(name.trim())).max();
        let version =
            version.ok_or("no known version of the relay protocol is offered; update the client\n")?;
        Ok(Self { accept: accept_key(key), version })
    }

    fn response(&self) -> Response<Full<Bytes>> {
        let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, self.version.to_header_value());
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }
}

/// RFC 6455, section 1.3.
fn accept_key(key: &HeaderValue) -> String {
    use base64::Engine;
    use sha1::Digest;
    let mut hash = sha1::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(hash.finalize())
}

async fn upgraded(mut request: Request<Incoming>, version: ProtocolVersion, visit: Visit) {
    let establish = visit.shared.limits.establish;
    let proof = request.headers().get(CLIENT_AUTH_HEADER).cloned();
    let entered = timeout(establish, async {
        let io = hyper::upgrade::on(&mut request).await.map_err(|e| e.to_string())?;
        enter(TokioIo::new(io), proof, version, visit).await
    });
    match entered.await {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => debug!(reason, "client did not get in"),
        Err(_) => debug!("client was too slow to get in"),
    }
}

async fn enter<T>(
    io: T,
    proof: Option<HeaderValue>,
    version: ProtocolVersion,
    visit: Visit,
) -> Result<(), String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = tokio_websockets::Limits::default().max_payload_len(Some(MAX_FRAME));
    let socket = tokio_websockets::ServerBuilder::new().limits(limits).serve(io);
    let mut framed = Framed::new(socket);
    let shared = visit.shared.clone();
    let proven = handshake::serverside(&mut framed, proof).await.map_err(|e| format!("{e:#}"))?;
    let id = proven.client_key;
    let key = PublicKey(*id.as_bytes());
    if let Err(reason) = shared.admit.admit(&key).await {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        let reason: String = reason.chars().take(MAX_REASON).collect();
        info!(%key, reason, "refused");
        let access = Access::Deny { reason: Some(reason.clone()) };
        let _ = proven.authorize_if(access, &mut framed).await;
        return Err(reason);
    }
    proven.authorize_if(Access::Allow, &mut framed).await.map_err(|e| format!("{e:#}"))?;
    framed.meter(shared.meters.enter(key), visit.place);
    let stream = RelayedStream::new(framed, shared.keys.clone());
    let config = Config::new(OnDisconnectGuard::empty(id), stream, version);
    shared.clients.register(config, shared.metrics.clone());
    Ok(())
}
