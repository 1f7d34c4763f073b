//! `cairn set`, and how a change reaches the chain.

use anyhow::Result;
use cairn_client::{Account, Client};
use cairn_ledger::tables::{Devices, Operators};
use cairn_ledger::tx::Action;
use cairn_sector::DeviceState;
use cairn_types::encode;
use serde_json::json;

use super::plan::{Facts, Plan};
use crate::args::SetArgs;
use crate::config::{Config, KEYS, Used};
use crate::home::{Home, Role, SILENT};
use crate::output::{Failure, Out, table};

/// Runs it.
pub fn set(args: SetArgs, out: Out) -> Result<()> {
    let dir = args.at.dir.ok_or_else(|| {
        Failure::new("set.dir", "whose configuration is not known", "give --dir DIR, or set CAIRN_DIR")
    })?;
    let home = Home::open(&dir)?;
    let now = home.config()?;
    let (Some(key), value) = (args.key, args.value) else { return list(&now, out) };
    let known = KEYS.iter().find(|k| k.name == key);
    let Some(value) = value else {
        // The same sentence, with the same suggestion, as for a change.
        let Some(known) = known else { return now.with(&key, "").map(|_| ()) };
        let present = now.get(known.name);
        out.answer(&json!({"key": key, "value": present}), || present.clone().unwrap_or("not set".into()));
        return Ok(());
    };
    let new = now.with(&key, &value)?;
    new.save(home.path())?;
    let running = home.last_word().is_some_and(|(_, age)| age < SILENT);
    let effect = match (running, known.map(|k| k.used)) {
        (false, _) => "counts at the next start",
        (true, Some(Used::Live))
            if key != "offer" && home.identity().is_some_and(|i| i.role == Role::Operator) =>
        {
            "the running process takes it up within seconds"
        }
        (true, _) => "restart needed: the running process goes on with the old value",
    };
    out.answer(&json!({"key": key, "value": value, "effect": effect}), || {
        format!("{key} = {value}: {effect}")
    });
    Ok(())
}

fn list(config: &Config, out: Out) -> Result<()> {
    let rows: Vec<(&str, Option<String>, &str)> =
        KEYS.iter().map(|k| (k.name, config.get(k.name), k.help)).collect();
    let object: Vec<_> =
        rows.iter().map(|(key, value, help)| json!({"key": key, "value": value, "help": help})).collect();
    out.answer(&json!({ "keys": object }), || {
        let shorten = |v: &Option<String>| match v {
            None => "not set".to_owned(),
            Some(v) if v.chars().count() > 40 => format!("{}...", v.chars().take(37).collect::<String>()),
            Some(v) => v.clone(),
        };
        let cells: Vec<Vec<String>> =
            rows.iter().map(|(k, v, h)| vec![(*k).to_owned(), shorten(v), (*h).to_owned()]).collect();
        table(&["key", "value", "what it is"], &cells, 3)
    });
    Ok(())
}

/// Brings offer and text of an operator on the chain to what its configuration says.
pub async fn apply(home: &Home, client: &Client, config: &Config) -> Result<()> {
    let Some(identity) = home.identity().filter(|i| i.role == Role::Operator) else { return Ok(()) };
    let (Some(device), who) = (identity.device(), identity.account()) else { return Ok(()) };
    let Some(row) = client.get::<Devices>(&device).await? else { return Ok(()) };
    if matches!(row.state, DeviceState::Exiting { .. }) {
        return Ok(());
    }
    let facts = Facts::ask(client).await?;
    let offer = encode(&Plan::of(config, &facts)?.offer());
    let info = client.get::<Operators>(&who).await?.map(|o| o.info).unwrap_or_default();
    let name = config.name.clone().unwrap_or_default();
    if offer == row.offer && name == info {
        return Ok(());
    }
    let account = Account::new(client.clone(), home.key("account")?);
    if offer != row.offer {
        let change = Action::Change { device, offer: Some(offer), key: None, rest: None };
        account.run(change).await?.done()?;
    }
    if name != info {
        account.run(Action::Operator { info: name }).await?.done()?;
    }
    Ok(())
}
