//! Evidence and what comes of it: bundles, packs, settlements, claims, charges.

use crate::answer::{self, Answer, Failure, RefusalBody, show_account};
use crate::body;
use crate::guard::busy;
use crate::rows::octets;
use crate::server::Api;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use cairn_ledger::evidence::BUNDLE_LIMIT;
use cairn_ledger::settle::Line;
use cairn_ledger::settlement::Settlement;
use cairn_sector::{Next, Source};
use cairn_types::{DeviceId, DutyId, LeaseId};
use serde::Serialize;
use std::collections::BTreeMap;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

/// Bytes of bundles and packs that are in memory at once, in MiB; one of the largest always fits.
pub(crate) const BULK_MIB: usize = 320;
/// What a download is counted as, in MiB: its size is known only when it is there.
const DOWNLOAD_MIB: u32 = 64;

/// Reserves room for an upload by the length that it announces.
fn room_for(api: &Api, headers: &HeaderMap) -> Answer<OwnedSemaphorePermit> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    let mib = length.unwrap_or(BUNDLE_LIMIT).min(BUNDLE_LIMIT).div_ceil(1 << 20);
    room(api, u32::try_from(mib).unwrap_or(u32::MAX))
}

fn room(api: &Api, mib: u32) -> Answer<OwnedSemaphorePermit> {
    api.bulks.clone().try_acquire_many_owned(mib).map_err(|_| busy("too many bundles or packs at once"))
}

fn octet_stream(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}

/// A bundle that was taken in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Uploaded {
    /// Digest that the device posts.
    hash: String,
}

/// Uploads a device's bundle of an epoch. It is shown to nobody before the cut.
#[utoipa::path(
    post, path = "/v1/bundles", tag = "evidence",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "At most 256 MiB"),
    responses((status = 200, body = Uploaded), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn upload(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer<Json<Uploaded>> {
    let _room = room_for(&api, &headers)?;
    let limit = usize::try_from(BUNDLE_LIMIT).unwrap_or(usize::MAX);
    let bytes = body::read(body, limit).await?;
    let hash = api.node.upload_bundle(bytes.into()).await.map_err(Failure::refused)?;
    Ok(Json(Uploaded { hash: hash.to_string() }))
}

/// The bundle that a device posted, once the cut has passed.
#[utoipa::path(
    get, path = "/v1/bundles/{epoch}/{device}", tag = "evidence", params(("epoch" = u64, Path), ("device" = String, Path)),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = RefusalBody),
    )
)]
pub(crate) async fn bundle(
    State(api): State<Api>,
    Path((epoch, device)): Path<(String, String)>,
) -> Answer<Response> {
    let (epoch, device) = (answer::epoch(&epoch)?, DeviceId(answer::id("device", &device)?));
    let _room = room(&api, DOWNLOAD_MIB)?;
    let found = api.node.bundle(epoch, device).await?;
    let missing = || {
        let cause = "no such bundle is held here, or the cut of its epoch has not passed";
        Failure::missing("bundle.unknown", cause, "ask again after the cut, or ask another seat")
    };
    found.map(octet_stream).ok_or_else(missing)
}

/// Everything needed to redo a settlement offline.
#[utoipa::path(
    get, path = "/v1/packs/{sector}/{epoch}", tag = "evidence", params(("sector" = u16, Path), ("epoch" = u64, Path)),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = RefusalBody),
    )
)]
pub(crate) async fn pack(
    State(api): State<Api>,
    Path((sector, epoch)): Path<(String, String)>,
) -> Answer<Response> {
    let (sector, epoch) = (answer::sector(&sector)?, answer::epoch(&epoch)?);
    let _room = room(&api, DOWNLOAD_MIB)?;
    Ok(octet_stream(api.node.pack(sector, epoch).await?))
}

/// One judged row and what it was worth.
#[derive(Serialize, ToSchema)]
pub(crate) struct LineView {
    /// Device that worked.
    device: String,
    /// Who is paid.
    operator: String,
    /// Lease, for work on one.
    lease: Option<String>,
    /// Slot of the lease.
    slot: Option<u16>,
    /// Units by kind.
    units: Vec<String>,
    /// `escrow`, `pool` or `bond`.
    source: &'static str,
    /// Fault: the sector's code.
    fault_code: Option<u16>,
    /// Share of the bond at stake.
    fault_severity_ppm: Option<u32>,
    /// `continues`, `done`, `reassign` or `repair`.
    next: &'static str,
    /// The sector's note code.
    note: u16,
    /// Taken from the escrow.
    charged_micro_usd: String,
    /// Due but not covered by the escrow.
    unpaid_micro_usd: String,
    /// Paid from pool or bond.
    granted_pebbles: String,
}

impl LineView {
    fn new(hrp: &str, line: &Line) -> Self {
        let row = &line.row;
        let (lease, slot) = match row.duty {
            Some(DutyId::Lease { lease, slot }) => (Some(lease.to_string()), Some(slot)),
            Some(DutyId::Standing { .. }) | None => (None, None),
        };
        Self {
            device: row.payee.to_string(),
            operator: show_account(hrp, &line.operator),
            lease,
            slot,
            units: row.units.0.iter().map(ToString::to_string).collect(),
            source: match row.source {
                Source::Escrow => "escrow",
                Source::Pool => "pool",
                Source::Bond { .. } => "bond",
            },
            fault_code: row.fault.map(|f| f.code),
            fault_severity_ppm: row.fault.map(|f| f.severity_ppm),
            next: match row.next {
                Next::Continues => "continues",
                Next::Done => "done",
                Next::Reassign => "reassign",
                Next::Repair { .. } => "repair",
            },
            note: row.note,
            charged_micro_usd: line.charged.0.to_string(),
            unpaid_micro_usd: line.unpaid.0.to_string(),
            granted_pebbles: line.granted.0.to_string(),
        }
    }
}

/// A final settlement.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettlementView {
    /// Id: what an auditor trusts.
    id: String,
    /// Sector.
    sector: u16,
    /// Epoch.
    epoch: u64,
    /// Rules version.
    version: u16,
    /// Charged to escrows.
    charged_micro_usd: String,
    /// Pooled sales attributed.
    sales_micro_usd: String,
    /// Earned by operators from charges and sales.
    earned_pebbles: String,
    /// Earned by operators from the pool.
    pool_paid_pebbles: String,
    /// Roots by name, hexadecimal.
    roots: BTreeMap<&'static str, String>,
    /// Judged rows with their worth.
    lines: Vec<LineView>,
    /// `(Settlement, Vec<Line>)`.
    borsh: String,
}

impl SettlementView {
    fn new(hrp: &str, found: &(Settlement, Vec<Line>)) -> Self {
        let (s, lines) = found;
        let roots = [
            ("registry", s.registry_root),
            ("terms", s.terms_root),
            ("commitments", s.commitments_root),
            ("answers", s.answers_root),
            ("evidence", s.evidence_root),
            ("memory_before", s.memory.0),
            ("memory_after", s.memory.1),
            ("tally_before", s.tally.0),
            ("tally_after", s.tally.1),
            ("rows", s.rows.0),
            ("claims", s.claims.0),
            ("charges", s.charges.0),
            ("outcomes", s.outcomes.0),
        ];
        Self {
            id: s.id().to_string(),
            sector: s.sector.0,
            epoch: s.epoch.0,
            version: s.version,
            charged_micro_usd: s.charged.0.to_string(),
            sales_micro_usd: s.sales.0.to_string(),
            earned_pebbles: s.earned.0.to_string(),
            pool_paid_pebbles: s.pool_paid.0.to_string(),
            roots: roots.into_iter().map(|(name, root)| (name, root.to_string())).collect(),
            lines: lines.iter().map(|line| LineView::new(hrp, line)).collect(),
            borsh: octets(found),
        }
    }
}

/// A final settlement with what each judged row was worth.
#[utoipa::path(
    get, path = "/v1/settlements/{sector}/{epoch}", tag = "evidence",
    params(("sector" = u16, Path), ("epoch" = u64, Path)),
    responses((status = 200, body = SettlementView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn settlement(
    State(api): State<Api>,
    Path((sector, epoch)): Path<(String, String)>,
) -> Answer<Json<SettlementView>> {
    let (sector, epoch) = (answer::sector(&sector)?, answer::epoch(&epoch)?);
    let _room = room(&api, DOWNLOAD_MIB)?;
    let found = api.node.settlement(sector, epoch).await?.ok_or_else(|| {
        let cause = format!("epoch {epoch} of sector {sector} has no final settlement");
        Failure::missing("settlement.unknown", cause, "see /v1/epochs for where it stands")
    })?;
    Ok(Json(SettlementView::new(&api.node.status().hrp, &found)))
}

/// What an operator may draw.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClaimView {
    /// Epoch of the settlement.
    epoch: u64,
    /// Who earned.
    operator: String,
    /// Cumulative earnings.
    earned_pebbles: String,
    /// `ClaimProof`: hand it in as it is.
    borsh: String,
}

/// Proof of an operator's cumulative earnings in the latest settlement of a sector.
#[utoipa::path(
    get, path = "/v1/claims/{sector}/{address}", tag = "evidence", params(("sector" = u16, Path), ("address" = String, Path)),
    responses((status = 200, body = ClaimView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn claim(
    State(api): State<Api>,
    Path((sector, address)): Path<(String, String)>,
) -> Answer<Json<ClaimView>> {
    let hrp = api.node.status().hrp;
    let (sector, operator) = (answer::sector(&sector)?, answer::account(&hrp, &address)?);
    let proof = api.node.claim_proof(sector, operator).await?.ok_or_else(|| {
        Failure::missing(
            "claim.unknown",
            "nothing was settled for this operator yet",
            "ask again after a settlement",
        )
    })?;
    Ok(Json(ClaimView {
        epoch: proof.epoch.0,
        operator: show_account(&hrp, &proof.operator),
        earned_pebbles: proof.earned.0.to_string(),
        borsh: octets(&proof),
    }))
}

/// What a lease was charged so far.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChargeView {
    /// Epoch of the settlement.
    epoch: u64,
    /// Cumulative charge.
    charged_micro_usd: String,
    /// Position in the tree of charges.
    index: u64,
    /// `RowProof`.
    proof_borsh: String,
}

/// Proof of a lease's cumulative charge in the latest settlement of a sector.
#[utoipa::path(
    get, path = "/v1/charges/{sector}/{lease}", tag = "evidence", params(("sector" = u16, Path), ("lease" = String, Path)),
    responses((status = 200, body = ChargeView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn charge(
    State(api): State<Api>,
    Path((sector, lease)): Path<(String, String)>,
) -> Answer<Json<ChargeView>> {
    let (sector, lease) = (answer::sector(&sector)?, LeaseId(answer::id("lease", &lease)?));
    let found = api.node.charge_proof(sector, lease).await?.ok_or_else(|| {
        Failure::missing(
            "charge.unknown",
            "nothing was settled for this lease yet",
            "ask again after a settlement",
        )
    })?;
    Ok(Json(ChargeView {
        epoch: found.epoch.0,
        charged_micro_usd: found.charged.0.to_string(),
        index: found.index,
        proof_borsh: octets(&found.proof),
    }))
}
