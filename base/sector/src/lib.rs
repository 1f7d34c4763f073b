//! The contract between a sector and the core.
//!
//! A sector turns evidence into [`Row`]s: who did how many units, what fault. It never sees a balance.
//! The core (ledger and settlement) turns rows into money. Both sides are pure: the same registry, memory,
//! seed and evidence give the same rows on every machine.
//!
//! Authors implement the typed [`Rules`]; the core calls the erased [`AnyRules`] through [`Sectors`]. What runs on the
//! machines of operators and customers implements [`Worker`] and [`Gateway`].

mod cheat;
mod context;
mod erased;
mod judgement;
mod machine;
mod market;
mod rules;

pub use cheat::{Caught, Cheat};
pub use context::{
    DeviceEntry, DeviceState, DisputeContext, EpochContext, EvidenceItem, EvidenceSource, LeaseEntry, Memory,
    RawContext, RawEvidence, RawItem, RawMemory, Registry, SaleEntry, Slot, SortKey,
};
pub use erased::{AnyRules, Erased, RawJudgement, Sectors};
pub use judgement::{Audit, Fault, Judgement, MemoryChange, Next, Row, Ruling, Shares, Source, Task, Weight};
pub use machine::{AnyWorker, ErasedWorker, Finding, Gateway, Level, Worker, WorkerError};
pub use market::{Admission, Demand, Quote};
pub use rules::{Limits, Rules, Wire};

/// Randomness of one epoch; see [`cairn_crypto::seed::Seed`].
pub use cairn_crypto::seed::Seed;
