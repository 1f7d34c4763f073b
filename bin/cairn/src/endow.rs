//! `cairn storage endow` and `endowment`: pay once, with the assumptions and their stress test in view.
//!
//! Floating point, for display and for the sum proposed; what is locked is an integer that the customer sees first.

use anyhow::Result;
use cairn_client::Client;
use serde_json::{Value, json};

use crate::args::EndowArgs;
use crate::output::{Failure, Out, table};
use crate::storage::split;
use crate::storage_cost::dollars;

/// More years than this are shown as "for ever".
const FOR_EVER: f64 = 10_000.0;

/// What `years` years cost at `price` for the first, when each costs `decline` (0 to 1) less than the one before:
/// `price * (1 - (1 - d)^years) / d`; without decline `price * years`.
pub fn needed(price: f64, years: f64, decline: f64) -> f64 {
    if decline == 0.0 { price * years } else { price * (1.0 - (1.0 - decline).powf(years)) / decline }
}

/// How many years a sum lasts: `ln(1 - sum * d / price) / ln(1 - d)`, for ever where `sum * d >= price`; without decline
/// `sum / price`.
pub fn lasts(sum: f64, price: f64, decline: f64) -> f64 {
    if price <= 0.0 {
        return f64::INFINITY;
    }
    if decline == 0.0 {
        return sum / price;
    }
    let spent = sum * decline / price;
    if spent >= 1.0 { f64::INFINITY } else { (1.0 - spent).ln() / (1.0 - decline).ln() }
}

/// The assumption and its stresses: name, factor of the price, decline.
fn scenarios(decline: f64) -> [(String, f64, f64); 4] {
    [
        (format!("as assumed: {:.2} % cheaper each year", decline * 100.0), 1.0, decline),
        ("never cheaper".into(), 1.0, 0.0),
        ("never cheaper, price doubled at once".into(), 2.0, 0.0),
        ("token at half its price".into(), 1.0, decline),
    ]
}

fn years(n: f64) -> String {
    if n > FOR_EVER { "for ever".into() } else { format!("{n:.1} years") }
}

/// Sums over leases as the devnet tells them.
struct Told {
    left: f64,
    a_year: f64,
}

fn told(answer: &Value) -> Told {
    let leases = answer["leases"].as_array().cloned().unwrap_or_default();
    let number =
        |lease: &Value, field: &str| lease[field].as_str().and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    let sum = |field: &str| leases.iter().map(|l| number(l, field)).sum::<f64>();
    let epochs = answer["epochs_a_year"].as_f64().unwrap_or(0.0);
    Told { left: sum("left_micro_usd"), a_year: sum("epoch_price_micro_usd") * epochs }
}

fn stress(sum: f64, a_year: f64, decline: f64) -> (Value, String) {
    let (mut objects, mut rows) = (Vec::new(), Vec::new());
    for (name, factor, decline) in scenarios(decline) {
        let n = lasts(sum, a_year * factor, decline);
        rows.push(vec![name.clone(), years(n)]);
        let shown = (n <= FOR_EVER).then_some(n);
        objects.push(json!({"if": name, "price_factor": factor, "decline": decline, "years": shown}));
    }
    let text = format!(
        "{}\nformula   years = ln(1 - sum * d / price) / ln(1 - d), without decline sum / price; reading is not in it.\n\
         token     credits are dollars: what the token costs later changes none of them\n\
         compare   Arweave assumes 0.5 % cheaper each year for 200 years, and 20 copies",
        table(&["if storing becomes", "it lasts"], &rows, 1)
    );
    (objects.into(), text)
}

/// `cairn storage endow`.
pub async fn endow(client: &Client, out: Out, asked: EndowArgs) -> Result<()> {
    let (bucket, key) = split(&asked.at)?;
    if !key.is_empty() {
        return Err(Failure::new(
            "endow.bucket",
            format!("{:?} names an object, and leases hold many", asked.at),
            "name a bucket: s3://bucket",
        ));
    }
    let answer = client.devnet("endowment", &json!({"bucket": bucket})).await?;
    let (now, decline) = (told(&answer), f64::from(asked.decline) / 10_000.0);
    let proposed = needed(now.a_year, f64::from(asked.years), decline).ceil();
    // Saturates, as every estimate here.
    let credits = asked.credits.unwrap_or(proposed as u64);
    let leases = answer["leases"].as_array().map_or(0, Vec::len);
    let (objects, text) = stress(now.left + credits as f64, now.a_year, decline);
    let mut object = json!({
        "bucket": bucket, "credits": credits.to_string(), "leases": leases, "endowed": !asked.dry_run,
        "year_micro_usd": format!("{:.0}", now.a_year), "years_assumed": asked.years, "decline_assumed": decline,
        "stress": objects,
    });
    if !asked.dry_run {
        object["leases"] =
            client.devnet("endow", &json!({"bucket": bucket, "credits": credits})).await?["leases"].clone();
    }
    out.answer(&object, || {
        let verb = if asked.dry_run { "would lock" } else { "locked" };
        format!(
            "{verb} {} for {leases} lease(s), for ever: nobody can take it out, nor close them while it lasts\n\
             a year    {} at the present holders' rates, every slot full\n{text}",
            dollars(credits),
            dollars(now.a_year.ceil() as u64)
        )
    });
    Ok(())
}

/// `cairn storage endowment`.
pub async fn show(client: &Client, out: Out) -> Result<()> {
    let mut answer = client.devnet("endowment", &json!({})).await?;
    let now = told(&answer);
    let (objects, text) = stress(now.left, now.a_year, 0.005);
    answer["stress"] = objects;
    let field = |l: &Value, name: &str| l[name].as_str().unwrap_or("unknown").to_owned();
    out.answer(&answer, || {
        let list = answer["leases"].as_array().cloned().unwrap_or_default();
        let row = |l: &Value| {
            ["lease", "left_micro_usd", "paid_micro_usd", "epoch_price_micro_usd"]
                .map(|f| field(l, f))
                .to_vec()
        };
        let rows: Vec<Vec<String>> = list.iter().map(row).collect();
        let head = ["lease", "left (micro-dollars)", "ever paid in", "an epoch costs"];
        format!("{}\n\nall together\n{text}", table(&head, &rows, 1))
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_and_the_years_are_each_others_inverse() {
        for (years, decline) in [(1.0, 0.0), (200.0, 0.005), (50.0, 0.1), (200.0, 0.0)] {
            let sum = needed(7.0, years, decline);
            assert!((lasts(sum, 7.0, decline) - years).abs() < 1e-6 * years, "{years} at {decline}");
        }
        // 200 years at 0.5 %: 126.6 times the first.
        assert!((needed(1.0, 200.0, 0.005) - 126.6).abs() < 0.1);
        // The limit is 1 / d, which is Arweave's 199.5 but for the way of counting.
        assert!(lasts(200.0, 1.0, 0.005).is_infinite() && lasts(199.0, 1.0, 0.005).is_finite());
    }

    #[test]
    fn stress_is_never_kinder_than_the_assumption() {
        let (objects, text) = stress(126.6, 1.0, 0.005);
        let years: Vec<f64> =
            objects.as_array().unwrap().iter().map(|o| o["years"].as_f64().unwrap()).collect();
        assert!(
            (years[0] - 200.0).abs() < 1.0
                && (years[1] - 126.6).abs() < 1e-6
                && (years[2] - 63.3).abs() < 1e-6
        );
        assert_eq!(years[3], years[0], "the token's price is no part of it");
        assert!(text.contains("126.6 years"));
    }
}
