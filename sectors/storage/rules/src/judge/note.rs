//! Codes that say why a row's units are what they are, for `earnings --explain`.

/// Paid: data at rest proven, bytes served, reserve.
pub const PAID: u16 = 1;
/// Paid, but capped by the device's admitted capacity; receipts carry over.
pub const CAPPED: u16 = 2;
/// The lease is not active in this epoch.
pub const INACTIVE: u16 = 3;
/// No commitment was posted before the lock.
pub const NO_COMMITMENT: u16 = 10;
/// The commitment is not the tree over what memory and bundle say.
pub const OTHER_TREE: u16 = 11;
/// No answers, or not those whose digest was posted.
pub const NO_ANSWERS: u16 = 12;
/// Some challenges were not answered at all.
pub const INCOMPLETE: u16 = 13;
/// Chunks were declared missing: nothing at rest is paid.
pub const MISSING: u16 = 14;
/// An answer was forged.
pub const FORGED: u16 = 15;
/// The device declared the slot gone.
pub const DROPPED: u16 = 16;
/// A slot was rebuilt and confirmed; paid from the bond of the one who lost it.
pub const REBUILT: u16 = 20;
/// The middle one of the retrieval audits was served, but late.
pub const AUDIT_SLOW: u16 = 30;
/// The middle one of the retrieval audits got other bytes than those committed to.
pub const AUDIT_WRONG: u16 = 31;
/// The middle one of the retrieval audits was not given the chunks.
pub const AUDIT_REFUSED: u16 = 32;
/// The middle one of the retrieval audits got no answer.
pub const AUDIT_UNREACHABLE: u16 = 33;

/// True for notes about retrieval audits: they pay nothing and cost nothing but the place in the market.
pub const fn is_audit(note: u16) -> bool {
    note >= AUDIT_SLOW && note <= AUDIT_UNREACHABLE
}

/// One sentence with the next action.
pub fn explain(note: u16) -> &'static str {
    match note {
        PAID => "all challenges were answered; at rest, served and reserved units are paid",
        CAPPED => "paid up to the admitted capacity; served units above it carry over to the next epoch",
        INACTIVE => "the lease was not active in this epoch; nothing is due",
        NO_COMMITMENT => {
            "no commitment was posted before the lock; check that the operator daemon runs and has a fee"
        }
        OTHER_TREE => {
            "the commitment differs from the revisions on record; submit the missing revisions or drop the slots"
        }
        NO_ANSWERS => {
            "no answers arrived, or others than posted; check the daemon's upload and whether it lags behind the chain"
        }
        INCOMPLETE => {
            "not all challenges were answered; a device that missed an epoch is asked more, update the daemon"
        }
        MISSING => {
            "chunks were declared missing; run doctor on the disk, at-rest pay resumes with the next clean epoch"
        }
        FORGED => "an answer does not verify; the bond is locked, a dispute can be opened within the window",
        DROPPED => "the device declared the slot gone; it is rebuilt elsewhere at the bond's expense",
        REBUILT => "a rebuilt slot was confirmed; paid from the bond of the device that lost it",
        AUDIT_SLOW => {
            "retrieval audits were answered late; the price looks higher to orders while that lasts, look at uplink and disk"
        }
        AUDIT_WRONG => {
            "retrieval audits got other bytes than committed to; the price looks higher to orders, run doctor on the disk"
        }
        AUDIT_REFUSED => {
            "retrieval audits were refused chunks; the price looks higher to orders until they are served again"
        }
        AUDIT_UNREACHABLE => {
            "retrieval audits got no answer; the price looks higher to orders, make the data plane reachable"
        }
        _ => "unknown note; use a newer program version",
    }
}
