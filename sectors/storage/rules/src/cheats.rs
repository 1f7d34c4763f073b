//! The cheats that the sector knows, what meets them, and at which rate.
//!
//! `rate_ppm` is the chance *per epoch* with 20 challenges. What is met only in a dispute stands in [`DISPUTED`], what is
//! harmless because somebody pays for it in full in [`PRICED`].

use cairn_sector::{Caught, Cheat};

/// An answer that does not verify, under the digest that the device posted itself.
pub const FORGED_ANSWER: u16 = 1;
/// A chunk that the device signed for was not served in a dispute.
pub const REFUSED_CHUNK: u16 = 2;

const ALWAYS: u32 = 1_000_000;

const fn row(name: &'static str, rate_ppm: u32, caught: Caught, text: &'static str) -> Cheat {
    Cheat { name, rate_ppm, caught, text }
}

const FORGED: Caught = Caught::Fault { code: FORGED_ANSWER };
const HONEST_PAY: Caught = Caught::PaidAtMost { ppm: 1_000_000 };

/// Cheats that judging meets.
pub const CATALOGUE: &[Cheat] = &[
    row(
        "dropped-data-10",
        870_000,
        Caught::Unpaid,
        "A tenth of the data is gone: 20 draws miss it with 0.9^20 = 12 %; then no at-rest pay, 16 times the draws, repair.",
    ),
    row(
        "dropped-data-1",
        180_000,
        Caught::Unpaid,
        "A hundredth is gone: 18.2 % in one epoch, 99.2 % in 24. On large devices K grows so that 0.1 % is found as surely.",
    ),
    row(
        "silent-when-hit",
        980_000,
        Caught::Unpaid,
        "A tenth is gone and the device goes silent whenever a draw hits it: silence makes a suspect, and 320 draws hit.",
    ),
    row(
        "stale-proof",
        ALWAYS,
        FORGED,
        "Answers of the epoch before under the new epoch's number: other positions.",
    ),
    row(
        "other-operators-proof",
        ALWAYS,
        FORGED,
        "Another device's answers: they lead to another commitment.",
    ),
    row(
        "commitment-changed",
        ALWAYS,
        FORGED,
        "After the seed the device answers from a smaller tree: the commitment at the lock is the one that counts.",
    ),
    row(
        "shared-directory",
        ALWAYS,
        FORGED,
        "Two identities keep one directory: the per-device pad makes each fragment another, so one of them has no chunk.",
    ),
    row(
        "inflated-size",
        ALWAYS,
        Caught::Unpaid,
        "A friendly customer signs ten times the bytes: no chunk lies there.",
    ),
    row(
        "sum-overflow",
        ALWAYS,
        Caught::Unpaid,
        "Weights that wrap past 2^64: such a tree has no commitment.",
    ),
    row(
        "unsigned-increase",
        ALWAYS,
        Caught::Unpaid,
        "A revision that no customer signed is not in the tree.",
    ),
    row(
        "rolled-back-decrease",
        ALWAYS,
        Caught::Unpaid,
        "An older, larger revision after a decrease: the order decides.",
    ),
    row("forged-receipt", ALWAYS, HONEST_PAY, "A receipt that the customer did not sign counts nothing."),
    row(
        "same-root-in-many-leases",
        ALWAYS,
        HONEST_PAY,
        "Customers who let one fragment stand in two leases pay twice; the fee's burned part is lost each time.",
    ),
    row(
        "lying-repairer",
        ALWAYS,
        Caught::Unpaid,
        "An agent rebuilds garbage and confirms itself: two must sign.",
    ),
    row(
        "proves-but-does-not-serve",
        ALWAYS,
        Caught::Dearer,
        "Answers challenges, serves nobody: three drawn strangers ask each epoch; from the second on the market sees it dearer.",
    ),
    row(
        "lying-auditor",
        ALWAYS,
        HONEST_PAY,
        "One of three auditors calls everybody unreachable: the median is an honest report, nobody's weight moves.",
    ),
    row(
        "reports-of-those-not-drawn",
        ALWAYS,
        HONEST_PAY,
        "Devices that no seed drew report about everybody, and drawn ones report twice: none of that counts.",
    ),
    row(
        "colluding-customer-frames",
        ALWAYS,
        Caught::Unpaid,
        "A stranger submits a decrease about another's slot.",
    ),
];

/// Met on chain, by a bonded dispute.
pub const DISPUTED: &[Cheat] = &[row(
    "proof-answered-bytes-refused",
    ALWAYS,
    Caught::Fault { code: REFUSED_CHUNK },
    "Anybody may claim a chunk against the device's own signature; silence until the deadline locks a share of the bond.",
)];

/// Not met but paid for by the one who does it.
pub const PRICED: &[Cheat] = &[row(
    "capacity-hogged-by-empty-leases",
    ALWAYS,
    HONEST_PAY,
    "Reserved, unused capacity is charged at a share of the at-rest rate, from escrow that is locked first.",
)];
