//! How likely a segment is lost, and which profile to choose. Floating point: for display and selection by
//! the customer's own software only, never for anything that two machines must agree on.
//!
//! Model (fact sheet 2.6): nodes are lost independently at `loss` per year. A segment starts with n
//! fragments; when r are left, a repair is ordered that takes `repair_years`. The time from n to r is a cycle
//! `C = sum_{i=r+1..n} 1 / (i L)`. The segment is lost if r - k + 1 or more of the r fall within the repair:
//!
//! ```text
//! q = 1 - exp(-L T)
//! rate = P[Binom(r, q) >= r - k + 1] / C  +  sum over events e: rate_e * P[Binom(n, share_e) >= n - k + 1]
//! P(loss within a year) = 1 - exp(-rate)
//! ```
//!
//! With r = n - 1, where every loss is repaired at once and repairs overlap, as the network does it, the first term is one
//! over the mean time until n - k + 1 fragments are missing. With i missing, losses come at (n - i) L and repairs end at
//! i / T, so that from i to i + 1 it takes `t_i = (1 + t_(i-1) i / T) / ((n - i) L)` on average, and all steps together
//! `t_0 + ... + t_(n-k)` (a birth-death process; checked against a simulation of the network's own schedule, see
//! docs/reliability.md).
//!
//! Independence is the weak point of every such model: a common fault (one software version, one country)
//! is not in the first term and must be named as an event.

mod choose;

pub use choose::{Choice, Spares, choose, choose_below_spare_rule, spares};

use crate::erasure::Profile;

/// Losses per node and year to assume for a young network.
pub const YOUNG_NETWORK_LOSS: f64 = 1.0;
/// Repair within a day, in years.
pub const REPAIR_ONE_DAY: f64 = 1.0 / 365.0;

/// A common fault that takes many nodes at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// Times per year.
    pub per_year: f64,
    /// Chance that a given node is among those lost, 0 to 1.
    pub share: f64,
}

/// What the model needs besides the profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumptions {
    /// Losses per node and year.
    pub loss: f64,
    /// Years from ordering a repair to its end.
    pub repair_years: f64,
    /// Share of the time that a node answers, 0 to 1.
    pub uptime: f64,
    /// Common faults.
    pub events: Vec<Event>,
}

impl Default for Assumptions {
    /// A young network: every node lost once a year, repair within a day, uptime 0.95, no common faults.
    fn default() -> Self {
        Self { loss: YOUNG_NETWORK_LOSS, repair_years: REPAIR_ONE_DAY, uptime: 0.95, events: Vec::new() }
    }
}

/// P[Binom(n, p) >= m].
pub fn binomial_tail(n: u16, p: f64, m: u16) -> f64 {
    if m == 0 {
        return 1.0;
    }
    let tail: f64 = (m..=n).map(|i| binomial_term(n, p, i)).sum();
    tail.clamp(0.0, 1.0)
}

/// P[Binom(n, p) = i].
fn binomial_term(n: u16, p: f64, i: u16) -> f64 {
    let ways: f64 = (1..=i).map(|j| f64::from(n - i + j) / f64::from(j)).product();
    ways * p.powi(i32::from(i)) * (1.0 - p).powi(i32::from(n - i))
}

/// Years from n fragments to r, when nobody repairs: sum of 1 / (i L) for i in r+1..=n.
fn cycle_years(n: u16, r: u16, loss: f64) -> f64 {
    (r + 1..=n).map(|i| 1.0 / (f64::from(i) * loss)).sum()
}

/// Mean years until n - k + 1 of n are missing, when each is repaired within T of its loss.
fn years_at_once(n: u16, k: u16, a: &Assumptions) -> f64 {
    let step = |(sum, before): (f64, f64), i: u16| {
        let down = if i == 0 { 0.0 } else { before * f64::from(i) / a.repair_years };
        let took = (1.0 + down) / (f64::from(n - i) * a.loss);
        (sum + took, took)
    };
    (0..=n - k).fold((0.0, 0.0), step).0
}

/// The steady repair time that is as dangerous as repairs of mean length `mean` that end once in each `step` only: what is
/// judged by epochs is repaired in batches, and the mean would understate it. The power mean of order n - k over the ages
/// that a loss can have, `mean - step / 2` to `mean + step / 2`. Needs `mean >= step / 2`.
pub fn stepped_repair(profile: Profile, mean: f64, step: f64) -> f64 {
    let m = f64::from(profile.n() - profile.k());
    if m == 0.0 || step <= 0.0 {
        return mean;
    }
    let power = |age: f64| age.powf(m + 1.0);
    ((power(mean + step / 2.0) - power(mean - step / 2.0)) / ((m + 1.0) * step)).powf(1.0 / m)
}

/// Chance that a segment is lost within a year. `threshold` is r: repair is ordered when r are left; taken
/// as n - 1 if larger and as k - 1 (no repair in time) if smaller.
pub fn annual_loss(profile: Profile, threshold: u16, a: &Assumptions) -> f64 {
    let (k, n) = (profile.k(), profile.n());
    let r = threshold.min(n - 1).max(k - 1);
    let q = -(-a.loss * a.repair_years).exp_m1();
    let common: f64 = a.events.iter().map(|e| e.per_year * binomial_tail(n, e.share, n - k + 1)).sum();
    if r == n - 1 {
        return -(-(1.0 / years_at_once(n, k, a) + common)).exp_m1();
    }
    // With r = k - 1 the end of the cycle is the loss itself, and the tail below is P[.. >= 0] = 1.
    let wear = binomial_tail(r, q, r + 1 - k) / cycle_years(n, r, a.loss);
    -(-(wear + common)).exp_m1()
}

/// Nines of durability: minus the decimal logarithm of a loss probability; infinite for zero.
pub fn nines(loss: f64) -> f64 {
    -loss.log10()
}

/// Bytes stored per byte of data, without metadata.
pub fn expansion(profile: Profile) -> f64 {
    f64::from(profile.n()) / f64::from(profile.k())
}

/// Bytes moved for repair per year and byte of data: (1 + (n - r) / k) / C. Zero when nothing is repaired.
pub fn repair_traffic(profile: Profile, threshold: u16, a: &Assumptions) -> f64 {
    let (k, n) = (profile.k(), profile.n());
    let r = threshold.min(n - 1);
    if r < k {
        return 0.0;
    }
    (1.0 + f64::from(n - r) / f64::from(k)) / cycle_years(n, r, a.loss)
}

/// Chance that fewer than k of the n nodes answer at a given moment.
pub fn unavailability(profile: Profile, uptime: f64) -> f64 {
    binomial_tail(profile.n(), 1.0 - uptime, profile.n() - profile.k() + 1)
}

/// Storj's published model: X ~ Poisson(p n) nodes leave in a month without repair; the chance that at least
/// k of n stay.
pub fn poisson_monthly_durability(k: u16, n: u16, monthly_turnover: f64) -> f64 {
    let lambda = monthly_turnover * f64::from(n);
    let mut term = (-lambda).exp();
    let mut sum = 0.0;
    for i in 0..=n.saturating_sub(k) {
        sum += term;
        term *= lambda / f64::from(i + 1);
    }
    sum
}

/// What to show a customer: always computed, never a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Chance of losing a segment within a year.
    pub annual_loss: f64,
    /// The same in nines.
    pub nines: f64,
    /// Bytes stored per byte of data.
    pub expansion: f64,
    /// Bytes of repair traffic per year and byte of data.
    pub repair_traffic: f64,
    /// Chance that a segment cannot be read at a given moment.
    pub unavailability: f64,
}

/// All figures of a profile.
pub fn report(profile: Profile, threshold: u16, a: &Assumptions) -> Report {
    let annual_loss = annual_loss(profile, threshold, a);
    Report {
        annual_loss,
        nines: nines(annual_loss),
        expansion: expansion(profile),
        repair_traffic: repair_traffic(profile, threshold, a),
        unavailability: unavailability(profile, a.uptime),
    }
}

#[cfg(test)]
mod tests;
