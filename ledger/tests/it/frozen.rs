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
    assert_eq!(digest(&encode(&tx)), "ea05c82654dcc185808a76a2da9d5fe461f028fb6a879b46e25e598e9b225f5e");
}

#[test]
fn genesis_and_network_id() {
    let net = Net::new(2);
    assert_eq!(
        digest(&encode(&net.genesis)),
        "fbf821ae4d3bb5099714d82fd16af22cbbafb6538ed13c9d0a38a720e861dabd"
    );
    assert_eq!(
        net.genesis.network().to_string(),
        "f3bb6097239026bf115fff67e795a0ad96891eebefd1d16060b87e48492c7f14"
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
