//! The operator's side of storage: holds fragments, serves them, proves them and rebuilds what others lost.
//!
//! [`Store`] keeps bytes and signatures on a [`disk::Disk`]; [`StorageNode`] answers customers and agents over the data
//! plane; [`Duties`] makes what is posted each epoch; [`RepairAgent`] rebuilds slots that changed hands. What the chain
//! says comes through [`ChainView`].

pub mod audit;
pub mod chain;
pub mod cheats;
pub mod client;
pub mod disk;
pub mod duties;
pub mod fuzz;
pub mod repair;
pub mod service;
pub mod store;

pub use audit::Auditor;
pub use chain::ChainView;
pub use cheats::Cheat;
pub use duties::Duties;
pub use repair::RepairAgent;
pub use service::{Identity, StorageNode};
pub use store::{Store, StoreError};
