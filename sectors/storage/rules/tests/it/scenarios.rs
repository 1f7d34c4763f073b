//! Judging, one situation at a time.

use cairn_sector::{DeviceState, Next, Registry, Rules};
use cairn_storage_rules::judge::note;
use cairn_storage_rules::types::*;
use cairn_storage_rules::{Storage, quote};
use cairn_testkit::world::{MapMemory, World, device_id, device_key, lease_key};
use cairn_types::{DeviceId, Epoch, Rate, Units};

use crate::net::*;

const SEED: u64 = 11;

/// Two settled epochs, then an honest third one, with device 0 and its disk.
fn third() -> (World, DeviceId, Disk) {
    let mut memory = MapMemory::default();
    for e in 0..2 {
        settle(&honest(&USUAL, SEED, Epoch(e), memory.clone()), &mut memory);
    }
    let w = honest(&USUAL, SEED, Epoch(2), memory);
    let device = device_id(SEED, 0);
    let disk = Disk::of(&USUAL, &w, &device, w.epoch);
    (w, device, disk)
}

fn notes(w: &World, device: &DeviceId) -> Vec<u16> {
    rows_of(&judge(w), device).iter().map(|r| r.note).collect()
}

#[test]
fn an_honest_epoch_pays_rest_service_and_reserve() {
    let (w, device, disk) = third();
    let j = judge(&w);
    assert_eq!(rows_of(&j, &device).len(), 2);
    for (id, held) in &disk.slots {
        let total = held.revision.tree.total;
        let r = row(&j, &device, *id);
        assert_eq!(r.units, Units([total * 3600, SERVED_EACH, 0, (RESERVE - total) * 3600]));
        assert_eq!((r.note, r.next, r.fault), (note::PAID, Next::Continues, None));
    }
}

#[test]
fn a_missing_bundle_is_missed_and_its_receipts_carry_over() {
    let (mut w, device, disk) = third();
    let mut memory = w.memory.clone();
    w.evidence.retain(|(d, _)| *d != device);
    let j = settle(&w, &mut memory);
    assert!(rows_of(&j, &device).iter().all(|r| r.units.is_zero() && r.next == Next::Continues));
    assert_eq!(record(&memory, &device), DeviceRecord { silent: 1, suspect: true, misses: 0 });
    let next = honest(&USUAL, SEED, Epoch(3), memory.clone());
    let j = settle(&next, &mut memory);
    let id = *disk.slots.keys().next().unwrap();
    assert_eq!(row(&j, &device, id).units.0[SERVED], 2 * SERVED_EACH);
    assert_eq!(record(&memory, &device), DeviceRecord::default());
}

#[test]
fn each_way_of_not_proving_has_its_note() {
    let (w, device, _) = third();
    let change = |f: fn(&mut World, &DeviceId)| {
        let mut w = w.clone();
        f(&mut w, &device);
        notes(&w, &device)
    };
    let no_commitment = change(|w, d| w.registry.devices.get_mut(d).unwrap().commitment = None);
    assert_eq!(no_commitment, [note::NO_COMMITMENT; 2]);
    assert_eq!(change(|w, d| commit(w, d, Commitment::default())), [note::OTHER_TREE; 2]);
    let other_digest = change(|w, d| w.registry.devices.get_mut(d).unwrap().answers = None);
    assert_eq!(other_digest, [note::NO_ANSWERS; 2]);
    let short = change(|w, d| {
        let mut a = Disk::of(&USUAL, w, d, w.epoch).answers(w, false).unwrap();
        a.pop();
        post(w, d, a);
    });
    assert_eq!(short, [note::INCOMPLETE; 2]);
}

#[test]
fn more_answers_than_asked_do_no_harm() {
    let (mut w, device, disk) = third();
    let answers = disk.answers(&w, true).unwrap();
    post(&mut w, &device, answers);
    assert_eq!(notes(&w, &device), [note::PAID; 2]);
}

#[test]
fn silence_for_three_epochs_rebuilds_everything() {
    let (mut w, device, _) = third();
    let mut memory = w.memory.clone();
    for silent in 1..=3u64 {
        w.registry.devices.get_mut(&device).unwrap().commitment = None;
        let j = settle(&w, &mut memory);
        let want = if silent < 3 { Next::Continues } else { Next::Repair { ppm: 1_000_000 } };
        assert!(rows_of(&j, &device).iter().all(|r| r.next == want), "after {silent}");
        w = honest(&USUAL, SEED, Epoch(2 + silent), memory.clone());
    }
}

#[test]
fn one_bad_chunk_costs_an_epoch_and_a_second_time_a_repair() {
    let (mut w, device, mut disk) = third();
    let mut memory = w.memory.clone();
    let first = disk.answers(&w, false).unwrap();
    let AnswerBody::Leaf(leaf) = &first[0].body else { panic!() };
    disk.lost.insert((leaf.fragment.root, leaf.in_slot.offset_in_leaf + leaf.fragment.chunks()));
    let mut answers = first.clone();
    answers[0].body = AnswerBody::Missing;
    post(&mut w, &device, answers);
    let j = settle(&w, &mut memory);
    for r in rows_of(&j, &device) {
        assert_eq!((r.units.0[AT_REST], r.units.0[RESERVED], r.units.0[SERVED]), (0, 0, SERVED_EACH));
        assert_eq!((r.next, r.fault), (Next::Continues, None));
    }
    assert_eq!(record(&memory, &device), DeviceRecord { silent: 0, suspect: true, misses: 1 });
    let mut w = honest(&USUAL, SEED, Epoch(3), memory.clone());
    let mut answers = Disk::of(&USUAL, &w, &device, w.epoch).answers(&w, true).unwrap();
    assert_eq!(answers.len(), 320);
    answers[319].body = AnswerBody::Missing;
    post(&mut w, &device, answers);
    let j = settle(&w, &mut memory);
    // 3 x 1/320, rounded up.
    assert!(
        rows_of(&j, &device).iter().all(|r| r.next == Next::Repair { ppm: 9375 }),
        "{:?}",
        rows_of(&j, &device)
    );
}

#[test]
fn many_missing_chunks_are_repaired_at_once() {
    let (mut w, device, mut disk) = third();
    disk.lose(|_| true);
    let answers = disk.answers(&w, false).unwrap();
    post(&mut w, &device, answers);
    assert!(
        rows_of(&judge(&w), &device)
            .iter()
            .all(|r| r.next == Next::Repair { ppm: 1_000_000 } && r.fault.is_none())
    );
}

#[test]
fn a_dropped_slot_is_repaired_and_the_others_are_paid() {
    let (mut w, device, mut disk) = third();
    let (id, held) = disk.slots.pop_first().unwrap();
    let (generation, fence, seq) = held.revision.order();
    submit(&mut w, &device, &Evidence::Dropped(Dropped { lease: id.0, slot: id.1, generation, fence, seq }));
    commit(&mut w, &device, disk.tree().commitment());
    let answers = disk.answers(&w, false).unwrap();
    post(&mut w, &device, answers);
    let mut memory = w.memory.clone();
    let j = settle(&w, &mut memory);
    assert_eq!(row(&j, &device, id).next, Next::Repair { ppm: 1_000_000 });
    assert_eq!((row(&j, &device, id).units, row(&j, &device, id).note), (Units::ZERO, note::DROPPED));
    let other = *disk.slots.keys().next().unwrap();
    assert_eq!(row(&j, &device, other).note, note::PAID);
    assert!(standing(&memory, &device, id).unwrap().dropped, "kept as the measure of the repair");
    // Once the slot went elsewhere and the repair is over, the memory ends.
    let mut next = honest(&USUAL, SEED, Epoch(3), memory.clone());
    next.registry.leases.get_mut(&id.0).unwrap().slots[usize::from(id.1)].device = device_id(SEED, 99);
    settle(&next, &mut memory);
    assert_eq!(standing(&memory, &device, id), None);
}

#[test]
fn leases_end_devices_leave_and_future_slots_wait() {
    let (w, device, disk) = third();
    let id = *disk.slots.keys().next().unwrap();
    let at = |change: fn(&mut cairn_sector::LeaseEntry, usize)| {
        let mut w = w.clone();
        change(w.registry.leases.get_mut(&id.0).unwrap(), usize::from(id.1));
        row(&judge(&w), &device, id)
    };
    let last = at(|l, _| l.closing = Some(Epoch(2)));
    assert_eq!((last.next, last.note), (Next::Done, note::PAID));
    let over = at(|l, _| l.closing = Some(Epoch(1)));
    assert_eq!((over.next, over.units, over.note), (Next::Done, Units::ZERO, note::INACTIVE));
    let future = at(|l, n| l.slots[n].since = Epoch(3));
    assert_eq!((future.next, future.units), (Next::Continues, Units::ZERO));
    let leaving = |until: u64, holds: bool| {
        let mut w = w.clone();
        if !holds {
            let slot = cairn_storage_rules::types::slot_key(&device, &id.0, id.1);
            w.memory.0.remove(&slot);
            w.evidence.retain(|e| e.0 != device);
        }
        w.registry.devices.get_mut(&device).unwrap().state = DeviceState::Exiting { until: Epoch(until) };
        row(&judge(&w), &device, id)
    };
    assert_eq!((leaving(3, true).next, leaving(3, true).note), (Next::Continues, note::PAID));
    // What it held is rebuilt at the cost of its bond; the last epoch is paid all the same.
    let whole = Next::Repair { ppm: 1_000_000 };
    assert_eq!((leaving(2, true).next, leaving(2, true).note), (whole, note::PAID));
    assert_eq!(leaving(2, false).next, Next::Reassign, "nothing to rebuild");
}

#[test]
fn a_strangers_decrease_limits_the_charge_but_not_the_tree() {
    let (mut w, device, disk) = third();
    let (id, held) = disk.slots.first_key_value().unwrap();
    let less = Held::new(Revision { seq: 50, ..held.revision }, vec![vec![1; 3000]]);
    let [stranger, _] = agents(&USUAL, SEED);
    let signed = less.revision.sign_as_customer(&lease_key(&id.0));
    submit(&mut w, &stranger, &Evidence::Revision(signed.clone()));
    let mut memory = w.memory.clone();
    let j = settle(&w, &mut memory);
    let r = row(&j, &device, *id);
    assert_eq!(
        (r.units.0[AT_REST], r.note),
        (3 * 3600, note::PAID),
        "the device proved its tree and is paid"
    );
    // A revision between the two cannot lift the cap.
    let mut next = honest(&USUAL, SEED, Epoch(4), memory.clone());
    assert_eq!(row(&settle(&next, &mut memory), &device, *id).units.0[AT_REST], 3 * 3600);
    // Nor can a stranger bring an increase, or a decrease without the customer.
    next.memory = MapMemory::default();
    let forged = less.revision.sign_as_customer(&device_key(&stranger));
    submit(&mut next, &stranger, &Evidence::Revision(forged));
    let total = Disk::of(&USUAL, &next, &device, Epoch(4)).slots[id].revision.tree.total;
    assert_eq!(row(&judge(&next), &device, *id).units.0[AT_REST], total * 3600);
}

#[test]
fn a_decrease_needs_no_device_signature_and_an_increase_does() {
    let (w, device, disk) = third();
    let id = *disk.slots.keys().next().unwrap();
    for (data, unsigned_counts) in [(vec![vec![1; 3000]], true), (vec![vec![1; 300_000]], false)] {
        let (mut w, mut disk) = (w.clone(), disk.clone());
        let held = disk.slots.get_mut(&id).unwrap();
        *held = Held::new(Revision { seq: 60, ..held.revision }, data);
        let signed = held.revision.sign_as_customer(&lease_key(&id.0));
        submit(&mut w, &device, &Evidence::Revision(signed));
        commit(&mut w, &device, disk.tree().commitment());
        let answers = disk.answers(&w, false).unwrap();
        post(&mut w, &device, answers);
        assert_eq!(row(&judge(&w), &device, id).note == note::PAID, unsigned_counts);
    }
}

#[test]
fn a_raised_fence_stops_new_charges_of_the_older_machine_but_harms_no_device() {
    let (mut w, device, disk) = third();
    for lease in w.registry.leases.values_mut() {
        lease.fence = 1;
    }
    let before = standing(&w.memory, &device, *disk.slots.keys().next().unwrap()).unwrap();
    let (id, held) = disk.slots.first_key_value().unwrap();
    assert!(
        held.revision.tree.total > before.charged,
        "the third epoch brings an increase under the old fence"
    );
    let r = row(&judge(&w), &device, *id);
    assert_eq!((r.units.0[AT_REST], r.note), (before.charged * 3600, note::PAID));
}

#[test]
fn never_more_is_paid_than_reserved_or_admitted() {
    let (mut w, device, disk) = third();
    w.registry.devices.get_mut(&device).unwrap().capacity = Units([100 * 3600, 3, 0, 100 * 3600]);
    let mut memory = w.memory.clone();
    let j = settle(&w, &mut memory);
    let rows = rows_of(&j, &device);
    let sum = |k: usize| rows.iter().map(|r| r.units.0[k]).sum::<u64>();
    assert_eq!((sum(AT_REST) + sum(RESERVED), sum(SERVED)), (100 * 3600, 3));
    assert!(rows.iter().all(|r| r.note == note::CAPPED));
    // What the cap left unpaid carries over.
    let next = honest(&USUAL, SEED, Epoch(3), memory);
    let total: u64 = rows_of(&judge(&next), &device).iter().map(|r| r.units.0[SERVED]).sum();
    assert_eq!(total, 2 * 2 * SERVED_EACH - 3);
    assert_eq!(disk.slots.len(), 2);
}

#[test]
fn an_empty_lease_pays_the_reserve_at_its_own_rate() {
    let mut w = empty(&USUAL, SEED, Epoch(0), MapMemory::default());
    let device = device_id(SEED, 0);
    commit(
        &mut w,
        &device,
        Disk { device, slots: Default::default(), lost: Default::default() }.tree().commitment(),
    );
    assert!(rows_of(&judge(&w), &device).iter().all(|r| r.units == Units([0, 0, 0, RESERVE * 3600])));
    let q = quote::quote(&params(&USUAL), &offer(), &order(4)).unwrap();
    assert_eq!(q.rates, [Rate(592), Rate(7_000_000_000), Rate(10_240_000_000), Rate(59)]);
}

#[test]
fn a_device_that_left_is_forgotten() {
    let (mut w, device, disk) = third();
    w.registry.devices.remove(&device);
    for lease in w.registry.leases.values_mut() {
        lease.slots.retain(|s| s.device != device);
    }
    let mut memory = w.memory.clone();
    settle(&w, &mut memory);
    assert!(disk.slots.keys().all(|id| standing(&memory, &device, *id).is_none()));
    assert_eq!(record(&memory, &device), DeviceRecord::default());
}

#[test]
fn a_slot_that_starts_later_asks_for_no_commitment() {
    let mut w = empty(&USUAL, SEED, Epoch(0), MapMemory::default());
    for lease in w.registry.leases.values_mut() {
        lease.slots.iter_mut().for_each(|s| s.since = Epoch(1));
    }
    let mut memory = MapMemory::default();
    settle(&w, &mut memory);
    assert_eq!(memory, MapMemory::default(), "nobody became a suspect");
}

#[test]
fn a_device_without_duties_has_no_rows() {
    let (w, ..) = third();
    let [agent, _] = agents(&USUAL, SEED);
    assert!(rows_of(&judge(&w), &agent).is_empty());
    assert!(w.registry.leases_of(&agent).is_empty());
}

#[test]
fn offers_and_orders_are_refused_with_a_reason() {
    let p = params(&USUAL);
    let bad = [
        Offer { capacity_chunks: 0, ..offer() },
        Offer { capacity_chunks: u64::MAX, ..offer() },
        Offer { region: 0, ..offer() },
        Offer { domains: vec![Default::default(); 2], ..offer() },
    ];
    assert!(bad.iter().all(|o| Storage::admit(&p, o).is_err_and(|r| r.code == "storage.offer")));
    let orders = [
        Order { k: 0, ..order(4) },
        Order { k: 5, ..order(4) },
        Order { chunks_per_slot: 0, ..order(4) },
        Order { max_rate: Rate(u64::MAX), chunks_per_slot: 1 << 41, ..order(4) },
    ];
    assert!(orders.iter().all(|o| Storage::demand(&p, o).is_err_and(|r| r.code == "storage.order")));
    let cannot = [
        Order { class: 2, ..order(4) },
        Order { region: 2, ..order(4) },
        Order { max_rate: Rate(1), ..order(4) },
        Order { chunks_per_slot: 1 << 20, ..order(4) },
    ];
    assert!(cannot.iter().all(|o| Storage::quote(&p, &offer(), o).is_err_and(|r| r.code == "storage.quote")));
    let d = Storage::demand(&p, &order(4)).unwrap();
    assert_eq!((d.slots, d.helpers, d.reserve), (4, 2, Units::first(RESERVE * 3600)));
    let a = Storage::admit(&p, &Offer { capacity_chunks: 1 << 20, ..offer() }).unwrap();
    assert_eq!(a.bond.0, 30_000);
}
