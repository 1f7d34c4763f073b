use crate::net::*;
use crate::toy::{self, Evidence, Toy, offer, order};
use cairn_crypto::merkle::rows;
use cairn_ledger::events::Event;
use cairn_ledger::settlement::{Outcome, charge_leaf, claim_leaf};
use cairn_ledger::tables::*;
use cairn_ledger::tx::*;
use cairn_sector::{DeviceState, Rules};
use cairn_types::*;

const BOND: Amount = Amount(10 * CRN);

fn market(n: u64) -> (Net, Vec<(DeviceId, u64)>) {
    market_in(Net::new(n + 10), n)
}

fn market_in(mut net: Net, n: u64) -> (Net, Vec<(DeviceId, u64)>) {
    let devices = (1..=n)
        .map(|i| (net.device(i, offer(1000, 1_000_000_000 + i, i), BOND).unwrap(), i))
        .collect::<Vec<_>>();
    net.act(
        n + 1,
        Action::BuyCredits {
            account: account(n + 1),
            credits: Credits(1_000_000),
            max_cost: Amount(u128::MAX),
        },
    )
    .unwrap();
    (net, devices)
}

fn worked(devices: &[(DeviceId, u64)]) -> Vec<(DeviceId, u64, Vec<Vec<u8>>)> {
    devices.iter().map(|(d, n)| (*d, *n, vec![encode(&Evidence::Worked)])).collect()
}

fn claim_of(settled: &cairn_ledger::settle::Settled, who: AccountId) -> ClaimProof {
    let index = settled.claims.iter().position(|c| c.0 == who).expect("earned something");
    let leaves: Vec<_> = settled.claims.iter().map(|(o, a)| claim_leaf(o, *a)).collect();
    ClaimProof {
        sector: Toy::ID,
        epoch: settled.settlement.epoch,
        operator: who,
        earned: settled.claims[index].1,
        index: index as u64,
        proof: rows::prove(&leaves, index as u64).unwrap(),
    }
}

#[test]
fn a_lease_is_charged_paid_and_refunded() {
    let (mut net, devices) = market(4);
    net.next_epoch();
    let lease = net.order(5, order(3, 100), 500_000).unwrap();
    let chosen: Vec<_> = net.lease(&lease).entry.slots.iter().map(|s| s.device).collect();
    assert_eq!(chosen.len(), 3, "cheapest three");
    let settled = net.epoch(&worked(&devices));
    // 100 units x 10 s at about 10^-3 credits a unit-second: one credit a slot.
    assert_eq!(settled.settlement.charged, Credits(3));
    let money = net.money();
    assert_eq!(money.spent, Credits(3));
    let total = 3_000u128;
    assert_eq!(money.stakers.0, total * 4 / 100);
    assert_eq!(money.treasury.0, total * 2 / 100);
    assert_eq!(money.payable.0 + money.dust.0, total - total * 10 / 100);
    let who = devices.iter().find(|d| d.0 == chosen[0]).unwrap().1;
    let claim = claim_of(&settled, account(who));
    let before = net.get::<Accounts>(&account(who)).unwrap().balance;
    net.one(net.duty(chosen[0], who, Duty::Claim(claim.clone()))).expect("held earnings up to the free bond");
    assert_eq!(net.get::<Accounts>(&account(who)).unwrap().balance.0, before.0 + claim.earned.0);
    assert_eq!(net.one(net.duty(chosen[0], who, Duty::Claim(claim))).unwrap_err(), "claim.nothing");

    net.act(5, Action::Close { lease }).unwrap();
    let settled = net.epoch_with(&worked(&devices), |net, settled| {
        let index = settled.charges.iter().position(|c| c.0 == lease).unwrap();
        let leaves: Vec<_> = settled.charges.iter().map(|(l, c)| charge_leaf(l, *c)).collect();
        let charged = settled.charges[index].1;
        let refund = |epoch, charged| Action::Refund {
            lease,
            epoch,
            charged,
            index: index as u64,
            proof: rows::prove(&leaves, index as u64).unwrap(),
        };
        let epoch = settled.settlement.epoch;
        assert_eq!(net.act(5, refund(epoch, Credits(0))).unwrap_err(), "refund.proof", "a made-up charge");
        net.act(5, refund(epoch, charged)).unwrap();
        assert_eq!(net.get::<Accounts>(&account(5)).unwrap().credits.0, 1_000_000 - charged.0);
        assert_eq!(net.act(5, refund(epoch, charged)).unwrap_err(), "refund.early", "twice");
    });
    // What the judge makes of a lease that was refunded meanwhile changes nothing.
    assert!(settled.outcomes.contains(&Outcome::Done { lease }));
    assert!(settled.outcomes.iter().any(|o| matches!(o, Outcome::WindUp { .. })));
    assert!(net.get::<Devices>(&chosen[0]).unwrap().reserved.is_zero());
}

#[test]
fn an_empty_escrow_charges_no_more_than_it_holds_and_shares_it() {
    let (mut net, devices) = market(4);
    net.next_epoch();
    // 1000 units x 10 s: 10 credits a slot and epoch, 30 in all; the escrow holds 7.
    let lease = net.order(5, order(3, 1000), 7).unwrap();
    let settled = net.epoch(&worked(&devices));
    assert!(settled.settlement.charged <= Credits(7));
    assert_eq!(settled.settlement.charged, Credits(6), "two credits for each of three slots, floor of 7/3");
    let settled = net.epoch(&worked(&devices));
    assert!(settled.settlement.charged <= Credits(1));
    net.act(5, Action::Fund { lease, credits: Credits(1000) }).unwrap();
    let settled = net.epoch(&worked(&devices));
    assert_eq!(
        settled.charges.iter().find(|c| c.0 == lease).unwrap().1,
        Credits(90),
        "what was due stays due"
    );
}

#[test]
fn a_lease_that_stays_unpaid_lapses_and_frees_its_slots() {
    let (mut net, devices) = market(4);
    net.next_epoch();
    let lease = net.order(5, order(3, 1000), 7).unwrap();
    let held = |net: &Net| net.lease(&lease).entry.slots.iter().filter(|s| !vacant(s)).count();
    // Short from the first epoch on; 6 epochs of patience, of which every other one is judged here.
    for _ in 0..3 {
        let settled = net.epoch(&worked(&devices));
        assert!(!settled.outcomes.iter().any(|o| matches!(o, Outcome::Lapse { .. })));
        assert_eq!(held(&net), 3, "patience");
    }
    let settled = net.epoch(&worked(&devices));
    assert!(settled.outcomes.contains(&Outcome::Lapse { lease, deposited: Credits(7) }));
    assert_eq!(held(&net), 0);
    assert!(devices.iter().all(|d| net.get::<Devices>(&d.0).unwrap().reserved.is_zero()));
    // Nobody asks for the last credit; it comes back by itself, and the registry forgets the lease.
    for _ in 0..2 {
        net.epoch(&worked(&devices));
    }
    assert_eq!(net.lease(&lease).refunded, Some(Credits(1)));
    assert!(!net.epoch(&worked(&devices)).charges.iter().any(|c| c.0 == lease));
}

#[test]
fn whoever_pays_in_time_keeps_the_lease() {
    let (mut net, devices) = market(4);
    net.next_epoch();
    let lease = net.order(5, order(3, 1000), 7).unwrap();
    for _ in 0..3 {
        net.epoch(&worked(&devices));
    }
    // After the lock that the judge sees, before its outcome is applied.
    let settled = net.epoch_with(&worked(&devices), |net, _| {
        net.act(5, Action::Fund { lease, credits: Credits(10_000) }).unwrap();
    });
    assert!(settled.outcomes.contains(&Outcome::Lapse { lease, deposited: Credits(7) }));
    assert!(net.lease(&lease).entry.closing.is_none(), "it was funded meanwhile");
    let settled = net.epoch(&worked(&devices));
    assert!(!settled.outcomes.iter().any(|o| matches!(o, Outcome::Lapse { .. })));
    assert!(settled.settlement.charged > Credits(30), "with what was due");
}

#[test]
fn whoever_lost_a_duty_gets_no_new_one_until_it_is_heard_of_again() {
    let (mut net, devices) = market(4);
    net.next_epoch();
    let lease = net.order(5, order(3, 100), 500_000).unwrap();
    let lost = net.lease(&lease).entry.slots[0].device;
    let work = |devices: &[(DeviceId, u64)]| -> Vec<_> {
        let item = |d: DeviceId| if d == lost { Evidence::Lost } else { Evidence::Worked };
        devices.iter().map(|(d, n)| (*d, *n, vec![encode(&item(*d))])).collect()
    };
    net.epoch(&work(&devices));
    assert_eq!(net.lease(&lease).entry.slots[0].lost_by, Some(lost));
    let row = net.get::<Devices>(&lost).unwrap();
    assert!(row.absent && row.listed.is_none() && row.state == DeviceState::Active);
    // Four slots need all four devices.
    assert_eq!(net.order(5, order(4, 100), 500_000).unwrap_err(), "market.short");
    let number = devices.iter().find(|d| d.0 == lost).unwrap().1;
    let next = net.chain().epoch.plus(1);
    net.one(net.duty(lost, number, Duty::Commit { epoch: next, commitment: encode(&0u64) })).unwrap();
    assert!(!net.get::<Devices>(&lost).unwrap().absent);
    net.order(5, order(4, 100), 500_000).expect("it is back");
}

/// Lets a settlement say how dear a device looks.
fn weigh(net: &mut Net, device: (DeviceId, u64), ppm: u32) -> DeviceRow {
    let before = net.get::<Devices>(&device.0).unwrap();
    net.epoch(&[(device.0, device.1, vec![encode(&Evidence::Weighs { ppm })])]);
    let row = net.get::<Devices>(&device.0).unwrap();
    assert_eq!((row.bond, row.locked, row.deficit), (before.bond, before.locked, before.deficit), "no slash");
    row
}

#[test]
fn a_device_that_looks_dearer_goes_last_and_comes_back_with_its_weight() {
    let (mut net, devices) = market(4);
    net.next_epoch();
    let row = weigh(&mut net, devices[0], 3_000_000);
    assert_eq!(row.weight.0, 3_000_000);
    let lease = net.order(5, order(1, 100), 10).unwrap();
    assert_ne!(net.lease(&lease).entry.slots[0].device, devices[0].0, "the cheapest offer looks dearest");
    // A thin market: who accepts no more than its rate gets it all the same, and pays no more than that.
    let all = net.order(5, order(4, 100), 10).unwrap();
    let slots = net.lease(&all).entry.slots;
    let last = slots.last().unwrap();
    assert_eq!((last.device, last.rates[0]), (devices[0].0, row.admission.list_rate));
    assert_eq!(weigh(&mut net, devices[0], 1_000_000).weight.0, 1_000_000);
    let lease = net.order(5, order(1, 100), 10).unwrap();
    assert_eq!(net.lease(&lease).entry.slots[0].device, devices[0].0);
}

#[test]
fn an_order_finds_a_heavy_device_under_its_own_limit() {
    let (mut net, devices) = market(1);
    net.next_epoch();
    let row = weigh(&mut net, devices[0], 8_000_000);
    let wanted = toy::Order {
        slots: 1,
        reserve: 100,
        max_rate: row.admission.list_rate.0,
        max_per_domain: 1,
        helpers: 0,
        region: 0,
        epochs: 0,
    };
    net.order(2, encode(&wanted), 10).expect("its list rate is within the limit");
    let lower = toy::Order { max_rate: wanted.max_rate - 1, ..wanted };
    assert_eq!(net.order(2, encode(&lower), 10).unwrap_err(), "market.short");
}

#[test]
fn weights_stay_in_bounds_and_an_older_settlement_does_not_replace_a_later_one() {
    use cairn_ledger::listing::{HEAVIEST, LIGHTEST, weigh as apply};
    use cairn_ledger::state::State;
    let (mut net, devices) = market(2);
    net.next_epoch();
    assert_eq!(weigh(&mut net, devices[0], u32::MAX).weight.0, HEAVIEST);
    assert_eq!(weigh(&mut net, devices[0], 0).weight.0, LIGHTEST);
    let row = weigh(&mut net, devices[0], 2_000_000);
    let mut s = State::new(&net.rows);
    for (epoch, ppm, stands) in [
        (row.weight.1.minus(1), 5_000_000, 2_000_000),
        (row.weight.1, 4_000_000, 4_000_000),
        (row.weight.1.plus(1), 3_000_000, 3_000_000),
    ] {
        apply(&mut s, &devices[0].0, epoch, ppm).unwrap();
        assert_eq!(s.get::<Devices>(&devices[0].0).unwrap().unwrap().weight.0, stands);
    }
    apply(&mut s, &DeviceId([9; 32]), Epoch(9), 2_000_000)
        .expect("a device that is gone is nobody's concern");
}

#[test]
fn spread_over_failure_domains_is_kept() {
    let mut net = Net::new(10);
    for i in 1..=6 {
        net.device(i, offer(1000, 5, i % 2), BOND).unwrap();
    }
    net.act(
        7,
        Action::BuyCredits { account: account(7), credits: Credits(1000), max_cost: Amount(u128::MAX) },
    )
    .unwrap();
    assert_eq!(
        net.order(7, order(3, 1), 10).unwrap_err(),
        "market.short",
        "two domains cannot hold three slots"
    );
    net.order(7, order(2, 1), 10).unwrap();
}

#[test]
fn the_cheapest_offers_win_and_full_devices_are_passed_over() {
    let (mut net, devices) = market(4);
    let a = net.order(5, order(1, 600), 10).unwrap();
    assert_eq!(net.lease(&a).entry.slots[0].device, devices[0].0);
    let b = net.order(5, order(1, 600), 10).unwrap();
    assert_eq!(net.lease(&b).entry.slots[0].device, devices[1].0, "the first has 400 left");
}

#[test]
fn a_fault_locks_the_bond_at_once_and_is_distributed_after_the_window() {
    let (mut net, devices) = market(2);
    net.next_epoch();
    let cheat = devices[0];
    let evidence = vec![encode(&Evidence::Cheated { severity_ppm: 500_000 })];
    net.epoch(&[(cheat.0, cheat.1, evidence)]);
    let row = net.get::<Devices>(&cheat.0).unwrap();
    assert_eq!((row.bond.0, row.locked.0), (BOND.0 / 2, BOND.0 / 2));
    let burned = net.money().burned.0;
    for _ in 0..4 {
        net.next_epoch();
    }
    let row = net.get::<Devices>(&cheat.0).unwrap();
    assert_eq!(row.locked.0, 0);
    assert_eq!(net.money().burned.0 - burned, BOND.0 / 2 * 6 / 10, "no finder: 60 % burned, 40 % treasury");
    assert!(net.events.iter().any(|e| matches!(e, Event::BondReleased { device, .. } if *device == cheat.0)));
}

#[test]
fn a_loss_moves_the_slot_and_gives_the_rest_of_the_lock_back() {
    let (mut net, devices) = market(3);
    net.next_epoch();
    let lease = net.order(4, order(2, 100), 1000).unwrap();
    let held: Vec<_> = net.lease(&lease).entry.slots.iter().map(|s| s.device).collect();
    let loser = *devices.iter().find(|d| d.0 == held[0]).unwrap();
    let mut work = worked(&devices);
    for w in &mut work {
        if w.0 == loser.0 {
            w.2 = vec![encode(&Evidence::Lost)];
        }
    }
    net.epoch(&work);
    let slot = &net.lease(&lease).entry.slots[0];
    assert_ne!(slot.device, loser.0);
    assert_eq!((slot.lost_by, slot.generation), (Some(loser.0), 1));
    assert!(net.get::<Devices>(&loser.0).unwrap().locked.0 > 0);
    for _ in 0..4 {
        net.next_epoch();
    }
    let row = net.get::<Devices>(&loser.0).unwrap();
    assert_eq!((row.bond.0, row.locked.0), (BOND.0, 0), "nobody rebuilt anything: all of it goes back");
}

#[test]
fn a_slot_without_a_spare_waits_and_is_filled_later() {
    let (mut net, devices) = market(2);
    net.next_epoch();
    let lease = net.order(3, order(2, 100), 1000).unwrap();
    let mut work = worked(&devices);
    work[0].2 = vec![encode(&Evidence::Lost)];
    let lost = work[0].0;
    net.epoch(&work);
    let vacant = net.lease(&lease).entry.slots.iter().position(|s| s.device == DeviceId::default()).unwrap();
    let spare = net.device(9, offer(1000, 7, 9), BOND).unwrap();
    net.next_epoch();
    net.next_epoch();
    let slot = &net.lease(&lease).entry.slots[vacant];
    assert!(slot.device == spare || slot.device == lost, "filled again: {slot:?}");
    assert_eq!(slot.lost_by, Some(lost), "the loser still pays for the rebuild");
}

#[test]
fn a_standing_duty_is_paid_from_the_pool_within_its_budget() {
    let (mut net, devices) = market(2);
    net.act(5, Action::FundPool { sector: Toy::ID, amount: Amount(100 * CRN) }).unwrap();
    net.next_epoch();
    let work: Vec<_> = devices
        .iter()
        .map(|(d, n)| (*d, *n, vec![encode(&Evidence::Relayed { units: 3_000_000 * n })]))
        .collect();
    let settled = net.epoch(&work);
    // 3 and 6 million credits of 1000 pebbles each: 9 CRN due, 1 CRN budget, shared 1 : 2.
    assert_eq!(settled.settlement.pool_paid.0, CRN / 3 + CRN * 2 / 3);
    let sale = encode(&90u64);
    net.act(3, Action::Buy { sector: Toy::ID, sale: sale.clone(), max_credits: Credits(89) }).unwrap_err();
    net.act(3, Action::Buy { sector: Toy::ID, sale, max_credits: Credits(90) }).unwrap();
    assert_eq!(net.money().unsettled, Credits(90));
    let settled = net.epoch(&[]);
    assert_eq!(settled.settlement.sales, Credits(90));
    assert_eq!(net.money().unsettled, Credits(0));
    let again = net.epoch(&[]);
    assert_eq!(again.settlement.sales, Credits(0), "a sale is attributed once");
}

#[test]
fn a_dispute_in_silence_costs_the_device_and_an_answer_costs_the_accuser() {
    let (mut net, devices) = market(2);
    net.next_epoch();
    assert_eq!(
        net.act(4, Action::Dispute { device: devices[0].0, lease: None, claim: vec![0] }).unwrap_err(),
        "toy.claim"
    );
    let open = |net: &mut Net| {
        net.act(4, Action::Dispute { device: devices[0].0, lease: None, claim: vec![5] }).unwrap();
        net.events
            .iter()
            .rev()
            .find_map(|e| match e {
                Event::DisputeOpened { dispute, .. } => Some(*dispute),
                _ => None,
            })
            .unwrap()
    };
    let id = open(&mut net);
    let wrong = net.duty(devices[0].0, 1, Duty::Defend { dispute: id, answer: vec![4] });
    assert_eq!(net.one(wrong).unwrap_err(), "dispute.answer");
    let burned = net.money().burned.0;
    net.one(net.duty(devices[0].0, 1, Duty::Defend { dispute: id, answer: vec![5] })).unwrap();
    assert_eq!(net.money().burned.0 - burned, 1000 * 1_000_000, "the accuser's dollar is burned");
    open(&mut net);
    for _ in 0..8 {
        net.block(vec![]);
    }
    assert_eq!(net.get::<Devices>(&devices[0].0).unwrap().locked.0, BOND.0 / 5);
}

#[test]
fn an_exit_keeps_the_bond_but_only_after_notice_and_window() {
    let (mut net, devices) = market(2);
    net.next_epoch();
    net.act(1, Action::WithdrawBond { device: devices[0].0 }).unwrap_err();
    net.act(1, Action::Exit { device: devices[0].0 }).unwrap();
    assert!(matches!(net.get::<Devices>(&devices[0].0).unwrap().state, DeviceState::Exiting { .. }));
    assert_eq!(net.act(1, Action::WithdrawBond { device: devices[0].0 }).unwrap_err(), "device.held");
    assert_eq!(
        net.order(4, order(2, 1), 10).unwrap_err(),
        "market.short",
        "an exiting device gets no duties"
    );
    for _ in 0..5 {
        net.next_epoch();
    }
    let before = net.get::<Accounts>(&account(1)).unwrap().balance.0;
    let r = net.act(1, Action::WithdrawBond { device: devices[0].0 }).unwrap();
    assert_eq!(net.get::<Accounts>(&account(1)).unwrap().balance.0, before + BOND.0 - r.fee.0);
    assert!(net.get::<Devices>(&devices[0].0).is_none());
}

#[test]
fn an_epoch_that_nobody_decides_is_void_and_charges_nothing() {
    let (mut net, devices) = market(2);
    net.next_epoch();
    net.order(3, order(2, 1000), 1000).unwrap();
    let epoch = net.next_epoch();
    net.seed();
    net.next_epoch();
    net.next_epoch();
    assert_eq!(net.get::<SectorEpochs>(&(epoch, Toy::ID)).unwrap().phase, Phase::Void);
    assert_eq!(net.money().spent, Credits(0));
    assert_eq!(net.get::<Devices>(&devices[0].0).unwrap().bond, BOND);
}

#[test]
fn a_legal_notice_locks_the_rebuild_like_any_loss_and_the_rest_comes_back() {
    let (mut net, devices) = market(3);
    net.next_epoch();
    let lease = net.order(4, order(1, 100), 1000).unwrap();
    let holder = net.lease(&lease).entry.slots[0].device;
    let who = devices.iter().find(|d| d.0 == holder).unwrap().1;
    let notice = |lease| Action::LegalNotice { lease, slot: 0, notice: Hash::default() };
    assert_eq!(net.act(9, notice(lease)).unwrap_err(), "device.foreign");
    net.act(who, notice(lease)).unwrap();
    let slot = &net.lease(&lease).entry.slots[0];
    assert_ne!(slot.device, holder);
    assert_eq!(slot.lost_by, Some(holder), "agents rebuild it at the bond's expense");
    // 100 units at one credit each, 1000 pebbles a credit.
    let row = net.get::<Devices>(&holder).unwrap();
    assert_eq!((row.locked.0, row.bond.0), (100_000, BOND.0 - 100_000));
    let said = |e: &Event| match e {
        Event::LegalNotice { device, notice, locked, .. } => Some((*device, *notice, *locked)),
        _ => None,
    };
    assert_eq!(net.events.iter().find_map(said), Some((holder, Hash::default(), Amount(100_000))));
    let missing = row.deficit.0;
    assert_eq!(missing, 1_000_000 - 720_000, "a tenth of the newcomer's 800,000");
    // Nobody rebuilt: after the window the rest is free again, what is gone is the fee and the reputation.
    for _ in 0..3 {
        net.next_epoch();
    }
    assert_eq!(net.get::<Devices>(&holder).unwrap().bond, BOND);
}

#[test]
fn a_legal_notice_is_no_cheaper_than_a_loss() {
    let lose = |legal: bool| {
        let (mut net, devices) = market(3);
        net.next_epoch();
        let lease = net.order(4, order(1, 100), 1000).unwrap();
        let holder = net.lease(&lease).entry.slots[0].device;
        let who = devices.iter().find(|d| d.0 == holder).unwrap().1;
        if legal {
            net.act(who, Action::LegalNotice { lease, slot: 0, notice: Hash::default() }).unwrap();
        } else {
            net.epoch(&[(holder, who, vec![encode(&Evidence::Lost)])]);
        }
        let row = net.get::<Devices>(&holder).unwrap();
        (row.locked, row.bond, row.deficit.0)
    };
    assert_eq!(lose(true), lose(false));
}

#[test]
fn a_legal_notice_for_a_lease_that_was_refunded_locks_nothing() {
    let (mut net, devices) = market(1);
    net.next_epoch();
    let lease = net.order(2, order(1, 100), 1000).unwrap();
    net.act(2, Action::Close { lease }).unwrap();
    let before_the_outcomes = |net: &mut Net, settled: &cairn_ledger::settle::Settled| {
        let leaves: Vec<_> = settled.charges.iter().map(|(l, c)| charge_leaf(l, *c)).collect();
        let refund = Action::Refund {
            lease,
            epoch: settled.settlement.epoch,
            charged: settled.charges[0].1,
            index: 0,
            proof: rows::prove(&leaves, 0).unwrap(),
        };
        net.act(2, refund).unwrap();
        let notice = Action::LegalNotice { lease, slot: 0, notice: Hash::default() };
        assert_eq!(net.act(1, notice).unwrap_err(), "lease.ended");
    };
    net.epoch_with(&worked(&devices), before_the_outcomes);
    assert_eq!(net.get::<Devices>(&devices[0].0).unwrap().locked.0, 0);
}

#[test]
fn a_fence_only_rises() {
    let (mut net, _) = market(2);
    let lease = net.order(3, order(1, 1), 10).unwrap();
    net.act(3, Action::Fence { lease, key: key(77).public(), fence: 2 }).unwrap();
    assert_eq!(
        net.act(3, Action::Fence { lease, key: key(78).public(), fence: 2 }).unwrap_err(),
        "lease.fence"
    );
    assert_eq!(net.lease(&lease).entry.key, key(77).public());
}

#[test]
fn postings_outside_their_phase_are_refused() {
    let (mut net, devices) = market(1);
    let epoch = net.next_epoch();
    let d = devices[0].0;
    let commit = |net: &Net, e: Epoch| net.duty(d, 1, Duty::Commit { epoch: e, commitment: encode(&1u64) });
    assert_eq!(net.one(commit(&net, epoch)).unwrap_err(), "commit.phase", "after its seed may be known");
    net.one(commit(&net, epoch.plus(1))).unwrap();
    assert_eq!(net.one(commit(&net, epoch.plus(1))).unwrap_err(), "posting.twice");
    let late = net.duty(d, 1, Duty::Bundle { epoch, hash: Hash::default(), size: 1 });
    assert_eq!(net.one(late).unwrap_err(), "epoch.unknown", "before the epoch ended");
    net.next_epoch();
    for _ in 0..5 {
        net.block(vec![]);
    }
    let late = net.duty(d, 1, Duty::Answers { epoch: epoch.plus(1), digest: Hash::default() });
    assert_eq!(net.one(late).unwrap_err(), "epoch.phase");
    let foreign = net.duty(d, 2, Duty::Answers { epoch: epoch.plus(1), digest: Hash::default() });
    assert_eq!(net.one(foreign).unwrap_err(), "tx.signature");
}

#[test]
fn a_settlement_from_other_inputs_is_refused() {
    let (mut net, devices) = market(2);
    net.next_epoch();
    net.order(3, order(2, 100), 1000).unwrap();
    let work = worked(&devices);
    let settled = net.epoch(&work);
    // The next epoch again, but with a record that pays more.
    let mut forged = settled.settlement.clone();
    forged.earned = Amount(forged.earned.0 * 2);
    let salt = Hash::default();
    let epoch = net.chain().epoch.minus(1);
    let sealed = seal_vote(&forged.id(), &salt, 0);
    let vote = net.seat(SeatDuty::Vote { epoch, sector: Toy::ID, sealed });
    let _ = net.one(vote);
    let reveal = net.seat(SeatDuty::Reveal { epoch, settlement: Box::new(forged), salt });
    assert!(net.one(reveal).is_err());
}

#[test]
fn ten_thousand_self_dealt_leases_end_with_less_money() {
    // The same accounts are customer and operator; the arithmetic is per credit, so a few epochs show it.
    let mut net = Net::new(4);
    let me = 1;
    let d = net.device(me, offer(10_000, 1_000_000_000_000, 1), BOND).unwrap();
    net.act(
        me,
        Action::BuyCredits { account: account(me), credits: Credits(1_000_000), max_cost: Amount(u128::MAX) },
    )
    .unwrap();
    let wealth = |net: &Net| {
        let a = net.get::<Accounts>(&account(me)).unwrap();
        a.balance.0 + net.get::<Devices>(&d).unwrap().bond.0
    };
    for _ in 0..20 {
        net.order(me, order(1, 10), 50_000).unwrap();
    }
    let before = wealth(&net);
    let credits_spent_at = net.money().spent;
    let settled = net.epoch(&worked(&[(d, me)]));
    net.one(net.duty(d, me, Duty::Claim(claim_of(&settled, account(me))))).unwrap();
    let spent = u128::from(net.money().spent.0 - credits_spent_at.0) * 1000;
    let gained = wealth(&net) - before;
    assert!(spent > 0 && gained * 100 <= spent * 90, "gained {gained} of {spent} spent");
}

#[test]
fn rows_of_epochs_go_after_the_retention_and_the_latest_settlement_stays() {
    let (mut net, devices) = market(2);
    net.next_epoch();
    net.order(3, order(2, 1000), 500_000).unwrap();
    let first = net.epoch(&worked(&devices));
    let settled = net.epoch(&worked(&devices));
    let (old, latest) = (first.settlement.epoch, settled.settlement.epoch);
    let size = |net: &Net, tag: u8| {
        let rows = net.rows.iter().filter(|(k, _)| k[0] == tag);
        rows.map(|(k, v)| k.len() + v.len()).collect::<Vec<_>>()
    };
    use cairn_ledger::state::Table;
    assert!(size(&net, SectorEpochs::TAG).into_iter().all(|n| n < 1500), "no sums in what lasts");
    assert!(net.get::<EpochDigests>(&(latest, Toy::ID)).is_none(), "a final epoch needs no sums");
    let kept = 2 + cairn_ledger::epoch::EPOCHS_KEPT;
    while net.chain().epoch.0 < old.0 + kept {
        assert!(net.get::<SectorEpochs>(&(old, Toy::ID)).is_some(), "kept to the last epoch");
        net.next_epoch();
    }
    assert!(net.get::<SectorEpochs>(&(old, Toy::ID)).is_none() && net.get::<Epochs>(&old).is_none());
    for _ in 0..5 {
        net.next_epoch();
    }
    // Claims go on: what is cumulative needs one settlement, however old.
    let who = devices[0].1;
    let act = |net: &mut Net, of: &cairn_ledger::settle::Settled| {
        net.one(net.duty(devices[0].0, who, Duty::Claim(claim_of(of, account(who)))))
    };
    assert_eq!(act(&mut net, &first).unwrap_err(), "settlement.unknown");
    act(&mut net, &settled).unwrap();
    // Seventy epochs later still as many rows, and sums only of the present and the coming epoch.
    let rows = size(&net, SectorEpochs::TAG).len();
    assert!(rows as u64 <= kept + 2, "{rows}");
    assert!(size(&net, EpochDigests::TAG).len() <= 2);
    let next = net.epoch(&worked(&devices));
    net.next_epoch();
    net.next_epoch();
    assert!(net.get::<SectorEpochs>(&(latest, Toy::ID)).is_none(), "there is a newer one");
    assert!(net.get::<SectorEpochs>(&(next.settlement.epoch, Toy::ID)).is_some());
}

#[test]
fn an_epoch_is_not_forgotten_before_its_outcomes_are_applied() {
    let (mut net, devices) = market(1);
    let d = devices.clone();
    let late = |net: &mut Net, settled: &cairn_ledger::settle::Settled| {
        let epoch = settled.settlement.epoch;
        net.take_over(settled);
        net.epoch(&worked(&d));
        for _ in 0..70 {
            net.next_epoch();
        }
        assert!(net.get::<SectorEpochs>(&(epoch, Toy::ID)).is_some());
    };
    net.next_epoch();
    let cheat = vec![encode(&Evidence::Cheated { severity_ppm: 500_000 })];
    net.epoch_with(&[(devices[0].0, devices[0].1, cheat)], late);
    assert_eq!(net.get::<Devices>(&devices[0].0).unwrap().locked.0, BOND.0 / 2);
}

#[test]
fn repair_is_paid_from_every_lock_of_the_loser_losses_first() {
    let mut genesis = genesis(13);
    genesis.params.window_epochs = 9;
    let (mut net, devices) = market_in(Net::with(genesis), 3);
    net.next_epoch();
    let (loser, who) = devices[0];
    let leases = [100, 200].map(|reserve| net.order(4, order(1, reserve), 1000).unwrap());
    assert!(leases.iter().all(|l| net.lease(l).entry.slots[0].device == loser));
    // A fault of one CRN; then, in two epochs, losses of 100,000 and of 200,000 pebbles.
    net.epoch(&[(loser, who, vec![encode(&Evidence::Cheated { severity_ppm: 100_000 })])]);
    for lease in leases {
        net.act(who, Action::LegalNotice { lease, slot: 0, notice: Hash::default() }).unwrap();
        net.next_epoch();
    }
    let left = |net: &Net| {
        use cairn_ledger::state::{Table, open_entry};
        let rows = net.rows.iter().filter(|(k, _)| k[0] == Locks::TAG);
        let mut left: Vec<_> = rows.filter_map(|(_, v)| open_entry::<Locks>(v)).map(|x| x.1.left.0).collect();
        left.sort_unstable();
        left
    };
    assert_eq!(left(&net), [100_000, 200_000, CRN]);
    // 250 units at 1000 pebbles each time: more than one lock holds.
    let rebuilt = || vec![encode(&Evidence::Rebuilt { of: loser, units: 250 })];
    net.epoch(&[(devices[1].0, devices[1].1, rebuilt())]);
    assert_eq!(left(&net), [0, 50_000, CRN]);
    net.epoch(&[(devices[2].0, devices[2].1, rebuilt())]);
    assert_eq!(left(&net), [0, 0, CRN - 200_000], "what is to be slashed comes last");
    let paid = |e: &Event| match e {
        Event::BondPaid { of, to, amount } => Some((*of, *to, amount.0)),
        _ => None,
    };
    let paid: Vec<_> = net.events.iter().filter_map(paid).collect();
    assert_eq!(paid, [(loser, account(2), 250_000), (loser, account(3), 250_000)]);
}

#[test]
fn a_sale_without_a_supplier_is_paid_back_after_the_window() {
    let (mut net, devices) = market(2);
    net.next_epoch();
    let buy = |net: &mut Net| {
        net.act(3, Action::Buy { sector: Toy::ID, sale: encode(&90u64), max_credits: Credits(90) }).unwrap();
    };
    let credits = |net: &Net| net.get::<Accounts>(&account(3)).unwrap().credits.0;
    let before = credits(&net);
    buy(&mut net);
    let mut refunds = vec![];
    for _ in 0..4 {
        let settled = net.epoch(&worked(&devices));
        refunds.push(settled.outcomes.iter().filter(|o| matches!(o, Outcome::SaleRefunded { .. })).count());
        assert_eq!(settled.settlement.sales, Credits(0));
    }
    assert_eq!(refunds.iter().sum::<usize>(), 1, "once, {refunds:?}");
    assert_eq!(refunds[0], 0, "not before the window has passed");
    assert_eq!((credits(&net), net.money().unsettled), (before, Credits(0)));
    let back = |e: &Event| matches!(e, Event::SaleRefunded { credits: Credits(90), .. });
    assert_eq!(net.events.iter().filter(|e| back(e)).count(), 1);
    // With a supplier it is attributed, late as it may be.
    buy(&mut net);
    let supply = vec![encode(&Evidence::Relayed { units: 5 })];
    net.epoch(&[(devices[0].0, devices[0].1, supply)]);
    let settled = net.epoch(&[]);
    assert_eq!(settled.settlement.sales, Credits(90));
}

#[test]
fn an_endowment_pays_a_lease_until_it_is_used_up_and_nobody_can_take_it() {
    let (mut net, devices) = market(4);
    net.next_epoch();
    // The rates of the toy: 1 credit for each of three slots and unit of reserve, six epochs at a time.
    let lease = net.order(5, order(3, 1000), 10).unwrap();
    let price = cairn_ledger::endowment::price(&net.lease(&lease).entry, 6);
    assert_eq!(price, Credits(18));
    let refused = |net: &mut Net, n, action: Action| net.act(n, action).unwrap_err();
    assert_eq!(refused(&mut net, 5, Action::Endow { lease, credits: Credits(0) }), "endow.zero");
    let free = net.get::<Accounts>(&account(5)).unwrap().credits;
    net.act(5, Action::Endow { lease, credits: Credits(25) }).unwrap();
    assert_eq!((net.money().endowed, net.lease(&lease).entry.deposited), (Credits(7), Credits(28)));
    assert_eq!(net.get::<Accounts>(&account(5)).unwrap().credits, Credits(free.0 - 25));
    assert_eq!(refused(&mut net, 5, Action::Close { lease }), "lease.endowed");
    let gift = Action::BuyCredits { account: account(6), credits: Credits(20), max_cost: Amount(u128::MAX) };
    net.act(5, gift).unwrap();
    // Anybody may add; the next filling comes at its time all the same.
    net.act(6, Action::Endow { lease, credits: Credits(20) }).unwrap();
    assert_eq!((net.money().endowed, net.lease(&lease).entry.deposited), (Credits(27), Credits(28)));
    let mut seen = vec![];
    for _ in 0..13 {
        net.next_epoch();
        seen.push(net.money().endowed.0);
    }
    assert_eq!(seen, [27, 27, 27, 27, 27, 27, 9, 9, 9, 9, 9, 9, 0]);
    assert_eq!(net.lease(&lease).entry.deposited, Credits(55));
    assert!(net.get::<Endowments>(&lease).is_none());
    net.act(5, Action::Close { lease }).unwrap();
    assert_eq!(refused(&mut net, 5, Action::Endow { lease, credits: Credits(9) }), "endow.closing");
    let _ = devices;
}

#[test]
fn an_endowed_lease_that_reads_more_than_it_pays_does_not_lapse() {
    let (mut net, devices) = market(4);
    net.next_epoch();
    // Dues are ten times what the reserve costs (the toy counts seconds): the escrow runs dry at once.
    let lease = net.order(5, order(3, 1000), 7).unwrap();
    net.act(5, Action::Endow { lease, credits: Credits(60) }).unwrap();
    let mut lapses = 0;
    for _ in 0..8 {
        let settled = net.epoch(&worked(&devices));
        lapses += settled.outcomes.iter().filter(|o| matches!(o, Outcome::Lapse { .. })).count();
        let held = net.lease(&lease).entry.slots.iter().filter(|s| !vacant(s)).count();
        assert!(held == 3 || net.get::<Endowments>(&lease).is_none(), "an endowed lease keeps its slots");
    }
    assert!(lapses > 0, "the rules asked for it");
}
