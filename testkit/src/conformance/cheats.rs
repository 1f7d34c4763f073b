//! Every cheat of the catalogue is met at its stated rate.

use cairn_sector::{Caught, Cheat, RawJudgement, Rules};
use cairn_types::{DeviceId, Epoch};
use std::collections::{BTreeMap, BTreeSet};

use super::{Sample, erased, judge, paid, rows};
use crate::dice::Dice;
use crate::world::{MapMemory, World};

/// The weight of a device that looks as dear as it lists.
pub(super) const AS_LISTED: u32 = 1_000_000;

/// How a row of the catalogue is committed.
#[derive(Clone, Copy)]
pub struct Attack {
    /// Name of the row in the sector's `cheats.rs`.
    pub name: &'static str,
    /// Honest epochs before the first epoch of the cheat.
    pub after: u64,
    /// Consecutive epochs of the cheat, at least 1; the last is the one that is looked at.
    pub epochs: u64,
    /// Turns an honest world into one with the cheat and returns the cheats. The second world is the epoch
    /// before (honest, or the world itself in epoch 0). In each epoch of a trial the dice start anew, so that
    /// the same draws choose the same devices.
    pub apply: fn(&mut World, &World, &mut Dice) -> Vec<DeviceId>,
}

/// Runs every attack and counts in how many trials it is met as its row states.
pub fn each_cheat_is_caught_at_its_stated_rate<R: Rules>(sample: &dyn Sample<R>) {
    let attacks = sample.attacks();
    let rows: BTreeSet<_> = sample.catalogue().iter().map(|c| c.name).collect();
    assert!(rows.len() == sample.catalogue().len(), "two rows of the catalogue have one name");
    for attack in &attacks {
        assert!(rows.contains(attack.name), "attack {} is not in the catalogue", attack.name);
    }
    for cheat in sample.catalogue() {
        let mut known = attacks.iter().filter(|a| a.name == cheat.name).peekable();
        assert!(known.peek().is_some(), "cheat {} has no attack; a stated rate needs a trial", cheat.name);
        for attack in known {
            hold_to(sample, cheat, attack);
        }
    }
}

fn hold_to<R: Rules>(sample: &dyn Sample<R>, cheat: &Cheat, attack: &Attack) {
    let always = cheat.rate_ppm >= 1_000_000;
    let trials = if always { sample.effort().trials_always } else { sample.effort().trials_rated };
    let mut met = 0;
    let mut last_miss = String::new();
    for trial in 0..trials {
        match attempt(sample, cheat, attack, trial) {
            Ok(()) => met += 1,
            Err(why) => last_miss = format!("trial {trial}: {why}"),
        }
    }
    let least = least_met(trials, cheat.rate_ppm);
    assert!(
        met >= least,
        "cheat {} was met in {met} of {trials} trials; at {} ppm at least {least} are expected ({last_miss})",
        cheat.name,
        cheat.rate_ppm
    );
}

/// One trial: an honest history, then the epochs of the cheat beside the same epochs without it.
fn attempt<R: Rules>(
    sample: &dyn Sample<R>,
    cheat: &Cheat,
    attack: &Attack,
    trial: u64,
) -> Result<(), String> {
    let rules = erased::<R>();
    let (mut honest, mut bent) = (MapMemory::default(), MapMemory::default());
    let mut earlier: Option<World> = None;
    let (mut last, mut weights) = (None, BTreeMap::new());
    for epoch in 0..attack.after + attack.epochs.max(1) {
        let clean = sample.world(trial, Epoch(epoch), honest.clone());
        let mut world = sample.world(trial, Epoch(epoch), bent.clone());
        let mut cheats = Vec::new();
        if epoch >= attack.after {
            let before = earlier.as_ref().unwrap_or(&clean);
            cheats = (attack.apply)(&mut world, before, &mut Dice::new(trial ^ 0xC4EA7));
        }
        let (should, got) = (judge(&rules, &clean, "clean"), judge(&rules, &world, cheat.name));
        rows::check_form(&world, &got, R::LIMITS.memory, cheat.name);
        rows::check_capacity(&world, &got, cheat.name);
        honest_stay_clear(&got, &cheats, cheat.name);
        honest.apply(&should.memory);
        bent.apply(&got.memory);
        earlier = Some(clean);
        weights.extend(got.weights.iter().map(|w| (w.device, w.ppm)));
        last = Some((cheats, should, got));
    }
    let (cheats, should, got) = last.ok_or("no epoch was judged")?;
    if cheats.is_empty() {
        return Err("the attack found no device to cheat with".into());
    }
    if cheat.caught == Caught::Dearer {
        let free = cheats.iter().find(|d| weights.get(d).is_none_or(|ppm| *ppm <= AS_LISTED));
        return free.map_or(Ok(()), |d| Err(format!("{d} looks no dearer than it lists")));
    }
    verdict(cheat, &cheats, &should, &got)
}

/// A cheat must not make an honest device look guilty.
fn honest_stay_clear(got: &RawJudgement, cheats: &[DeviceId], name: &str) {
    let framed = got.rows.iter().find(|r| r.fault.is_some() && !cheats.contains(&r.payee));
    assert!(framed.is_none(), "cheat {name} frames an honest device: {framed:?}");
    let dearer = got.weights.iter().find(|w| w.ppm > AS_LISTED && !cheats.contains(&w.device));
    assert!(dearer.is_none(), "cheat {name} makes an honest device look dearer: {dearer:?}");
}

fn verdict(
    cheat: &Cheat,
    cheats: &[DeviceId],
    should: &RawJudgement,
    got: &RawJudgement,
) -> Result<(), String> {
    let sum = |j: &RawJudgement| -> u128 { cheats.iter().map(|d| paid(j, d)).sum() };
    let (honest, earned) = (sum(should), sum(got));
    match cheat.caught {
        Caught::Fault { code } => {
            let hit = |d: &DeviceId| {
                got.rows.iter().any(|r| r.payee == *d && r.fault.is_some_and(|f| f.code == code))
            };
            let free = cheats.iter().find(|d| !hit(d));
            free.map_or(Ok(()), |d| Err(format!("{d} got no fault {code} and earned {}", paid(got, d))))
        }
        // Looked at over all epochs by the caller.
        Caught::Dearer => Ok(()),
        Caught::Unpaid if earned == 0 => Ok(()),
        Caught::Unpaid => Err(format!("the cheats earned {earned}, should be nothing (honest: {honest})")),
        Caught::PaidAtMost { ppm } if earned * 1_000_000 <= honest * u128::from(ppm) => Ok(()),
        Caught::PaidAtMost { ppm } => {
            Err(format!("the cheats earned {earned} of {honest}, stated: {ppm} ppm"))
        }
    }
}

/// The fewest successes in `n` trials that are still likely (one in a million) at a rate of `ppm`: the lower
/// tail of the binomial distribution.
fn least_met(n: u64, ppm: u32) -> u64 {
    const UNLIKELY: f64 = 1e-6;
    if ppm >= 1_000_000 {
        return n;
    }
    if ppm == 0 {
        return 0;
    }
    let p = f64::from(ppm) / 1e6;
    let mut ln_choose = 0.0f64;
    let mut tail = 0.0;
    let mut k = 0u64;
    let as_f = |x: u64| f64::from(u32::try_from(x).unwrap_or(u32::MAX));
    while k < n {
        tail += (ln_choose + as_f(k) * p.ln() + as_f(n - k) * (1.0 - p).ln()).exp();
        if tail > UNLIKELY {
            return k;
        }
        ln_choose += (as_f(n - k) / as_f(k + 1)).ln();
        k += 1;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_lower_tail_of_the_binomial_distribution() {
        assert_eq!(least_met(12, 1_000_000), 12);
        // Exact rational sums: P(X <= 66) = 8.7e-7 and P(X <= 67) = 1.8e-6 for n = 200 and p = 1/2.
        assert_eq!(least_met(200, 500_000), 67);
        assert_eq!(least_met(200, 0), 0);
        assert_eq!(least_met(200, 990_000), 188);
    }
}
