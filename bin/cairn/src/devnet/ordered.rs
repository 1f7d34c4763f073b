//! What the gateway of a devnet orders, and the credits that its customer has.

use cairn_storage_gateway::gateway::Terms;
use cairn_types::{Credits, Rate};
use std::time::Duration;

use super::genesis::{AT_REST, storage_params};
use crate::args::DevnetArgs;

/// Slots of the two leases together at most: twelve of data, eleven of the log, with room for other profiles.
const SLOTS: u64 = 16;

/// Most that is accepted, in multiples of what the operators of a devnet ask.
const HIGHEST: u64 = 10;

/// Terms of the gateway and credits of the customer.
#[derive(Clone, Copy, Debug)]
pub struct Ordered {
    epoch: Duration,
    /// Epochs that the customer paid for; `None`: more than anybody waits for.
    epochs: Option<u32>,
}

impl Ordered {
    /// As the command line says.
    pub fn new(args: &DevnetArgs, epoch: Duration) -> Self {
        Self { epoch, epochs: args.prepaid }
    }

    /// Credits that so many chunks on each of [`SLOTS`] slots cost for as many epochs as are paid for, at least for
    /// as many as an order needs.
    fn escrow(self, chunks: u64, epochs: u32) -> Credits {
        let params = storage_params(self.epoch);
        let epochs = u64::from(epochs.max(params.escrow_epochs));
        let units = u128::from(chunks * SLOTS * params.epoch_seconds) * u128::from(epochs);
        AT_REST.charge(units).unwrap_or(Credits(u64::MAX))
    }

    /// At least as much as an order needs at the highest rate that is accepted, however long an epoch is.
    fn generous(self, chunks: u64, least: u64) -> Credits {
        Credits(self.escrow(chunks, 0).0.saturating_mul(HIGHEST).max(least))
    }

    /// What the customer starts with.
    pub fn prepaid(self) -> Credits {
        let terms = self.terms();
        match self.epochs {
            Some(_) => terms.escrow.saturating_add(terms.index_escrow),
            None => Credits(
                terms.escrow.0.saturating_add(terms.index_escrow.0).saturating_mul(10).max(100_000_000_000),
            ),
        }
    }

    /// Terms on which the gateway orders.
    pub fn terms(self) -> Terms {
        let base = Terms {
            chunks_per_slot: 256 << 10,
            index_chunks: 64 << 10,
            escrow: self.generous(256 << 10, 1_000_000_000),
            index_escrow: self.generous(64 << 10, 200_000_000),
            max_rate: Rate(AT_REST.0 * HIGHEST),
            max_per_domain: 1,
            class: 0,
            region: 0,
        };
        let Some(epochs) = self.epochs else { return base };
        // The log must outlive the data by far, or there is nothing left to look at.
        let (chunks_per_slot, index_chunks) = (16 << 10, 4 << 10);
        Terms {
            chunks_per_slot,
            index_chunks,
            escrow: self.escrow(chunks_per_slot, epochs),
            index_escrow: self.escrow(index_chunks, epochs.saturating_mul(100)),
            // Just over what the operators of a devnet ask.
            max_rate: Rate(AT_REST.0 + 10_000),
            ..base
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_storage_gateway::gateway::profiles;
    use cairn_storage_rules::quote::demand;
    use cairn_storage_rules::types::{Kind, Order};

    #[test]
    fn escrow_and_credits_are_enough_for_every_length_of_an_epoch() {
        for seconds in [2, 10, 3600, 86_400] {
            for epochs in [None, Some(6), Some(1000)] {
                let ordered = Ordered { epoch: Duration::from_secs(seconds), epochs };
                let terms = ordered.terms();
                let (data, replicas) = profiles(16);
                let asks = [
                    (Kind::Data, data.k(), data.n(), terms.chunks_per_slot, terms.escrow),
                    (Kind::Index, 1, replicas, terms.index_chunks, terms.index_escrow),
                ];
                let mut sum = 0;
                for (kind, k, n, chunks_per_slot, escrow) in asks {
                    let order = Order {
                        kind,
                        k: u8::try_from(k).unwrap(),
                        n: u8::try_from(n).unwrap(),
                        chunks_per_slot,
                        max_per_domain: 1,
                        class: 0,
                        region: 0,
                        max_rate: terms.max_rate,
                        epochs: 0,
                    };
                    let least = demand(&storage_params(ordered.epoch), &order).unwrap().min_escrow;
                    assert!(escrow >= least, "{seconds} s, {epochs:?}: {} < {}", escrow.0, least.0);
                    sum += escrow.0;
                }
                assert!(ordered.prepaid().0 >= sum);
            }
        }
    }
}
