//! One binary for all integration tests.

mod crash;
mod export;
mod net;
mod pool;
mod settle;
#[path = "../../../../judge/audit/tests/it/toy.rs"]
mod toy;
