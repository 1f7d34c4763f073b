//! Genesis of a devnet: one seat, the storage sector, funded accounts, prices at which a minute shows money.

use cairn_ledger::genesis::{Genesis, GenesisSeat, GenesisSector};
use cairn_ledger::tables::ChainParams;
use cairn_sector::{Rules, Sectors};
use cairn_storage_rules::{Storage, types};
use cairn_types::{Amount, Credits, PPM, Price, Rate, encode};
use std::time::Duration;

use super::keys::Keys;

/// Pebbles in a CRN.
pub const CRN: u128 = 1_000_000_000;
/// Blocks of an epoch.
pub const EPOCH_BLOCKS: u64 = 20;
/// One credit (a micro-dollar) costs 1000 pebbles: 1 CRN is a dollar.
pub const PRICE: Price = Price(1_000 * PPM);
/// The market price of 592 pico-credits a KiB-second, a million times over: a minute looks like two years.
pub const AT_REST: Rate = Rate(592_000_000);
/// Likewise for bytes served.
pub const EGRESS: Rate = Rate(7_168_000_000 * 10);
/// Capacity of an operator: 4 GiB.
pub const CAPACITY: u64 = 4 << 20;

/// Sectors that this program judges.
pub fn sectors() -> Sectors {
    Sectors::new().with::<Storage>()
}

/// Time between blocks.
pub fn interval(epoch: Duration) -> Duration {
    epoch / u32::try_from(EPOCH_BLOCKS).unwrap_or(1)
}

/// Governed numbers of a devnet.
pub fn params(epoch: Duration) -> ChainParams {
    ChainParams {
        epoch_blocks: EPOCH_BLOCKS,
        epoch_seconds: epoch.as_secs().max(1),
        answer_blocks: 10,
        cut_blocks: 6,
        certify_blocks: 9,
        vote_blocks: 17,
        window_epochs: 6,
        exit_epochs: 3,
        unpaid_epochs: 12,
        dispute_blocks: EPOCH_BLOCKS,
        ..ChainParams::default()
    }
}

/// Governed numbers of storage on a devnet.
pub fn storage_params(epoch: Duration) -> types::Params {
    types::Params {
        epoch_seconds: epoch.as_secs().max(1),
        bond_per_gib: 10_000_000,
        escrow_epochs: 6,
        grace_epochs: 12,
        // A minute shows what a day does elsewhere, and a busy laptop is not a slow operator.
        audit_half_life: 3,
        audit_log_ms: 14,
        ..types::Params::default()
    }
}

/// The genesis.
///
/// `credits`: what the customer starts with.
pub fn genesis(keys: &Keys, operators: u16, epoch: Duration, credits: Credits) -> Genesis {
    let rules = storage_params(epoch);
    // A loss locks what rebuilding the reserved capacity costs: the repair rate, spread over the KiB-seconds by which
    // reserves are counted.
    let lock_rate = Rate(rules.repair_rate.0 / rules.epoch_seconds);
    let mut allocations = vec![
        (keys.account("founder"), Amount(1_000_000 * CRN)),
        (keys.account("customer"), Amount(1_000_000 * CRN)),
    ];
    allocations.extend((1..=operators).map(|i| (keys.account(&Keys::operator(i)), Amount(10_000 * CRN))));
    allocations.sort();
    let consensus = cairn_engine::vote_public(&keys.bytes("seat/consensus"));
    Genesis {
        name: "devnet".into(),
        hrp: "cairn".into(),
        fork: 0,
        params: params(epoch),
        price: PRICE,
        allocations,
        credits: vec![(keys.account("customer"), credits)],
        seats: vec![GenesisSeat {
            account: keys.account("founder"),
            key: keys.secret("seat/message").public(),
            vote: keys.vote().public(),
            consensus,
            possession: keys.vote().pop_prove(),
        }],
        sectors: vec![GenesisSector {
            id: Storage::ID,
            version: Storage::VERSION,
            params: encode(&rules),
            pool_rates: [Rate(0); 4],
            pool_limit: Amount(0),
            bond_rates: [lock_rate, Rate(0), rules.repair_rate, Rate(0)],
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_genesis_is_valid_for_every_epoch_length() {
        for seconds in [2, 10, 3600] {
            let g = genesis(&Keys::new("cairn"), 16, Duration::from_secs(seconds), Credits(1));
            g.check(&sectors()).expect("a devnet starts");
        }
    }

    #[test]
    fn keys_are_the_same_on_every_run() {
        let (a, b) = (Keys::new("cairn"), Keys::new("cairn"));
        assert_eq!(a.account("op-1"), b.account("op-1"));
        assert_ne!(a.account("op-1"), Keys::new("other").account("op-1"));
        assert_eq!(a.s3().0.len(), 20);
    }
}
