//! Neither leases nor pooled sales exist here.

use cairn_types::Refusal;

/// The answer to every order.
pub const fn no_leases() -> Refusal {
    Refusal::new("arena.no_leases", "the arena has nothing to lease", "use a sector with leases")
}

/// The answer to every sale.
pub const fn no_sales() -> Refusal {
    Refusal::new("arena.no_sales", "the arena has nothing to sell", "use a sector with pooled sales")
}
