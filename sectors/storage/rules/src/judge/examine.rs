//! Did the device prove what it committed to?

use cairn_crypto::hash::blake3_derive;
use cairn_crypto::merkle::sum::{SumRoot, SumTree};
use cairn_sector::Fault;
use cairn_types::encode;

use super::holder::Holder;
use super::{WHOLE, note};
use crate::cheats::FORGED_ANSWER;
use crate::prove::{answers_digest, verify_leaf};
use crate::tasks::{commitment, count, position};
use crate::types::{AnswerBody, DeviceRecord, Params};

/// Least share of the bond that a forged answer costs, in millionths.
const LEAST_FORGERY_PPM: u32 = 100_000;

/// How a device's epoch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It had nothing to prove and no duty.
    Idle,
    /// It did not prove anything; the note says why. Never a fault.
    Silent {
        /// A code of [`note`].
        note: u16,
    },
    /// Every challenge was answered with its chunk.
    Passed,
    /// Chunks were declared missing.
    Missed {
        /// How many.
        misses: u32,
        /// Of how many challenges.
        of: u32,
    },
    /// Answers that do not verify, under the digest that the device posted itself.
    Forged {
        /// The fault.
        fault: Fault,
        /// How many were forged or missing.
        misses: u32,
    },
}

impl Outcome {
    /// The device's record after this epoch. Silence makes a suspect as well: otherwise a device could hide a loss by
    /// going silent whenever the draw hits it.
    pub fn record(&self, before: &DeviceRecord) -> DeviceRecord {
        match *self {
            Self::Idle | Self::Passed => DeviceRecord::default(),
            Self::Silent { .. } => {
                DeviceRecord { silent: before.silent.saturating_add(1), suspect: true, misses: before.misses }
            }
            Self::Missed { misses, .. } | Self::Forged { misses, .. } => {
                DeviceRecord { silent: 0, suspect: true, misses }
            }
        }
    }

    /// Share of the device's slots that must be rebuilt now, in millionths; 0 = none.
    ///
    /// Missing chunks: at once where at least two were missed and their share is over the threshold, or where chunks
    /// were missing the last time as well. A single bad sector costs an epoch's pay and a closer look.
    pub fn repair_ppm(&self, p: &Params, before: &DeviceRecord) -> u32 {
        match *self {
            Self::Idle | Self::Passed => 0,
            Self::Silent { .. } if before.silent.saturating_add(1) >= p.silent_epochs => WHOLE,
            Self::Silent { .. } => 0,
            Self::Forged { .. } => WHOLE,
            Self::Missed { misses, of } => {
                let share = ppm(misses, of);
                let again = before.misses > 0;
                let many = misses >= 2 && share > p.repair_ppm;
                if again || many { share.saturating_mul(p.severity_factor).clamp(1, WHOLE) } else { 0 }
            }
        }
    }
}

fn ppm(part: u32, of: u32) -> u32 {
    let ppm = (u64::from(part) * u64::from(WHOLE)).div_ceil(u64::from(of.max(1)));
    u32::try_from(ppm).unwrap_or(WHOLE).min(WHOLE)
}

pub(super) fn examine(h: &Holder<'_, '_>) -> Outcome {
    let due = h.due();
    let Some(committed) = commitment(&h.entry) else {
        return if due { Outcome::Silent { note: note::NO_COMMITMENT } } else { Outcome::Idle };
    };
    if tree(h) != Some(committed) {
        return if due { Outcome::Silent { note: note::OTHER_TREE } } else { Outcome::Idle };
    }
    let k = count(&h.c.params, committed.total, h.record.suspect);
    if k == 0 {
        return if due { Outcome::Passed } else { Outcome::Idle };
    }
    if h.answers.is_empty() || h.entry.answers != Some(answers_digest(&h.answers)) {
        return Outcome::Silent { note: note::NO_ANSWERS };
    }
    verify(h, &committed, k)
}

/// The tree over what the device holds by its own word. `None` if the weights overflow.
fn tree(h: &Holder<'_, '_>) -> Option<SumRoot> {
    let leaves = h.in_tree().map(|((lease, slot), s)| {
        let r = s.revision(h.c.network, h.entry.id, *lease, *slot);
        (r.leaf(), r.tree.total)
    });
    Some(SumTree::from_leaves(leaves).ok()?.root())
}

/// Answers arrive sorted by number; the first `k` are asked for, more do no harm.
fn verify(h: &Holder<'_, '_>, committed: &SumRoot, k: u32) -> Outcome {
    let asked = h.answers.iter().take_while(|a| a.index < k);
    if !asked.clone().map(|a| a.index).eq(0..k) {
        return Outcome::Silent { note: note::INCOMPLETE };
    }
    let (mut missing, mut forged, mut first) = (0u32, 0u32, None);
    for answer in asked {
        let AnswerBody::Leaf(leaf) = &answer.body else {
            missing += 1;
            continue;
        };
        let at = position(&h.c.seed, &h.entry.id, answer.index, committed.total);
        if verify_leaf(&h.c.network, &h.entry.id, committed, at, leaf).is_err() {
            forged += 1;
            first = first.or_else(|| Some(blake3_derive("cairn/storage/forged/v1", &[&encode(answer)])));
        }
    }
    match (first, missing) {
        (None, 0) => Outcome::Passed,
        (None, misses) => Outcome::Missed { misses, of: k },
        (Some(evidence), _) => {
            let share = ppm(forged + missing, k).saturating_mul(h.c.params.severity_factor);
            let severity_ppm = share.clamp(LEAST_FORGERY_PPM, WHOLE);
            Outcome::Forged {
                fault: Fault { code: FORGED_ANSWER, severity_ppm, evidence },
                misses: forged + missing,
            }
        }
    }
}
