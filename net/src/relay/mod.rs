//! A relay of our own: it passes on packets between peers that cannot reach each other, and can read none of them.
//!
//! Clients prove that they hold their key before anything else. Then [`Admit`] decides; whoever is refused is told
//! why. Each key has one rate for what it sends, whatever number of connections it opens, and its bytes are counted.

mod http;
mod meter;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cairn_crypto::PublicKey;
use iroh_relay::server::{QuicConfig, Server, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use meter::Usage;

use http::Shared;
use meter::Meters;

/// How often it is asked again whether connected clients are still admitted, unless told otherwise.
pub const RECHECK: Duration = Duration::from_secs(60);

/// Decides who may use a relay.
#[async_trait]
pub trait Admit: Send + Sync {
    /// Whether the holder of `key` may connect; asked at each connection and again every [`RelayLimits::recheck`].
    ///
    /// # Errors
    /// The reason, a sentence with a remedy, which the client is told.
    async fn admit(&self, key: &PublicKey) -> Result<(), String>;
}

/// Bounds of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayLimits {
    /// TCP connections at once.
    pub connections: usize,
    /// Bytes that one key may send in a second, over all its connections; 0 = no limit.
    pub bytes_per_second: u32,
    /// Bytes that one key may send at once after a pause.
    pub burst: u32,
    /// Longest time from the TCP connection to admission.
    pub establish: Duration,
    /// How often [`Admit`] is asked again about who is connected.
    pub recheck: Duration,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            bytes_per_second: 32 << 20,
            burst: 8 << 20,
            establish: Duration::from_secs(10),
            recheck: RECHECK,
        }
    }
}

/// Files of a certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// PEM with the chain, the relay's own certificate first.
    pub chain: PathBuf,
    /// PEM with its private key.
    pub key: PathBuf,
}

/// What a relay is told when it starts.
pub struct RelayConfig {
    /// Where to listen (TCP).
    pub listen: SocketAddr,
    /// With a certificate it speaks HTTPS, without one HTTP. Peers' packets are encrypted either way; HTTPS hides
    /// from others on the way which keys talk.
    pub certificate: Option<Certificate>,
    /// Where to tell endpoints which address they are seen under (UDP); needs a certificate.
    pub discovery: Option<SocketAddr>,
    /// Who may use it.
    pub admit: Arc<dyn Admit>,
    /// Bounds.
    pub limits: RelayLimits,
}

impl RelayConfig {
    /// A relay over HTTP with default bounds and without address discovery.
    pub fn new(listen: SocketAddr, admit: Arc<dyn Admit>) -> Self {
        Self { listen, certificate: None, discovery: None, admit, limits: RelayLimits::default() }
    }
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket.
    #[error(
        "the relay cannot listen on {listen} ({cause}); is the port taken, or the address not of this machine?"
    )]
    Socket {
        /// Where it should have listened.
        listen: SocketAddr,
        /// What went wrong.
        cause: String,
    },
    /// The certificate.
    #[error("the relay's certificate {path} cannot be used ({cause}); give PEM files of a chain and its key")]
    Certificate {
        /// The file.
        path: String,
        /// What went wrong.
        cause: String,
    },
    /// Address discovery without a certificate.
    #[error(
        "address discovery needs a certificate, a self-signed one will do; give one or leave discovery out"
    )]
    DiscoveryWithoutCertificate,
}

/// A running relay. Stops when dropped; [`Self::close`] also waits.
pub struct RelayServer {
    listen: SocketAddr,
    secure: bool,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    discovery: Option<Server>,
}

/// Starts a relay.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(config: RelayConfig) -> Result<RelayServer, ServeError> {
    if config.discovery.is_some() && config.certificate.is_none() {
        return Err(ServeError::DiscoveryWithoutCertificate);
    }
    let tls = config.certificate.as_ref().map(tls).transpose()?;
    let failed = |listen, cause: String| ServeError::Socket { listen, cause };
    let listener =
        TcpListener::bind(config.listen).await.map_err(|e| failed(config.listen, e.to_string()))?;
    let listen = listener.local_addr().map_err(|e| failed(config.listen, e.to_string()))?;
    let discovery = match (config.discovery, &tls) {
        (Some(addr), Some(tls)) => Some(discovery(addr, tls.clone()).await?),
        _ => None,
    };
    let secure = tls.is_some();
    let shared = Arc::new(Shared::new(config.admit, config.limits));
    let task = tokio::spawn(http::run(listener, tls.map(Arc::new), shared.clone()));
    Ok(RelayServer { listen, secure, shared, task, discovery })
}

impl RelayServer {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.listen
    }

    /// URL of the address it listens on; behind a name, use that name's.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.listen)
    }

    /// Where it discovers addresses.
    pub fn discovery_addr(&self) -> Option<SocketAddr> {
        self.discovery.as_ref().and_then(Server::quic_addr)
    }

    /// What each key has used since the relay started; at most [`meter::MAX_METERS`] keys, idle ones go first.
    pub fn usage(&self) -> Vec<Usage> {
        self.meters().usage()
    }

    /// How many clients were refused since the relay started.
    pub fn refused(&self) -> u64 {
        self.shared.refused()
    }

    /// Cuts all connections of a key. True if there were any.
    pub fn disconnect(&self, key: &PublicKey) -> bool {
        self.shared.disconnect(key)
    }

    fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    /// Stops and waits until all connections are closed.
    pub async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.shared.shutdown().await;
        if let Some(discovery) = self.discovery.take() {
            let _ = discovery.shutdown().await;
        }
    }
}

impl Drop for RelayServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn tls(certificate: &Certificate) -> Result<rustls::ServerConfig, ServeError> {
    let bad =
        |path: &Path, cause: String| ServeError::Certificate { path: path.display().to_string(), cause };
    let chain = CertificateDer::pem_file_iter(&certificate.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| bad(&certificate.chain, e.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_file(&certificate.key).map_err(|e| bad(&certificate.key, e.to_string()))?;
    rustls::ServerConfig::builder_with_provider(iroh_relay::tls::default_provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(chain, key).map_err(|e| e.to_string())
        })
        .map_err(|e| bad(&certificate.chain, e))
}

async fn discovery(listen: SocketAddr, tls: rustls::ServerConfig) -> Result<Server, ServeError> {
    let mut quic = QuicConfig::new(listen);
    quic.server_config = Some(tls);
    let mut config = ServerConfig::default();
    config.quic = Some(quic);
    Server::spawn(config).await.map_err(|e| ServeError::Socket { listen, cause: format!("{e:#}") })
}
