//! Keeping leases paid: tops escrows up from the account's free credits, and stops writing where nothing is left.

use super::Gateway;
use crate::error::GatewayError;
use cairn_storage_rules::Escrow;
use cairn_types::{Credits, Epoch};

impl Gateway {
    /// The escrow of each of the customer's leases, the log's first.
    ///
    /// # Errors
    /// The chain does not answer.
    pub async fn escrows(&self) -> Result<Vec<Escrow>, GatewayError> {
        let ours = self.volume.leases().into_iter().map(|l| l.id());
        let mut out = Vec::new();
        for id in std::iter::once(self.index_pen.lease).chain(ours) {
            if let Some(entry) = self.chain.lease(&id).await? {
                out.push(Escrow::new(&entry, self.chain.charged(&id).await?));
            }
        }
        Ok(out)
    }

    /// Fills each escrow that fell under half of what it should hold, as far as the account's free credits reach, and
    /// marks the leases that cannot be written to. The free credits are the customer's budget: no more is ever spent.
    ///
    /// # Errors
    /// The chain does not answer.
    pub(super) async fn keep_paid(&self) -> Result<(), GatewayError> {
        let now = self.chain.epoch().await?;
        let mut free = self.chain.credits().await?;
        for mut escrow in self.escrows().await? {
            let target = self.target(&escrow, now, free);
            let low = escrow.left.0 < target.0 / 2;
            let want = if low { target.saturating_sub(escrow.left) } else { Credits::ZERO };
            let pay = want.min(free);
            // A sum that does not pay for one epoch changes nothing.
            if pay > Credits::ZERO && pay >= escrow.epoch_price.min(want) {
                match self.chain.fund(&escrow.lease, pay).await {
                    Ok(()) => {
                        tracing::info!(lease = %escrow.lease, credits = pay.0, "storage.gateway.funded");
                        free = free.saturating_sub(pay);
                        escrow.left = escrow.left.saturating_add(pay);
                    }
                    // An account without CRN for the fee, say. Healing and revisions must not stop for it.
                    Err(error) => {
                        tracing::warn!(lease = %escrow.lease, %error, "storage.gateway.not_funded");
                    }
                }
            }
            self.mark(&escrow);
        }
        Ok(())
    }

    /// Closes data leases from which everything was deleted some epochs ago: the room goes back to the operators, and
    /// what is left of the escrow to the account. The next write orders a new one.
    ///
    /// # Errors
    /// The chain does not say which epoch it is.
    pub(super) async fn close_idle(&self) -> Result<(), GatewayError> {
        let now = self.chain.epoch().await?;
        for lease in self.volume.leases() {
            let id = lease.id();
            let empty = self.index().chunks_of(&id) == 0;
            if lease.idle_epochs(empty, now) < self.config.idle_epochs || !self.volume.retire(&lease) {
                continue;
            }
            match self.chain.close(&id).await {
                Ok(()) => {
                    tracing::info!(lease = %id, "storage.gateway.closed: nothing lay there any more");
                    self.volume.forget(&id);
                }
                Err(error) => {
                    lease.set_retired(false);
                    tracing::warn!(lease = %id, %error, "storage.gateway.not_closed");
                }
            }
        }
        Ok(())
    }

    /// Notes whether a lease takes more data; says so when that ends.
    fn mark(&self, escrow: &Escrow) {
        let paid = !escrow.is_empty();
        let was_paid = if escrow.lease == self.index_pen.lease {
            self.volume.set_log_paid(paid)
        } else {
            self.volume.lease(&escrow.lease).is_ok_and(|lease| lease.set_paid(paid))
        };
        if was_paid && !paid {
            tracing::warn!(lease = %escrow.lease, left = escrow.left.0,
                "storage.unpaid: the escrow is used up; buy credits for this account, or it ends for reading too");
        }
    }

    /// What the escrow should hold: what the terms say, and twice as much as the last time whenever it ran empty in
    /// spite of that, once an epoch. What is due beyond an empty escrow (much was read, say) is not seen here, but has
    /// to be paid, or the lease ends.
    fn target(&self, escrow: &Escrow, now: Epoch, free: Credits) -> Credits {
        let terms = &self.config.terms;
        let log = escrow.lease == self.index_pen.lease;
        let base = if log { terms.index_escrow } else { terms.escrow };
        let mut targets = crate::volume::lock(&self.targets);
        let (at, target) = targets.entry(escrow.lease).or_insert((now, base));
        if *at < now {
            let next = match escrow.is_empty() {
                // It ran empty for want of credits, not of a higher target.
                true if free == Credits::ZERO => target.0,
                true => target.0.saturating_mul(2),
                false => target.0 / 2,
            };
            (*at, *target) = (now, Credits(next.max(base.0)));
        }
        *target
    }
}
