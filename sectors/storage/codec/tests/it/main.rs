//! Whole segments: sealed, read in every state of health, repaired.

// Helpers outside #[test] functions unwrap as well; all of this is test code.
#![allow(clippy::unwrap_used)]

mod segment;
