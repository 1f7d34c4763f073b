//! The chain as a gateway sees it, over the client.

use async_trait::async_trait;
use cairn_client::{Account, Client, ClientError, Included};
use cairn_crypto::keys::PublicKey;
use cairn_ledger::events::Event;
use cairn_ledger::tables::{Devices, Leases};
use cairn_ledger::tx::Action;
use cairn_sector::{LeaseEntry, Rules};
use cairn_storage_gateway::error::GatewayError;
use cairn_storage_gateway::ports::ChainPort;
use cairn_storage_rules::Storage;
use cairn_storage_rules::types::Order;
use cairn_types::{Credits, DeviceId, Epoch, Hash, LeaseId, NetworkId, encode};
use std::sync::Arc;
use tokio::sync::Mutex;

/// A customer's account and its view of the chain.
pub struct Port {
    account: Account,
    network: NetworkId,
    /// Independent failure domains on the market; `None`: the node is asked each time.
    domains: Option<u16>,
    /// One transaction at a time: nonces are in order.
    turn: Arc<Mutex<()>>,
}

impl Port {
    /// A port for a customer.
    pub fn new(account: Account, network: NetworkId, domains: u16) -> Self {
        Self { account, network, domains: Some(domains), turn: Arc::default() }
    }

    /// A port for a customer that looks at the market before it orders.
    pub fn asking(account: Account, network: NetworkId) -> Self {
        Self { account, network, domains: None, turn: Arc::default() }
    }

    fn client(&self) -> &Client {
        self.account.client()
    }

    async fn run(&self, action: Action) -> Result<Included, GatewayError> {
        let _turn = self.turn.lock().await;
        self.account.run(action).await.and_then(Included::done).map_err(chain)
    }
}

fn chain(e: ClientError) -> GatewayError {
    GatewayError::Chain(e.to_string())
}

#[async_trait]
impl ChainPort for Port {
    fn network(&self) -> NetworkId {
        self.network
    }

    async fn epoch(&self) -> Result<Epoch, GatewayError> {
        Ok(Epoch(self.client().status().await.map_err(chain)?.epoch))
    }

    async fn domains(&self) -> Result<u16, GatewayError> {
        if let Some(fixed) = self.domains {
            return Ok(fixed);
        }
        let market = self.client().market(Storage::ID).await.map_err(chain)?;
        Ok(u16::try_from(market.domains).unwrap_or(u16::MAX))
    }

    async fn open_lease(
        &self,
        order: &Order,
        escrow: Credits,
        key: PublicKey,
        note: &[u8],
    ) -> Result<LeaseEntry, GatewayError> {
        let note = Hash::derive("cairn/lease/note", &[note]);
        let action = Action::Order { sector: Storage::ID, order: encode(order), key, escrow, note };
        let included = self.run(action).await?;
        let opened = included.events.iter().find_map(|e| match e {
            Event::LeaseOpened { lease, .. } => Some(*lease),
            _ => None,
        });
        let id = opened.ok_or_else(|| GatewayError::Chain("the order opened no lease".into()))?;
        self.lease(&id).await?.ok_or_else(|| GatewayError::Chain("the new lease cannot be read".into()))
    }

    async fn lease(&self, id: &LeaseId) -> Result<Option<LeaseEntry>, GatewayError> {
        let row = self.client().get::<Leases>(id).await.map_err(chain)?;
        Ok(row.filter(|r| r.refunded.is_none()).map(|r| r.entry))
    }

    async fn fund(&self, id: &LeaseId, escrow: Credits) -> Result<(), GatewayError> {
        self.run(Action::Fund { lease: *id, credits: escrow }).await.map(|_| ())
    }

    async fn close(&self, id: &LeaseId) -> Result<(), GatewayError> {
        self.run(Action::Close { lease: *id }).await.map(|_| ())
    }

    async fn charged(&self, id: &LeaseId) -> Result<Credits, GatewayError> {
        let charged = self.client().charge_proof(Storage::ID, id).await.map_err(chain)?;
        Ok(charged.map_or(Credits::ZERO, |c| c.1))
    }

    async fn credits(&self) -> Result<Credits, GatewayError> {
        Ok(self.client().account(&self.account.id()).await.map_err(chain)?.credits)
    }

    async fn fence(&self, id: &LeaseId, key: PublicKey, fence: u64) -> Result<(), GatewayError> {
        self.run(Action::Fence { lease: *id, key, fence }).await.map(|_| ())
    }

    async fn leases(&self) -> Result<Vec<LeaseEntry>, GatewayError> {
        let me = self.account.id();
        let ids = self.client().leases_of(&me).await.map_err(chain)?;
        let mut out = Vec::new();
        for id in ids {
            if let Some(entry) = self.lease(&id).await?.filter(|e| e.closing.is_none()) {
                out.push(entry);
            }
        }
        out.sort_by_key(|e| (e.opened, e.id));
        Ok(out)
    }

    async fn endpoint(&self, device: &DeviceId) -> Result<PublicKey, GatewayError> {
        let row = self.client().get::<Devices>(device).await.map_err(chain)?;
        row.map(|r| r.key).ok_or_else(|| GatewayError::Chain(format!("device {device} is not registered")))
    }
}
