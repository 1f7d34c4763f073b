//! "Serve this chunk."

use cairn_sector::{DisputeContext, Registry, Rules, Ruling};
use cairn_storage_rules::Storage;
use cairn_storage_rules::cheats::REFUSED_CHUNK;
use cairn_storage_rules::prove::{ChunkReader, locate_fragment};
use cairn_storage_rules::types::*;
use cairn_testkit::world::{MapMemory, device_id, device_key, lease_key};
use cairn_types::{Epoch, Refusal};

use crate::net::*;

struct Case {
    context: DisputeContext,
    held: Held,
    claim: Claim,
    right: Defence,
}

fn case() -> Case {
    let w = honest(&USUAL, 4, Epoch(1), MapMemory::default());
    let device = device_id(4, 0);
    let disk = Disk::of(&USUAL, &w, &device, w.epoch);
    let held = disk.slots.values().next().unwrap().clone();
    let context = DisputeContext {
        network: w.network,
        epoch: w.epoch,
        device: w.registry.device(&device).unwrap(),
        lease: w.registry.lease(&held.revision.lease),
        seed: w.seed,
    };
    let (fragment, in_slot) = locate_fragment(&held.fragments, &held.tree, 33).unwrap();
    let chunk = disk.chunk(&held.revision, &fragment, in_slot.offset_in_leaf).unwrap();
    let right = Defence::Leaf(Box::new(DisputeLeaf { in_slot, fragment, chunk }));
    let claim = Claim { revision: held.signed(), position: 33 };
    Case { context, held, claim, right }
}

impl Case {
    fn rule(&self, answer: Option<&Defence>) -> Result<Ruling, Refusal> {
        Storage::dispute(&params(&USUAL), &self.context, &self.claim, answer)
    }
    fn refused(&self) -> bool {
        self.rule(None).is_err_and(|r| r.code == "storage.dispute")
    }
}

#[test]
fn silence_costs_a_share_of_the_bond_and_the_chunk_ends_the_dispute() {
    let c = case();
    let total = c.held.revision.tree.total;
    let severity_ppm = u32::try_from((total * 1_000_000 / (1 << 14) * 3).max(10_000)).unwrap();
    assert_eq!(c.rule(None), Ok(Ruling::Upheld { severity_ppm, code: REFUSED_CHUNK }));
    assert_eq!(c.rule(Some(&c.right)), Ok(Ruling::Dismissed));
}

#[test]
fn a_wrong_chunk_leaves_time_for_the_right_one() {
    let c = case();
    let Defence::Leaf(mut leaf) = c.right.clone() else { panic!() };
    leaf.chunk.chunk[0] ^= 1;
    assert_eq!(c.rule(Some(&Defence::Leaf(leaf))), Ok(Ruling::Pending));
    let Claim { revision, .. } = c.claim.clone();
    let elsewhere = Case { claim: Claim { revision, position: 34 }, ..c };
    assert_eq!(elsewhere.rule(Some(&elsewhere.right)), Ok(Ruling::Pending));
}

#[test]
fn a_later_revision_of_the_customer_is_an_answer_and_nobody_elses_is() {
    let c = case();
    let key = lease_key(&c.held.revision.lease);
    let later = Revision { seq: 90, tree: Default::default(), ..c.held.revision };
    let answer = |s| c.rule(Some(&Defence::Superseded(Box::new(s)))).unwrap();
    assert_eq!(answer(later.sign_as_customer(&key)), Ruling::Dismissed);
    assert_eq!(answer(c.held.revision.sign_as_customer(&key)), Ruling::Pending, "not later");
    assert_eq!(
        answer(later.sign_as_customer(&device_key(&later.device))),
        Ruling::Pending,
        "not the customer"
    );
    let agent = c.context.lease.as_ref().unwrap().helpers[0];
    assert_eq!(answer(later.sign_as_agent(agent, &device_key(&agent))), Ruling::Pending, "an agent");
    let other = Revision { slot: later.slot + 1, ..later };
    assert_eq!(answer(other.sign_as_customer(&key)), Ruling::Pending, "another slot");
}

#[test]
fn claims_without_the_devices_word_are_refused() {
    let mut c = case();
    c.claim.revision.device = None;
    assert!(c.refused(), "a customer alone could frame a device");
    let mut c = case();
    c.claim.revision = c.claim.revision.accept(&lease_key(&c.held.revision.lease));
    assert!(c.refused());
    let mut c = case();
    c.claim.position = c.held.revision.tree.total;
    assert!(c.refused());
    let mut c = case();
    c.context.lease = None;
    assert!(c.refused());
    let mut c = case();
    c.context.network = Default::default();
    assert!(c.refused());
    let mut c = case();
    let slot = usize::from(c.held.revision.slot);
    c.context.lease.as_mut().unwrap().slots[slot].generation = 1;
    assert!(c.refused(), "the slot went to somebody else");
}

#[test]
fn data_may_go_after_the_grace_epochs() {
    let mut c = case();
    c.context.lease.as_mut().unwrap().closing = Some(Epoch(1));
    c.context.epoch = Epoch(73);
    assert!(!c.refused());
    c.context.epoch = Epoch(74);
    assert!(c.refused());
}
