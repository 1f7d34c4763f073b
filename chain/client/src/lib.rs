//! Typed client of a node's HTTP API.
//!
//! Start at [`Client`]. What it returns is the node's word, except for [`Client::get_verified`], which checks the
//! certificate of the seats and the proof of the row. [`Account`], [`Device`] and [`Seat`] sign and post.

mod client;
mod error;
mod export;
mod http;
mod light;
mod poster;
mod signer;
mod stream;
pub mod wire;

pub use client::{BUNDLE_LIMIT, Client, GENESIS_LIMIT, Included, PACK_LIMIT};
pub use error::ClientError;
pub use export::EXPORT_LIMIT;
pub use http::use_ring;
pub use light::{TrustedSeats, Verified, engine_network};
pub use poster::{Device, Seat};
pub use signer::{Account, VALID_BLOCKS};
pub use stream::{EpochTick, EpochTicks, EventAt, EventStream};
