//! Tests of the test kit: the suite finds planted defects, the fuzz driver runs every target.

// Helpers of tests are outside #[test] functions, where the lint's exception ends.
#![allow(clippy::unwrap_used)]

mod fuzz;
mod toy;
