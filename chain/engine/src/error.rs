//! What can go wrong, as sentences with a remedy.

use std::path::PathBuf;

/// Why the engine did not start, or does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The directory cannot be used.
    #[error(
        "cannot use the chain directory {dir}: {cause}; check that it exists, is writable and has free space"
    )]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        cause: String,
    },
    /// Another process holds the directory.
    #[error(
        "the chain directory {dir} is in use by another process; stop that one first, two would sign against each other"
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to another network or format.
    #[error(
        "the chain directory {dir} holds {found}, this node wants {wanted}; choose another directory or import an exported state"
    )]
    OtherChain {
        /// The directory.
        dir: PathBuf,
        /// What lies there.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// A configuration value is out of its range.
    #[error("the engine's configuration is not usable: {0}")]
    Config(String),
    /// The engine broke: storage failure, or a machine that is not deterministic.
    #[error(
        "the engine stopped after a fault: {0}; free the disk or repair the cause, then start again: nothing that was acknowledged is lost"
    )]
    Failed(String),
    /// The engine was shut down.
    #[error("the engine was shut down; start it again to read or write")]
    Stopped,
    /// A single read failed.
    #[error("the state could not be read: {0}; if it repeats, check the disk")]
    Read(String),
}
