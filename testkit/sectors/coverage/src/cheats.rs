//! The cheats that the sector knows, and the codes of its faults and notes.

use cairn_sector::{Caught, Cheat};

/// Fault: a device signed that it heard its own beacon. The node software never offers to.
pub const SELF_WITNESS: u16 = 1;

/// Note: paid in full.
pub const NOTE_FULL: u16 = 0;
/// Note: scaled down, more devices than the density pays in full.
pub const NOTE_DENSE: u16 = 1;
/// Note: kept only the share of closed groups: witnesses form a group that nobody else ever saw.
pub const NOTE_CLOSED_GROUP: u16 = 2;
/// Note: kept only the share of closed groups: one operator alone has seen this device for long.
pub const NOTE_ONE_NEIGHBOUR: u16 = 3;
/// Note: as a witness, reached the cap of the epoch.
pub const NOTE_CAPPED: u16 = 4;

/// The catalogue.
pub const CHEATS: &[Cheat] = &[
    Cheat {
        name: "self-witness",
        rate_ppm: 1_000_000,
        caught: Caught::Fault { code: SELF_WITNESS },
        text: "A device signs receipts for its own beacon. Its signature shows it.",
    },
    Cheat {
        name: "own-fleet",
        rate_ppm: 1_000_000,
        caught: Caught::Unpaid,
        text: "A device is witnessed only by devices of the same operator. Those do not count.",
    },
    Cheat {
        name: "fabricated-witness",
        rate_ppm: 1_000_000,
        caught: Caught::Unpaid,
        text: "Receipts are signed with keys that the witness does not have. Signatures fail against the registry.",
    },
    Cheat {
        name: "unheard-beacon",
        rate_ppm: 1_000_000,
        caught: Caught::Unpaid,
        text: "A witness computes the payload from the public seed and claims to have heard it. The beaconer's \
               signature, which is only in the air, is missing.",
    },
    Cheat {
        name: "old-beacon",
        rate_ppm: 1_000_000,
        caught: Caught::Unpaid,
        text: "Receipts of an earlier epoch are sent again. Epoch and payload do not fit the seed.",
    },
    Cheat {
        name: "out-of-range",
        rate_ppm: 1_000_000,
        caught: Caught::Unpaid,
        text: "Accomplices far away witness a beacon. Their registered cells are out of the radius.",
    },
    Cheat {
        name: "sybil-clique",
        rate_ppm: 1_000_000,
        caught: Caught::PaidAtMost { ppm: 200_000 },
        text: "A few identities at one place witness only each other. After `mature` epochs the memory shows a \
               closed group, which keeps `closed_ppm` of the pay. Until then it is paid in full.",
    },
];
