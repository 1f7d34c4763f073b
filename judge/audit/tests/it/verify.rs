//! A pack is believed only as it was made.

use crate::toy::{RATE, TOY, Toy, Work};
use cairn_audit::{Bundle, Finding, Inputs, Pack, Posting, SignedBundle, verify, verify_pack};
use cairn_crypto::keys::SecretKey;
use cairn_ledger::tables::{ChainParams, Terms};
use cairn_sector::{
    AnyRules, DeviceEntry, DeviceState, Erased, LeaseEntry, Rules, SaleEntry, Sectors, Seed, Slot,
};
use cairn_types::{
    AccountId, Amount, Credits, DeviceId, Epoch, Hash, LeaseId, NetworkId, Price, Rate, Units, encode,
};
use proptest::prelude::*;

fn sectors() -> Sectors {
    Sectors::new().with::<Toy>()
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn device(n: u8) -> DeviceEntry {
    DeviceEntry {
        id: DeviceId([n; 32]),
        operator: AccountId([n + 100; 32]),
        sector: TOY,
        key: key(n).public(),
        offer: encode(&1000u64),
        commitment: None,
        answers: None,
        capacity: Units::first(1000),
        domains: vec![],
        cell: None,
        state: DeviceState::Active,
        since: Epoch(0),
    }
}

fn lease() -> LeaseEntry {
    let slot = Slot {
        device: DeviceId([1; 32]),
        rates: [RATE, Rate(0), Rate(0), Rate(0)],
        since: Epoch(0),
        lost_by: None,
        generation: 0,
    };
    LeaseEntry {
        id: LeaseId([50; 32]),
        sector: TOY,
        customer: AccountId([60; 32]),
        key: key(9).public(),
        order: encode(&10u64),
        slots: vec![slot],
        reserve: Units::first(10),
        helpers: vec![],
        deposited: Credits(500),
        opened: Epoch(0),
        closing: None,
        fence: 0,
    }
}

fn bundle(n: u8, items: &[Work]) -> SignedBundle {
    let items = items.iter().map(encode).collect();
    let device = DeviceId([n; 32]);
    Bundle { network: NetworkId([8; 32]), sector: TOY, epoch: Epoch(3), device, items }.sign(&key(n))
}

fn inputs() -> Inputs {
    let lease = lease();
    let one = bundle(
        1,
        &[
            Work { lease: Some(lease.id), units: 90, fault: false },
            Work { lease: None, units: 4, fault: false },
        ],
    );
    let two = bundle(2, &[Work { lease: None, units: 6, fault: true }]);
    let posting = |n, b: &SignedBundle| Posting {
        device: DeviceId([n; 32]),
        commitment: (n == 2).then(|| encode(&vec![1u8])),
        answers: (n == 1).then_some(Hash([3; 32])),
        bundle: Some(b.hash()),
    };
    Inputs {
        network: NetworkId([8; 32]),
        sector: TOY,
        epoch: Epoch(3),
        seed: Seed([4; 32]),
        price: Price(2_000_000),
        terms: Terms {
            version: 1,
            params: encode(&0u64),
            pool_rates: [RATE, Rate(0), Rate(0), Rate(0)],
            pool_budget: Amount(15),
            bond_rates: Default::default(),
            chain: ChainParams::default(),
        },
        devices: vec![device(1), device(2)],
        leases: vec![lease],
        sales: vec![SaleEntry {
            id: Hash([70; 32]),
            buyer: AccountId([61; 32]),
            sale: encode(&30u64),
            paid: Credits(30),
            epoch: Epoch(2),
        }],
        postings: vec![posting(1, &one), posting(2, &two)],
        bundles: vec![one.encode(), two.encode()],
        memory: vec![(vec![1; 32], encode(&5u64))],
        tally: vec![],
    }
}

fn pack() -> Pack {
    let inputs = inputs();
    let settled = inputs.settle(&sectors()).unwrap();
    Pack::new(inputs, &settled)
}

fn finding(p: &Pack) -> Finding {
    verify_pack(p, &p.settlement.id(), &sectors()).unwrap_err()
}

#[test]
fn a_true_pack_is_confirmed_with_its_sums() {
    let p = pack();
    let r = verify(&p.encode(), &p.settlement.id(), &sectors()).unwrap();
    assert_eq!((r.rows, r.bundles, r.devices, r.leases, r.outcomes), (3, 2, 2, 1, 2));
    assert_eq!(r.charged, Credits(90));
    // 120 credits at 2 pebbles are 240; 90 % is the operators', rounded down for each of them.
    assert_eq!(r.earned, Amount(216));
    // (4 + 6) units at one credit are 20 pebbles; the budget is 15.
    assert!(r.pool_paid <= Amount(15) && r.pool_paid >= Amount(14));
}

#[test]
fn another_settlement_than_the_trusted_is_refused() {
    let p = pack();
    let wrong = Hash([1; 32]);
    assert_eq!(
        verify(&p.encode(), &wrong, &sectors()),
        Err(Finding::NotTrusted { found: p.settlement.id(), trusted: wrong })
    );
    let mut lying = pack();
    lying.settlement.earned = Amount(1);
    assert!(matches!(verify_pack(&lying, &p.settlement.id(), &sectors()), Err(Finding::NotTrusted { .. })));
}

#[test]
fn the_row_that_differs_is_named_with_both_values() {
    let mut p = pack();
    let at = p.lines.iter().position(|l| l.charged == Credits(90)).unwrap();
    p.lines[at].row.units = Units::first(100);
    let text = finding(&p).to_string();
    let want = format!(
        "row {at}: payee {}, duty lease {} slot 0: units [100, 0, 0, 0] in the pack, [90, 0, 0, 0] recomputed",
        DeviceId([1; 32]),
        LeaseId([50; 32])
    );
    assert_eq!(text, want);
    p.lines.remove(at);
    assert!(matches!(finding(&p), Finding::Row { .. }));
}

#[test]
fn a_settlement_that_the_rules_do_not_give_is_told_by_its_first_result() {
    // As if the seats had signed it: its id is trusted, its inputs are true.
    let mut p = pack();
    p.settlement.charged = Credits(91);
    assert!(matches!(finding(&p), Finding::Outcome { what: "charged", .. }), "{}", finding(&p));
}

#[test]
fn altered_inputs_are_named() {
    let id = DeviceId([2; 32]);
    let cases: Vec<(Box<dyn Fn(&mut Pack)>, String)> = vec![
        (
            Box::new(|p| p.inputs.devices[1].capacity = Units::first(1)),
            format!("registry: device {id} differs"),
        ),
        (Box::new(|p| p.inputs.leases[0].deposited = Credits(1)), "registry: lease 3232".into()),
        (Box::new(|p| p.inputs.postings[1].commitment = None), format!("posting of device {id} differs")),
        (Box::new(|p| p.inputs.memory[0].1[0] ^= 1), "memory at 0101".into()),
        (Box::new(|p| p.inputs.seed = Seed([5; 32])), "seed".into()),
        (Box::new(|p| p.inputs.network = NetworkId([9; 32])), "network".into()),
        (Box::new(|p| p.inputs.terms.pool_budget = Amount(16)), "terms".into()),
        (Box::new(|p| p.inputs.devices.swap(0, 1)), "order of devices".into()),
        (
            Box::new(|p| p.inputs.bundles[1][140] ^= 1),
            format!("bundle of device {id} does not match the certified hash"),
        ),
        (Box::new(|p| p.inputs.bundles.push(vec![])), "more bundles than certified hashes".into()),
        (
            Box::new(|p| {
                p.inputs.bundles.pop();
            }),
            format!("bundle of device {id} is missing"),
        ),
    ];
    for (alter, want) in cases {
        let mut p = pack();
        alter(&mut p);
        let text = finding(&p).to_string();
        assert!(text.contains(&want), "{want}: {text}");
    }
}

#[test]
fn an_entry_added_with_its_mark_is_told_by_the_root() {
    let p = pack();
    let settled = p.inputs.settle(&sectors()).unwrap();
    let mut inputs = p.inputs.clone();
    inputs.devices.push(device(3));
    let mut grown = Pack::new(inputs, &settled);
    grown.settlement = p.settlement.clone();
    assert!(matches!(finding(&grown), Finding::Root { what: "registry", .. }));
}

#[test]
fn evidence_counts_once_and_in_one_order_whatever_the_bundles_order() {
    let work = |units| encode(&Work { lease: None, units, fault: false });
    let make = |items: Vec<Vec<u8>>| {
        let mut x = inputs();
        let b = Bundle { items, ..bundle(2, &[]).bundle }.sign(&key(2));
        x.postings[1].bundle = Some(b.hash());
        x.bundles[1] = b.encode();
        let settled = x.settle(&sectors()).unwrap();
        (settled.lines, settled.memory)
    };
    let plain = make(vec![work(1), work(2)]);
    assert_eq!(make(vec![work(2), work(1), work(2)]), plain);
    // Items that are no evidence earn nothing and harm nobody.
    assert_eq!(make(vec![work(1), vec![9; 3], vec![0; 65], work(2)]), plain);
}

#[test]
fn an_upload_is_checked_against_the_limits_and_the_key() {
    let rules = Erased::<Toy>::default();
    let rules: &dyn AnyRules = &rules;
    let good = bundle(1, &[Work { lease: None, units: 1, fault: false }]);
    good.bundle.check(rules).unwrap();
    good.check_signature(&key(1).public()).unwrap();
    assert_eq!(good.check_signature(&key(2).public()).unwrap_err().code, "bundle.signature");
    let code = |items| Bundle { items, ..good.bundle.clone() }.check(rules).unwrap_err().code;
    assert_eq!(code(vec![vec![0; 11]; Toy::LIMITS.items + 1]), "bundle.items");
    assert_eq!(code(vec![vec![0; 65]]), "bundle.item");
    assert_eq!(code(vec![vec![0; 3]]), "sector.malformed");
    assert_eq!(SignedBundle::decode(&[1, 2, 3]).unwrap_err().code, "bundle.malformed");
    assert_eq!(SignedBundle::decode(&good.encode()).unwrap(), good);
}

#[test]
fn formats_are_frozen() {
    let one = bundle(1, &[Work { lease: None, units: 4, fault: false }]);
    assert_eq!(one.encode().len(), 32 + 2 + 8 + 32 + 4 + 4 + 10 + 64);
    assert_eq!(one.hash().to_string(), "1d4ed3c3cf0bde48518f85200bbde7e6257f8c6e0f0dde952f9337c1466df0eb");
    let bytes = pack().encode();
    assert_eq!(hex::encode(&bytes[..8]), "636169726e706b32");
    assert_eq!(
        Hash::derive("t", &[&bytes]).to_string(),
        "96def0c4fab7b2dfdac7d6b6cf44263a01b4a263f4ab6285b3077f3ddab05f9f"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_flipped_bit_is_an_error(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let p = pack();
        let mut bytes = p.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(verify(&bytes, &p.settlement.id(), &sectors()).is_err(), "byte {at}");
    }

    #[test]
    fn any_cut_or_growth_is_an_error(at in any::<prop::sample::Index>(), more in proptest::collection::vec(any::<u8>(), 1..9)) {
        let p = pack();
        let bytes = p.encode();
        prop_assert!(verify(&bytes[..at.index(bytes.len())], &p.settlement.id(), &sectors()).is_err());
        prop_assert!(verify(&[bytes, more].concat(), &p.settlement.id(), &sectors()).is_err());
    }
}

#[test]
fn every_byte_matters() {
    let p = pack();
    let bytes = p.encode();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        assert!(verify(&bad, &p.settlement.id(), &sectors()).is_err(), "byte {at} of {}", bytes.len());
    }
}
