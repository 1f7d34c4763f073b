//! One binary for all integration tests: linking the generic stack costs minutes.

#![allow(clippy::unwrap_used, reason = "helpers of tests; the lint exempts test functions only")]

mod crash;
mod epochs;
mod light;
mod measure;
mod sim;
mod solo;
mod state_sync;
mod toy;
