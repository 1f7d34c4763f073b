//! The customer's side of storage: an S3 endpoint whose state lies encrypted at the operators.

pub mod access;
pub mod car;
pub mod commit;
pub mod digest;
pub mod error;
pub mod front;
pub mod fuzz;
pub mod gateway;
pub mod index;
pub mod log;
pub mod memory;
mod notes;
pub mod operators;
pub mod packer;
mod pool;
pub mod ports;
pub mod record;
pub mod s3;
pub mod seal;
pub mod server;
pub mod volume;
