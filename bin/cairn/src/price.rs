//! Prices as people say them, dollars for a TB, and as the ledger counts them.

use cairn_types::Rate;

/// KiB in a TB (10^12 bytes).
const KIB_PER_TB: u128 = 976_562_500;
/// Seconds of a month of 30 days.
const MONTH: u128 = 30 * 86_400;
/// A rate counts 10^-12 credits.
const SCALE: u128 = 1_000_000_000_000;

/// What a price is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A TB kept for a month of 30 days.
    Month,
    /// A TB served.
    Served,
}

impl Per {
    fn units(self) -> u128 {
        match self {
            Self::Month => KIB_PER_TB * MONTH,
            Self::Served => KIB_PER_TB,
        }
    }
}

/// Micro-dollars in a text such as `1.52` (at most six digits behind the point, at most 10^9 dollars).
pub fn parse_dollars(text: &str) -> Option<u64> {
    let text = text.trim().trim_start_matches('$');
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty())
        || !digits(whole)
        || !digits(part)
        || part.len() > 6
        || whole.len() > 9
    {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    Some(whole * 1_000_000 + part)
}

/// `1.498500` for 1,498,500 micro-dollars.
pub fn dollars(micro: u128) -> String {
    format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

/// The nearest rate to so many micro-dollars.
pub fn rate(per: Per, micro: u64) -> Rate {
    let units = per.units();
    let rate = (u128::from(micro) * SCALE + units / 2) / units;
    Rate(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// Micro-dollars of a rate, rounded.
pub fn micro_dollars(per: Per, rate: Rate) -> u128 {
    (u128::from(rate.0) * per.units() + SCALE / 2) / SCALE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_and_written() {
        for (text, micro) in [
            ("1.52", 1_520_000),
            ("0", 0),
            ("$7", 7_000_000),
            (".5", 500_000),
            ("1498500", 1_498_500_000_000),
        ] {
            assert_eq!(parse_dollars(text), Some(micro), "{text}");
        }
        for text in ["", ".", "-1", "1,5", "1e3", "1.1234567", "9999999999", "1.5.5"] {
            assert_eq!(parse_dollars(text), None, "{text}");
        }
        assert_eq!(dollars(1_498_500), "1.498500");
    }

    #[test]
    fn a_rate_survives_being_shown_and_read() {
        for rate_in in [1, 592, 593, 592_000_000, 592_000_100] {
            let shown = micro_dollars(Per::Month, Rate(rate_in));
            assert_eq!(rate(Per::Month, u64::try_from(shown).unwrap()), Rate(rate_in));
        }
        // A micro-dollar a TB served is 1024 steps of the rate.
        for rate_in in [1024, 7_168_000_000, 71_680_000_000] {
            let shown = micro_dollars(Per::Served, Rate(rate_in));
            assert_eq!(rate(Per::Served, u64::try_from(shown).unwrap()), Rate(rate_in));
        }
        // 592 pico-credits a KiB-second is the market's price of about 1.5 $.
        assert_eq!(micro_dollars(Per::Month, Rate(592)), 1_498_500);
        assert_eq!(micro_dollars(Per::Served, Rate(7_168_000_000)), 7_000_000);
    }
}
