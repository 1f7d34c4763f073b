//! One binary for all integration tests.

mod toy;
mod verify;
