//! Attempts to stop the chain, to get its digests out of step, or to take money twice.

use crate::net::*;
use crate::toy::{Evidence, Toy, offer, order};
use cairn_crypto::merkle::rows;
use cairn_ledger::bank::{self, Pot};
use cairn_ledger::claims;
use cairn_ledger::executor::Mode;
use cairn_ledger::genesis::{Contents, Export};
use cairn_ledger::settle::Settled;
use cairn_ledger::settlement::{charge_leaf, claim_leaf};
use cairn_ledger::state::State;
use cairn_ledger::tables::*;
use cairn_ledger::tx::*;
use cairn_sector::Rules;
use cairn_types::*;

const BOND: Amount = Amount(10 * CRN);

type Work = Vec<(DeviceId, u64, Vec<Vec<u8>>)>;

fn market(n: u64) -> (Net, Work) {
    let mut net = Net::new(n + 10);
    let work = (1..=n)
        .map(|i| {
            (
                net.device(i, offer(1000, 1_000_000_000 + i, i), BOND).unwrap(),
                i,
                vec![encode(&Evidence::Worked)],
            )
        })
        .collect();
    let buy = Action::BuyCredits {
        account: account(n + 1),
        credits: Credits(1_000_000),
        max_cost: Amount(u128::MAX),
    };
    net.act(n + 1, buy).unwrap();
    net.next_epoch();
    (net, work)
}

fn refund(x: &Settled, lease: LeaseId) -> Action {
    let leaves: Vec<_> = x.charges.iter().map(|(l, c)| charge_leaf(l, *c)).collect();
    let index = x.charges.iter().position(|c| c.0 == lease).unwrap();
    let (charged, index) = (x.charges[index].1, index as u64);
    Action::Refund {
        lease,
        epoch: x.settlement.epoch,
        charged,
        index,
        proof: rows::prove(&leaves, index).unwrap(),
    }
}

#[test]
fn a_refund_before_the_end_is_judged_releases_nothing_twice() {
    let (mut net, work) = market(2);
    let lease = net.order(3, order(2, 100), 1000).unwrap();
    let other = net.order(3, order(2, 100), 1000).unwrap();
    net.act(3, Action::Close { lease }).unwrap();
    let done = cairn_ledger::settlement::Outcome::Done { lease };
    let settled = net.epoch_with(&work, |net, settled| drop(net.act(3, refund(settled, lease)).unwrap()));
    assert!(settled.outcomes.contains(&done), "applied after the refund");
    // The invariants ran after each block; what is left is the registry's digest.
    let last = net.epoch(&work);
    assert!(last.charges.iter().any(|c| c.0 == other) && !last.charges.iter().any(|c| c.0 == lease));
    let mut digest = cairn_crypto::lthash::LtHash::new();
    let epoch = net.chain().epoch;
    let mut now = net.snapshot(epoch);
    for d in now.devices.values_mut() {
        (d.commitment, d.answers) = (None, None);
        cairn_ledger::registry::digest_device(&mut digest, d, true);
    }
    now.leases.values().for_each(|l| cairn_ledger::registry::digest_lease(&mut digest, l, true));
    assert_eq!(net.get::<SectorTable>(&Toy::ID).unwrap().registry.digest(), digest.digest());
}

#[test]
fn the_pool_is_never_pledged_twice() {
    let (mut net, _) = market(1);
    net.act(2, Action::FundPool { sector: Toy::ID, amount: Amount(CRN + CRN / 2) }).unwrap();
    let a = net.next_epoch();
    let b = net.next_epoch();
    let budget = |e| net.get::<SectorEpochs>(&(e, Toy::ID)).unwrap().terms.pool_budget;
    assert_eq!((budget(a), budget(b)), (Amount(CRN), Amount(CRN / 2)), "1.5 CRN, at most 1 an epoch");
}

#[test]
fn a_holder_that_comes_back_dearer_is_not_paid_its_old_work_again() {
    let (mut net, mut work) = market(1);
    let lease = net.order(2, order(1, 1000), 100_000).unwrap();
    let before = net.epoch(&work);
    assert_eq!(before.charges, vec![(lease, Credits(10))]);
    let (device, n, _) = work[0].clone();
    // A second, dearer holder; the first asks a hundredfold and gets the slot back when the second drops it.
    let second = net.device(5, offer(1000, 2_000_000_000, 2), BOND).unwrap();
    let drop = Action::LegalNotice { lease, slot: 0, notice: Hash::default() };
    net.act(n, drop.clone()).unwrap();
    assert_eq!(net.lease(&lease).entry.slots[0].device, second);
    let dear = Some(offer(1000, 100_000_000_000, 1));
    net.act(n, Action::Change { device, offer: dear, key: None, rest: None }).unwrap();
    net.act(5, drop).unwrap();
    assert_eq!(net.lease(&lease).entry.slots[0].device, device);
    work[0].2 = vec![encode(&Evidence::Worked)];
    let after = net.epoch(&work);
    assert_eq!(after.settlement.charged, Credits(1000), "10,000 unit-seconds at the new rate and no more");
}

#[test]
fn heights_and_epochs_of_an_import_go_on() {
    let (mut net, _) = market(1);
    net.next_epoch();
    let (height, epoch) = (net.chain().height, net.chain().epoch);
    let contents = vec![Contents { sector: Toy::ID, memory: vec![], tally: vec![] }];
    let export = Export { version: 1, height, rows: net.rows.clone().into_iter().collect(), contents };
    net.first = Some(export.import().unwrap());
    net.rows.clear();
    net.height = 0;
    net.block(vec![]);
    assert_eq!((net.chain().height, net.chain().epoch, net.chain().fork), (height.plus(1), epoch, 1));
}

#[test]
fn a_crowd_in_one_domain_does_not_end_the_search() {
    let mut net = Net::new(40);
    for i in 1..=30 {
        net.device(i, offer(1000, 5, 0), BOND).unwrap();
    }
    net.device(31, offer(1000, 5_000, 3), BOND).unwrap();
    net.act(32, Action::BuyCredits { account: account(32), credits: Credits(10), max_cost: Amount(CRN) })
        .unwrap();
    net.order(32, order(2, 1), 10).expect("one of the crowd and the dear one elsewhere");
}

#[test]
fn what_is_free_and_in_vain_is_no_part_of_a_block() {
    let (mut net, work) = market(1);
    let epoch = net.chain().epoch.plus(1);
    let tx = net.duty(work[0].0, 1, Duty::Commit { epoch, commitment: encode(&1u64) });
    assert_eq!(net.block(vec![tx.clone(), tx.clone()]).len(), 1);
    assert_eq!(net.block(vec![tx]).len(), 0);
}

#[test]
fn more_due_work_than_a_block_does_waits_in_order() {
    let mut net = Net::new(3);
    net.device(1, offer(1000, 1, 1), BOND).unwrap();
    let device = DeviceId::derive("cairn/device", &[account(1).as_ref(), &0u64.to_le_bytes()]);
    let txs = (0..150)
        .map(|i| net.tx_at(2, i.into(), Action::Dispute { device, lease: None, claim: vec![i + 1] }))
        .collect();
    assert_eq!(net.block(txs).len(), 150);
    let open = |net: &Net| net.rows.keys().filter(|k| k[0] == 21).count();
    let mut seen = vec![];
    for _ in 0..11 {
        net.block(vec![]);
        seen.push(open(&net));
    }
    seen.dedup();
    assert_eq!(seen, [150, 86, 22, 0], "64 steps a block");
}

/// Credits for account `n`.
fn rich(net: &mut Net, n: u64) {
    let action =
        Action::BuyCredits { account: account(n), credits: Credits(1_000_000), max_cost: Amount(u128::MAX) };
    net.act(n, action).unwrap();
}

/// So many offers at a tenth of the usual price, each with the room given, of one operator; then four honest ones.
fn crowd(size: u64, room: u64) -> Net {
    let mut net = Net::new(10);
    net.act(1, Action::Operator { info: String::new() }).unwrap();
    let proof = key(1).sign(DEVICE_PROOF_DOMAIN, &device_proof(&net.genesis.network(), &account(1)));
    for batch in 0..size.div_ceil(500) {
        let txs = (0..(size - batch * 500).min(500)).map(|i| {
            let offer = encode(&crate::toy::Offer {
                capacity: room,
                rate: 100_000_000,
                bond: 1,
                domain: 100 + batch * 500 + i,
                unique: 0,
            });
            let register =
                Action::Register { sector: Toy::ID, key: key(1).public(), proof, offer, bond: Amount(CRN) };
            net.tx_at(1, 1 + batch * 500 + i, register)
        });
        let txs: Vec<Tx> = txs.collect();
        assert!(net.block(txs).iter().all(|r| r.refused.is_none()));
    }
    for i in 2..6 {
        net.device(i, offer(5000, 1_000_000_000, i), BOND).unwrap();
    }
    rich(&mut net, 7);
    net
}

fn market_size(net: &Net) -> u64 {
    let rows = net.rows.iter().filter(|(k, _)| k[0] == <Lists as cairn_ledger::state::Table>::TAG);
    let lengths = rows.filter_map(|(_, v)| cairn_ledger::state::open_entry::<Lists>(v));
    lengths.filter(|(list, _)| list.region == 0).map(|(_, n)| u64::from(n)).sum()
}

#[test]
fn two_thousand_cheap_full_offers_stand_in_nobodys_way() {
    let mut net = crowd(2000, 10);
    rich(&mut net, 8);
    assert_eq!(market_size(&net), 2004);
    // Full by empty leases of the attacker's own: 64 devices each.
    for _ in 0..2000 / 50 {
        net.order(8, order(50, 10), 100).unwrap();
    }
    assert_eq!(market_size(&net), 4, "who is full leaves the market");
    let lease = net.order(7, order(4, 10), 100).expect("the honest ones are found behind the crowd");
    net.act(7, Action::Close { lease }).unwrap();
}

#[test]
fn an_order_asks_for_its_rows_in_few_rounds() {
    let mut net = crowd(600, 1000);
    rich(&mut net, 8);
    let order = Action::Order {
        sector: Toy::ID,
        order: order(20, 10),
        key: key(9).public(),
        escrow: Credits(100),
        note: Hash::default(),
    };
    let (done, rounds) = net.rounds(Mode::Build, &[net.tx(8, order)], true).unwrap();
    assert!(done.receipts[0].refused.is_none());
    // Each round runs the order anew: one row at a time would be a thousand rounds for 512 offers.
    assert!(rounds < 20, "{rounds} rounds");
}

#[test]
fn a_crowd_of_cheap_offers_too_small_for_the_order_stands_in_nobodys_way() {
    // Of another room: not looked at. Of the same: a quarter of the search goes to them, the rest to others.
    for (room, need) in [(10, 1000), (999, 1000)] {
        let mut net = crowd(600, room);
        let lease = net.order(7, order(4, need), 100).expect("found behind the crowd");
        let holders: Vec<u128> =
            net.lease(&lease).entry.slots.iter().map(|s| u128::from(s.rates[0].0)).collect();
        assert_eq!(holders, [1_000_000_000; 4]);
    }
}

#[test]
fn a_full_device_comes_back_when_a_lease_ends() {
    let (mut net, work) = market(1);
    let lease = net.order(2, order(1, 1000), 100).unwrap();
    assert_eq!(market_size(&net), 0);
    assert_eq!(net.order(2, order(1, 1), 100).unwrap_err(), "market.short");
    net.act(2, Action::Close { lease }).unwrap();
    for _ in 0..3 {
        net.epoch(&work);
    }
    assert_eq!(market_size(&net), 1);
    net.order(2, order(1, 1), 100).unwrap();
}

#[test]
fn a_device_whose_bond_is_locked_comes_back_with_it() {
    let (mut net, work) = market(1);
    let (device, n, _) = work[0].clone();
    let least = Action::Change { device, offer: Some(offer_with_bond(10_000_000)), key: None, rest: None };
    net.act(n, least).unwrap();
    net.epoch(&[(device, n, vec![encode(&Evidence::Cheated { severity_ppm: 100_000 })])]);
    assert_eq!(market_size(&net), 0, "nine of ten CRN do not carry the offer");
    net.act(2, Action::AddBond { device, amount: Amount(CRN) }).unwrap();
    assert_eq!(market_size(&net), 1);
}

fn offer_with_bond(bond: u64) -> Vec<u8> {
    encode(&crate::toy::Offer { capacity: 1000, rate: 1, bond, domain: 1, unique: 0 })
}

#[test]
fn capacity_hogged_by_empty_leases_loses_money() {
    // One account owns the devices and rents them to itself: what comes back is less than what it spends.
    let mut net = Net::new(4);
    let work: Work = (0..3)
        .map(|i| {
            let offer = offer(1000, 1_000_000_000_000, i);
            (net.device(1, offer, BOND).unwrap(), 1, vec![encode(&Evidence::Worked)])
        })
        .collect();
    rich(&mut net, 1);
    net.next_epoch();
    net.order(1, order(3, 1000), 900_000).unwrap();
    assert_eq!(market_size(&net), 0);
    let settled = net.epoch(&work);
    let (spent, earned) = (settled.settlement.charged, settled.settlement.earned);
    assert!(spent > Credits(0));
    assert_eq!(earned.0, u128::from(spent.0) * 1000 * 90 / 100, "a tenth of it is gone for good each epoch");
}

fn accuse(
    net: &mut Net,
    who: u64,
    device: DeviceId,
    lease: Option<LeaseId>,
    claim: u8,
) -> Result<(), String> {
    net.act(who, Action::Dispute { device, lease, claim: vec![claim] }).map(|_| ())
}

#[test]
fn many_accusers_of_an_offline_device_lock_one_loss_for_one_duty() {
    let (mut net, work) = market(2);
    let (device, lease) = (work[0].0, Some(LeaseId([5; 32])));
    net.next_epoch();
    for who in 3..8 {
        accuse(&mut net, who, device, lease, u8::try_from(who).unwrap()).unwrap();
    }
    for _ in 0..12 {
        net.block(vec![]);
    }
    let row = net.get::<Devices>(&device).unwrap();
    assert_eq!(row.locked.0, BOND.0 / 5, "a fifth once, not five times");
    assert_eq!(row.deficit.0, 600_000, "half of a newcomer's 800,000, once");
    // Another duty is another loss.
    accuse(&mut net, 3, device, None, 3).unwrap();
    for _ in 0..8 {
        net.block(vec![]);
    }
    assert_eq!(net.get::<Devices>(&device).unwrap().locked.0, BOND.0 / 5 + BOND.0 * 4 / 5 / 5);
    // After the window the same duty may cost again.
    for _ in 0..3 {
        net.next_epoch();
    }
    assert_eq!(net.rows.keys().filter(|k| k[0] == 24).count(), 0, "nothing stays behind");
    let before = net.get::<Devices>(&device).unwrap();
    accuse(&mut net, 3, device, lease, 3).unwrap();
    for _ in 0..8 {
        net.block(vec![]);
    }
    let after = net.get::<Devices>(&device).unwrap();
    assert_eq!(after.locked.0 - before.locked.0, before.bond.0 / 5);
}

#[test]
fn one_matter_is_open_once_whoever_brings_it() {
    let (mut net, work) = market(2);
    let (device, n, _) = work[0].clone();
    accuse(&mut net, 4, device, None, 7).unwrap();
    let stakes = net.money().bonds;
    assert_eq!(accuse(&mut net, 5, device, None, 7).unwrap_err(), "dispute.open");
    assert_eq!(net.money().bonds, stakes, "a refused accuser stakes nothing");
    let dispute = cairn_ledger::dispute::id_of(&device, None, &[7]);
    net.one(net.duty(device, n, Duty::Defend { dispute, answer: vec![7] })).unwrap();
    // Brought again: the deadline of the first time does not judge the second.
    for _ in 0..2 {
        net.block(vec![]);
    }
    accuse(&mut net, 5, device, None, 7).unwrap();
    for _ in 0..4 {
        net.block(vec![]);
    }
    assert_eq!(net.get::<Devices>(&device).unwrap().locked.0, 0);
    net.one(net.duty(device, n, Duty::Defend { dispute, answer: vec![7] })).expect("still in time");
}

/// The final record of a sector that says one operator earned so much in it.
fn final_record(
    s: &mut State<'_>,
    like: &SectorEpochRow,
    sector: SectorId,
    epoch: Epoch,
    earned: Amount,
) -> ClaimProof {
    let leaf = claim_leaf(&account(1), earned);
    let mut tree = rows::RootBuilder::new();
    tree.push(&leaf);
    let mut row = like.clone();
    let record = row.settlement.as_mut().unwrap();
    (record.sector, record.epoch, record.claims) = (sector, epoch, (tree.root(), 1));
    s.put::<SectorEpochs>(&(epoch, sector), &row);
    let proof = rows::prove(&[leaf], 0).unwrap();
    ClaimProof { sector, epoch, operator: account(1), earned, index: 0, proof }
}

#[test]
fn held_earnings_of_all_sectors_together_are_bounded_by_the_bond() {
    let (mut net, work) = market(1);
    let settled = net.epoch(&work);
    let like = net.get::<SectorEpochs>(&(settled.settlement.epoch, Toy::ID)).unwrap();
    let mut s = State::new(&net.rows);
    let (now, window) = (net.chain().epoch, net.chain().params.window_epochs);
    let sectors = [SectorId(77), SectorId(78), SectorId(79)];
    let earned = |n: u128| Amount(BOND.0 / 10 * n);
    bank::pay(&mut s, Pot::Account(account(2)), Pot::Payable, earned(30)).unwrap();
    let mut proofs = sectors.map(|sector| final_record(&mut s, &like, sector, now, earned(7)));
    assert_eq!(claims::claim(&mut s, &proofs[0]).unwrap(), earned(7));
    assert_eq!(
        claims::claim(&mut s, &proofs[1]).unwrap(),
        earned(3),
        "the bond answers for ten tenths, once"
    );
    assert!(claims::claim(&mut s, &proofs[2]).is_err());
    // The first sector's matures: to show it frees the bond, although there is nothing more to draw.
    let old = now.minus(window + 1);
    proofs[0] = final_record(&mut s, &like, sectors[0], old, earned(7));
    claims::check_claim(&s, &proofs[0]).unwrap();
    assert_eq!(claims::claim(&mut s, &proofs[0]).unwrap(), Amount(0));
    assert!(
        claims::check_claim(&s, &proofs[0]).is_err() && claims::claim(&mut s, &proofs[0]).is_err(),
        "once"
    );
    assert_eq!(claims::claim(&mut s, &proofs[2]).unwrap(), earned(7));
    assert_eq!(s.get::<Operators>(&account(1)).unwrap().unwrap().held, BOND);
    assert!(claims::claim(&mut s, &proofs[1]).is_err());
}
