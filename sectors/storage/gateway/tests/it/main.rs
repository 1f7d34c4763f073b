//! The whole gateway in one process, over operators in memory.

mod faults;
mod objects;
mod real_nodes;
mod recovery;
mod support;
