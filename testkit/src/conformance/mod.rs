//! One suite that the rules of every sector pass.
//!
//! A sector supplies a [`Sample`]: honest worlds by seed, one value of every frozen type, and an [`Attack`] for
//! every row of its `cheats.rs`. [`run`] then makes all checks; each is also a function of its own, so that a
//! sector can give each a test with a name.

mod bytes;
mod cheats;
mod honest;
mod order;
mod rows;

pub use bytes::{encodings_are_frozen, random_bytes_are_refused_without_panic};
pub use cheats::{Attack, each_cheat_is_caught_at_its_stated_rate};
pub use honest::{Benign, honest_evidence_is_never_a_fault};
pub use order::{recomputation_gives_the_same, submission_order_does_not_matter};
pub use rows::{MEMORY_KEY_MAX, rows_name_what_exists, units_stay_within_capacity};

use cairn_sector::{AnyRules, Cheat, Erased, RawJudgement, Rules};
use cairn_types::{DeviceId, Epoch};

use crate::world::{MapMemory, World};

/// One or more values of every type of a sector that crosses a process boundary.
#[allow(missing_docs)]
pub struct Values<R: Rules> {
    pub params: Vec<R::Params>,
    pub offer: Vec<R::Offer>,
    pub order: Vec<R::Order>,
    pub commitment: Vec<R::Commitment>,
    pub evidence: Vec<R::Evidence>,
    pub memory: Vec<R::Memory>,
    pub sale: Vec<R::Sale>,
    pub claim: Vec<R::Claim>,
    pub answer: Vec<R::Answer>,
}

/// How much work the suite does. All figures are counts, never times.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Honest worlds (seeds) that each check looks at.
    pub worlds: u64,
    /// Consecutive epochs of each honest world, with memory.
    pub epochs: u64,
    /// Benign faults per world.
    pub benign: u64,
    /// Trials of a cheat that is stated to be caught always.
    pub trials_always: u64,
    /// Trials of a cheat with a stated rate.
    pub trials_rated: u64,
    /// Random inputs per decoder.
    pub fuzz: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Self { worlds: 3, epochs: 3, benign: 24, trials_always: 12, trials_rated: 200, fuzz: 400 }
    }
}

/// What a sector supplies to the suite.
pub trait Sample<R: Rules> {
    /// Values to freeze. The first of `params` is in force when values are decoded through the core.
    fn values(&self) -> Values<R>;

    /// Lines `type.index hex` for [`Sample::values`], usually `include_str!("fixtures/frozen.txt")`. The check
    /// prints the lines that it expected.
    fn fixtures(&self) -> &'static str;

    /// An epoch in which everybody is honest: registry, seed, evidence. `memory` is the memory after the epoch
    /// before. The same seed means the same network, devices and keys in every epoch.
    fn world(&self, seed: u64, epoch: Epoch, memory: MapMemory) -> World;

    /// Benign faults of the sector's own, besides the general ones.
    fn benign(&self) -> Vec<Benign> {
        Vec::new()
    }

    /// The sector's catalogue of cheats.
    fn catalogue(&self) -> &'static [Cheat];

    /// How each row of the catalogue is committed.
    fn attacks(&self) -> Vec<Attack>;

    /// How much work the suite does.
    fn effort(&self) -> Effort {
        Effort::default()
    }
}

/// All checks.
///
/// # Panics
/// Where the sector does not conform; the message names the check, the seed and the difference.
pub fn run<R: Rules>(sample: &dyn Sample<R>) {
    encodings_are_frozen(sample);
    random_bytes_are_refused_without_panic(sample);
    submission_order_does_not_matter(sample);
    recomputation_gives_the_same(sample);
    rows_name_what_exists(sample);
    units_stay_within_capacity(sample);
    honest_evidence_is_never_a_fault(sample);
    each_cheat_is_caught_at_its_stated_rate(sample);
}

fn erased<R: Rules>() -> Erased<R> {
    Erased::default()
}

/// Judges, and reports a refusal as a failed check.
fn judge(rules: &dyn AnyRules, world: &World, what: &str) -> RawJudgement {
    world.judge(rules).unwrap_or_else(|r| panic!("{what}: judging epoch {} was refused: {r}", world.epoch))
}

/// Honest worlds of the epochs `0..epochs`, each with the memory that the epochs before left.
fn history<R: Rules>(sample: &dyn Sample<R>, seed: u64, epochs: u64) -> Vec<World> {
    let rules = erased::<R>();
    let mut memory = MapMemory::default();
    let mut worlds = Vec::new();
    for epoch in 0..epochs {
        let world = sample.world(seed, Epoch(epoch), memory.clone());
        memory.apply(&judge(&rules, &world, "honest history").memory);
        worlds.push(world);
    }
    worlds
}

/// Units of all kinds that a judgement pays to a device.
fn paid(judgement: &RawJudgement, device: &DeviceId) -> u128 {
    let rows = judgement.rows.iter().filter(|r| r.payee == *device);
    rows.flat_map(|r| r.units.0).map(u128::from).sum()
}
