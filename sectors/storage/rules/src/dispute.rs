//! "Serve this chunk or lose a share of your bond."

use cairn_sector::{DisputeContext, LeaseEntry, Ruling};
use cairn_types::{PPM, Refusal};

use crate::cheats::REFUSED_CHUNK;
use crate::prove::verify_in_slot;
use crate::types::{Claim, CoSigned, Defence, Params, Revision, Signer};

/// Smallest share of the bond that a refused chunk costs, in millionths.
const LEAST_PPM: u64 = 10_000;

/// See [`cairn_sector::Rules::dispute`].
///
/// A claim stands only on the accused device's own signature, for a slot that it holds now, and no longer than
/// `grace_epochs` after the lease's end. A defence that does not verify leaves the matter pending: the accused may
/// answer again until the deadline. Work: two or three signatures and one path.
pub fn dispute(
    p: &Params,
    context: &DisputeContext,
    claim: &Claim,
    answer: Option<&Defence>,
) -> Result<Ruling, Refusal> {
    let lease = check_claim(p, context, claim)?;
    let r = &claim.revision.revision;
    let right = match answer {
        None => return Ok(Ruling::Upheld { severity_ppm: severity(p, context, r), code: REFUSED_CHUNK }),
        Some(Defence::Leaf(leaf)) => {
            verify_in_slot(&r.tree, claim.position, &leaf.in_slot, &leaf.fragment, &leaf.chunk).is_ok()
        }
        Some(Defence::Superseded(later)) => supersedes(lease, r, later),
    };
    Ok(if right { Ruling::Dismissed } else { Ruling::Pending })
}

fn check_claim<'a>(
    p: &Params,
    context: &'a DisputeContext,
    claim: &Claim,
) -> Result<&'a LeaseEntry, Refusal> {
    let refuse = |cause, remedy| Refusal::new("storage.dispute", cause, remedy);
    let r = &claim.revision.revision;
    let lease = context.lease.as_ref().filter(|l| l.id == r.lease).ok_or(refuse(
        "the revision's lease is not open",
        "name a lease that is open, or still in its grace epochs",
    ))?;
    if r.network != context.network || r.device != context.device.id {
        return Err(refuse(
            "the revision is of another network or device",
            "accuse the device that signed it",
        ));
    }
    let held = lease.slots.get(usize::from(r.slot));
    if !held.is_some_and(|s| s.device == r.device && s.generation == r.generation) {
        return Err(refuse("the device does not hold this slot now", "accuse the present holder"));
    }
    let over = |last: &cairn_types::Epoch| context.epoch > last.plus(u64::from(p.grace_epochs));
    if lease.closing.as_ref().is_some_and(over) {
        return Err(refuse(
            "the lease ended and its grace epochs are over",
            "fetch data before the grace epochs end",
        ));
    }
    if claim.position >= r.tree.total {
        return Err(refuse("the position is outside the revision's tree", "ask for a chunk below its total"));
    }
    if !claim.revision.accepted_by(&context.device.key) {
        return Err(refuse(
            "the device's signature on the revision does not fit its present key",
            "bring the co-signed revision; without the device's signature it promised nothing",
        ));
    }
    Ok(lease)
}

/// A later revision of the same slot and generation, signed by the customer itself: agents cannot excuse a device.
fn supersedes(lease: &LeaseEntry, claimed: &Revision, later: &CoSigned) -> bool {
    let r = &later.revision;
    let same = (r.network, r.lease, r.slot, r.generation, r.device)
        == (claimed.network, claimed.lease, claimed.slot, claimed.generation, claimed.device);
    same && r.order() > claimed.order()
        && later.signer == Signer::Customer
        && later.check_signer(&lease.key).is_ok()
}

/// `severity_factor` times the slot's share of the device's capacity.
fn severity(p: &Params, context: &DisputeContext, r: &Revision) -> u32 {
    let capacity = u128::from(context.device.capacity.0[crate::types::REBUILT]).max(1);
    let share = u128::from(r.tree.total) * u128::from(PPM) / capacity;
    let ppm =
        share.saturating_mul(u128::from(p.severity_factor)).clamp(u128::from(LEAST_PPM), u128::from(PPM));
    u32::try_from(ppm).unwrap_or(u32::MAX)
}
