//! What keeps a bucket for ever: its leases and the index's, and the endowments of them.

use cairn_client::Account;
use cairn_ledger::endowment::price;
use cairn_ledger::tables::{Endowments, Leases};
use cairn_ledger::tx::Action;
use cairn_storage_gateway::gateway::Gateway;
use cairn_storage_gateway::index::{ListQuery, Resume};
use cairn_types::{Credits, LeaseId, Refusal};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Devnet;
use super::control::failed;
use super::genesis::params;

/// Seconds of a year of 365 days.
const YEAR: u64 = 31_536_000;

impl Devnet {
    async fn running(&self) -> Result<Arc<Gateway>, Refusal> {
        let gateway = self.gateway.lock().await.as_ref().map(|f| f.gateway().clone());
        gateway.ok_or_else(|| failed("there is no gateway; recover first"))
    }

    /// The log's lease, then those in which objects of the bucket lie. Without a bucket: all.
    async fn leases_for(&self, bucket: Option<&str>) -> Result<Vec<LeaseId>, Refusal> {
        let gateway = self.running().await?;
        let all: Vec<LeaseId> = gateway.escrows().await.map_err(failed)?.iter().map(|e| e.lease).collect();
        let Some(bucket) = bucket else { return Ok(all) };
        let index = gateway.index();
        let query = ListQuery { max: usize::MAX, resume: Resume::Start, ..ListQuery::default() };
        let objects = index.bucket(bucket).map_err(failed)?.list(&query).objects;
        let runs = objects.iter().flat_map(|(_, object)| object.placement.runs());
        let held: BTreeSet<LeaseId> =
            runs.filter_map(|run| index.segment(&run.segment)).map(|s| *s.meta.lease()).collect();
        let of_bucket = |(at, lease): &(usize, LeaseId)| *at == 0 || held.contains(lease);
        Ok(all.into_iter().enumerate().filter(of_bucket).map(|x| x.1).collect())
    }

    /// What endowments hold and what their leases cost, those of a bucket or all.
    pub(super) async fn endowments(&self, bucket: Option<&str>, epoch: Duration) -> Result<Value, Refusal> {
        let chain = params(epoch);
        let mut list = Vec::new();
        for id in self.leases_for(bucket).await? {
            let Some(lease) = self.client.get::<Leases>(&id).await.map_err(failed)? else { continue };
            let row = self.client.get::<Endowments>(&id).await.map_err(failed)?.unwrap_or_default();
            list.push(json!({
                "lease": id.to_string(), "left_micro_usd": row.left.0.to_string(),
                "paid_micro_usd": row.paid.0.to_string(),
                "epoch_price_micro_usd": price(&lease.entry, 1).0.to_string(),
            }));
        }
        let epochs_a_year = YEAR / chain.epoch_seconds.max(1);
        Ok(
            json!({"leases": list, "epochs_a_year": epochs_a_year, "filled_every_epochs": chain.unpaid_epochs}),
        )
    }

    /// Endows the leases of a bucket, each by its share of the price.
    pub(super) async fn endow(&self, bucket: &str, credits: u64, epoch: Duration) -> Result<Value, Refusal> {
        let account = Account::new(self.client.clone(), self.keys.secret("customer"));
        let mut prices = Vec::new();
        for id in self.leases_for(Some(bucket)).await? {
            if let Some(lease) = self.client.get::<Leases>(&id).await.map_err(failed)? {
                prices.push((id, price(&lease.entry, 1).0));
            }
        }
        let total: u128 = prices.iter().map(|p| u128::from(p.1)).sum::<u128>().max(1);
        let mut rest = credits;
        for (at, (lease, price)) in prices.iter().enumerate() {
            let share = u128::from(credits) * u128::from(*price) / total;
            let last = at + 1 == prices.len();
            let share = if last { rest } else { u64::try_from(share).unwrap_or(rest).min(rest) };
            rest -= share;
            let action = Action::Endow { lease: *lease, credits: Credits(share) };
            account.run(action).await.and_then(|i| i.done()).map_err(failed)?;
        }
        self.endowments(Some(bucket), epoch).await
    }
}
