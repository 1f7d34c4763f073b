//! Storage has no pooled sales: every byte belongs to a lease.

use cairn_sector::Shares;
use cairn_types::{Credits, Refusal};

/// See [`cairn_sector::Rules::sale`]: refuses.
pub fn sale() -> Result<Credits, Refusal> {
    Err(Refusal::new("storage.sale", "storage has no pooled sales", "open a lease with an order"))
}

/// See [`cairn_sector::Rules::attribute`]: nobody.
pub fn attribute() -> Shares {
    Shares::new()
}
