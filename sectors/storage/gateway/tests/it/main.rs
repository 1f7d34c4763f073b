//! The whole gateway in one process, over operators in memory.

mod car;
mod durability;
mod escrow;
mod faults;
mod history;
mod lifecycle;
mod objects;
mod real_nodes;
mod recovery;
mod support;
