//! What a sector returns.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{DeviceId, DutyId, Hash, Units};

use crate::Rules;

/// A challenge.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Task {
    /// Who must answer.
    pub device: DeviceId,
    /// Number of the task for that device, from 0.
    pub index: u32,
    /// What is asked, in the sector's encoding.
    pub body: Vec<u8>,
}

/// Where the money of a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Source {
    /// The escrow of the row's lease.
    Escrow,
    /// The sector's pool for standing duties, at the governed rate.
    Pool,
    /// The locked bond of another device (repair, re-execution).
    Bond {
        /// Whose bond.
        of: DeviceId,
    },
}

/// Something that no honest worker can emit, whatever crashes, clocks and backups do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Fault {
    /// The sector's code; listed in its `cheats.rs`.
    pub code: u16,
    /// Share of the device's bond that is at stake, in millionths.
    pub severity_ppm: u32,
    /// Digest of the evidence that shows it.
    pub evidence: Hash,
}

/// What becomes of the duty.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum Next {
    /// Goes on.
    #[default]
    Continues,
    /// Ended as agreed.
    Done,
    /// Another device takes the slot; nobody is charged for it.
    Reassign,
    /// Another device takes the slot and what was lost is rebuilt at the bond's expense.
    Repair {
        /// Share of the slot that is lost, in millionths.
        ppm: u32,
    },
}

/// One judged result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Row {
    /// Whose operator is paid.
    pub payee: DeviceId,
    /// For which duty; `None` for work outside duties (a witness, a finder).
    pub duty: Option<DutyId>,
    /// How much, at most four kinds. Zero where the row only reports a fault or an end.
    pub units: Units,
    /// Who pays.
    pub source: Source,
    /// A fault of the payee.
    pub fault: Option<Fault>,
    /// What becomes of the duty.
    pub next: Next,
    /// Why the units are what they are: the sector's note code, shown by `earnings --explain`.
    pub note: u16,
}

/// A new value of the memory, or its end.
pub type MemoryChange<M> = (Vec<u8>, Option<M>);

/// One drawn audit: who looks at whom in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Audit {
    /// Who is looked at.
    pub device: DeviceId,
    /// Who looks.
    pub auditor: DeviceId,
}

/// How dear a device looks to the market from now on: its list price counts times `ppm` / 10^6. Never touches money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Weight {
    /// Device.
    pub device: DeviceId,
    /// Millionths; 1,000,000 is as listed. The core holds it inside its own bounds.
    pub ppm: u32,
}

/// The judged epoch of one sector.
pub struct Judgement<R: Rules> {
    /// Results; the core sorts them, their order carries nothing.
    pub rows: Vec<Row>,
    /// Price weights that change; a device at most once.
    pub weights: Vec<Weight>,
    /// Changes of memory; a key at most once.
    pub memory: Vec<MemoryChange<R::Memory>>,
}

impl<R: Rules> Default for Judgement<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), weights: Vec::new(), memory: Vec::new() }
    }
}

/// Division of a pooled sale: weights by device, sorted by device, a device at most once.
pub type Shares = Vec<(DeviceId, u64)>;

/// The outcome of a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Ruling {
    /// The accused is right; the accuser's bond is burned.
    Dismissed,
    /// The accuser is right: share of the accused device's bond that is locked, in millionths.
    Upheld {
        /// Millionths of the bond.
        severity_ppm: u32,
        /// Code for the record.
        code: u16,
    },
    /// Not decided yet: the accused may still answer.
    Pending,
}
