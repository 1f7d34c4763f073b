//! Money: pebbles (10^-9 CRN), credits (micro-dollars), rates and prices. Checked, floor-rounded.

use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;
use std::iter::Sum;

use crate::UNIT_KINDS;

/// One million: the scale of every ratio.
pub const PPM: u64 = 1_000_000;

macro_rules! money {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub $int);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
            /// Sum, or `None` on overflow.
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }
            /// Difference, or `None` where it would be negative.
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }
            /// Difference, at least zero.
            pub fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
            /// Sum, at most the largest representable value.
            pub fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
            /// True for nothing.
            pub fn is_zero(self) -> bool {
                self.0 == 0
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self::ZERO, |a, b| Self(a.0.checked_add(b.0).expect("a sum of money in existence cannot overflow")))
            }
        }
    };
}

money!(
    /// CRN in pebbles; 1 CRN = 10^9 pebbles.
    Amount(u128)
);
money!(
    /// Credits; one credit is a micro-dollar.
    Credits(u64)
);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if part == 0 {
            return write!(f, "{whole} CRN");
        }
        let digits = format!("{part:09}");
        write!(f, "{whole}.{} CRN", digits.trim_end_matches('0'))
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Asking price of one unit, in pico-credits (10^-18 dollar).
///
/// *Example.* 1.5 $ per TB and month is 1.5 x 10^6 credits over 9.77 x 10^8 KiB x 2.59 x 10^6 s, that is
/// 592 pico-credits for one KiB-second.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Rate(pub u64);

impl Rate {
    /// Pico-credits in one credit.
    pub const SCALE: u128 = 1_000_000_000_000;

    /// Credits for a cumulative number of units, rounded down. `None` on overflow (more credits than can exist).
    pub fn charge(self, units: u128) -> Option<Credits> {
        let pico = units.checked_mul(u128::from(self.0))?;
        u64::try_from(pico / Self::SCALE).ok().map(Credits)
    }
}

/// Pebbles for one credit, as a ratio scaled by 10^6 (`1_000_000` = one pebble a credit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Price(pub u64);

impl Price {
    /// Pebbles that `credits` cost, rounded down.
    pub fn pebbles(self, credits: Credits) -> Amount {
        Amount(u128::from(credits.0) * u128::from(self.0) / u128::from(PPM))
    }
    /// Pebbles that `credits` cost, rounded up (what a buyer pays).
    pub fn pebbles_ceil(self, credits: Credits) -> Amount {
        Amount((u128::from(credits.0) * u128::from(self.0)).div_ceil(u128::from(PPM)))
    }
    /// Whole credits that `amount` is worth, rounded down; `None` for a price of zero or more than can exist.
    pub fn credits(self, amount: Amount) -> Option<Credits> {
        let scaled = amount.0.checked_mul(u128::from(PPM))?;
        u64::try_from(scaled.checked_div(u128::from(self.0))?).ok().map(Credits)
    }
}

/// Work done, up to four kinds; the meaning of each kind is the sector's.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Units(pub [u64; UNIT_KINDS]);

impl Units {
    /// No work.
    pub const ZERO: Self = Self([0; UNIT_KINDS]);

    /// Units of the first kind only.
    pub const fn first(n: u64) -> Self {
        Self([n, 0, 0, 0])
    }
    /// True for no work.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|u| *u == 0)
    }
    /// True if no kind exceeds that of `limit`.
    pub fn within(&self, limit: &Self) -> bool {
        self.0.iter().zip(&limit.0).all(|(a, b)| a <= b)
    }
    /// Kind by kind sum, or `None` on overflow.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        let mut out = *self;
        for (a, b) in out.0.iter_mut().zip(&other.0) {
            *a = a.checked_add(*b)?;
        }
        Some(out)
    }
}

/// `a * b / c` rounded down, through 256 bits where needed; `None` for `c == 0` or a result over `u128`.
pub fn mul_div(a: u128, b: u128, c: u128) -> Option<u128> {
    wide_mul_div(a, b, c).map(|(q, _)| q)
}

/// `a * b / c` rounded up; `None` for `c == 0` or a result over `u128`.
pub fn mul_div_ceil(a: u128, b: u128, c: u128) -> Option<u128> {
    let (q, r) = wide_mul_div(a, b, c)?;
    if r == 0 { Some(q) } else { q.checked_add(1) }
}

/// Schoolbook 128 x 128 -> 256 bit product, then binary long division.
fn wide_mul_div(a: u128, b: u128, c: u128) -> Option<(u128, u128)> {
    if c == 0 {
        return None;
    }
    if let Some(p) = a.checked_mul(b) {
        return Some((p / c, p % c));
    }
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let mid = a1 * b0 + ((a0 * b0) >> 64);
    let mid2 = a0 * b1 + (mid & LOW);
    let (hi, lo) = (a1 * b1 + (mid >> 64) + (mid2 >> 64), (mid2 << 64) | ((a0 * b0) & LOW));
    if hi >= c {
        return None;
    }
    let (mut rem, mut quot) = (hi, 0u128);
    for i in (0..128).rev() {
        let carry = rem >> 127;
        rem = (rem << 1) | ((lo >> i) & 1);
        quot <<= 1;
        if carry == 1 || rem >= c {
            rem = rem.wrapping_sub(c);
            quot |= 1;
        }
    }
    Some((quot, rem))
}

/// `value * ppm / 10^6`, rounded down.
pub fn ppm_of(value: u128, ppm: u64) -> u128 {
    mul_div(value, u128::from(ppm.min(PPM)), u128::from(PPM)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_month_of_a_terabyte_costs_a_dollar_fifty() {
        let kib_seconds = 976_562_500u128 * 2_592_000;
        let c = Rate(592).charge(kib_seconds).unwrap();
        assert_eq!(c, Credits(1_498_500));
    }

    #[test]
    fn amounts_are_printed_with_their_unit() {
        assert_eq!(Amount(1_500_000_000).to_string(), "1.5 CRN");
        assert_eq!(Amount(1).to_string(), "0.000000001 CRN");
        assert_eq!(Credits(1_250_000).to_string(), "$1.250000");
    }

    #[test]
    fn overflow_is_none() {
        assert_eq!(Rate(u64::MAX).charge(u128::MAX), None);
        assert_eq!(mul_div(u128::MAX, 2, 1), None);
        assert_eq!(mul_div(1, 1, 0), None);
    }

    proptest! {
        #[test]
        fn mul_div_inverts(a in 0..u128::MAX, c in 1..u128::MAX) {
            prop_assert_eq!(mul_div(a, c, c), Some(a));
            prop_assert_eq!(mul_div_ceil(a, c, c), Some(a));
        }

        #[test]
        fn mul_div_agrees_with_small_numbers(a in 0..u128::from(u64::MAX), b in 0..u128::from(u64::MAX), c in 1..u128::MAX) {
            prop_assert_eq!(mul_div(a, b, c), Some(a * b / c));
        }

        #[test]
        fn splitting_a_charge_never_gains(rate in 0..u64::MAX, a in 0..1u128 << 60, b in 0..1u128 << 60) {
            if let Some(whole) = Rate(rate).charge(a + b) {
                let parts = Rate(rate).charge(a).unwrap().0 + Rate(rate).charge(b).unwrap().0;
                prop_assert!(parts <= whole.0);
            }
        }
    }
}
