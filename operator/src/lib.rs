//! The daemon on an operator's machine.
//!
//! A [`cairn_sector::Worker`] knows its sector: what to commit to, how to answer, what evidence to hand in. The [`Daemon`] knows the
//! epoch: when each of these is due, and that each is done once, however often it is restarted.

mod audit;
mod clock;
mod daemon;
mod doctor;
mod seat;
mod storage;

pub use audit::{Reports, audits};
pub use clock::{Clock, Now};
pub use daemon::{Daemon, DaemonStatus};
pub use doctor::examine;
pub use seat::{SeatConfig, SeatError, Seated};
pub use storage::{ChainLeases, StorageWorker, repairs};
