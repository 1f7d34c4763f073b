//! Commands of operators.

use anyhow::Result;
use cairn_client::Client;
use cairn_crypto::address;
use cairn_ledger::tables::{Chain, ChainRow, DeviceRow, Devices};
use cairn_sector::{Finding, Level};
use cairn_types::{AccountId, DeviceId};
use serde_json::{Value, json};

use crate::output::{Failure, Out};

/// The account of a devnet operator's name, or of an address.
pub async fn account(client: &Client, name: &str) -> Result<AccountId> {
    let hrp = client.get::<Chain>(&()).await?.map(|c| c.hrp).unwrap_or_else(|| "cairn".into());
    if let Ok(id) = address::decode(&hrp, name) {
        return Ok(id);
    }
    let found = named(client, name).await?;
    let text = found["account"].as_str().unwrap_or_default();
    Ok(address::decode(&hrp, text)?)
}

/// What a devnet knows of one of its operators.
async fn named(client: &Client, name: &str) -> Result<Value> {
    let facts = client.devnet("facts", &json!({})).await?;
    let list = facts["operators"].as_array().cloned().unwrap_or_default();
    list.into_iter().find(|o| o["name"] == name).ok_or_else(|| {
        Failure::new(
            "operator.unknown",
            format!("no operator {name:?}"),
            "use a name such as op-3, or an address",
        )
    })
}

/// `cairn doctor`.
pub async fn doctor(client: &Client, out: Out, who: Option<&str>) -> Result<()> {
    let answer = match who {
        Some(id) if DeviceId::from_hex(id).is_some() => {
            let device = DeviceId::from_hex(id).unwrap_or_default();
            json!({ id: cairn_operator::examine(client, device, None, None).await })
        }
        _ => client.devnet("doctor", &json!({"operator": who})).await?,
    };
    show(out, answer)
}

/// Prints findings by name; an error if one is bad.
pub fn show(out: Out, answer: Value) -> Result<()> {
    let mut worst = Level::Good;
    let mut text = String::new();
    for (name, findings) in answer.as_object().into_iter().flatten() {
        text.push_str(&format!("{name}\n"));
        for f in findings.as_array().into_iter().flatten() {
            let level = f["level"].as_str().unwrap_or("unknown");
            worst = worst.max(match level {
                "good" => Level::Good,
                "warning" => Level::Warning,
                _ => Level::Bad,
            });
            text.push_str(&format!("  {level:<8} {}\n", f["cause"].as_str().unwrap_or_default()));
            if let Some(remedy) = f["remedy"].as_str().filter(|r| !r.is_empty()) {
                text.push_str(&format!("           -> {remedy}\n"));
            }
        }
    }
    if worst != Level::Bad {
        out.answer(&answer, || text);
        return Ok(());
    }
    // One object on stdout: with --json the findings are part of the error.
    if !out.json {
        out.answer(&answer, || text);
    }
    Err(anyhow::Error::new(Failure {
        code: "doctor.bad".into(),
        cause: "at least one finding is bad".into(),
        remedy: "follow the remedies in the findings".into(),
        findings: Some(answer),
    }))
}

/// `cairn exit`.
pub async fn exit(client: &Client, out: Out, name: &str, dry_run: bool) -> Result<()> {
    let found = named(client, name).await?;
    let device = found["device"].as_str().and_then(DeviceId::from_hex).unwrap_or_default();
    let chain = client.chain().await?;
    let row = client.get::<Devices>(&device).await?.ok_or_else(|| {
        Failure::new("operator.unknown", "the device is not registered", "check the name with `cairn doctor`")
    })?;
    if !dry_run {
        client.devnet("exit", &json!({"operator": name})).await?;
    }
    leaving(out, &chain, &row, name, device, dry_run);
    Ok(())
}

/// Says what an exit means: duties, last epoch, when the bond is free.
pub fn leaving(out: Out, chain: &ChainRow, row: &DeviceRow, name: &str, device: DeviceId, dry_run: bool) {
    let (until, window) = (chain.epoch.plus(chain.params.exit_epochs), chain.params.window_epochs);
    let object = json!({
        "operator": name, "device": device.to_string(), "duties": row.duties, "bond_pebbles": row.bond.0.to_string(),
        "until_epoch": until.0, "bond_free_from_epoch": until.plus(window + 1).0, "announced": !dry_run,
    });
    out.answer(&object, || {
        format!(
            "{}{name} hands over {} duties and leaves after epoch {until}; its bond of {} is free from epoch {}",
            if dry_run { "would announce: " } else { "" },
            row.duties,
            row.bond,
            until.plus(window + 1)
        )
    });
}

/// Findings as JSON.
pub fn findings(list: &[Finding]) -> Value {
    serde_json::to_value(list).unwrap_or(Value::Null)
}
