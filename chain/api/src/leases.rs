//! Which leases a customer opened: an index in memory, since the state has none.

use crate::answer::{self, Answer};
use crate::server::Api;
use axum::Json;
use axum::extract::{Path, State};
use cairn_ledger::events::Event;
use cairn_ledger::tables::Leases;
use cairn_node::Node;
use cairn_types::{AccountId, Epoch, LeaseId, Refusal};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use utoipa::ToSchema;

/// Rows of one page of the first scan.
const PAGE: usize = 1024;
/// Pause before the index is built again after a fault.
const PAUSE: Duration = Duration::from_secs(1);

type Opened = BTreeMap<AccountId, Vec<LeaseId>>;

/// Leases by customer. 64 bytes a lease.
#[derive(Default)]
pub(crate) struct LeaseIndex(Mutex<Opened>);

impl LeaseIndex {
    /// Builds the index from the state and then follows the events.
    pub(crate) fn start(node: Node, mut stop: watch::Receiver<bool>) -> Arc<Self> {
        let index = Arc::new(Self::default());
        let kept = index.clone();
        tokio::spawn(async move {
            let follow = async {
                while let Err(cause) = kept.follow(&node).await {
                    tracing::warn!(%cause, "the index of leases starts again");
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::select! {
                () = follow => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
        index
    }

    fn of(&self, customer: &AccountId) -> Vec<LeaseId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(customer).cloned().unwrap_or_default()
    }

    fn replace(&self, opened: Opened) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = opened;
    }

    fn add(&self, customer: AccountId, lease: LeaseId) {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let leases = opened.entry(customer).or_default();
        // What was opened during the scan comes twice.
        if !leases.contains(&lease) {
            leases.push(lease);
        }
    }

    /// Ends well when the node stops.
    async fn follow(&self, node: &Node) -> Result<(), Refusal> {
        let mut live = node.events();
        self.replace(scan(node).await?);
        loop {
            match live.recv().await {
                Ok(block) => {
                    for event in &block.events {
                        if let Event::LeaseOpened { lease, customer, .. } = event {
                            self.add(*customer, *lease);
                        }
                    }
                }
                Err(RecvError::Lagged(_)) => self.replace(scan(node).await?),
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

async fn scan(node: &Node) -> Result<Opened, Refusal> {
    let mut found: Vec<(AccountId, Epoch, LeaseId)> = Vec::new();
    let mut after = None;
    loop {
        let page = node.scan::<Leases>(after, PAGE).await?;
        found.extend(page.iter().map(|(_, id, row)| (row.entry.customer, row.entry.opened, *id)));
        match page.last() {
            Some((key, ..)) if page.len() == PAGE => after = Some(*key),
            _ => break,
        }
    }
    found.sort_unstable();
    let mut opened = Opened::new();
    for (customer, _, lease) in found {
        opened.entry(customer).or_default().push(lease);
    }
    Ok(opened)
}

/// Leases of a customer.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeaseList {
    /// Lease ids, hexadecimal, by epoch of opening.
    leases: Vec<String>,
}

/// Leases that an account opened, ended ones included.
#[utoipa::path(
    get, path = "/v1/accounts/{address}/leases", tag = "state",
    params(("address" = String, Path, description = "bech32m address, or 64 hexadecimal digits")),
    responses((status = 200, body = LeaseList), (status = "4XX", body = answer::RefusalBody))
)]
pub(crate) async fn of_account(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<LeaseList>> {
    let id = answer::account(&api.node.status().hrp, &text)?;
    Ok(Json(LeaseList { leases: api.leases.of(&id).iter().map(ToString::to_string).collect() }))
}
