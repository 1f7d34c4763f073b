//! One binary for all integration tests.

#![allow(clippy::unwrap_used, reason = "helpers of tests; the lint exempts test functions only")]

mod crash;
mod export;
mod net;
mod pool;
mod settle;
#[path = "../../../../judge/audit/tests/it/toy.rs"]
mod toy;
