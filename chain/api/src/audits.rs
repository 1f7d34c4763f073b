//! Whom a device audits, and who audits it.

use crate::answer::{self, Answer, Failure, RefusalBody};
use crate::rows::octets;
use crate::server::Api;
use axum::Json;
use axum::extract::{Path, State};
use cairn_types::DeviceId;
use serde::Serialize;
use utoipa::ToSchema;

/// What the seed of an epoch drew for a device. Everybody can draw it anew from the registry at the lock.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditsView {
    /// Devices that it is to audit.
    audits: Vec<String>,
    /// Devices that are to audit it.
    auditors: Vec<String>,
    /// `(Vec<device>, Vec<device>)`.
    borsh: String,
}

/// Retrieval audits of an epoch that a device takes part in.
#[utoipa::path(
    get, path = "/v1/audits/{sector}/{epoch}/{device}", tag = "evidence",
    params(("sector" = u16, Path), ("epoch" = u64, Path), ("device" = String, Path)),
    responses((status = 200, body = AuditsView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn audits(
    State(api): State<Api>,
    Path((sector, epoch, device)): Path<(String, String, String)>,
) -> Answer<Json<AuditsView>> {
    let (sector, epoch) = (answer::sector(&sector)?, answer::epoch(&epoch)?);
    let device = DeviceId(answer::id("device", &device)?);
    let found = api.node.audits(sector, epoch, device).await?.ok_or_else(|| {
        let cause =
            format!("nobody is drawn for epoch {epoch} of sector {sector}: no seed yet, or too long ago");
        Failure::missing("audits.unknown", cause, "ask again once the epoch has its seed")
    })?;
    let show = |list: &[DeviceId]| list.iter().map(ToString::to_string).collect();
    Ok(Json(AuditsView {
        audits: show(&found.audits),
        auditors: show(&found.auditors),
        borsh: octets(&(&found.audits, &found.auditors)),
    }))
}
