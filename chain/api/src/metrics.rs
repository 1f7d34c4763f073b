//! Prometheus text: base units, no rates.

use crate::answer::Answer;
use crate::server::Api;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use cairn_ledger::tables::{Money, MoneyRow};
use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;

/// Collects lines.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn labelled<V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: &[(&str, V)],
    ) {
        self.family(name, kind, help);
        for (key, value) in values {
            let _ = writeln!(self.0, "{name}{{{label}=\"{key}\"}} {value}");
        }
    }
}

/// Milliseconds as decimal seconds, without floats.
fn seconds(ms: u128) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn money(text: &mut Text, m: &MoneyRow) {
    let crn = [
        ("balances", m.balances.0),
        ("bonds", m.bonds.0),
        ("vault", m.vault.0),
        ("payable", m.payable.0),
        ("dust", m.dust.0),
        ("stakers", m.stakers.0),
        ("treasury", m.treasury.0),
        ("pools", m.pools.0),
        ("burned", m.burned.0),
    ];
    text.labelled("cairn_money_pebbles", "gauge", "CRN by place, in pebbles.", "pot", &crn);
    let supply = [("genesis", m.genesis.0), ("minted", m.minted.0)];
    text.labelled(
        "cairn_supply_pebbles",
        "gauge",
        "CRN that came into being, in pebbles.",
        "source",
        &supply,
    );
    let credits = [
        ("free", m.free.0),
        ("escrow", m.escrow.0),
        ("endowed", m.endowed.0),
        ("unsettled", m.unsettled.0),
        ("spent", m.spent.0),
        ("issued", m.issued.0),
    ];
    text.labelled("cairn_credits_micro_usd", "gauge", "Credits by place, in micro-dollars.", "pot", &credits);
}

/// Numbers of the node for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "node",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(api): State<Api>) -> Answer<Response> {
    let s = api.node.status();
    let mut text = Text::default();
    text.gauge("cairn_block_height", "Height of the newest final block.", s.height.0);
    text.gauge("cairn_block_timestamp_seconds", "Timestamp of that block.", seconds(s.timestamp_ms.into()));
    text.gauge(
        "cairn_block_interval_seconds",
        "Time between blocks as set.",
        seconds(s.interval.as_millis()),
    );
    text.gauge("cairn_epoch", "Epoch of the newest final block.", s.epoch.0);
    text.gauge("cairn_epoch_progress_blocks", "Blocks of this epoch so far.", s.epoch_progress);
    text.gauge("cairn_pool_transactions", "Transactions that wait for a block.", s.pool);
    text.gauge(
        "cairn_judging_trouble",
        "1 if the node cannot judge at present.",
        u8::from(s.trouble.is_some()),
    );
    text.gauge("cairn_api_event_streams", "Event streams that are open.", api.open_streams());
    let counters = &api.counters;
    let requests = [
        ("answered", counters.answered.load(Ordering::Relaxed)),
        ("refused", counters.refused.load(Ordering::Relaxed)),
        ("failed", counters.failed.load(Ordering::Relaxed)),
    ];
    text.labelled("cairn_api_requests_total", "counter", "Requests by outcome.", "outcome", &requests);
    if let Some(row) = api.node.get::<Money>(&()).await? {
        money(&mut text, &row);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text.0).into_response())
}
