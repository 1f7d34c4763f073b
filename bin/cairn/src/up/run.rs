//! Every later start: the operator at work, until it is told to stop.

use anyhow::Result;
use cairn_client::Client;
use cairn_crypto::keys::SecretKey;
use cairn_ledger::tables::Devices;
use cairn_net::quic::{Endpoint, Path};
use cairn_operator::{Clock, SeatConfig, Seated};
use cairn_sector::{Finding, Level};
use cairn_storage_node::Identity;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::plan::{Facts, Plan, storage_params};
use super::{answer, change, probe};
use crate::config::Config;
use crate::home::{Home, meet};
use crate::notify::Manager;
use crate::output::{Failure, Out};
use crate::plane;

/// How often the process says how it is doing.
const WORD: Duration = Duration::from_secs(5);
/// How often the longer checks (clock, disk) run.
const CHECKS: Duration = Duration::from_secs(60);
/// Longest wait for a node while the process says how it is doing.
const ANSWER: Duration = Duration::from_secs(8);
/// Longest wait for the clock of the network at a start.
const FIRST: Duration = Duration::from_secs(30);

/// Any address, a free port: who sits behind a router needs no fixed one.
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Parts of the running operator.
struct Operator {
    home: Home,
    client: Client,
    endpoint: Endpoint,
    seated: Seated,
    config: Config,
}

/// Ends tasks with their owner.
struct Tasks(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Runs until a signal.
pub async fn run(home: &Home, out: Out) -> Result<()> {
    let manager = Manager::from_env();
    let config = home.config()?;
    let link = home.link()?;
    let client = home.client()?;
    meet(&client, link.network, |cause| {
        manager.say("waiting for a node");
        tracing::warn!(%cause, "up.waiting");
    })
    .await?;
    let facts = Facts::ask(&client).await?;
    // What was changed while nothing ran.
    if let Err(error) = change::apply(home, &client, &config).await {
        tracing::warn!(%error, "up.offer_not_changed");
    }
    let operator = start(home, &client, config, &facts).await?;
    let record = operator.endpoint.record();
    let addresses: Vec<String> = record.addrs.iter().map(ToString::to_string).collect();
    answer(out, home, &facts.chain.hrp, "running", json!({"addresses": addresses}));
    let alive = manager.ready();
    alive.say("running");
    let _tasks = Tasks(vec![tokio::spawn(plane::announce(operator.endpoint.clone(), plane::nodes(&link)?))]);
    let ended = tokio::select! {
        signal = crate::devnet::wait_for_signal() => signal,
        () = operator.watch() => Ok(()),
    };
    drop(alive);
    out.say("stopping");
    home.fall_silent();
    operator.endpoint.close().await;
    operator.seated.stop().await;
    ended
}

async fn start(home: &Home, client: &Client, config: Config, facts: &Facts) -> Result<Operator> {
    let missing = || Failure::new("up.identity", "the directory has no device", "run `cairn up` with --join");
    let identity = home.identity().ok_or_else(missing)?;
    let device = identity.device().ok_or_else(missing)?;
    let network = facts.chain.network;
    let secret = home.key("device")?;
    let link = home.link()?;
    let copy = SecretKey::from_seed(&secret.seed());
    let listen = config.listen.unwrap_or(ANYWHERE);
    let endpoint =
        plane::endpoint(plane::nodes(&link)?, network, copy, listen, config.advertise, &link.relays).await?;
    let plan = Plan::of(&config, facts)?;
    let p = &facts.chain.params;
    let block = Duration::from_millis(p.epoch_seconds.saturating_mul(1000) / p.epoch_blocks.max(1));
    let mut clock =
        Clock::start(client.clone(), (block / 2).clamp(Duration::from_millis(50), Duration::from_secs(2)));
    if clock.now().is_none() {
        // The daemon looks back from where the network stands.
        let _ = tokio::time::timeout(FIRST, clock.next()).await;
    }
    let seated = Seated::start(SeatConfig {
        identity: Arc::new(Identity { device, key: secret }),
        account: identity.account(),
        dir: config.disk.clone().unwrap_or_else(|| home.path().join("data")),
        capacity: plan.size,
        client: client.clone(),
        clock,
        network,
        params: storage_params(client).await?,
        patience: Duration::from_secs(p.epoch_seconds),
        transport: Arc::new(endpoint.clone()),
        cheats: Arc::default(),
    })
    .await
    .map_err(|e| plane::plain("up.disk", &e))?;
    endpoint.serve(seated.service());
    Ok(Operator { home: home.clone(), client: client.clone(), endpoint, seated, config })
}

impl Operator {
    /// Says how it is doing, and takes up what is changed in the configuration. Never ends by itself, and never falls
    /// silent because a node or a disk does.
    async fn watch(&self) {
        let mut known = self.config.clone();
        let slow: Mutex<Vec<Finding>> = Mutex::default();
        let looking = async {
            loop {
                let found = self.slow_checks().await;
                *slow.lock().unwrap_or_else(PoisonError::into_inner) = found;
                tokio::time::sleep(CHECKS).await;
            }
        };
        let telling = async {
            loop {
                let mut findings = self.examine().await;
                findings.extend(slow.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
                findings.extend(self.reach());
                findings.extend(self.take_up(&mut known).await);
                let said = serde_json::to_value(&findings).unwrap_or(Value::Null);
                if let Err(error) = self.home.say(said, self.facts()) {
                    tracing::warn!(%error, "up.status");
                }
                tokio::time::sleep(WORD).await;
            }
        };
        // Neither ends.
        tokio::join!(looking, telling);
    }

    async fn examine(&self) -> Vec<Finding> {
        let late = |_| {
            let cause = "the node does not answer in time: leases that are known are served, nothing is proven or paid meanwhile";
            vec![Finding::new(
                Level::Bad,
                "doctor.node",
                cause,
                "look whether the node is up; the join link may name others",
            )]
        };
        tokio::time::timeout(ANSWER, self.seated.examine()).await.unwrap_or_else(late)
    }

    async fn slow_checks(&self) -> Vec<Finding> {
        let dir = self.config.disk.clone().unwrap_or_else(|| self.home.path().join("data"));
        let (disk, clock) = tokio::join!(probe::disk(&dir, false), probe::clock(&self.client));
        vec![disk, probe::space(&dir, self.seated.free()), clock]
    }

    /// Takes up a changed configuration: prices and texts at once, the rest is said to need a restart.
    async fn take_up(&self, known: &mut Config) -> Option<Finding> {
        let warn =
            |code: &str, cause: String, remedy: &str| Some(Finding::new(Level::Warning, code, cause, remedy));
        let now = match self.home.config() {
            Ok(now) => now,
            Err(e) => {
                return warn(
                    "config.invalid",
                    format!("the configuration cannot be used: {e:#}"),
                    "mend it with `cairn set`",
                );
            }
        };
        if now != *known {
            let applied = tokio::time::timeout(ANSWER, change::apply(&self.home, &self.client, &now)).await;
            match applied.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time"))) {
                Ok(()) => *known = now.clone(),
                Err(e) => {
                    return warn(
                        "config.pending",
                        format!("the change of the offer is not on the chain: {e}"),
                        "it is tried again",
                    );
                }
            }
        }
        let waiting: Vec<&str> = self
            .config
            .differs(&now)
            .into_iter()
            .filter(|k| k.used == crate::config::Used::Restart || k.name == "offer")
            .map(|k| k.name)
            .collect();
        match waiting.is_empty() {
            true => None,
            false => warn(
                "config.restart",
                format!("changed and not in use yet: {}", waiting.join(", ")),
                "restart the operator",
            ),
        }
    }

    /// How others reach it.
    fn reach(&self) -> Vec<Finding> {
        let record = self.endpoint.record();
        let relays = self.endpoint.home_relay();
        let mut out = Vec::new();
        let through = |path: fn(&Path) -> bool| {
            let stats = self.endpoint.stats();
            stats.iter().filter(|s| s.inbound && s.path.as_ref().is_some_and(path)).count()
        };
        let (direct, relayed) =
            (through(|p| matches!(p, Path::Direct(_))), through(|p| matches!(p, Path::Relay(_))));
        let cause = format!(
            "{} addresses announced; of the peers connected now {direct} come directly, {relayed} through a relay",
            record.addrs.len()
        );
        out.push(match (record.addrs.is_empty(), &relays) {
            (true, None) => Finding::new(
                Level::Bad,
                "reach.nobody",
                "no address and no relay: nobody can reach this machine",
                "check the network, or name a relay in the join link",
            ),
            _ => Finding::new(Level::Good, "reach.peers", cause, ""),
        });
        match (relays, self.endpoint.relay_refusal()) {
            (Some(url), _) => out.push(Finding::new(Level::Good, "reach.relay", format!("connected to the relay {url}"), "")),
            (None, Some(why)) => out.push(Finding::new(Level::Warning, "reach.relay", format!("the relay refuses: {why}"), "look whether the device is registered, and whether the relay's node is up")),
            (None, None) if self.has_relays() => out.push(Finding::new(Level::Warning, "reach.relay", "no relay answers", "who is behind a router cannot reach you meanwhile; `cairn set advertise ADDR` with a forwarded port helps")),
            (None, None) => {}
        }
        out
    }

    fn has_relays(&self) -> bool {
        self.home.link().is_ok_and(|l| !l.relays.is_empty())
    }

    fn facts(&self) -> Value {
        let record = self.endpoint.record();
        let done = self.seated.done();
        json!({
            "addresses": record.addrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "relay": self.endpoint.home_relay(),
            "free_bytes": self.seated.free(),
            "offer_bytes": self.config.offer.as_deref().and_then(|t| crate::args::parse_size(t).ok()),
            "commitments": done.commitments, "answers": done.answers, "bundles": done.bundles, "claims": done.claims,
        })
    }
}

/// What the chain says of a directory's device, for commands that do not need the process.
pub async fn device_row(home: &Home, client: &Client) -> Result<Option<cairn_ledger::tables::DeviceRow>> {
    let Some(device) = home.identity().and_then(|i| i.device()) else { return Ok(None) };
    Ok(client.get::<Devices>(&device).await?)
}
