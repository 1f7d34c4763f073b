//! A whole network in one process: node, operators, gateway, on loopback.

mod access;
mod control;
mod demo;
mod endow;
pub mod genesis;
pub mod keys;
mod operators;
mod ordered;
mod setup;

use anyhow::{Context, Result};
use cairn_client::{Account, Client};
use cairn_crypto::{JoinLink, address, keyfile};
use cairn_ledger::genesis::Export;
use cairn_net::quic::Endpoint;
use cairn_net::{Either, Local, Transport};
use cairn_node::{Node, NodeConfig, SeatKeys};
use cairn_operator::Clock;
use cairn_sector::Gateway as _;
use cairn_storage_gateway::front::Front;
use cairn_storage_gateway::gateway::{Config, Gateway};
use cairn_storage_gateway::server::{self, ServerConfig};
use cairn_types::{LeaseId, NetworkId};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::args::{Ctl, DevnetArgs};
use crate::node::Faucet;
use crate::output::{Failure, Out, table};
use crate::plane;
use crate::port::Port;
use crate::s3::S3;
use control::Control;
use genesis::{interval, sectors, storage_params};
use keys::Keys;
use operators::{Operator, Shared};
use ordered::Ordered;

/// Time between blocks while the network is set up.
const SETUP_INTERVAL: Duration = Duration::from_millis(10);
/// How often access logs are stored: a devnet is watched.
const JOURNAL: Duration = Duration::from_secs(2);
/// Region that S3 clients must name.
const REGION: &str = "cairn";

/// A running devnet.
pub struct Devnet {
    keys: Keys,
    node: Node,
    client: Client,
    s3: S3,
    dir: PathBuf,
    api: SocketAddr,
    operators: Mutex<Vec<Operator>>,
    gateway: Mutex<Option<Box<Front>>>,
    net: Arc<Local>,
    count: u16,
    hrp: String,
    terms: Ordered,
    /// Link for operators and customers in processes of their own.
    join: String,
    /// The way to them, once somebody asks for it.
    far: Endpoint,
    faucet: Faucet,
}

/// `cairn devnet`.
pub async fn run(args: DevnetArgs, out: Out) -> Result<()> {
    let begun = Instant::now();
    let temporary = match &args.dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("cannot make a temporary directory")?),
    };
    let dir =
        args.dir.clone().or_else(|| temporary.as_ref().map(|t| t.path().to_owned())).unwrap_or_default();
    let epoch = if args.demo.is_some() { args.epoch.min(Duration::from_secs(2)) } else { args.epoch };
    let devnet = start(&args, epoch, &dir).await?;
    let ready = begun.elapsed();
    if let Some(file) = &args.demo {
        out.say(format!(
            "a network of {} operators is up after {:.2} s",
            args.operators,
            ready.as_secs_f64()
        ));
        let phrase = devnet.keys.phrase();
        let stage = demo::Stage { client: devnet.client.clone(), s3: devnet.s3.clone(), phrase, out };
        let file = (!file.is_empty()).then_some(file.as_str());
        let done = demo::run(stage, file).await;
        devnet.stop().await;
        return done;
    }
    devnet.print(out, ready).await?;
    wait_for_signal().await?;
    out.say("stopping");
    devnet.stop().await;
    Ok(())
}

/// Waits for Ctrl-C or a service manager's wish to stop.
pub async fn wait_for_signal() -> Result<()> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        r = tokio::signal::ctrl_c() => r.context("cannot wait for a signal"),
        _ = term.recv() => Ok(()),
    }
}

async fn listen(port: u16, what: &str) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|e| {
        Failure::new(
            "devnet.port",
            format!("port {port} for {what} is not free: {e}"),
            "stop the other devnet, or choose a port; 0 takes a free one",
        )
    })
}

async fn start(args: &DevnetArgs, epoch: Duration, dir: &Path) -> Result<Arc<Devnet>> {
    let keys = Keys::new(&args.seed);
    let terms = Ordered::new(args, epoch);
    let genesis = genesis::genesis(&keys, args.operators, epoch, terms.prepaid());
    let hrp = genesis.hrp.clone();
    let import = imported(args, dir, genesis.network())?;
    // Ports first: nothing is written when they are taken.
    let api = listen(args.api_port, "the API").await?;
    let s3 = listen(args.s3_port, "S3").await?;
    write_keys(&keys, args.operators, dir)?;
    let node = Node::start(NodeConfig {
        dir: dir.join("node"),
        genesis,
        sectors: sectors(),
        seat: Some(seat(&keys)),
        interval: SETUP_INTERVAL,
        import,
    })
    .await?;
    setup::setup(&node, &keys, args.operators).await?;
    node.set_interval(interval(epoch));
    let address = api.local_addr()?;
    let client = Client::new(format!("http://{address}"))?;
    let control = Control::default();
    let network = node.status().network;
    let join = serve_api(&node, api, &control, dir)?;
    let clock = Clock::start(
        client.clone(),
        (interval(epoch) / 2).clamp(Duration::from_millis(20), Duration::from_millis(40)),
    );
    let net = Arc::new(Local::new());
    let shared = Shared {
        client: client.clone(),
        clock,
        net: net.clone(),
        network,
        params: storage_params(epoch),
        patience: epoch,
    };
    let mut operators: Vec<Operator> =
        (1..=args.operators).map(|i| Operator::new(&keys, i, dir, shared.clone())).collect();
    futures::future::try_join_all(operators.iter_mut().map(Operator::start)).await?;
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let far =
        plane::endpoint(vec![client.clone()], network, keys.secret("customer/gateway"), anywhere, None, &[])
            .await?;
    let faucet = Faucet::new(Account::new(client.clone(), keys.secret("founder")));
    let (access_key, secret_key) = keys.s3();
    let endpoint = format!("http://{}", s3.local_addr()?);
    let devnet = Arc::new(Devnet {
        s3: S3 { endpoint, access_key, secret_key, region: REGION.into() },
        keys,
        node,
        client,
        dir: dir.to_owned(),
        api: address,
        operators: Mutex::new(operators),
        gateway: Mutex::new(None),
        net,
        count: args.operators,
        hrp,
        terms,
        join,
        far,
        faucet,
    });
    let root = devnet.keys.storage_root();
    let gateway = devnet.open_gateway(&root, epoch, false).await?;
    devnet.serve(gateway, s3).await?;
    control.attach(&devnet, epoch);
    Ok(devnet)
}

/// Secrets of the one seat.
fn seat(keys: &Keys) -> SeatKeys {
    SeatKeys {
        number: 0,
        identity_seed: *keys.secret("seat/message").seed(),
        consensus_secret: keys.bytes("seat/consensus"),
        message: keys.secret("seat/message"),
        vote: keys.vote(),
    }
}

/// Serves the API from now on; the join link of the network.
fn serve_api(node: &Node, api: TcpListener, control: &Control, dir: &Path) -> Result<String> {
    let network = node.status().network;
    let nodes = vec![format!("http://{}", api.local_addr()?)];
    let link = JoinLink { network, nodes, relays: Vec::new() };
    let join = link.text().map_err(|e| plane::plain("join.invalid", &e))?;
    let services = cairn_api::Services {
        devnet: Some(control.as_devnet_control()),
        peers: Some(plane::peer_store(network, dir)),
        join: Some(join.clone()),
    };
    let served = cairn_api::serve(node.clone(), api, services);
    tokio::spawn(async move {
        if let Err(error) = served.await {
            tracing::error!(%error, "devnet.api");
        }
    });
    Ok(join)
}

/// The state to go on from, if one is named.
fn imported(args: &DevnetArgs, dir: &Path, network: NetworkId) -> Result<Option<Export>> {
    let Some(file) = &args.import else { return Ok(None) };
    let state = crate::state::import(file, network)?;
    let disks = dir.join("operators");
    if !disks.is_dir() {
        return Err(Failure::new(
            "import.disks",
            format!(
                "the state has leases, and {} with what was stored under them is not there",
                disks.display()
            ),
            "copy the directory `operators` of the network that was exported into --dir first",
        ));
    }
    Ok(Some(state.export))
}

/// Key files, 0600, marked worthless.
fn write_keys(keys: &Keys, operators: u16, dir: &Path) -> Result<()> {
    let folder = dir.join("keys");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let names =
        ["founder".to_owned(), "customer".to_owned()].into_iter().chain((1..=operators).map(Keys::operator));
    for name in names {
        let path = folder.join(format!("{name}.key"));
        if !path.exists() {
            keyfile::write_plain_devnet(&path, &keys.bytes(&name))?;
        }
    }
    Ok(())
}

impl Devnet {
    /// Terms on which the gateway orders storage.
    fn config(&self, epoch: Duration) -> Config {
        let mut config = Config::new(self.terms.terms());
        // Revisions must be in place well before each lock.
        config.upkeep = Some((epoch / 5).min(Duration::from_secs(30)));
        config
    }

    /// Opens the gateway, fresh or from what the network holds.
    async fn open_gateway(
        &self,
        root: &[u8; 32],
        epoch: Duration,
        recover: bool,
    ) -> Result<(Arc<Gateway>, Value)> {
        let account = Account::new(self.client.clone(), self.keys.secret("customer"));
        let port = Arc::new(Port::new(account, self.node.status().network, self.count));
        let near = Arc::new(self.net.endpoint(self.keys.secret("customer/gateway").public()));
        // Operators that joined with `cairn up` are further away than the others.
        let transport: Arc<dyn Transport> = Arc::new(Either::new(near, Arc::new(self.far.clone())));
        let config = self.config(epoch);
        let started = if recover {
            Gateway::recover(root, port, transport, config).await?
        } else {
            Gateway::start(root, port, transport, config).await?
        };
        let (id, secret) = self.keys.s3();
        started.gateway.put_access_key(&id, &secret).await?;
        let r = started.recovery;
        Ok((
            started.gateway,
            json!({"buckets": r.buckets, "objects": r.objects, "replicas": r.replicas, "entries": r.entries}),
        ))
    }

    async fn serve(&self, gateway: (Arc<Gateway>, Value), listener: TcpListener) -> Result<()> {
        let config = ServerConfig { region: REGION.into(), journal: JOURNAL, ..ServerConfig::default() };
        let server = server::serve(listener, gateway.0.clone(), config)?;
        *self.gateway.lock().await = Some(Box::new(Front::new(gateway.0, server)));
        Ok(())
    }

    /// Ids of the customer's leases.
    async fn leases(&self) -> Result<Vec<LeaseId>> {
        Ok(self.client.leases_of(&self.keys.account("customer")).await?)
    }

    /// What commands need to know.
    pub async fn facts(&self) -> Result<Value> {
        let operators = self.operators.lock().await;
        let list: Vec<Value> = operators
            .iter()
            .map(|o| {
                json!({"name": o.name, "account": self.address(&o.account), "device": o.device.to_string(), "up": o.is_up()})
            })
            .collect();
        let leases: Vec<String> = self.leases().await?.iter().map(ToString::to_string).collect();
        let missing = self.gateway.lock().await.as_ref().map(|f| f.gateway().health().incomplete);
        Ok(json!({
            "s3": self.s3, "operators": list, "leases": leases, "missing_fragments": missing, "dir": self.dir,
        }))
    }

    fn address(&self, id: &cairn_types::AccountId) -> String {
        address::encode(&self.hrp, id).unwrap_or_else(|_| id.to_string())
    }

    /// The ready message: one object, or the text with the next command.
    async fn print(&self, out: Out, ready: Duration) -> Result<()> {
        let mut accounts = vec![
            ("founder".to_owned(), self.keys.account("founder")),
            ("customer".to_owned(), self.keys.account("customer")),
        ];
        accounts.extend(self.operators.lock().await.iter().map(|o| (o.name.clone(), o.account)));
        let api = format!("http://{}", self.api);
        let object = json!({
            "api": api, "s3": self.s3, "pid": std::process::id(), "dir": self.dir, "worthless_keys": true,
            "join": self.join, "recovery_phrase": self.keys.phrase(), "ready_ms": u64::try_from(ready.as_millis()).unwrap_or(u64::MAX),
            "accounts": accounts.iter().map(|(n, a)| json!({"name": n, "address": self.address(a)})).collect::<Vec<_>>(),
        });
        let rows: Vec<Vec<String>> = accounts.iter().map(|(n, a)| vec![n.clone(), self.address(a)]).collect();
        let phrase = self.keys.phrase();
        out.answer(&object, || {
            let s = &self.s3;
            format!(
                "devnet is ready after {:.2} s: {} operators, one validator; its keys are the same on every run and WORTHLESS\n\n\
                 API       {api}   (OpenAPI at /openapi.json)\n\
                 S3        {}   region {}\n\
                 key id    {}\n\
                 secret    {}\n\
                 phrase    {phrase}\n\
                 join      {}\n\
                 directory {}\n\n{}\n\n\
                 next:\n  export CAIRN_API={api} AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} AWS_DEFAULT_REGION={}\n  \
                 aws --endpoint-url {} s3 mb s3://first\n  cairn storage put README.md s3://first/\n  cairn status",
                ready.as_secs_f64(),
                self.count,
                s.endpoint,
                s.region,
                s.access_key,
                s.secret_key,
                self.join,
                self.dir.display(),
                table(&["account", "address"], &rows, 2),
                s.access_key,
                s.secret_key,
                s.region,
                s.endpoint,
            )
        });
        Ok(())
    }

    async fn stop(&self) {
        if let Some(front) = self.gateway.lock().await.take() {
            front.stop().await;
        }
        for o in self.operators.lock().await.iter_mut() {
            o.crash().await;
        }
        self.far.close().await;
        if let Err(error) = self.node.clone().shutdown().await {
            tracing::warn!(%error, "devnet.stop");
        }
    }
}

/// `cairn devnet ctl`.
pub async fn ctl(client: &Client, out: Out, ctl: Ctl) -> Result<()> {
    let (command, body) = match ctl {
        Ctl::Crash { operator } => ("crash", json!({"operator": operator})),
        Ctl::Restart { operator } => ("restart", json!({"operator": operator})),
        Ctl::Cheat { operator, which } => ("cheat", json!({"operator": operator, "which": which})),
        Ctl::Dispute { operator } => ("dispute", json!({"operator": operator})),
        Ctl::Pay { credits } => ("pay", json!({"credits": credits})),
        Ctl::LoseGateway => ("lose-gateway", json!({})),
        Ctl::Warp { epochs } => ("warp", json!({"epochs": epochs})),
    };
    let answer = client.devnet(command, &body).await?;
    out.answer(&answer, || answer["text"].as_str().map_or_else(|| answer.to_string(), str::to_owned));
    Ok(())
}

/// Epoch parameters are a function of the length of an epoch; kept here for the tests of the command line.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_fit_into_the_shortest_epoch() {
        genesis::params(Duration::from_secs(2)).check().expect("valid");
        assert_eq!(interval(Duration::from_secs(2)), Duration::from_millis(100));
    }
}
