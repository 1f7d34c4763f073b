//! Transactions: hand in, try, look up.

use crate::answer::{self, Answer, Failure, RefusalBody};
use crate::body::{self, Kind};
use crate::events::EventView;
use crate::rows::octets;
use crate::server::Api;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use cairn_ledger::events::Event;
use cairn_ledger::executor::{Receipt, check_stateless};
use cairn_ledger::tx::{MAX_TX, Tx};
use cairn_types::{Hash, Height};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Longest wait for finality.
const WAIT: Duration = Duration::from_secs(10);
/// Largest JSON body: two digits a byte and the braces.
const JSON_LIMIT: usize = 2 * MAX_TX + 64;

/// How to treat a transaction.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct How {
    /// Answer once the transaction is final, at most 10 s later.
    #[serde(default)]
    wait: bool,
    /// Only say what it would do.
    #[serde(default)]
    dry_run: bool,
}

/// A transaction in JSON.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TxBody {
    /// The signed transaction in borsh, hexadecimal.
    tx: String,
}

/// A transaction and what became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TxView {
    /// Id.
    id: String,
    /// Height of its block; absent while it is not final.
    height: Option<u64>,
    /// Burned.
    fee_pebbles: Option<String>,
    /// Why it did nothing but take fee and nonce; absent when it was done.
    refused: Option<RefusalBody>,
    /// What it caused.
    events: Vec<EventView>,
    /// `Receipt`, once there is one.
    receipt_borsh: Option<String>,
}

impl TxView {
    fn accepted(id: &Hash) -> Self {
        Self {
            id: id.to_string(),
            height: None,
            fee_pebbles: None,
            refused: None,
            events: Vec::new(),
            receipt_borsh: None,
        }
    }

    fn of(receipt: &Receipt) -> Self {
        let refused = receipt.refused.clone();
        Self {
            fee_pebbles: Some(receipt.fee.0.to_string()),
            refused: refused.map(|(code, cause, remedy)| RefusalBody { code, cause, remedy }),
            receipt_borsh: Some(octets(receipt)),
            ..Self::accepted(&receipt.tx)
        }
    }

    fn included(hrp: &str, height: Height, receipt: &Receipt, events: &[Event]) -> Self {
        let numbered = events.iter().zip(receipt.from..);
        Self {
            height: Some(height.0),
            events: numbered.map(|(event, index)| EventView::new(hrp, height, index, event)).collect(),
            ..Self::of(receipt)
        }
    }
}

async fn decode(headers: &HeaderMap, body: Body) -> Answer<Tx> {
    let kind = body::kind(headers);
    let limit = if kind.as_ref().is_ok_and(|k| *k == Kind::Json) { JSON_LIMIT } else { MAX_TX };
    let bytes = body::read(body, limit).await?;
    let bytes = match kind? {
        Kind::Octets => bytes.to_vec(),
        Kind::Json => {
            let json: TxBody = serde_json::from_slice(&bytes).map_err(|e| {
                Failure::argument(format!("the body is not {{\"tx\": hexadecimal digits}}: {e}"))
            })?;
            hex::decode(&json.tx).map_err(|e| Failure::argument(format!("`tx` is not hexadecimal: {e}")))?
        }
    };
    Tx::decode(&bytes).map_err(Failure::refused)
}

/// Hands in a signed transaction.
#[utoipa::path(
    post, path = "/v1/transactions", tag = "transactions", params(How),
    request_body(content(
        (Vec<u8> = "application/octet-stream"),
        (TxBody = "application/json"),
    ), description = "The signed transaction in borsh, or hexadecimal in JSON"),
    responses(
        (status = 200, description = "Final, or tried: the receipt says whether it was done", body = TxView),
        (status = 202, description = "In the pool, not final yet", body = TxView),
        (status = "4XX", description = "Refused: nothing was changed", body = RefusalBody),
        (status = 503, description = "The pool is full", body = RefusalBody),
    )
)]
pub(crate) async fn post(
    State(api): State<Api>,
    Query(how): Query<How>,
    headers: HeaderMap,
    body: Body,
) -> Answer<(StatusCode, Json<TxView>)> {
    let tx = decode(&headers, body).await?;
    if how.dry_run {
        let status = api.node.status();
        // A trial does not check the signatures of accounts; handing in does.
        check_stateless(&tx, status.network, status.fork).map_err(Failure::refused)?;
        let receipt = api.node.simulate(&tx).await.map_err(Failure::refused)?;
        return Ok((StatusCode::OK, Json(TxView::of(&receipt))));
    }
    let id = tx.id();
    let id = match api.node.submit(tx).await {
        // Handing the same bytes in twice is not a mistake: an answer may have been lost on its way.
        Err(refusal) if refusal.code == "pool.known" => id,
        other => other.map_err(Failure::refused)?,
    };
    Ok(outcome(&api, id, if how.wait { WAIT } else { Duration::ZERO }).await)
}

async fn outcome(api: &Api, id: Hash, wait: Duration) -> (StatusCode, Json<TxView>) {
    let found = if wait.is_zero() { None } else { api.node.wait(id, wait).await };
    match found {
        Some((height, receipt, events)) => {
            let hrp = api.node.status().hrp;
            (StatusCode::OK, Json(TxView::included(&hrp, height, &receipt, &events)))
        }
        None => (StatusCode::ACCEPTED, Json(TxView::accepted(&id))),
    }
}

/// Whether to wait.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Waiting {
    /// Answer once the transaction is final, at most 10 s later.
    #[serde(default)]
    wait: bool,
}

/// A final transaction.
#[utoipa::path(
    get, path = "/v1/transactions/{id}", tag = "transactions",
    params(("id" = String, Path, description = "64 hexadecimal digits"), Waiting),
    responses(
        (status = 200, body = TxView),
        (status = 404, description = "Not final, or not known here", body = RefusalBody),
    )
)]
pub(crate) async fn find(
    State(api): State<Api>,
    Path(text): Path<String>,
    Query(waiting): Query<Waiting>,
) -> Answer<Json<TxView>> {
    let id = Hash(answer::id("transaction", &text)?);
    let wait = if waiting.wait { WAIT } else { Duration::ZERO };
    let found = if wait.is_zero() { api.node.receipt(id).await? } else { api.node.wait(id, wait).await };
    match found {
        Some((height, receipt, events)) => {
            Ok(Json(TxView::included(&api.node.status().hrp, height, &receipt, &events)))
        }
        None => {
            let cause = format!("no final transaction {id} is known here");
            Err(Failure::missing("tx.unknown", cause, "wait for a block; hand it in again if it expired"))
        }
    }
}
