//! Entry points for fuzzing: each takes foreign bytes and must return.

use cairn_sector::Rules;
use cairn_types::{DeviceId, NetworkId, decode_bounded};

use crate::prove::{verify_in_slot, verify_leaf};
use crate::types::{AnswerBody, Claim, Commitment, Defence, Evidence, Offer, Order, Params};
use crate::{LIMITS, Storage};

/// Evidence: decoded, keyed, and its leaf verified against a commitment made of the same bytes.
pub fn evidence(bytes: &[u8]) {
    let Ok(evidence) = decode_bounded::<Evidence>(bytes, LIMITS.evidence) else { return };
    let _ = Storage::sort_key(&DeviceId::default(), &evidence);
    if let Evidence::Answer(answer) = &evidence
        && let AnswerBody::Leaf(leaf) = &answer.body
    {
        let r = &leaf.revision;
        let _ = verify_leaf(&r.network, &r.device, &r.tree, leaf.in_operator.offset_in_leaf, leaf);
        let _ = verify_leaf(&NetworkId::default(), &r.device, &r.tree, u64::MAX, leaf);
    }
}

/// A claim and, from the second half, its answer.
pub fn dispute(bytes: &[u8]) {
    let (claim, answer) = bytes.split_at(bytes.len() / 2);
    let claim = decode_bounded::<Claim>(claim, LIMITS.claim);
    if let (Ok(claim), Ok(Defence::Leaf(leaf))) = (claim, decode_bounded::<Defence>(answer, LIMITS.answer)) {
        let tree = &claim.revision.revision.tree;
        let _ = verify_in_slot(tree, claim.position, &leaf.in_slot, &leaf.fragment, &leaf.chunk);
    }
}

/// Offers, orders, parameters and commitments.
pub fn market(bytes: &[u8]) {
    let p = Params::default();
    let (a, b) = bytes.split_at(bytes.len() / 2);
    let (offer, order) = (decode_bounded::<Offer>(a, LIMITS.offer), decode_bounded::<Order>(b, LIMITS.order));
    let _ = offer.as_ref().map(|o| Storage::admit(&p, o));
    let _ = order.as_ref().map(|o| Storage::demand(&p, o));
    if let (Ok(offer), Ok(order)) = (&offer, &order) {
        let _ = Storage::quote(&p, offer, order);
    }
    let _ = decode_bounded::<Params>(bytes, 1 << 16).map(|p| Storage::check(&p));
    let _ = decode_bounded::<Commitment>(bytes, LIMITS.commitment);
}
