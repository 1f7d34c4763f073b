//! `cairn up`: from a disk to an operator. The first start probes, explains, asks and registers; every later one runs.

mod ask;
pub mod change;
mod enroll;
pub mod plan;
mod probe;
pub mod run;

pub use enroll::give;

use anyhow::Result;
use serde_json::json;

use crate::args::UpArgs;
use crate::home::Home;
use crate::output::{Failure, Out};
use crate::price::{Per, micro_dollars};
use plan::{Facts, Plan};

/// Runs it.
pub async fn up(args: UpArgs, api: &str, out: Out) -> Result<()> {
    let home = Home::make(&args.dir)?;
    if home.identity().is_some() {
        refuse_changes(&args)?;
        return run::run(&home, out).await;
    }
    let no_run = args.no_run;
    enroll::enroll(&home, args, api, out).await?;
    if no_run { Ok(()) } else { run::run(&home, out).await }
}

/// What was decided is changed with `set`, so that a start never changes anything by the way.
fn refuse_changes(args: &UpArgs) -> Result<()> {
    let given = [
        ("offer", args.offer.is_some()),
        ("price", args.price.is_some()),
        ("disk", args.disk.is_some()),
        ("listen", args.listen.is_some()),
        ("site", args.site.is_some()),
    ];
    let Some((key, _)) = given.iter().find(|(_, given)| *given) else { return Ok(()) };
    Err(Failure::new(
        "up.joined",
        format!(
            "{} has joined its network already, and a start changes nothing: --{key} is for the first",
            args.dir.display()
        ),
        &format!("`cairn set {key} VALUE --dir {}`", args.dir.display()),
    ))
}

/// Bond, earnings and exit in plain words, before anything is asked.
fn explain(out: Out, facts: &Facts, plan: &Plan) -> Result<()> {
    let bond = plan.bond(facts)?;
    let (low, high) = plan.month(facts);
    let p = &facts.chain.params;
    let epochs = |n: u64| duration(n.saturating_mul(p.epoch_seconds));
    out.say(format!(
        "\nBOND      {bond} are set aside from your account, half of it as a reserve. They stay yours: a loss of data \
         pays the rebuild out of them, a forged proof costs them.\n\
         EARNINGS  ${} to ${} a month (30 days), fees of customers only, nothing is minted. The lower end: nobody orders. \
         The upper: every byte is leased, full and proven at ${} a TB-month, and {} of it is yours. Serving comes on top. \
         How full the network is now: {}.\n\
         EXIT      `cairn exit` any time: duties are handed over within {}, the bond is free {} later, less what it costs to \
         rebuild elsewhere what you held (capped). Just pulling the plug is a loss after {} silent epochs.\n",
        cents(low),
        cents(high),
        cents(micro_dollars(Per::Month, plan.at_rest)),
        facts.share(),
        facts.fullness(),
        epochs(p.exit_epochs),
        epochs(p.window_epochs + 1),
        facts.storage.silent_epochs,
    ));
    Ok(())
}

/// `1.50` for 1,498,500 micro-dollars.
fn cents(micro: u128) -> String {
    let cents = micro.saturating_add(5_000) / 10_000;
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// `36 h` for 129,600 seconds.
fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The object that `up` prints when it is registered or runs.
fn answer(out: Out, home: &Home, hrp: &str, state: &str, more: serde_json::Value) {
    let Some(identity) = home.identity() else { return };
    let address = cairn_crypto::address::encode(hrp, &identity.account()).unwrap_or(identity.account.clone());
    let device = identity.device.clone().unwrap_or_default();
    let dir = home.path().display().to_string();
    let mut object = json!({
        "state": state, "account": address, "device": device, "dir": dir, "pid": std::process::id(),
    });
    if let (Some(to), Some(from)) = (object.as_object_mut(), more.as_object()) {
        to.extend(from.clone());
    }
    out.answer(&object, || {
        format!(
            "operator is {state}\n\naccount   {address}\ndevice    {device}\ndirectory {dir}   (back up keys/account.key: it owns bond and earnings)\n\n\
             next: `cairn status --dir {dir}`, `cairn earnings --dir {dir}`, `cairn doctor --dir {dir}`"
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_words() {
        let shown: Vec<String> = [90, 600, 36 * 3600, 9 * 86_400].map(duration).into();
        assert_eq!(shown, ["90 s", "10 min", "36 h", "9 days"]);
        assert_eq!((cents(1_498_500), cents(0)), ("1.50".to_owned(), "0.00".to_owned()));
    }
}
