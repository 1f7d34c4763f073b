//! Which profile fits a number of attested failure domains.

use super::{Assumptions, Report, report};
use crate::erasure::Profile;

/// Whether repair has somewhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spares {
    /// The spare rule holds: n <= domains - max(2, domains / 6).
    Enough,
    /// Redundant, but with fewer spare domains than the rule asks for: repair may have to wait for a
    /// newcomer.
    Short,
    /// One fragment: any loss of its operator loses the data.
    NoRedundancy,
}

/// A profile with its figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// k and n.
    pub profile: Profile,
    /// r: order a repair when this many fragments are left; below n unless n = 1.
    pub repair_threshold: u16,
    /// Attested failure domains that it was chosen for.
    pub domains: u16,
    /// Domains left over for repair.
    pub spares: Spares,
    /// Computed figures.
    pub report: Report,
}

impl Choice {
    /// A sentence to show before a customer relies on it; `None` when there is nothing to warn of.
    pub const fn warning(&self) -> Option<&'static str> {
        match self.spares {
            Spares::Enough => None,
            Spares::Short => {
                Some("too few independent operators for a spare: a lost fragment waits for a newcomer")
            }
            Spares::NoRedundancy => Some(
                "no redundancy: losing one operator loses the data; wait for at least 4 independent ones",
            ),
        }
    }
}

/// Domains to keep free so that repair has somewhere to go: max(2, domains / 6).
pub const fn spares(domains: u16) -> u16 {
    let sixth = domains / 6;
    if sixth > 2 { sixth } else { 2 }
}

/// (k, n) for a number of domains. From 4 on the spare rule holds; n / k never exceeds 3.
const fn table(domains: u16) -> (u16, u16) {
    match domains {
        0..=3 => (1, 1),
        4 => (1, 2),
        5 => (1, 3),
        6 => (2, 4),
        7 => (2, 5),
        8 => (2, 6),
        9 => (3, 7),
        10 => (3, 8),
        11 => (3, 9),
        12 => (4, 10),
        13 => (4, 11),
        14..=23 => (4, 12),
        24..=47 => (8, 20),
        _ => (16, 36),
    }
}

/// The profile for `domains` attested failure domains. Up to three domains the spare rule leaves one
/// fragment: the choice says [`Spares::NoRedundancy`] and the caller decides whether to accept it, to wait,
/// or to use [`choose_below_spare_rule`].
pub fn choose(domains: u16, a: &Assumptions) -> Choice {
    let (k, n) = table(domains);
    let spares = if n == 1 { Spares::NoRedundancy } else { Spares::Enough };
    finish(k, n, domains, spares, a)
}

/// As [`choose`], but for two and three domains keeps two copies and gives up the spare rule.
pub fn choose_below_spare_rule(domains: u16, a: &Assumptions) -> Choice {
    match domains {
        2 | 3 => finish(1, 2, domains, Spares::Short, a),
        _ => choose(domains, a),
    }
}

fn finish(k: u16, n: u16, domains: u16, spares: Spares, a: &Assumptions) -> Choice {
    let profile = Profile::new(k, n).expect("every row of the table is a valid profile, as a test checks");
    // Half way between k and n, rounded up, as the profiles of fact sheet 2.6 have it; at n it would mean
    // repairing what is whole.
    let repair_threshold = (k + n).div_ceil(2).min(n - 1);
    Choice { profile, repair_threshold, domains, spares, report: report(profile, repair_threshold, a) }
}
