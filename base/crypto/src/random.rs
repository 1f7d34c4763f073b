//! The operating system's randomness: the only source of it in this crate.

use zeroize::Zeroizing;

/// The operating system gave no randomness.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the operating system gave no randomness ({0}); check that getrandom or /dev/urandom is allowed here"
)]
pub struct NoRandomness(String);

/// 32 fresh random bytes, wiped when dropped.
pub fn random32() -> Result<Zeroizing<[u8; 32]>, NoRandomness> {
    let mut out = Zeroizing::new([0; 32]);
    getrandom::fill(out.as_mut()).map_err(|e| NoRandomness(e.to_string()))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(*super::random32().unwrap(), *super::random32().unwrap());
    }
}
