//! Lost slots, agents, confirmations.

use cairn_sector::{Registry, Source};
use cairn_storage_rules::judge::note;
use cairn_storage_rules::sign;
use cairn_storage_rules::types::*;
use cairn_testkit::dice::Dice;
use cairn_testkit::world::{MapMemory, World, device_key, lease_key};
use cairn_types::{DeviceId, Epoch, encode};

use crate::net::*;

/// Gives one slot to a device that does not serve its lease yet, rebuilt by `agent`. Returns who lost it, the new
/// holder, and the repair without a confirmation that counts.
pub fn rebuild(w: &mut World, dice: &mut Dice, agent: DeviceId) -> Option<(DeviceId, DeviceId, Repaired)> {
    let leases: Vec<_> = w.registry.leases.values().cloned().collect();
    let mut lease = dice.pick(&leases)?.clone();
    let slot = u16::try_from(dice.below(lease.slots.len())).ok()?;
    let n = usize::from(slot);
    let lost_by = lease.slots[n].device;
    let spare = w
        .registry
        .ids()
        .into_iter()
        .find(|d| !lease.helpers.contains(d) && lease.slots.iter().all(|s| s.device != *d))?;
    let lost = standing(&w.memory, &lost_by, (lease.id, slot))?;
    (lease.slots[n].device, lease.slots[n].lost_by, lease.slots[n].generation) = (spare, Some(lost_by), 1);
    w.registry.add_lease(lease.clone());
    let mut disk = Disk::of(&USUAL, w, &spare, w.epoch);
    let held = disk.slots.get_mut(&(lease.id, slot))?;
    // The agent rebuilds what stood, fragment by fragment.
    let count = usize::try_from(lost.tree.count).ok()?;
    let data: Vec<_> = held.data.iter().take(count).map(|(b, _)| b.clone()).collect();
    *held = Held::new(Revision { seq: 1, ..held.revision }, data);
    let revision = held.revision;
    let vouched = revision.sign_as_agent(agent, &device_key(&agent)).accept(&device_key(&spare));
    w.evidence.retain(|(d, _)| *d != spare);
    let rest = disk.slots.clone();
    disk.slots.remove(&(lease.id, slot));
    disk.submit_revisions(w);
    disk.slots = rest;
    submit(w, &spare, &Evidence::Revision(vouched.clone()));
    commit(w, &spare, disk.tree().commitment());
    let answers = disk.answers(w, suspect(w, &spare)).unwrap();
    post(w, &spare, answers);
    let repair = Repaired {
        revision,
        agent,
        signature: vouched.signature,
        confirmer: Confirmer::Customer,
        confirmation: vouched.signature,
    };
    Some((lost_by, spare, repair))
}

/// A network in its third epoch, with one slot rebuilt by the first agent.
fn rebuilt() -> (World, MapMemory, DeviceId, DeviceId, Repaired) {
    let mut memory = MapMemory::default();
    for e in 0..2 {
        settle(&honest(&USUAL, 5, Epoch(e), memory.clone()), &mut memory);
    }
    let mut w = honest(&USUAL, 5, Epoch(2), memory.clone());
    let [agent, _] = agents(&USUAL, 5);
    let (lost_by, spare, repair) = rebuild(&mut w, &mut Dice::new(3), agent).unwrap();
    (w, memory, lost_by, spare, repair)
}

fn pay_of(w: &World, agent: &DeviceId) -> Vec<(u64, Source)> {
    rows_of(&judge(w), agent).iter().map(|r| (r.units.0[REBUILT], r.source)).collect()
}

fn confirmed(repair: &Repaired, by: Confirmer) -> Evidence {
    let key = match by {
        Confirmer::Customer => lease_key(&repair.revision.lease),
        Confirmer::Agent(a) => device_key(&a),
    };
    let confirmation = sign::confirm(&repair.revision, &repair.agent, &key);
    Evidence::Repaired(Box::new(Repaired { confirmer: by, confirmation, ..repair.clone() }))
}

#[test]
fn a_confirmed_repair_is_paid_once_from_the_losers_bond() {
    for second in [false, true] {
        let (mut w, mut memory, lost_by, spare, repair) = rebuilt();
        let [agent, other] = agents(&USUAL, 5);
        let by = if second { Confirmer::Agent(other) } else { Confirmer::Customer };
        let e = confirmed(&repair, by);
        submit(&mut w, &agent, &e);
        submit(&mut w, &other, &e);
        let j = settle(&w, &mut memory);
        let paid: Vec<_> =
            rows_of(&j, &agent).iter().map(|r| (r.units.0[REBUILT], r.source, r.note)).collect();
        assert_eq!(paid, [(repair.revision.tree.total, Source::Bond { of: lost_by }, note::REBUILT)]);
        // The new holder is paid for what it holds.
        let id = (repair.revision.lease, repair.revision.slot);
        assert_eq!(row(&j, &spare, id).units.0[AT_REST], repair.revision.tree.total * 3600);
        w.memory = memory;
        w.evidence.push((agent, encode(&e)));
        assert_eq!(pay_of(&w, &agent), [], "paid a second time");
    }
}

#[test]
fn a_repair_without_a_second_word_earns_nothing() {
    let (w, _, _, spare, repair) = rebuilt();
    let [agent, _] = agents(&USUAL, 5);
    for by in [Confirmer::Agent(agent), Confirmer::Agent(spare)] {
        let mut w = w.clone();
        submit(&mut w, &agent, &confirmed(&repair, by));
        assert_eq!(pay_of(&w, &agent), []);
    }
}

#[test]
fn one_operator_cannot_confirm_its_own_repair_or_profit_from_its_own_loss() {
    let (w, _, lost_by, spare, repair) = rebuilt();
    let [agent, other] = agents(&USUAL, 5);
    for (second, twin) in [(true, agent), (false, lost_by), (false, spare)] {
        let mut w = w.clone();
        let owner = w.registry.device(&twin).unwrap().operator;
        let device = if second { other } else { agent };
        w.registry.devices.get_mut(&device).unwrap().operator = owner;
        submit(&mut w, &agent, &confirmed(&repair, Confirmer::Agent(other)));
        assert_eq!(pay_of(&w, &agent), []);
    }
}

#[test]
fn an_agent_cannot_vouch_for_more_than_was_lost() {
    let (mut w, memory, _, spare, repair) = rebuilt();
    let [agent, _] = agents(&USUAL, 5);
    let id = (repair.revision.lease, repair.revision.slot);
    let mut disk = Disk::of(&USUAL, &w, &spare, w.epoch);
    let more = disk.slots.get_mut(&id).unwrap();
    let data = more.data.iter().map(|(b, _)| b.clone()).chain([vec![7; 90_000]]).collect();
    *more = Held::new(Revision { seq: 2, ..more.revision }, data);
    let vouched = more.revision.sign_as_agent(agent, &device_key(&agent)).accept(&device_key(&spare));
    submit(&mut w, &spare, &Evidence::Revision(vouched));
    commit(&mut w, &spare, disk.tree().commitment());
    let answers = disk.answers(&w, suspect(&w, &spare)).unwrap();
    post(&mut w, &spare, answers);
    w.memory = memory;
    let r = row(&judge(&w), &spare, id);
    assert_eq!((r.units.0[AT_REST], r.note), (0, note::PAID), "proven, but nothing of it is charged");
}
