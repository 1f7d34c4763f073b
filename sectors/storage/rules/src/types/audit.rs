//! What auditors ask, see and report.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{DeviceId, Epoch, NetworkId};

/// What an auditor signs to be let in ([`crate::sign::AUDIT`]). The signature also decides which chunks are asked
/// for, so that nobody but the auditor knows them before it asks. 104 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Ask {
    /// The network.
    pub network: NetworkId,
    /// The epoch of the draw.
    pub epoch: Epoch,
    /// Who is asked.
    pub device: DeviceId,
    /// Who asks.
    pub auditor: DeviceId,
}

/// What an auditor saw. The order is from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Seen {
    /// Every chunk came and led to the commitment.
    Served {
        /// The answer was complete within 2^this milliseconds, as the auditor's clock measured.
        log_ms: u8,
    },
    /// Something else than what was committed to.
    Wrong,
    /// The device answered, and did not hand over all chunks.
    Refused,
    /// No answer.
    Unreachable,
}

/// An auditor's report. It travels in the auditor's own bundle, whose signature is its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Audited {
    /// The epoch of the draw; reports of another epoch are passed over.
    pub epoch: Epoch,
    /// Who was asked.
    pub device: DeviceId,
    /// What came of it.
    pub seen: Seen,
}

/// The middle of an epoch's reports about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Median {
    /// Epoch.
    pub epoch: Epoch,
    /// What the middle report says.
    pub seen: Seen,
    /// Reports that counted, 2 or 3.
    pub reports: u8,
    /// What it is worth, in millionths.
    pub quality: u32,
}

/// How a device served its auditors. Kept while the score is not full.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Retrieval {
    /// Smoothed medians, in millionths; 1,000,000 is full.
    pub score: u32,
    /// The price weight that the market was last told, in millionths.
    pub weight: u32,
    /// The latest medians, newest last, at most [`crate::audit::MEDIANS_KEPT`].
    pub medians: Vec<Median>,
}
