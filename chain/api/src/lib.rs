//! The HTTP/JSON API of a node.
//!
//! [`serve`] runs it on a listener; [`openapi`] is its description, generated from the handlers. Whatever goes wrong
//! is answered as JSON with `code`, `cause` and `remedy`. Amounts are decimal strings with the unit in the field's
//! name; whatever has a frozen binary form carries it in hexadecimal as `borsh`.

mod answer;
mod audits;
mod body;
mod connection;
mod devnet;
mod duties;
mod events;
mod export;
mod guard;
mod leases;
mod metrics;
mod peers;
mod read;
mod registry;
mod rows;
mod server;
mod transactions;

pub use devnet::{DevnetCommand, DevnetControl};
pub use peers::{PeerFacts, PeerStore, ReadPeer};
pub use server::{MAX_CONNECTIONS, Services, openapi, serve, serve_until};
