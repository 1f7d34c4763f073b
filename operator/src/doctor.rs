//! Findings: a state, a cause, a remedy.

use cairn_ledger::listing::LIGHTEST;
use cairn_ledger::tables::{DeviceRow, Devices};
use cairn_sector::{AnyWorker, DeviceState, Finding, Level};
use cairn_types::{Amount, DeviceId};

use crate::DaemonStatus;

/// Examines a device: its standing on the chain, its daemon's last epochs, its worker.
pub async fn examine(
    client: &cairn_client::Client,
    device: DeviceId,
    daemon: Option<&DaemonStatus>,
    worker: Option<&dyn AnyWorker>,
) -> Vec<Finding> {
    let mut out = Vec::new();
    match client.get::<Devices>(&device).await {
        Ok(Some(row)) => standing(&row, &mut out),
        Ok(None) => out.push(Finding::new(
            Level::Bad,
            "doctor.unregistered",
            format!("device {device} is not registered"),
            "register it, or check the key file",
        )),
        Err(e) => out.push(Finding::new(
            Level::Bad,
            "doctor.node",
            format!("the node does not answer: {e}"),
            "start a node, or name another one with --api",
        )),
    }
    if let Some(d) = daemon {
        duties(d, &mut out);
    }
    if let Some(w) = worker {
        out.extend(w.checks().await);
    }
    out
}

fn standing(row: &DeviceRow, out: &mut Vec<Finding>) {
    match row.state {
        DeviceState::Active if row.listed.is_some() => {
            out.push(Finding::new(Level::Good, "doctor.listed", "the device is on the market", ""));
        }
        DeviceState::Active => out.push(Finding::new(
            Level::Warning,
            "doctor.unlisted",
            format!(
                "the free bond of {} is below the requirement: duties go on, new ones do not come",
                row.bond
            ),
            "add bond; earnings fill it as well",
        )),
        DeviceState::Resting => out.push(Finding::new(
            Level::Warning,
            "doctor.resting",
            "the device rests: it gets no new duties",
            "end the rest with a Change transaction",
        )),
        DeviceState::Exiting { until } => {
            out.push(Finding::new(
                Level::Warning,
                "doctor.exiting",
                format!("the device leaves after epoch {until}"),
                "",
            ));
        }
    }
    if row.weight.0 > LIGHTEST {
        let (whole, part) = (row.weight.0 / LIGHTEST, row.weight.0 % LIGHTEST / 10_000);
        out.push(Finding::new(
            Level::Warning,
            "doctor.weight",
            format!(
                "orders see its price {whole}.{part:02} times as high as it lists, since epoch {}: new duties go to others first",
                row.weight.1
            ),
            "`cairn earnings --explain` names what the audits saw; it wears off while they are served",
        ));
    }
    if row.locked > Amount::ZERO {
        out.push(Finding::new(
            Level::Bad,
            "doctor.locked",
            format!("{} of bond are locked after a loss or fault", row.locked),
            "`cairn earnings --explain` names the epoch and the cause; repair the disk first",
        ));
    }
}

fn duties(d: &DaemonStatus, out: &mut Vec<Finding>) {
    match &d.trouble {
        None => out.push(Finding::new(
            Level::Good,
            "doctor.duties",
            format!("{} commitments, {} answers, {} bundles posted", d.commitments, d.answers, d.bundles),
            "",
        )),
        Some(trouble) => out.push(Finding::new(
            Level::Warning,
            "doctor.duties",
            format!("the last duty failed: {trouble}"),
            "an epoch that is missed earns nothing; three in a row count as a loss",
        )),
    }
}
