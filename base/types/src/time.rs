//! Heights and epochs: the only clock that rules and ledger know.

use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// `n` later, at most the largest number.
            pub const fn plus(self, n: u64) -> Self {
                Self(self.0.saturating_add(n))
            }
            /// `n` earlier, at least zero.
            pub const fn minus(self, n: u64) -> Self {
                Self(self.0.saturating_sub(n))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter!(
    /// Block height; the genesis block is 0.
    Height
);
counter!(
    /// Epoch number; epoch `e` of a network with `n` blocks an epoch covers heights `e*n + 1 ..= (e+1)*n`.
    Epoch
);
