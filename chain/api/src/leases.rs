//! Which leases a customer opened: an index in memory, since the state has none.

use crate::answer::{self, Answer, Failure};
use crate::server::Api;
use axum::Json;
use axum::extract::{Path, State};
use cairn_ledger::events::Event;
use cairn_ledger::tables::Leases;
use cairn_node::Node;
use cairn_types::{AccountId, Epoch, Height, LeaseId, Refusal};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use utoipa::ToSchema;

/// Rows of one page of the first scan.
const PAGE: usize = 1024;
/// Pause before the index is built again after a fault.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest wait of a request for the index to reach the node's height.
const PATIENCE: Duration = Duration::from_secs(2);

type Opened = BTreeMap<AccountId, Vec<LeaseId>>;

/// Leases by customer, and the height up to which none is missing. 64 bytes a lease.
#[derive(Default)]
struct Known {
    opened: Opened,
    /// `None` until the first scan is done.
    through: Option<Height>,
}

impl Known {
    /// Takes in the events of the next block. False: blocks lie between, which only a scan can make up for.
    fn follow(&mut self, height: Height, events: &[Event]) -> bool {
        let Some(through) = self.through else { return false };
        if height > through.plus(1) {
            return false;
        }
        for event in events {
            if let Event::LeaseOpened { lease, customer, .. } = event {
                let leases = self.opened.entry(*customer).or_default();
                // What was opened during the scan comes twice.
                if !leases.contains(lease) {
                    leases.push(*lease);
                }
            }
        }
        self.through = Some(through.max(height));
        true
    }
}

/// The index as handlers see it.
#[derive(Default)]
pub(crate) struct LeaseIndex(watch::Sender<Known>);

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

    /// All leases that a customer opened up to a height, which is `tip` or later.
    ///
    /// # Errors
    ///
    /// `node.starting` when the index does not get there in time: an incomplete list would pass for a complete one,
    /// and whoever reads it would order again what it has.
    async fn of(
        &self,
        customer: &AccountId,
        tip: Height,
        patience: Duration,
    ) -> Answer<(Height, Vec<LeaseId>)> {
        let mut known = self.0.subscribe();
        let reached = known.wait_for(|known| known.through.is_some_and(|through| through >= tip));
        if let Ok(Ok(known)) = tokio::time::timeout(patience, reached).await {
            let leases = known.opened.get(customer).cloned().unwrap_or_default();
            return Ok((known.through.unwrap_or(tip), leases));
        }
        let cause = match self.0.borrow().through {
            None => "the index of leases is not built yet".to_owned(),
            Some(through) => format!("the index of leases is at height {through}, the node at {tip}"),
        };
        Err(Failure::from(Refusal::with("node.starting", cause, "ask again in a second")))
    }

    /// Whether a customer opened a lease, as far as is known by now.
    pub(crate) fn has(&self, customer: &AccountId) -> bool {
        self.0.borrow().opened.contains_key(customer)
    }

    /// Ends well when the node stops.
    async fn follow(&self, node: &Node) -> Result<(), Refusal> {
        let mut live = node.events();
        self.build(node).await?;
        loop {
            match live.recv().await {
                Ok(block) => {
                    let mut follows = true;
                    self.0.send_modify(|known| follows = known.follow(block.height, &block.events));
                    if !follows {
                        self.build(node).await?;
                    }
                }
                Err(RecvError::Lagged(_)) => self.build(node).await?,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }

    async fn build(&self, node: &Node) -> Result<(), Refusal> {
        // The state that is read from here on is of this height or later, whatever block each page is of.
        let through = *node.heights().borrow();
        let opened = scan(node).await?;
        self.0.send_replace(Known { opened, through: Some(through) });
        Ok(())
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
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LeaseList {
    /// Height up to which the list is complete: at least the node's height when it was asked.
    height: u64,
    /// Lease ids, hexadecimal, by epoch of opening.
    leases: Vec<String>,
}

/// Leases that an account opened, ended ones included. Never shorter than the truth: a node that cannot tell yet
/// refuses.
#[utoipa::path(
    get, path = "/v1/accounts/{address}/leases", tag = "state",
    params(("address" = String, Path, description = "bech32m address, or 64 hexadecimal digits")),
    responses(
        (status = 200, body = LeaseList), (status = "4XX", body = answer::RefusalBody),
        (status = 503, description = "`node.starting`: not known yet, ask again", body = answer::RefusalBody),
    )
)]
pub(crate) async fn of_account(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<LeaseList>> {
    let id = answer::account(&api.node.status().hrp, &text)?;
    let tip = *api.node.heights().borrow();
    let (height, leases) = api.leases.of(&id, tip, PATIENCE).await?;
    Ok(Json(LeaseList { height: height.0, leases: leases.iter().map(ToString::to_string).collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{StatusCode, header};
    use axum::response::IntoResponse as _;
    use cairn_types::SectorId;

    const CUSTOMER: AccountId = AccountId([1; 32]);

    fn opened(lease: u8) -> Event {
        Event::LeaseOpened { lease: LeaseId([lease; 32]), customer: CUSTOMER, sector: SectorId(1) }
    }

    async fn ask(index: &LeaseIndex, tip: u64) -> Answer<(Height, Vec<LeaseId>)> {
        index.of(&CUSTOMER, Height(tip), Duration::from_millis(1)).await
    }

    #[tokio::test]
    async fn an_index_that_is_not_built_is_no_empty_list() {
        let index = LeaseIndex::default();
        let answer = ask(&index, 0).await.unwrap_err().into_response();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key(header::RETRY_AFTER));
        assert!(ask(&index, 7).await.is_err_and(|f| f.refusal.code == "node.starting"));
    }

    #[tokio::test]
    async fn no_answer_is_older_than_the_node() {
        let index = LeaseIndex::default();
        index.0.send_replace(Known { opened: Opened::new(), through: Some(Height(5)) });
        assert_eq!(ask(&index, 5).await.unwrap(), (Height(5), vec![]));
        assert!(ask(&index, 6).await.is_err());
        let waiting = async { index.of(&CUSTOMER, Height(6), Duration::from_secs(60)).await };
        let coming = async { index.0.send_modify(|known| assert!(known.follow(Height(6), &[opened(3)]))) };
        let (answer, ()) = tokio::join!(waiting, coming);
        assert_eq!(answer.unwrap(), (Height(6), vec![LeaseId([3; 32])]));
    }

    #[test]
    fn a_lease_opened_during_the_scan_is_listed_once_and_a_gap_is_noticed() {
        let mut known = Known::default();
        assert!(!known.follow(Height(1), &[]), "nothing was scanned yet");
        known.through = Some(Height(5));
        for height in [4, 5, 6] {
            assert!(known.follow(Height(height), &[opened(1)]));
        }
        assert_eq!((known.opened[&CUSTOMER].len(), known.through), (1, Some(Height(6))));
        assert!(!known.follow(Height(8), &[opened(2)]), "block 7 is missing");
        assert_eq!(known.through, Some(Height(6)));
    }
}
