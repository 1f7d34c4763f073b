//! The data plane across machines: QUIC connections dialled by device key.
//!
//! [`Endpoint`] is one UDP socket under one device key. It asks ([`Transport`]), answers ([`Endpoint::serve`]), says
//! where it can be reached ([`Endpoint::record`]) and keeps a relay at hand for peers behind a NAT. It uses no server
//! that it was not told of: no default relays, no lookup service, no name servers but the machine's own.

mod ask;
mod config;
mod home;
mod pool;
mod serve;
mod stats;
mod wire;

pub use config::{BindError, Limits, QuicConfig};
pub use stats::{Path, PeerStats};
pub use wire::ALPN;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::{PublicKey, SecretKey};
use cairn_types::NetworkId;
use iroh::dns::DnsResolver;
use iroh::endpoint::{Builder, IdleTimeout, QuicTransportConfig, VarInt};
use iroh::{Endpoint as Socket, NetReportConfig};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::book::AddressBook;
use crate::record::PeerRecord;
use crate::relays::RelayList;
use crate::{NetError, Service, Transport, check_size};
use pool::Pool;
use serve::Gates;

/// How often idle connections are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// Data of one stream that may be on its way without being read.
const STREAM_WINDOW: u32 = 4 << 20;
/// Data of one connection that may be on its way without being read.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// One device's way into the network. Clones share everything; call [`Self::close`] before the last one goes, so that
/// peers learn of it at once.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
}

struct Inner {
    socket: Socket,
    network: NetworkId,
    key: PublicKey,
    book: Arc<dyn AddressBook>,
    relays: RelayList,
    deadline: Duration,
    limits: Limits,
    pool: Arc<Pool>,
    gates: Arc<Gates>,
    record: watch::Receiver<PeerRecord>,
    tasks: Mutex<JoinSet<()>>,
}

impl Endpoint {
    /// Binds the socket and starts to look for relays. It can ask at once, and answers after [`Self::serve`].
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(config: QuicConfig) -> Result<Self, BindError> {
        if !config.direct && config.relays.is_empty() {
            return Err(BindError::NoWay);
        }
        let socket = socket(&config).await?;
        let secret = SecretKey::from_seed(&config.secret.seed());
        let mut issuer = home::Issuer::new(&config, secret);
        let (known, record) = watch::channel(issuer.next(&socket));
        let pool = Arc::new(Pool::new(config.limits.peers));
        let mut tasks = JoinSet::new();
        tasks.spawn(home::publish(socket.clone(), issuer, known));
        if !config.relays.is_empty() {
            tasks.spawn(home::guard(socket.clone(), config.relays.clone(), pool.clone()));
        }
        tasks.spawn(sweep(pool.clone(), config.limits.idle));
        let inner = Inner {
            socket,
            network: config.network,
            key: config.secret.public(),
            book: config.book,
            relays: config.relays,
            deadline: config.deadline,
            limits: config.limits,
            pool,
            gates: Arc::new(Gates::new(config.limits)),
            record,
            tasks: Mutex::new(tasks),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The key under which this endpoint asks and answers.
    pub fn key(&self) -> PublicKey {
        self.inner.key
    }

    /// Addresses the socket is bound to; empty without direct connections.
    pub fn bound(&self) -> Vec<SocketAddr> {
        self.inner.socket.bound_sockets()
    }

    /// Lets `service` answer all peers from now on, in tasks of the running runtime.
    pub fn serve(&self, service: Arc<dyn Service>) {
        self.inner.socket.set_alpns(vec![ALPN.to_vec()]);
        let accept = serve::accept(self.inner.socket.clone(), self.inner.gates.clone(), service);
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(accept);
    }

    /// Where this endpoint can be reached as far as it knows now, signed.
    pub fn record(&self) -> PeerRecord {
        self.inner.record.borrow().clone()
    }

    /// Says when [`Self::record`] changes: publish it anew each time. The first value counts as seen.
    pub fn watch_record(&self) -> watch::Receiver<PeerRecord> {
        self.inner.record.clone()
    }

    /// Waits until a relay holds a connection to this endpoint. Never returns without relays: give it a time-out.
    pub async fn online(&self) {
        self.inner.socket.online().await;
    }

    /// The relay that holds a connection to this endpoint now.
    pub fn home_relay(&self) -> Option<String> {
        home::connected(&self.inner.socket).map(|url| url.to_string())
    }

    /// Why the nearest relay refused this endpoint, in the relay's words, while it does.
    pub fn relay_refusal(&self) -> Option<String> {
        home::refusal(&self.inner.socket)
    }

    /// All peers with an open connection or a recent call.
    pub fn stats(&self) -> Vec<PeerStats> {
        let mut all = stats::asked(&self.inner.pool);
        all.extend(self.inner.gates.stats());
        all
    }

    /// What is known of the way to a peer that was asked.
    pub fn stats_of(&self, key: &PublicKey) -> Option<PeerStats> {
        self.inner.pool.find(key).map(|slot| stats::of_slot(*key, &slot))
    }

    /// Ends all connections and waits until peers were told, at most a few seconds.
    pub async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        self.inner.socket.close().await;
    }
}

#[async_trait]
impl Transport for Endpoint {
    async fn call(&self, to: &PublicKey, request: Bytes) -> Result<Bytes, NetError> {
        check_size(&request)?;
        let after = self.inner.deadline;
        match tokio::time::timeout(after, self.inner.ask(to, request)).await {
            Ok(ended) => ended,
            Err(_) => Err(NetError::Timeout { peer: *to, after }),
        }
    }
}

async fn sweep(pool: Arc<Pool>, idle: Duration) {
    let mut tick = tokio::time::interval(SWEEP.min(idle.max(Duration::from_millis(100))));
    loop {
        tick.tick().await;
        pool.sweep(idle);
    }
}

/// The library's endpoint, from an empty configuration: everything in it is named here.
async fn socket(config: &QuicConfig) -> Result<Socket, BindError> {
    let failed =
        |cause: &dyn std::fmt::Display| BindError::Socket { listen: config.listen, cause: cause.to_string() };
    let builder = Builder::empty()
        .crypto_provider(iroh_relay::tls::default_provider())
        .secret_key(iroh::SecretKey::from_bytes(&config.secret.seed()))
        .transport_config(transport(&config.limits)?)
        // Names of relays are resolved by the machine's own name servers or not at all.
        .dns_resolver(DnsResolver::builder().with_system_defaults().disable_fallback().build())
        .ca_tls_config(config.relays.trust())
        // What kind of network this is does not matter to us, only which relay answers.
        .net_report_config(report_config())
        .relay_mode(config.relays.mode())
        .clear_ip_transports();
    let builder = if config.direct {
        let bound = builder.bind_addr(config.listen).map_err(|e| failed(&e))?;
        config.advertise.iter().fold(bound, |builder, addr| builder.external_addr(*addr))
    } else {
        builder
    };
    builder.bind().await.map_err(|e| failed(&e))
}

fn report_config() -> NetReportConfig {
    let mut config = NetReportConfig::minimal();
    config.https_probes = true;
    config
}

fn transport(limits: &Limits) -> Result<QuicTransportConfig, BindError> {
    let silence = IdleTimeout::try_from(limits.silence).map_err(|_| BindError::Limit("silence"))?;
    Ok(QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_per_key))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .max_idle_timeout(Some(silence))
        .keep_alive_interval(limits.silence / 4)
        .build())
}
