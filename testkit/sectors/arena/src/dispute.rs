//! Disputes: a signed reveal beside the commitment of the current epoch.

use cairn_sector::{DisputeContext, Ruling};

use crate::cheats::MISMATCH;
use crate::judge::{Reading, read};
use crate::{Claim, Evidence, Params};

/// Upheld if the accused signed a reveal of this epoch that does not open what it committed to. One signature.
pub fn rule(p: &Params, c: &DisputeContext, claim: &Claim) -> Ruling {
    let accused = match &claim.evidence {
        Evidence::Reveal(r) => r.miner,
        Evidence::Scores(s) => s.validator,
    };
    let reading = read(&c.network, c.epoch, &c.device, &claim.evidence);
    if accused == c.device.id && reading == Reading::Mismatch {
        Ruling::Upheld { severity_ppm: p.mismatch_ppm, code: MISMATCH }
    } else {
        Ruling::Dismissed
    }
}
