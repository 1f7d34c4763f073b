//! What the escrow of a lease still covers: one answer for the customer's gateway and for each operator.

use cairn_sector::LeaseEntry;
use cairn_types::{Credits, LeaseId, Rate};

use crate::types::AT_REST;

/// What the escrow of a lease still covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escrow {
    /// The lease.
    pub lease: LeaseId,
    /// Credits left after the latest settlement.
    pub left: Credits,
    /// Credits for one epoch with every slot full. A slot without a holder is priced as it was before.
    pub epoch_price: Credits,
}

impl Escrow {
    /// From the chain's entry and what settlements charged so far.
    pub fn new(entry: &LeaseEntry, charged: Credits) -> Self {
        let units = u128::from(entry.reserve.0[AT_REST]);
        let price = |rate: Rate| rate.charge(units).unwrap_or(Credits(u64::MAX));
        let epoch_price =
            entry.slots.iter().fold(Credits::ZERO, |sum, s| sum.saturating_add(price(s.rates[AT_REST])));
        Self { lease: entry.id, left: entry.deposited.saturating_sub(charged), epoch_price }
    }
    /// Operators take no more data: what is left does not cover one full epoch.
    pub fn is_empty(&self) -> bool {
        self.left < self.epoch_price
    }
    /// Full epochs that are covered.
    pub fn epochs(&self) -> u64 {
        self.left.0 / self.epoch_price.0.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escrow(left: u64, epoch_price: u64) -> Escrow {
        Escrow { lease: LeaseId::default(), left: Credits(left), epoch_price: Credits(epoch_price) }
    }

    #[test]
    fn an_escrow_is_empty_when_it_does_not_cover_a_full_epoch() {
        assert!(!escrow(10, 10).is_empty());
        assert!(escrow(9, 10).is_empty());
        assert!(!escrow(0, 0).is_empty(), "what costs nothing is paid");
        assert_eq!(escrow(29, 10).epochs(), 2);
        assert_eq!(escrow(7, 0).epochs(), 7);
    }
}
