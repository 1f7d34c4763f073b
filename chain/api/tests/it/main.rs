//! Tests of the API with the real client. One binary: linking the engine costs a minute.

#![allow(clippy::unwrap_used, reason = "helpers of tests; the lint exempts test functions only")]

mod document;
mod edges;
mod export;
mod live;
mod lying;
mod net;
mod peers;
