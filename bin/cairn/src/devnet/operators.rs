//! Operators of a devnet: each with its own disk, key and daemon, all in this process.

use anyhow::{Context, Result};
use cairn_client::Client;
use cairn_net::{Local, Transport};
use cairn_operator::{Clock, SeatConfig, Seated, examine};
use cairn_sector::Finding;
use cairn_storage_node::Identity;
use cairn_storage_node::cheats::{ALL, Cheat, Cheats};
use cairn_storage_rules::types::Params;
use cairn_types::{AccountId, DeviceId, NetworkId, Refusal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::genesis::CAPACITY;
use super::keys::Keys;
use super::setup::device_id;

/// What all operators share.
#[derive(Clone)]
pub struct Shared {
    /// Client of the node.
    pub client: Client,
    /// Clock of the network.
    pub clock: Clock,
    /// Data plane.
    pub net: Arc<Local>,
    /// Network.
    pub network: NetworkId,
    /// Governed numbers of storage.
    pub params: Params,
    /// How long an agent waits for those drawn before it.
    pub patience: Duration,
}

/// One operator.
pub struct Operator {
    /// `op-3`.
    pub name: String,
    /// Account that is paid.
    pub account: AccountId,
    /// Its device.
    pub device: DeviceId,
    identity: Arc<Identity>,
    dir: PathBuf,
    cheats: Arc<Cheats>,
    shared: Shared,
    running: Option<Seated>,
}

impl Operator {
    /// Operator `i`, not started.
    pub fn new(keys: &Keys, i: u16, dir: &Path, shared: Shared) -> Self {
        let (name, device) = (Keys::operator(i), device_id(keys, i));
        Self {
            account: keys.account(&name),
            identity: Arc::new(Identity { device, key: keys.secret(&Keys::device(i)) }),
            dir: dir.join("operators").join(&name),
            name,
            device,
            cheats: Arc::default(),
            shared,
            running: None,
        }
    }

    /// Is it up?
    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Starts it on its directory.
    pub async fn start(&mut self) -> Result<()> {
        if self.is_up() {
            return Ok(());
        }
        let s = self.shared.clone();
        let near: Arc<dyn Transport> = Arc::new(s.net.endpoint(self.identity.key.public()));
        let seated = Seated::start(SeatConfig {
            identity: self.identity.clone(),
            account: self.account,
            dir: self.dir.clone(),
            capacity: CAPACITY << 10,
            client: s.client,
            clock: s.clock,
            network: s.network,
            params: s.params,
            patience: s.patience,
            transport: near,
            cheats: self.cheats.clone(),
        });
        let seated = seated.await.with_context(|| format!("{} does not start", self.name))?;
        s.net.register(self.identity.key.public(), seated.service());
        self.running = Some(seated);
        Ok(())
    }

    /// Stops it as a power cut would: nothing is flushed, nobody is told.
    pub async fn crash(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.shared.net.remove(&self.identity.key.public());
        running.stop().await;
    }

    /// Names of cheats.
    pub fn cheats() -> Vec<&'static str> {
        ALL.iter().map(|c| c.0).chain(["dropped-data"]).collect()
    }

    /// Makes it cheat. `dropped-data` deletes what it stores, for good.
    pub fn cheat(&self, which: &str) -> Result<(), Refusal> {
        if which == "dropped-data" {
            return self.drop_data();
        }
        let cheat = Cheat::named(which).ok_or_else(|| {
            Refusal::with(
                "devnet.cheat",
                format!("no cheat {which:?}"),
                "`cairn devnet ctl cheat op-1` lists the names",
            )
        })?;
        self.cheats.set(cheat, true);
        Ok(())
    }

    fn drop_data(&self) -> Result<(), Refusal> {
        let failed =
            |e: std::io::Error| Refusal::with("devnet.cheat", e.to_string(), "is the directory writable?");
        let fragments = self.dir.join("f");
        match std::fs::remove_dir_all(&fragments) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed(e)),
            _ => std::fs::create_dir_all(&fragments).map_err(failed),
        }
    }

    /// Findings of `doctor`.
    pub async fn examine(&self) -> Vec<Finding> {
        let Some(running) = &self.running else {
            let mut out = examine(&self.shared.client, self.device, None, None).await;
            out.push(Finding::new(
                cairn_sector::Level::Bad,
                "doctor.down",
                format!("{} is not running", self.name),
                "`cairn devnet ctl restart NAME`; three silent epochs count as a loss",
            ));
            return out;
        };
        running.examine().await
    }
}
