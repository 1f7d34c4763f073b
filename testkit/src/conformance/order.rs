//! The same evidence gives the same judgement, however it was submitted and wherever it is judged.

use cairn_sector::{AnyRules, RawItem, Rules};

use super::{Sample, erased, history, judge};
use crate::dice::Dice;
use crate::world::{Chunks, GeneratedEvidence, World};

/// Shuffled submission, split and merged bundles, and identical items sent twice change nothing.
pub fn submission_order_does_not_matter<R: Rules>(sample: &dyn Sample<R>) {
    let rules = erased::<R>();
    for seed in 0..sample.effort().worlds {
        let mut dice = Dice::new(seed ^ 0x0DDE);
        for world in history(sample, seed, sample.effort().epochs) {
            let expected = judge(&rules, &world, "in order");
            for round in 0..4 {
                let mut other = world.clone();
                dice.shuffle(&mut other.evidence);
                if round >= 2 {
                    let twice: Vec<_> =
                        other.evidence.iter().filter(|_| dice.chance(300_000)).cloned().collect();
                    other.evidence.extend(twice);
                    dice.shuffle(&mut other.evidence);
                }
                let got = judge(&rules, &other, "shuffled");
                let what = if round >= 2 { "shuffled with duplicates" } else { "shuffled" };
                assert!(
                    got == expected,
                    "seed {seed}, epoch {}: {what} evidence is judged otherwise",
                    world.epoch
                );
            }
        }
    }
}

/// A source that hands out the items of a world in small chunks, each time anew.
struct Slices(Vec<RawItem>);

impl Chunks for Slices {
    fn count(&self) -> u64 {
        u64::try_from(self.0.chunk_by(|a, b| a.key == b.key).count()).unwrap_or(u64::MAX)
    }
    fn lower_bound(&self, n: u64) -> Vec<u8> {
        self.chunk(n).first().map(|i| i.key.as_bytes().to_vec()).unwrap_or_default()
    }
    fn chunk(&self, n: u64) -> Vec<RawItem> {
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        self.0.chunk_by(|a, b| a.key == b.key).nth(n).map(<[RawItem]>::to_vec).unwrap_or_default()
    }
}

/// Judging twice, from another kind of source, and from bytes gives equal results.
pub fn recomputation_gives_the_same<R: Rules>(sample: &dyn Sample<R>) {
    let rules = erased::<R>();
    for seed in 0..sample.effort().worlds {
        for world in history(sample, seed, sample.effort().epochs) {
            let expected = judge(&rules, &world, "first");
            assert!(judge(&rules, &world, "second") == expected, "seed {seed}: judging twice differs");

            let back = World::from_bytes(&world.to_bytes()).expect("a world reads its own bytes");
            assert!(back == world, "seed {seed}: a world changes on a round trip");
            assert!(
                judge(&rules, &back, "from bytes") == expected,
                "seed {seed}: judging from bytes differs"
            );

            let sliced = GeneratedEvidence::new(Slices(world.intake(&rules).items().to_vec()));
            let again = rules.judge(&world.context(), &sliced).expect("the parameters were accepted before");
            assert!(again == expected, "seed {seed}: judging from a generated source differs");

            let devices: Vec<_> = world.registry.devices.values().cloned().collect();
            let drawn = rules.audits(&world.params, &world.seed, &devices).expect("the parameters are sound");
            assert!(drawn.is_sorted(), "seed {seed}: drawn audits do not ascend");
            let known = |d| world.registry.devices.contains_key(d);
            let sound = drawn.iter().all(|a| known(&a.device) && known(&a.auditor) && a.device != a.auditor);
            assert!(sound, "seed {seed}: an audit names who is not there, or a device and itself");

            let tasks = rules.tasks(&world.context(), None).expect("tasks of a sound world");
            for device in world.registry.devices.keys() {
                let own = rules.tasks(&world.context(), Some(device)).expect("tasks of one device");
                let of_all: Vec<_> = tasks.iter().filter(|t| t.device == *device).cloned().collect();
                assert!(own == of_all, "seed {seed}: tasks of {device} differ from its part of everybody's");
            }
        }
    }
}
