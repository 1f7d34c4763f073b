//! Disputes: only what a signature shows by itself.

use cairn_sector::{DisputeContext, Ruling};
use cairn_types::NetworkId;

use crate::cheats::SELF_WITNESS;
use crate::{Claim, Evidence, Params, RECEIPT_DOMAIN, receipt_bytes};
use cairn_crypto::PublicKey;

/// A receipt in which a device witnesses itself, signed by its own key.
pub fn witnesses_itself(network: &NetworkId, key: &PublicKey, e: &Evidence) -> bool {
    e.witness == e.beaconer && key.verify(RECEIPT_DOMAIN, &receipt_bytes(network, e), &e.signature).is_ok()
}

/// Upheld if the accused signed that it heard itself. Work: one signature.
pub fn rule(p: &Params, c: &DisputeContext, claim: &Claim) -> Ruling {
    let e = &claim.receipt;
    if e.witness == c.device.id && witnesses_itself(&c.network, &c.device.key, e) {
        Ruling::Upheld { severity_ppm: p.self_witness_ppm, code: SELF_WITNESS }
    } else {
        Ruling::Dismissed
    }
}
