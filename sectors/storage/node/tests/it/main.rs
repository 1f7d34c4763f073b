//! Nodes, a customer and repair agents on an in-process network, judged by the rules.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod audits;
mod crash;
mod epochs;
mod repair;
mod requests;
mod town;
