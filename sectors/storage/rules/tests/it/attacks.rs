//! How each row of the catalogue is committed.

use cairn_sector::{Audit, Registry};
use cairn_storage_rules::prove::{OperatorTree, locate_fragment};
use cairn_storage_rules::sign;
use cairn_storage_rules::types::*;
use cairn_testkit::conformance::Attack;
use cairn_testkit::dice::Dice;
use cairn_testkit::world::{World, device_key, lease_key};
use cairn_types::{DeviceId, decode};

use crate::net::*;

fn with(
    name: &'static str,
    after: u64,
    epochs: u64,
    apply: fn(&mut World, &World, &mut Dice) -> Vec<DeviceId>,
) -> Attack {
    Attack { name, after, epochs, apply }
}

pub fn all() -> Vec<Attack> {
    vec![
        with("dropped-data-10", 1, 1, |w, _, dice| drop_share(w, dice, 10, false)),
        with("dropped-data-1", 1, 1, |w, _, dice| drop_share(w, dice, 100, false)),
        with("silent-when-hit", 1, 2, |w, _, dice| drop_share(w, dice, 10, true)),
        with("stale-proof", 1, 1, stale_proof),
        with("other-operators-proof", 1, 1, |w, _, dice| others_proof(w, dice)),
        with("commitment-changed", 1, 1, |w, _, dice| changed_commitment(w, dice)),
        with("shared-directory", 1, 1, |w, _, dice| shared_directory(w, dice)),
        with("inflated-size", 1, 1, |w, _, dice| inflated(w, dice, 10)),
        with("sum-overflow", 1, 1, |w, _, dice| inflated(w, dice, u64::MAX)),
        with("unsigned-increase", 1, 1, |w, _, dice| unsigned_increase(w, dice)),
        with("rolled-back-decrease", 1, 2, |w, _, dice| rolled_back(w, dice)),
        with("forged-receipt", 1, 1, |w, _, dice| forged_receipt(w, dice)),
        with("same-root-in-many-leases", 1, 1, |w, _, dice| same_root(w, dice)),
        with("lying-repairer", 2, 1, |w, _, dice| lying_repairer(w, dice)),
        with("proves-but-does-not-serve", 1, 2, |w, _, dice| serves_nobody(w, dice)),
        with("lying-auditor", 1, 4, |w, _, dice| lying_auditor(w, dice)),
        with("reports-of-those-not-drawn", 1, 4, |w, _, dice| undrawn(w, dice)),
        with("colluding-customer-frames", 1, 1, |w, _, dice| framed(w, dice)),
    ]
}

fn one(w: &World, dice: &mut Dice) -> Option<(DeviceId, Disk)> {
    let ids: Vec<_> = w.registry.ids().into_iter().filter(|d| !w.registry.leases_of(d).is_empty()).collect();
    let device = *dice.pick(&ids)?;
    Some((device, Disk::of(&USUAL, w, &device, w.epoch)))
}

fn forget(w: &mut World, device: &DeviceId, what: fn(&Evidence) -> bool) {
    w.evidence.retain(|(d, b)| d != device || !decode(b).is_ok_and(|e| what(&e)));
}

fn drop_share(w: &mut World, dice: &mut Dice, of: u64, silent: bool) -> Vec<DeviceId> {
    let Some((device, mut disk)) = one(w, dice) else { return vec![] };
    disk.lose(|p| p % of == 0);
    forget(w, &device, |e| matches!(e, Evidence::Receipt(_)));
    let answers = disk.answers(w, suspect(w, &device)).unwrap();
    let hit = answers.iter().any(|a| a.body == AnswerBody::Missing);
    post(w, &device, if hit && silent { vec![] } else { answers });
    vec![device]
}

/// Proves everything; whoever is drawn to ask it gets nothing.
fn serves_nobody(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((device, _)) = one(w, dice) else { return vec![] };
    for a in drawn(w).into_iter().filter(|a| a.device == device) {
        report_instead(w, a, if dice.chance(500_000) { Seen::Refused } else { Seen::Unreachable });
    }
    vec![device]
}

fn lying_auditor(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((liar, _)) = one(w, dice) else { return vec![] };
    for a in drawn(w).into_iter().filter(|a| a.auditor == liar) {
        report_instead(w, a, Seen::Unreachable);
    }
    vec![liar]
}

/// A liar of whom nobody asked anything, and who says another thing beside what it says where it was asked.
fn undrawn(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((liar, _)) = one(w, dice) else { return vec![] };
    for device in w.registry.ids() {
        report(w, Audit { device, auditor: liar }, Seen::Wrong);
        let old = Audited { epoch: w.epoch.plus(1), device, seen: Seen::Wrong };
        submit(w, &liar, &Evidence::Audited(old));
    }
    vec![liar]
}

fn stale_proof(w: &mut World, before: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((device, disk)) = one(w, dice) else { return vec![] };
    let mut old = disk.answers(before, false).unwrap();
    old.iter_mut().for_each(|a| a.epoch = w.epoch);
    post(w, &device, old);
    vec![device]
}

fn others_proof(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((device, _)) = one(w, dice) else { return vec![] };
    let Some((other, disk)) = (0..50).find_map(|_| one(w, dice).filter(|(d, _)| *d != device)) else {
        return vec![];
    };
    assert_ne!(other, device);
    let answers = disk.answers(w, false).unwrap();
    post(w, &device, answers);
    vec![device]
}

/// Keeps the commitment of the lock, answers from a tree of one slot.
fn changed_commitment(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((device, mut disk)) = one(w, dice) else { return vec![] };
    let locked = w.registry.devices[&device].commitment.clone();
    let keep = *disk.slots.keys().next().unwrap();
    disk.slots.retain(|id, _| *id == keep);
    commit(w, &device, disk.tree().commitment());
    let answers = disk.answers(w, false).unwrap();
    w.registry.devices.get_mut(&device).unwrap().commitment = locked;
    post(w, &device, answers);
    vec![device]
}

/// Has the revisions and trees of its own padded fragments, but another identity's bytes.
fn shared_directory(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((device, disk)) = one(w, dice) else { return vec![] };
    let mut answers = disk.answers(w, false).unwrap();
    for a in &mut answers {
        if let AnswerBody::Leaf(leaf) = &mut a.body {
            leaf.chunk.chunk.iter_mut().for_each(|b| *b ^= 0x5A);
        }
    }
    post(w, &device, answers);
    vec![device]
}

/// Signs a tree whose leaves weigh more than their fragments have chunks, and declares missing what is not there.
fn inflated(w: &mut World, dice: &mut Dice, factor: u64) -> Vec<DeviceId> {
    use cairn_crypto::merkle::sum::SumTree;
    let Some((device, mut disk)) = one(w, dice) else { return vec![] };
    w.evidence.retain(|(d, _)| *d != device);
    for held in disk.slots.values_mut() {
        // A tree refuses a sum over 2^64; two slots of nearly 2^64 each wrap only together.
        let weight = |f: &Fragment| f.chunks().checked_mul(factor).unwrap_or(u64::MAX / 4);
        held.tree = SumTree::from_leaves(held.fragments.iter().map(|f| (f.leaf(), weight(f)))).unwrap();
        held.revision.tree = held.tree.root();
        held.revision.seq += 1;
        submit(w, &device, &Evidence::Revision(held.signed()));
    }
    let revisions: Vec<_> = disk.slots.values().map(|h| h.revision).collect();
    match OperatorTree::build(revisions.clone()) {
        Ok(tree) => commit(w, &device, tree.commitment()),
        Err(_) => commit(w, &device, Commitment { tree: revisions[0].tree }),
    }
    let answers = if factor < 100 { disk.answers(w, false).unwrap() } else { vec![] };
    post(w, &device, answers);
    vec![device]
}

fn grow(held: &mut Held) {
    let more: Vec<_> = held.data.iter().map(|(b, _)| b.clone()).chain([vec![9; 5000]]).collect();
    *held = Held::new(Revision { seq: held.revision.seq + 1, ..held.revision }, more);
}

fn unsigned_increase(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((device, mut disk)) = one(w, dice) else { return vec![] };
    for held in disk.slots.values_mut() {
        grow(held);
        // Its own key where the customer's should be.
        let forged = held.revision.sign_as_customer(&device_key(&device)).accept(&device_key(&device));
        submit(w, &device, &Evidence::Revision(forged));
    }
    commit(w, &device, disk.tree().commitment());
    let answers = disk.answers(w, false).unwrap();
    post(w, &device, answers);
    vec![device]
}

/// First epoch: a decrease to one fragment. Second epoch: back to the older, larger revision.
fn rolled_back(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((device, mut disk)) = one(w, dice) else { return vec![] };
    let larger = disk.clone();
    for held in disk.slots.values_mut() {
        let less = vec![held.data[0].0.clone()];
        *held = Held::new(Revision { seq: 100, ..held.revision }, less);
        submit(w, &device, &Evidence::Revision(held.signed()));
    }
    let now = if w.epoch.0 == 1 { &disk } else { &larger };
    commit(w, &device, now.tree().commitment());
    let answers = now.answers(w, suspect(w, &device)).unwrap();
    post(w, &device, answers);
    vec![device]
}

fn forged_receipt(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((device, disk)) = one(w, dice) else { return vec![] };
    for held in disk.slots.values() {
        let r = receipt(w, &held.revision, 1 << 20);
        submit(w, &device, &Evidence::Receipt(r.sign(&device_key(&device))));
    }
    vec![device]
}

/// The customers of two leases let the same bytes stand in both.
fn same_root(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let Some((device, mut disk)) = one(w, dice) else { return vec![] };
    let first: Vec<_> = disk.slots.values().next().unwrap().data.iter().map(|(b, _)| b.clone()).collect();
    w.evidence.retain(|(d, _)| *d != device);
    for held in disk.slots.values_mut() {
        *held = Held::new(Revision { seq: held.revision.seq + 1, ..held.revision }, first.clone());
    }
    disk.act(w);
    vec![device]
}

/// A slot was lost; the agent gives the new holder garbage and confirms itself.
fn lying_repairer(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let [agent, _] = agents_of(w);
    let Some((_, _, repair)) = crate::repair::rebuild(w, dice, agent) else { return vec![] };
    let digest = repair.revision;
    let own = Repaired {
        confirmer: Confirmer::Agent(agent),
        confirmation: sign::confirm(&digest, &agent, &device_key(&agent)),
        ..repair.clone()
    };
    let unsigned = Repaired {
        confirmer: Confirmer::Customer,
        confirmation: sign::confirm(&digest, &agent, &device_key(&agent)),
        ..repair
    };
    submit(w, &agent, &Evidence::Repaired(Box::new(own)));
    submit(w, &agent, &Evidence::Repaired(Box::new(unsigned)));
    vec![agent]
}

pub fn agents_of(w: &World) -> [DeviceId; 2] {
    let helpers = &w.registry.leases.values().next().unwrap().helpers;
    [helpers[0], helpers[1]]
}

/// An agent brings, with the customer's help, revisions that the victim never saw.
fn framed(w: &mut World, dice: &mut Dice) -> Vec<DeviceId> {
    let [stranger, _] = agents_of(w);
    let Some((_, disk)) = one(w, dice) else { return vec![] };
    for held in disk.slots.values() {
        let garbage = Held::new(Revision { seq: 500, ..held.revision }, vec![vec![1; 9000]]);
        let signed = garbage.revision.sign_as_customer(&lease_key(&held.revision.lease));
        submit(w, &stranger, &Evidence::Revision(signed));
        let drop =
            Dropped { lease: held.revision.lease, slot: held.revision.slot, generation: 9, fence: 9, seq: 9 };
        submit(w, &stranger, &Evidence::Dropped(drop));
        assert!(locate_fragment(&garbage.fragments, &garbage.tree, 0).is_some());
    }
    vec![stranger]
}
