//! The cheats that the sector knows, and the codes of its faults and notes.

use cairn_sector::{Caught, Cheat};

/// Fault: a signed reveal does not open what the device committed to. The node software compares the two before
/// it signs, so a crash or a backup can lose a reveal but never make a wrong one.
pub const MISMATCH: u16 = 1;

/// Note: a miner's share of the arena.
pub const NOTE_MINER: u16 = 0;
/// Note: a validator's share, by its bonds.
pub const NOTE_VALIDATOR: u16 = 1;

/// The catalogue.
pub const CHEATS: &[Cheat] = &[
    Cheat {
        name: "copied-commitment",
        rate_ppm: 1_000_000,
        caught: Caught::Fault { code: MISMATCH },
        text: "A miner posts another's commitment and, once that answer is public, reveals it as its own. The digest \
               contains the device, so the reveal cannot fit.",
    },
    Cheat {
        name: "copied-answer",
        rate_ppm: 1_000_000,
        caught: Caught::Unpaid,
        text: "A miner without a commitment waits for another's reveal and reveals the same answer. Nothing was \
               committed, nothing is paid.",
    },
    Cheat {
        name: "mismatching-reveal",
        rate_ppm: 1_000_000,
        caught: Caught::Fault { code: MISMATCH },
        text: "A miner commits to one answer and, knowing the others, reveals a better one.",
    },
    Cheat {
        name: "mismatching-scores",
        rate_ppm: 1_000_000,
        caught: Caught::Fault { code: MISMATCH },
        text: "A validator posts a digest and reveals other scores after it has seen those of the others.",
    },
    Cheat {
        name: "late-reveal",
        rate_ppm: 1_000_000,
        caught: Caught::Unpaid,
        text: "A miner reveals one epoch late, when it knows how the others fared.",
    },
    Cheat {
        name: "own-miner",
        rate_ppm: 1_000_000,
        caught: Caught::Unpaid,
        text: "A validator with less than half of the stake gives the highest score to its own miner, which did no \
               work, and nothing to all others. The median clips the score to that of the others: zero.",
    },
    Cheat {
        name: "lazy-validator",
        rate_ppm: 1_000_000,
        caught: Caught::PaidAtMost { ppm: 200_000 },
        text: "The validator of the cheat above: it backs nobody who wins, so its bonds fade. With the default weight \
               of an epoch (alpha 30 %) a sixth of its pay is left after five epochs.",
    },
];
