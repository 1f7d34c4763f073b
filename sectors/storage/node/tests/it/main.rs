//! Nodes, a customer and repair agents on an in-process network, judged by the rules.

mod crash;
mod epochs;
mod repair;
mod requests;
mod town;
