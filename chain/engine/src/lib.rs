//! Consensus, authenticated state and proofs, spoken in bytes.
//!
//! This is the only room that knows the consensus library (docs/adr/0001): a [`Machine`] decides
//! what blocks mean, [`start`] runs it as a network of one validator, [`Engine`] answers questions
//! about the final state, and [`light`] lets anybody check the answers.
#![deny(missing_docs)]

mod app;
mod block;
mod engine;
mod error;
mod keys;
pub mod light;
mod machine;
mod orchestrator;
mod pace;
mod proof;
mod seating;
mod silence;
pub mod sim;
mod solo;
pub mod sync;
mod validator;
mod value;

pub use engine::{Engine, MAX_BATCH, Proof, StoredBlock};
pub use error::EngineError;
pub use keys::{
    POSSESSION_LEN, VOTE_PUBLIC_LEN, identity_public, prove_possession, verify_possession, vote_public,
};
pub use machine::{Executed, Execution, FinalBlock, Hash, Header, Key, MAX_VALUE, Machine, Step};
pub use solo::{SoloConfig, start};
