//! Whole segments: sealed, read in every state of health, repaired.

mod segment;
