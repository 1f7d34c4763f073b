//! Tests of the API with the real client. One binary: linking the engine costs a minute.

mod document;
mod edges;
mod live;
mod lying;
mod net;
