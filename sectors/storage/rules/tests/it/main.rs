//! The storage sector against the suite of all sectors, scenario by scenario, and under benign faults.

#![allow(clippy::unwrap_used)]

mod attacks;
mod benign;
mod conformance;
mod dispute;
mod net;
mod repair;
mod retrieval;
mod scenarios;
