//! Bytes that leave the process are frozen. A change here is a change of format: bump versions, write the changelog.

use crate::net::*;
use cairn_ledger::settlement::Settlement;
use cairn_ledger::state::key_of;
use cairn_ledger::tables::*;
use cairn_ledger::tx::*;
use cairn_sector::Seed;
use cairn_types::*;

fn digest(bytes: &[u8]) -> String {
    Hash::derive("frozen", &[bytes]).to_string()
}

#[test]
fn account_transaction() {
    let net = Net::new(2);
    let tx = net.tx_at(0, 3, Action::Transfer { to: account(1), amount: Amount(5) });
    assert_eq!(digest(&encode(&tx)), "e9fe5507fd53ee35f77cba5370018da869acba0a0b25496c76ca26071b30d2f5");
}

#[test]
fn genesis_and_network_id() {
    let net = Net::new(2);
    assert_eq!(
        digest(&encode(&net.genesis)),
        "4c8d7a6e92658485e3d9a769bcce59f3eaf97b578a0bd3dd34f646d6824d0fd0"
    );
    assert_eq!(
        net.genesis.network().to_string(),
        "9dcc43f5f1235239fc0c18a08150f04d9b1a54d1a15a8400c69e151a8d00ef7a"
    );
}

#[test]
fn settlement_record() {
    let h = Hash::derive("h", &[]);
    let s = Settlement {
        network: NetworkId([6; 32]),
        sector: SectorId(1),
        version: 2,
        epoch: Epoch(3),
        seed: Seed([4; 32]),
        price: Price(5),
        registry_root: h,
        terms_root: h,
        commitments_root: h,
        answers_root: h,
        evidence_root: h,
        memory: (h, h),
        tally: (h, h),
        rows: (h, 6),
        charged: Credits(7),
        sales: Credits(8),
        earned: Amount(9),
        pool_paid: Amount(10),
        claims: (h, 11),
        charges: (h, 12),
        outcomes: (h, 13),
    };
    assert_eq!(s.id().to_string(), "a7027f84d47d7f1f70e797168e914c19a648a3744bb5eacda0a430d589d09866");
}

#[test]
fn state_keys() {
    let k = key_of::<Accounts>(&account(1));
    assert_eq!(k[0], 3);
    assert_eq!(digest(&k), "4d0f4d4f438341ce5788ff5f2e6bfb9284cbc4c8fc08d80c0ee43e05446c37f7");
}

#[test]
fn outcomes_and_device_rows() {
    use cairn_ledger::settlement::Outcome;
    let weigh = Outcome::Weigh { device: DeviceId([3; 32]), ppm: 1_500_000 };
    assert_eq!(encode(&weigh)[0], 9, "appended: the numbers before stay");
    assert_eq!(digest(&encode(&weigh)), "4c25cd3ee410934a7d52bd7a73fb6c4992914c3102b7180697e3be99764dacd7");
    let mut net = Net::new(2);
    let device = net.device(1, crate::toy::offer(1000, 5, 0), Amount(2 * CRN)).unwrap();
    let row = net.get::<Devices>(&device).unwrap();
    assert_eq!(row.weight, (1_000_000, Epoch(0)));
    assert_eq!(digest(&encode(&row)), "a14d79aa5f1c9beb4b3ff1387a7bb5ced260b33ed6b42cbd8f8f8a9f3bb43a2f");
}
