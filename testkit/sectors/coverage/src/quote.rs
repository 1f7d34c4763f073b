//! Leases do not exist here.

use cairn_types::Refusal;

/// The answer to every order.
pub const fn no_leases() -> Refusal {
    Refusal::new(
        "coverage.no_leases",
        "coverage is a standing duty; there is nothing to lease",
        "buy a pooled sale of the cells that you want",
    )
}
