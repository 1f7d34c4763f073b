//! What a user of the command line sees without a network, and its reference.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

// The definitions themselves: a binary has no library to import them from.
#[allow(dead_code)]
#[path = "../../src/args.rs"]
mod args;
mod documents;
mod golden;
mod packaging;
mod reference;
mod seen;
