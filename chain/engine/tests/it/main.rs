//! One binary for all integration tests: linking the generic stack costs minutes.

mod crash;
mod light;
mod solo;
mod toy;
