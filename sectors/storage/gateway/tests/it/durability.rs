//! The durability model against a simulation of what the network does when operators are lost.
//!
//! A segment's n slots live and die in continuous time. What happens to a lost slot follows the production's rules and
//! numbers: the loss is judged after `silent_epochs` epochs without a word (`cairn_storage_rules`), the judgement counts
//! when the vote ends (`vote_blocks` into the next epoch), the slot then gets a new holder at once; the first agent of the
//! lease acts at once, the other after `Job::delay`, and where both are down the gateway's upkeep an epoch later. A holder
//! may be lost before its fragment is there. Fewer than k fragments: the segment is lost, and begins anew.
//!
//! Losses are accelerated so that they happen often enough to count. `CAIRN_DURABILITY_YEARS` sets the segment-years of
//! each profile; `cargo xtask sim durability` runs 100,000.

use cairn_storage_codec::Profile;
use cairn_storage_codec::durability::{Assumptions, annual_loss, stepped_repair};
use cairn_storage_node::repair::Job;
use cairn_storage_rules::types::Params;
use cairn_testkit::dice::Dice;
use cairn_types::LeaseId;
use std::time::Duration;

/// Epochs of an hour in a year.
const EPOCHS: f64 = 8_760.0;
/// Share of an epoch after which the vote of the one before ends, and outcomes are applied.
const VOTE: f64 = 0.5;
/// Epochs in which one slot's fragments are rebuilt.
const REBUILD: f64 = 2.0;
/// Chance that an agent is up.
const UP_PPM: u32 = 950_000;

struct Network {
    silent: f64,
    /// Losses of a node in an epoch.
    loss: f64,
    dice: Dice,
}

impl Network {
    fn uniform(&mut self) -> f64 {
        // 53 bits, never 0.
        ((self.dice.next_u64() >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }
    fn until_loss(&mut self, nodes: usize) -> f64 {
        -self.uniform().ln() / (self.loss * nodes as f64)
    }
    /// How long after the new holder was named an agent begins.
    fn agent(&mut self) -> f64 {
        for rank in 0..2 {
            if self.dice.chance(UP_PPM) {
                let job = Job { lease: LeaseId::default(), slot: 0, generation: 1, rank };
                return job.delay(Duration::from_secs(3600)).as_secs_f64() / 3600.0;
            }
        }
        2.0
    }
    /// When a slot lost at `at` is whole again.
    fn repaired(&mut self, mut at: f64) -> f64 {
        loop {
            let named = at.floor() + self.silent + VOTE;
            let whole = named + self.agent() + REBUILD;
            let next = named + self.until_loss(1);
            if next >= whole {
                return whole;
            }
            at = next;
        }
    }
}

struct Seen {
    losses: u64,
    /// Mean epochs from a loss to the end of its repair.
    repair: f64,
}

fn simulate(profile: Profile, network: &mut Network, years: f64) -> Seen {
    let (n, k) = (usize::from(profile.n()), usize::from(profile.k()));
    let (mut now, mut losses, mut repairs, mut spent) = (0.0, 0, 0u64, 0.0);
    let mut down: Vec<f64> = Vec::new();
    while now < years * EPOCHS {
        now += network.until_loss(n - down.len());
        // Who came back before this is back; time has no memory, so the draw stands for whoever is up at its start.
        let before = down.len();
        let first = down.iter().copied().fold(f64::INFINITY, f64::min);
        if first < now {
            now = first;
            down.retain(|whole| *whole > first);
            debug_assert!(down.len() < before);
            continue;
        }
        let whole = network.repaired(now);
        (repairs, spent) = (repairs + 1, spent + whole - now);
        down.push(whole);
        if n - down.len() < k {
            losses += 1;
            down.clear();
        }
    }
    Seen { losses, repair: spent / repairs.max(1) as f64 }
}

fn assume(loss_a_year: f64, repair_epochs: f64) -> Assumptions {
    Assumptions { loss: loss_a_year, repair_years: repair_epochs / EPOCHS, ..Assumptions::default() }
}

/// Losses of a segment in a year, from the chance of at least one.
fn rate(profile: Profile, a: &Assumptions) -> f64 {
    // Every loss is repaired at once: the threshold is n - 1.
    -(-annual_loss(profile, profile.n() - 1, a)).ln_1p()
}

/// Losses of a node in a year at which a segment is lost about `target` times a year.
fn accelerated(profile: Profile, target: f64) -> f64 {
    let (mut low, mut high) = (0.01, 5_000.0);
    for _ in 0..60 {
        let middle = f64::sqrt(low * high);
        if rate(profile, &assume(middle, 5.5)) < target { low = middle } else { high = middle }
    }
    low
}

fn compare(profiles: &[(u16, u16)], years: f64, target: f64) {
    let silent = f64::from(Params::default().silent_epochs);
    for (number, (k, n)) in profiles.iter().enumerate() {
        let profile = Profile::new(*k, *n).unwrap();
        let loss = accelerated(profile, target);
        let dice = Dice::new(20 + u64::try_from(number).unwrap());
        let seen = simulate(profile, &mut Network { silent, loss: loss / EPOCHS, dice }, years);
        // Losses of one epoch are judged together, so their repairs end together.
        let repair = stepped_repair(profile, seen.repair, 1.0);
        let expected = rate(profile, &assume(loss, repair)) * years;
        let losses = seen.losses as f64;
        // 95 %: a Poisson count this large is about normal.
        let margin = 1.96 * losses.sqrt();
        println!(
            "{k} of {n}: {years} segment-years, a node lost {loss:.1} times a year, repaired in {:.2} h: {losses} \
             losses, {:.0} to {:.0} at 95 %, the model says {expected:.0}",
            seen.repair,
            losses - margin,
            losses + margin
        );
        assert!(losses > 100.0, "too few losses to say anything");
        assert!((losses - expected).abs() <= margin, "{k} of {n}: the model is outside of the interval");
    }
}

#[test]
fn durability_of_the_model_lies_within_the_simulation_s_interval() {
    let years = std::env::var("CAIRN_DURABILITY_YEARS").ok().and_then(|y| y.parse::<f64>().ok());
    match years {
        Some(years) => compare(&[(1, 2), (1, 3), (2, 4), (4, 10), (4, 12), (8, 20), (16, 36)], years, 0.01),
        None => compare(&[(1, 2), (1, 3), (2, 4), (4, 12)], 3_000.0, 0.1),
    }
}
