//! There are no pooled sales, so they belong to nobody.

use cairn_sector::Shares;

/// No shares.
pub const fn nobody() -> Shares {
    Shares::new()
}
