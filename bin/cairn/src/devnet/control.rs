//! Faults and cheats on demand: what `cairn devnet ctl` and the demo ask for.

use anyhow::Result;
use async_trait::async_trait;
use cairn_api::{DevnetCommand, DevnetControl};
use cairn_client::Account;
use cairn_crypto::phrase::Phrase;
use cairn_ledger::events::Event;
use cairn_ledger::tx::Action;
use cairn_sector::Gateway as _;
use cairn_storage_rules::types::Claim;
use cairn_types::{Amount, Credits, Refusal};
use futures::StreamExt;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::net::TcpListener;

use super::Devnet;
use super::genesis::interval;
use super::keys::Keys;
use super::operators::Operator;
use crate::operator::findings;

/// Time between blocks while time is skipped.
const WARP_INTERVAL: Duration = Duration::from_millis(50);
/// Most epochs that one command skips: twenty seconds, so that no request times out.
const MOST_EPOCHS: u64 = 20;

/// Name under which the customer's side is examined.
const GATEWAY: &str = "gateway";

/// The API is up before the network is: commands wait for it here.
#[derive(Clone, Default)]
pub struct Control(Arc<OnceLock<(Weak<Devnet>, Duration)>>);

impl Control {
    /// As the API wants it.
    pub fn as_devnet_control(&self) -> Arc<dyn DevnetControl> {
        Arc::new(self.clone())
    }

    /// The network is up.
    pub fn attach(&self, devnet: &Arc<Devnet>, epoch: Duration) {
        // Attached once, at the end of the start.
        let _ = self.0.set((Arc::downgrade(devnet), epoch));
    }
}

pub(super) fn failed(e: impl std::fmt::Display) -> Refusal {
    Refusal::with("devnet.failed", e.to_string(), "see the devnet's standard error")
}

#[async_trait]
impl DevnetControl for Control {
    async fn control(&self, command: DevnetCommand) -> Result<Value, Refusal> {
        let starting =
            || Refusal::new("devnet.starting", "the devnet is not ready", "wait for its ready message");
        let (devnet, epoch) = self.0.get().ok_or_else(starting)?;
        let devnet = devnet.upgrade().ok_or_else(starting)?;
        match command {
            DevnetCommand::Crash { operator } => devnet.crash(&operator).await,
            DevnetCommand::Restart { operator } => devnet.restart(&operator).await,
            DevnetCommand::Cheat { operator, which } => devnet.cheat(&operator, which.as_deref()).await,
            DevnetCommand::Warp { epochs } => devnet.warp(epochs, *epoch).await,
            DevnetCommand::Other { name, body } => devnet.other(&name, &body, *epoch).await,
        }
    }
}

/// The text of a field.
fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_default()
}

impl Devnet {
    fn unknown(name: &str) -> Refusal {
        Refusal::with("devnet.operator", format!("no operator {name:?}"), "names are op-1, op-2, ...")
    }

    /// Runs so many epochs at the fastest pace at which every daemon still does its duties: time that only passed
    /// would look like silence and cost honest operators their bond.
    async fn warp(&self, epochs: u64, epoch: Duration) -> Result<Value, Refusal> {
        let mut heights = self.node.heights();
        let target = self.node.status().epoch.plus(epochs.min(MOST_EPOCHS));
        self.node.set_interval(interval(epoch).min(WARP_INTERVAL));
        while self.node.status().epoch < target {
            if heights.changed().await.is_err() {
                break;
            }
        }
        self.node.set_interval(interval(epoch));
        let now = self.node.status().epoch;
        Ok(json!({"epoch": now.0, "text": format!("epoch {now}")}))
    }

    async fn crash(&self, name: &str) -> Result<Value, Refusal> {
        let mut operators = self.operators.lock().await;
        let o = operators.iter_mut().find(|o| o.name == name).ok_or_else(|| Self::unknown(name))?;
        o.crash().await;
        Ok(json!({"text": format!("{name} is down")}))
    }

    async fn restart(&self, name: &str) -> Result<Value, Refusal> {
        let mut operators = self.operators.lock().await;
        let o = operators.iter_mut().find(|o| o.name == name).ok_or_else(|| Self::unknown(name))?;
        o.start().await.map_err(|e| failed(format!("{e:#}")))?;
        Ok(json!({"text": format!("{name} is up")}))
    }

    async fn cheat(&self, name: &str, which: Option<&str>) -> Result<Value, Refusal> {
        let Some(which) = which else {
            let list = Operator::cheats();
            return Ok(json!({"cheats": list, "text": list.join("\n")}));
        };
        let operators = self.operators.lock().await;
        let o = operators.iter().find(|o| o.name == name).ok_or_else(|| Self::unknown(name))?;
        o.cheat(which)?;
        Ok(json!({"text": format!("{name} cheats: {which}")}))
    }

    async fn other(&self, name: &str, body: &Value, epoch: Duration) -> Result<Value, Refusal> {
        match name {
            "faucet" => self.faucet.give(body).await,
            "facts" => self.facts().await.map_err(|e| failed(format!("{e:#}"))),
            "doctor" => self.doctor(body["operator"].as_str()).await,
            "exit" => self.exit(text(body, "operator")).await,
            "escrow" => self.escrow().await,
            "key-new" => self.new_key(body).await,
            "key-ls" => self.list_keys().await,
            "key-revoke" => self.revoke_key(text(body, "id")).await,
            "endowment" => self.endowments(body["bucket"].as_str(), epoch).await,
            "endow" => {
                self.endow(text(body, "bucket"), body["credits"].as_u64().unwrap_or_default(), epoch).await
            }
            "pay" => self.pay(body["credits"].as_u64().unwrap_or_default()).await,
            "dispute" => self.dispute(text(body, "operator")).await,
            "lose-gateway" => self.lose_gateway().await,
            "recover" => self.recover(text(body, "phrase"), epoch).await,
            other => Err(Refusal::with(
                "devnet.command",
                format!("no command {other:?}"),
                "see `cairn devnet ctl --help`",
            )),
        }
    }

    async fn doctor(&self, only: Option<&str>) -> Result<Value, Refusal> {
        let operators = self.operators.lock().await;
        let mut out = serde_json::Map::new();
        for o in operators.iter().filter(|o| only.is_none_or(|n| n == o.name)) {
            out.insert(o.name.clone(), findings(&o.examine().await));
        }
        if only.is_none_or(|n| n == GATEWAY)
            && let Some(front) = &*self.gateway.lock().await
        {
            out.insert(GATEWAY.into(), findings(&front.checks().await));
        }
        match (out.is_empty(), only) {
            (true, Some(name)) => Err(Self::unknown(name)),
            _ => Ok(Value::Object(out)),
        }
    }

    async fn exit(&self, name: &str) -> Result<Value, Refusal> {
        let operators = self.operators.lock().await;
        let o = operators.iter().find(|o| o.name == name).ok_or_else(|| Self::unknown(name))?;
        let number = name.trim_start_matches("op-").parse().map_err(|_| Self::unknown(name))?;
        let account = Account::new(self.client.clone(), self.keys.secret(&Keys::operator(number)));
        let included =
            account.run(Action::Exit { device: o.device }).await.and_then(|i| i.done()).map_err(failed)?;
        Ok(json!({"height": included.height.0}))
    }

    /// What the leases' escrows still cover, the log's first.
    async fn escrow(&self) -> Result<Value, Refusal> {
        let gateway = self.gateway.lock().await.as_ref().map(|f| f.gateway().clone());
        let gateway = gateway.ok_or_else(|| failed("there is no gateway; recover first"))?;
        let free = self.client.account(&self.keys.account("customer")).await.map_err(failed)?.credits;
        let leases = gateway.escrows().await.map_err(failed)?;
        let leases: Vec<Value> = leases
            .iter()
            .map(|e| {
                json!({
                    "lease": e.lease.to_string(), "left_micro_usd": e.left.0.to_string(),
                    "epoch_price_micro_usd": e.epoch_price.0.to_string(), "full_epochs": e.epochs(), "empty": e.is_empty(),
                })
            })
            .collect();
        Ok(json!({"leases": leases, "free_micro_usd": free.0.to_string()}))
    }

    /// The customer buys credits; the gateway puts them into its escrows.
    async fn pay(&self, credits: u64) -> Result<Value, Refusal> {
        let account = Account::new(self.client.clone(), self.keys.secret("customer"));
        let action = Action::BuyCredits {
            account: account.id(),
            credits: Credits(credits),
            max_cost: Amount(u128::MAX),
        };
        account.run(action).await.and_then(|i| i.done()).map_err(failed)?;
        let text = format!("the customer bought {credits} credits (micro-dollars)");
        Ok(json!({"credits": credits, "text": text}))
    }

    /// The customer accuses an operator, on the ground of what it last signed, and waits for the ruling.
    async fn dispute(&self, name: &str) -> Result<Value, Refusal> {
        let device = {
            let operators = self.operators.lock().await;
            operators.iter().find(|o| o.name == name).ok_or_else(|| Self::unknown(name))?.device
        };
        let gateway = self.gateway.lock().await.as_ref().map(|f| f.gateway().clone());
        let signed = match gateway {
            Some(g) => g.volume().signed_by(&device).await,
            None => None,
        };
        let revision = signed.ok_or_else(|| {
            Refusal::with(
                "devnet.dispute",
                format!("{name} signed for nothing"),
                "store something and wait for its revision",
            )
        })?;
        let lease = Some(revision.revision.lease);
        let claim = cairn_types::encode(&Claim { revision, position: 0 });
        let account = Account::new(self.client.clone(), self.keys.secret("customer"));
        let opened = account
            .run(Action::Dispute { device, lease, claim })
            .await
            .and_then(|i| i.done())
            .map_err(failed)?;
        let mut events = self.client.events(opened.height);
        while let Some(Ok(at)) = events.next().await {
            if let Event::DisputeRuled { device: ruled, upheld, .. } = at.event
                && ruled == device
            {
                let text = if upheld {
                    "upheld: part of the bond is locked"
                } else {
                    "dismissed: the chunk was served"
                };
                return Ok(json!({"upheld": upheld, "text": text}));
            }
        }
        Err(failed("the event stream ended"))
    }

    /// The gateway's process and disk are gone: no index, no lease keys, nothing in memory.
    async fn lose_gateway(&self) -> Result<Value, Refusal> {
        let front = self.gateway.lock().await.take();
        let Some(front) = front else {
            return Err(Refusal::new("devnet.gateway", "there is no gateway to lose", "recover first"));
        };
        front.stop().await;
        Ok(json!({"text": "the gateway is gone"}))
    }

    async fn recover(&self, phrase: &str, epoch: Duration) -> Result<Value, Refusal> {
        let phrase = Phrase::parse(phrase)
            .map_err(|e| Refusal::with("phrase.invalid", e.to_string(), "write the 24 words in order"))?;
        if let Some(front) = self.gateway.lock().await.take() {
            front.stop().await;
        }
        let root = phrase.derive32(super::keys::STORAGE_ROOT);
        let (gateway, found) =
            self.open_gateway(&root, epoch, true).await.map_err(|e| failed(format!("{e:#}")))?;
        let port: u16 = self.s3.endpoint.rsplit(':').next().and_then(|p| p.parse().ok()).unwrap_or(0);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        self.serve((gateway, found.clone()), listener).await.map_err(|e| failed(format!("{e:#}")))?;
        Ok(found)
    }
}
