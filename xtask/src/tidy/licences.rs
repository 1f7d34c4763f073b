//! Licences and number of the packages that come from outside.

use super::{Finding, Level, error};
use crate::spdx;
use crate::workspace::Foreign;

/// More packages than this take too long to build from nothing on two cores.
const MOST_PACKAGES: usize = 950;

/// Every foreign package leaves a permissive choice.
pub fn check(foreign: &[Foreign]) -> Vec<Finding> {
    foreign.iter().filter_map(one).collect()
}

fn one(package: &Foreign) -> Option<Finding> {
    let name = format!("{} {}", package.name, package.version);
    let replace = "use another library, or turn off the feature that pulls it in";
    match &package.licence {
        Some(licence) => match spdx::permissive(licence) {
            Some(true) => None,
            Some(false) => {
                let what = format!("{name} is only to be had under {licence}");
                Some(error("Cargo.lock", "licence", what, replace))
            }
            None => {
                let what = format!("the licence of {name} cannot be read: {licence:?}");
                Some(error("Cargo.lock", "licence", what, "read its text; teach xtask/src/spdx.rs the form"))
            }
        },
        None if package.licence_file => {
            let what = format!("{name} names a licence file and no expression");
            let mut finding = error("Cargo.lock", "licence", what, "read that file once");
            finding.level = Level::Warning;
            Some(finding)
        }
        None => {
            let what = format!("{name} states no licence");
            Some(error("Cargo.lock", "licence", what, replace))
        }
    }
}

/// The lock file stays small enough for a clean build in the time budget.
pub fn lock(text: &str) -> Option<Finding> {
    let packages = text.lines().filter(|line| *line == "[[package]]").count();
    let what = format!("{packages} packages are locked; the budget is under {MOST_PACKAGES}");
    let remedy = "turn off default features or drop a dependency (cargo tree --duplicates)";
    (packages >= MOST_PACKAGES).then(|| error("Cargo.lock", "lock-size", what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(licence: Option<&str>, licence_file: bool) -> Foreign {
        let licence = licence.map(str::to_owned);
        Foreign { name: "dep".to_owned(), version: "1.0.0".to_owned(), licence, licence_file }
    }

    #[test]
    fn permissive_packages_pass() {
        assert!(check(&[package(Some("MIT OR GPL-3.0"), false)]).is_empty());
    }

    #[test]
    fn copyleft_unreadable_and_absent_licences_are_errors() {
        for licence in [Some("AGPL-3.0-only"), Some("MIT OR"), None] {
            let findings = check(&[package(licence, false)]);
            assert_eq!(findings.len(), 1, "{licence:?}");
            assert_eq!(findings[0].level, Level::Error);
        }
    }

    #[test]
    fn a_bare_licence_file_is_a_warning() {
        assert_eq!(check(&[package(None, true)])[0].level, Level::Warning);
    }

    #[test]
    fn the_lock_file_has_a_budget() {
        assert!(lock(&"[[package]]\nname = \"a\"\n".repeat(949)).is_none());
        assert!(lock(&"[[package]]\nname = \"a\"\n".repeat(950)).is_some());
    }
}
