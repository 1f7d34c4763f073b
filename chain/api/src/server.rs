//! Puts the handlers together and serves them.

use crate::connection::Counted;
use crate::devnet::DevnetControl;
use crate::leases::LeaseIndex;
use crate::peers::{PeerStore, Peers};
use crate::registry::Registry;
use crate::{
    audits, devnet, duties, events, export, guard, leases, metrics, peers, read, registry, transactions,
};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use cairn_node::Node;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Most connections at once; more wait in the system's queue.
pub const MAX_CONNECTIONS: usize = 1024;
/// Most requests at once; more are refused as busy.
const MAX_REQUESTS: usize = 256;
/// Most event streams at once.
const MAX_STREAMS: usize = 256;
/// Longest time in which the server writes nothing to a connection: above the limits on a body and on an answer
/// together. A client that sends its request drop by drop, or none at all, loses its slot.
const QUIET: Duration = Duration::from_secs(180);
/// Time for requests to end when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// What a node offers beside its chain.
#[derive(Clone, Default)]
pub struct Services {
    /// Commands of a devnet.
    pub devnet: Option<Arc<dyn DevnetControl>>,
    /// Records of peers; without it the node keeps none.
    pub peers: Option<PeerStore>,
    /// The join link that the node hands out.
    pub join: Option<String>,
}

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub node: Node,
    pub devnet: Option<Arc<dyn DevnetControl>>,
    /// How to join the network, as the node's operator says.
    pub join: Option<Arc<str>>,
    pub leases: Arc<LeaseIndex>,
    pub registry: Arc<Registry>,
    pub peers: Arc<Peers>,
    pub running: Arc<Semaphore>,
    /// MiB of bundles and packs that may still be taken into memory.
    pub bulks: Arc<Semaphore>,
    pub streams: Arc<Semaphore>,
    /// One export of the state at a time.
    pub exports: Arc<Semaphore>,
    pub counters: Arc<Counters>,
    /// Turns true when the server stops.
    pub stop: watch::Receiver<bool>,
}

/// Requests by outcome.
#[derive(Default)]
pub(crate) struct Counters {
    pub answered: AtomicU64,
    pub refused: AtomicU64,
    pub failed: AtomicU64,
}

impl Api {
    /// Event streams that are open.
    pub(crate) fn open_streams(&self) -> usize {
        MAX_STREAMS.saturating_sub(self.streams.available_permits())
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Cairn node",
    description = "HTTP/JSON API of a Cairn node. Amounts are decimal strings with the unit in the field's name \
        (`_pebbles`: 10^-9 CRN, `_micro_usd`: credits); what has a frozen binary form carries it as `borsh`.",
    license(name = "Apache-2.0 OR MIT"),
    contact(),
))]
struct Document;

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(read::status))
        .routes(routes!(read::genesis))
        .routes(routes!(read::genesis_file))
        .routes(routes!(read::join))
        .routes(routes!(registry::whose))
        .routes(routes!(registry::market))
        .routes(routes!(peers::announce))
        .routes(routes!(peers::find))
        .routes(routes!(read::account))
        .routes(routes!(leases::of_account))
        .routes(routes!(read::operator))
        .routes(routes!(read::device))
        .routes(routes!(read::lease))
        .routes(routes!(read::sectors))
        .routes(routes!(read::epoch))
        .routes(routes!(read::state))
        .routes(routes!(read::block))
        .routes(routes!(export::export))
        .routes(routes!(transactions::post))
        .routes(routes!(transactions::find))
        .routes(routes!(events::stream))
        .routes(routes!(events::history))
        .routes(routes!(duties::upload))
        .routes(routes!(duties::bundle))
        .routes(routes!(duties::pack))
        .routes(routes!(duties::settlement))
        .routes(routes!(duties::claim))
        .routes(routes!(duties::charge))
        .routes(routes!(audits::audits))
        .routes(routes!(metrics::metrics))
        .routes(routes!(devnet::control))
}

/// The API's description as pretty JSON, as served at `/openapi.json`.
pub fn openapi() -> String {
    let document = routes().into_openapi();
    // The document consists of strings, maps and lists: it always has a JSON form.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

fn router(api: Api) -> Router {
    let (router, _) = routes().split_for_parts();
    let document: Arc<str> = openapi().into();
    let described = move || {
        let document = document.to_string();
        async move { ([(axum::http::header::CONTENT_TYPE, "application/json")], document) }
    };
    router
        .route("/openapi.json", get(described))
        .fallback(|| async { axum::http::StatusCode::NOT_FOUND })
        // Handlers read bodies themselves, each with its own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(api.clone(), guard::around))
        .with_state(api)
}

/// Serves until the task is dropped or the listener breaks. Connections that are open then end with their clients:
/// use [`serve_until`] to stop for good.
///
/// # Errors
///
/// The listener's.
pub async fn serve(node: Node, listener: TcpListener, services: Services) -> io::Result<()> {
    serve_until(node, listener, services, std::future::pending()).await
}

/// Serves until `shutdown` completes; then ends event streams and gives running requests two seconds.
///
/// # Errors
///
/// The listener's.
pub async fn serve_until(
    node: Node,
    listener: TcpListener,
    services: Services,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stop_tx, stop) = watch::channel(false);
    let api = Api {
        leases: LeaseIndex::start(node.clone(), stop.clone()),
        registry: Arc::default(),
        peers: Peers::start(services.peers, stop.clone()),
        node,
        devnet: services.devnet,
        join: services.join.map(Into::into),
        running: Arc::new(Semaphore::new(MAX_REQUESTS)),
        bulks: Arc::new(Semaphore::new(duties::BULK_MIB)),
        streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        exports: Arc::new(Semaphore::new(1)),
        counters: Arc::default(),
        stop: stop.clone(),
    };
    let listener = Counted::new(listener, MAX_CONNECTIONS, QUIET);
    let mut stopping = stop.clone();
    let graceful = async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let serving = axum::serve(listener, router(api)).with_graceful_shutdown(graceful);
    let mut serving = std::pin::pin!(serving.into_future());
    tokio::select! {
        ended = &mut serving => return ended,
        () = shutdown => {}
    }
    stop_tx.send_replace(true);
    tokio::time::timeout(GRACE, serving).await.unwrap_or(Ok(()))
}
