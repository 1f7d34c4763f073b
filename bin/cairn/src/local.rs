//! `status`, `doctor`, `exit` and whose earnings for the directory of an operator or gateway.

use anyhow::Result;
use cairn_client::Account;
use cairn_ledger::tx::Action;
use cairn_sector::{Finding, Level};
use cairn_types::AccountId;
use serde_json::{Value, json};

use crate::home::{Home, Identity, Role, SILENT};
use crate::operator::{findings, leaving, show};
use crate::output::{Failure, Out};
use crate::up::run::device_row;

fn identity(home: &Home) -> Result<Identity> {
    home.identity().ok_or_else(|| {
        Failure::new(
            "home.unregistered",
            format!("{} is not registered yet", home.path().display()),
            "run `cairn up` (or `cairn gateway`) with this --dir to its end",
        )
    })
}

/// The directory's account.
pub fn account(home: &Home) -> Result<AccountId> {
    Ok(identity(home)?.account())
}

/// `cairn status --dir`: the network, then this machine's part.
pub async fn status(home: &Home, out: Out) -> Result<()> {
    let identity = identity(home)?;
    let client = home.client()?;
    let row = device_row(home, &client).await?;
    let balance = client.account(&identity.account()).await?;
    let network = client.status().await?;
    let word = home.last_word().filter(|(_, age)| *age < SILENT);
    let running = word.as_ref().map(|(w, _)| w.pid);
    let facts = word.map(|(w, _)| w.facts).unwrap_or(Value::Null);
    let device = row.as_ref().map(|d| {
        json!({"duties": d.duties, "bond_pebbles": d.bond.0.to_string(), "locked_pebbles": d.locked.0.to_string(),
               "on_the_market": d.listed.is_some()})
    });
    let object = json!({
        "role": identity.role, "network": identity.network, "height": network.height, "epoch": network.epoch,
        "running": running, "balance_pebbles": balance.balance.0.to_string(), "credits_micro_usd": balance.credits.0.to_string(),
        "device": device, "facts": facts,
    });
    out.answer(&object, || {
        let run = running.map_or("does not run".to_owned(), |pid| format!("runs as process {pid}"));
        let mut text = format!(
            "network {}  height {}  epoch {}\n{run}; balance {}, credits {}",
            identity.network, network.height, network.epoch, balance.balance, balance.credits
        );
        if let Some(d) = &row {
            let market = if d.listed.is_some() { "on the market" } else { "not on the market" };
            text.push_str(&format!(
                "\ndevice: {} duties, bond {}, locked {}, {market}",
                d.duties, d.bond, d.locked
            ));
        }
        for (name, value) in facts.as_object().into_iter().flatten() {
            text.push_str(&format!(
                "\n{name}: {}",
                if value.is_null() { "unknown".to_owned() } else { value.to_string() }
            ));
        }
        text.push_str("\n\nnext: `cairn doctor --dir DIR`, `cairn status` for the network");
        text
    });
    Ok(())
}

/// `cairn doctor --dir`: what the process found, or that there is none.
pub async fn doctor(home: &Home, out: Out) -> Result<()> {
    let identity = identity(home)?;
    let name = match identity.role {
        Role::Operator => "operator",
        Role::Gateway => "gateway",
    };
    let found = match home.last_word() {
        Some((word, age)) if age < SILENT => word.findings,
        last => {
            let cause = match last {
                Some((_, age)) => format!("the process has said nothing for {} s", age.as_secs()),
                None => "the process does not run".to_owned(),
            };
            let mut list = vec![Finding::new(
                Level::Bad,
                "doctor.down",
                cause,
                "start it (`cairn up` or `cairn gateway` with this --dir, or its service); silent epochs count as a loss",
            )];
            if let (Ok(client), Some(device)) = (home.client(), identity.device()) {
                list.extend(cairn_operator::examine(&client, device, None, None).await);
            }
            findings(&list)
        }
    };
    show(out, json!({ name: found }))
}

/// `cairn exit --dir`.
pub async fn exit(home: &Home, out: Out, dry_run: bool) -> Result<()> {
    let identity = identity(home)?;
    let client = home.client()?;
    let (Some(device), Some(row)) = (identity.device(), device_row(home, &client).await?) else {
        return Err(Failure::new(
            "exit.device",
            "the directory has no registered device",
            "a gateway has none: stop its process; an operator may have left already, see `cairn doctor`",
        ));
    };
    let chain = client.chain().await?;
    if !dry_run {
        let account = Account::new(client, home.key("account")?);
        account.run(Action::Exit { device }).await?.done()?;
    }
    leaving(out, &chain, &row, "this operator", device, dry_run);
    Ok(())
}
