//! One binary for all integration tests: linking the generic stack costs minutes.

mod crash;
mod light;
mod measure;
mod sim;
mod solo;
mod toy;
