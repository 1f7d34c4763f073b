//! The conformance suite over the coverage sector, pooled sales, and a field of 100,000 devices.

// Helpers of tests are outside #[test] functions, where the lint's exception ends.
#![allow(clippy::unwrap_used)]

mod attacks;
mod field;
mod sales;
mod sample;
mod scale;

use cairn_coverage_rules::Coverage;
use cairn_testkit::conformance;
use sample::Village;

#[test]
fn encodings_are_frozen() {
    conformance::encodings_are_frozen::<Coverage>(&Village);
}

#[test]
fn random_bytes_are_refused_without_panic() {
    conformance::random_bytes_are_refused_without_panic::<Coverage>(&Village);
}

#[test]
fn submission_order_does_not_matter() {
    conformance::submission_order_does_not_matter::<Coverage>(&Village);
}

#[test]
fn recomputation_gives_the_same() {
    conformance::recomputation_gives_the_same::<Coverage>(&Village);
}

#[test]
fn rows_name_what_exists() {
    conformance::rows_name_what_exists::<Coverage>(&Village);
}

#[test]
fn units_stay_within_capacity() {
    conformance::units_stay_within_capacity::<Coverage>(&Village);
}

#[test]
fn honest_evidence_is_never_a_fault() {
    conformance::honest_evidence_is_never_a_fault::<Coverage>(&Village);
}

#[test]
fn each_cheat_is_caught_at_its_stated_rate() {
    conformance::each_cheat_is_caught_at_its_stated_rate::<Coverage>(&Village);
}
