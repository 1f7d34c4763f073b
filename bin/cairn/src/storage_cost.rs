//! What storing costs here and elsewhere: `cairn storage cost` and every `--dry-run`.
//!
//! Prices of others come from `prices.json`, each with date and source; what nobody confirmed says so, and where sources
//! differ there is no number. Estimates are integers in micro-dollars and stop at the largest.

use anyhow::{Context, Result};
use cairn_storage_codec::durability::{self, Assumptions, Choice};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::devnet::genesis::{AT_REST, EGRESS};
use crate::output::{Out, bytes, table};

const PRICES: &str = include_str!("prices.json");
/// Seconds of a month of 30 days.
const MONTH: u128 = 2_592_000;
/// The devnet's price at rest is the market's so many times over.
const REST_FACTOR: u64 = 1_000_000;
/// Likewise that of reading.
const EGRESS_FACTOR: u64 = 10;

/// What a customer gets back who deletes.
pub const DELETE: &str =
    "room that is free costs its reservation only; an empty lease is closed, its escrow comes back";

/// A price list of somebody else.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    service: String,
    /// For a unit and month.
    at_rest_micro_usd: Option<String>,
    egress_micro_usd: Option<String>,
    /// The unit: TB (10^12) or TiB (2^40).
    per: String,
    as_of: String,
    source: String,
    unconfirmed: bool,
    note: String,
    /// What sources say that do not agree.
    conflict: Option<String>,
}

impl Price {
    fn unit(&self) -> u128 {
        if self.per == "TiB" { 1 << 40 } else { 1_000_000_000_000 }
    }
    /// Micro-dollars for so many bytes, rounded up; `None`: unknown.
    fn of(&self, price: Option<&String>, size: u64, times: u64) -> Option<u64> {
        let price: u128 = price?.parse().ok()?;
        let exact = price.checked_mul(size.into())?.checked_mul(times.into())?.div_ceil(self.unit());
        u64::try_from(exact).ok()
    }
}

fn prices() -> Result<Vec<Price>> {
    serde_json::from_str(PRICES).context("the built-in list of prices is damaged; install another build")
}

/// What some bytes cost here for so many months, and how safe they are.
pub struct Estimate {
    size: u64,
    months: u64,
    choice: Choice,
    rest: u64,
    once: u64,
}

/// `$1.234567`.
pub fn dollars(micro: u64) -> String {
    format!("${}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

/// `$12.34`, rounded up, or `unknown`.
fn cents(micro: Option<u64>) -> String {
    micro.map_or("unknown".into(), |m| {
        let cents = m.div_ceil(10_000);
        format!("${}.{:02}", cents / 100, cents % 100)
    })
}

impl Estimate {
    /// At the devnet's list prices, for a market of so many failure domains.
    pub fn new(size: u64, months: u64, domains: u16) -> Self {
        let choice = durability::choose(domains, &Assumptions::default());
        let profile = choice.profile;
        let stored = u128::from(size) * u128::from(profile.n()) / u128::from(profile.k());
        let units = stored.div_ceil(1024).saturating_mul(MONTH).saturating_mul(u128::from(months));
        let rest = AT_REST.charge(units).map(|c| c.0 / REST_FACTOR).unwrap_or(u64::MAX);
        let once =
            EGRESS.charge(u128::from(size).div_ceil(1024)).map(|c| c.0 / EGRESS_FACTOR).unwrap_or(u64::MAX);
        Self { size, months, choice, rest, once }
    }

    /// Micro-dollars at rest.
    pub const fn at_rest(&self) -> u64 {
        self.rest
    }

    /// The object of `--json`.
    pub fn object(&self) -> Value {
        let profile = self.choice.profile;
        json!({
            "bytes": self.size, "months": self.months, "domains": self.choice.domains, "k": profile.k(), "n": profile.n(),
            "expansion": durability::expansion(profile), "at_rest_micro_usd": self.rest.to_string(),
            "read_once_micro_usd": self.once.to_string(), "annual_loss_probability": self.choice.report.annual_loss,
            "delete": DELETE, "warning": self.choice.warning(),
        })
    }

    /// The text of it.
    pub fn text(&self) -> String {
        let (profile, loss) = (self.choice.profile, self.choice.report.annual_loss);
        let mut text = format!(
            "{} for {} month(s)\n\
             kept as     any {} of {} fragments on {} failure domains, {:.2} bytes for each of yours\n\
             at rest     {}   (1.52 $ a TB-month to operators, before the expansion)\n\
             read once   {}\n\
             delete      {DELETE}\n\
             loss        {loss:.1e} a year, computed: every disk fails once a year, repaired within a day, independently",
            bytes(self.size),
            self.months,
            profile.k(),
            profile.n(),
            self.choice.domains,
            durability::expansion(profile),
            dollars(self.rest),
            dollars(self.once),
        );
        if let Some(warning) = self.choice.warning() {
            text.push_str(&format!("\nwarning     {warning}"));
        }
        text
    }

    fn elsewhere(&self) -> Result<(Vec<Value>, String)> {
        let (mut objects, mut rows, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        rows.push(vec![
            "Cairn".into(),
            cents(Some(self.rest)),
            cents(Some(self.once)),
            "computed above".into(),
        ]);
        for p in prices()? {
            let rest = p.of(p.at_rest_micro_usd.as_ref(), self.size, self.months);
            let once = p.of(p.egress_micro_usd.as_ref(), self.size, 1);
            let mark = if p.unconfirmed { ", unconfirmed" } else { "" };
            rows.push(vec![p.service.clone(), cents(rest), cents(once), format!("{}{mark}", p.as_of)]);
            let conflict = p.conflict.as_ref().map_or(String::new(), |c| format!("; CONFLICT: {c}"));
            notes.push(format!("  {}: {} ({}){conflict}", p.service, p.note, p.source));
            objects.push(json!({
                "service": p.service, "at_rest_micro_usd": rest.map(|m| m.to_string()),
                "read_once_micro_usd": once.map(|m| m.to_string()), "as_of": p.as_of, "source": p.source,
                "unconfirmed": p.unconfirmed, "note": p.note, "conflict": p.conflict,
            }));
        }
        let head = ["beside", "at rest", "read once", "as of"];
        Ok((objects, format!("{}\nnotes\n{}", table(&head, &rows, 1), notes.join("\n"))))
    }

    /// Prints it, with the prices of others beside it.
    ///
    /// # Errors
    /// The built-in list of prices is damaged.
    pub fn tell(&self, out: Out) -> Result<()> {
        let (objects, beside) = self.elsewhere()?;
        let mut object = self.object();
        object["beside"] = objects.into();
        out.answer(&object, || format!("{}\n\n{beside}", self.text()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TB: u64 = 1_000_000_000_000;

    #[test]
    fn a_terabyte_stored_and_read_costs_elsewhere_what_the_worked_rules_say() {
        let sum = |name: &str| {
            let p = prices().unwrap().into_iter().find(|p| p.service == name).unwrap();
            p.of(p.at_rest_micro_usd.as_ref(), TB, 1).unwrap()
                + p.of(p.egress_micro_usd.as_ref(), TB, 1).unwrap()
        };
        assert_eq!(sum("Amazon S3 Standard"), 113_000_000);
        assert_eq!(sum("Storj"), 11_000_000);
    }

    #[test]
    fn every_price_has_a_date_and_a_source_and_no_number_where_sources_differ() {
        for p in prices().unwrap() {
            assert!(!p.as_of.is_empty() && !p.source.is_empty() && matches!(p.per.as_str(), "TB" | "TiB"));
            assert!(p.conflict.is_none() || p.at_rest_micro_usd.is_none(), "{}", p.service);
            for number in [&p.at_rest_micro_usd, &p.egress_micro_usd].into_iter().flatten() {
                number.parse::<u64>().unwrap();
            }
        }
    }

    #[test]
    fn ours_is_the_market_price_times_the_expansion() {
        let e = Estimate::new(TB, 1, 48);
        // 1.52 $ a TB-month to operators, 36 fragments of which 16 are the data.
        assert!((3_300_000..3_500_000).contains(&e.at_rest()), "{}", e.at_rest());
        assert!(Estimate::new(TB, 2, 48).at_rest().abs_diff(2 * e.at_rest()) <= 1);
        let most = Estimate::new(u64::MAX, u64::MAX, 48);
        assert!(most.text().contains("loss"));
    }
}
