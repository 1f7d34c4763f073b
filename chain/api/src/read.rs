//! Reads of the state.

use crate::answer::{self, Answer, Failure, RefusalBody};
use crate::rows::{
    AccountView, DeviceView, EpochView, GenesisView, LeaseView, OperatorView, SeatView, SectorEpochView,
    SectorView,
};
use crate::server::Api;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use cairn_ledger::tables::{
    Accounts, Chain, ChainRow, Devices, EpochDigests, Epochs, Leases, Operators, Seats, SectorEpochs,
    SectorTable,
};
use cairn_node::StoredBlock;
use cairn_types::{DeviceId, Height, LeaseId, Refusal};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Devices of an operator that one answer shows.
const DEVICES: u64 = 256;

/// How the node is doing.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusView {
    /// Name of the network.
    name: String,
    /// Network id.
    network: String,
    /// Fork number.
    fork: u32,
    /// Height of the newest final block.
    height: u64,
    /// Epoch of that block.
    epoch: u64,
    /// Blocks of an epoch.
    epoch_blocks: u64,
    /// Blocks of this epoch so far.
    epoch_progress_blocks: u64,
    /// Time between blocks.
    block_interval_ms: u64,
    /// Timestamp of the newest block, milliseconds since 1970.
    block_timestamp_ms: u64,
    /// Transactions that wait for a block.
    pool_transactions: usize,
    /// Seat that the node holds.
    seat: Option<u16>,
    /// Why the node cannot judge at present; absent when all is well.
    trouble: Option<String>,
    /// Version of the program.
    version: &'static str,
}

/// How the node is doing.
#[utoipa::path(get, path = "/v1/status", tag = "node", responses((status = 200, body = StatusView)))]
pub(crate) async fn status(State(api): State<Api>) -> Json<StatusView> {
    let s = api.node.status();
    Json(StatusView {
        name: s.name,
        network: s.network.to_string(),
        fork: s.fork,
        height: s.height.0,
        epoch: s.epoch.0,
        epoch_blocks: s.epoch_blocks,
        epoch_progress_blocks: s.epoch_progress,
        block_interval_ms: u64::try_from(s.interval.as_millis()).unwrap_or(u64::MAX),
        block_timestamp_ms: s.timestamp_ms,
        pool_transactions: s.pool,
        seat: s.seat,
        trouble: s.trouble,
        version: env!("CARGO_PKG_VERSION"),
    })
}

async fn chain(api: &Api) -> Answer<ChainRow> {
    let row = api.node.get::<Chain>(&()).await?;
    row.ok_or_else(|| {
        Failure::from(Refusal::new("node.starting", "there is no block yet", "wait for the first block"))
    })
}

/// What a client needs to know of the network: ids, address prefix, seats' keys, governed numbers, sectors.
#[utoipa::path(
    get, path = "/v1/genesis", tag = "node",
    responses((status = 200, body = GenesisView), (status = 503, description = "No block yet", body = RefusalBody))
)]
pub(crate) async fn genesis(State(api): State<Api>) -> Answer<Json<GenesisView>> {
    let chain = chain(&api).await?;
    let mut seats = Vec::new();
    for number in 0..chain.seats {
        if let Some(row) = api.node.get::<Seats>(&number).await? {
            seats.push(SeatView::new(&chain.hrp, number, &row));
        }
    }
    let sectors = sector_views(&api, &chain).await?;
    Ok(Json(GenesisView::new(api.node.status().name, &chain, seats, sectors)))
}

/// The genesis file of the network. Its digest is the network id: compare it with the id that you were told.
#[utoipa::path(
    get, path = "/v1/genesis/file", tag = "node",
    responses((status = 200, description = "docs/reference/formats.md, \"Genesis and export\"", body = Vec<u8>, content_type = "application/octet-stream"))
)]
pub(crate) async fn genesis_file(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], api.node.genesis()).into_response()
}

/// How to join the network.
#[derive(Serialize, ToSchema)]
pub(crate) struct JoinView {
    /// Link for `cairn up --join` and its like.
    link: String,
}

/// The join link that the node's operator made for the network.
#[utoipa::path(
    get, path = "/v1/join", tag = "node",
    responses((status = 200, body = JoinView), (status = 404, description = "`join.unknown`: it hands out none", body = RefusalBody))
)]
pub(crate) async fn join(State(api): State<Api>) -> Answer<Json<JoinView>> {
    let link = api.join.as_deref().map(str::to_owned);
    link.map(|link| Json(JoinView { link })).ok_or_else(|| {
        Failure::missing("join.unknown", "this node hands out no join link", "ask whoever runs the network")
    })
}

async fn sector_views(api: &Api, chain: &ChainRow) -> Answer<Vec<SectorView>> {
    let mut out = Vec::new();
    for id in &chain.sectors {
        if let Some(row) = api.node.get::<SectorTable>(id).await? {
            out.push(SectorView::new(*id, &row));
        }
    }
    Ok(out)
}

/// Balance, credits and next nonce. An account that was never used is empty.
#[utoipa::path(
    get, path = "/v1/accounts/{address}", tag = "state",
    params(("address" = String, Path, description = "bech32m address, or 64 hexadecimal digits")),
    responses((status = 200, body = AccountView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn account(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<AccountView>> {
    let hrp = api.node.status().hrp;
    let id = answer::account(&hrp, &text)?;
    let row = api.node.get::<Accounts>(&id).await?.unwrap_or_default();
    Ok(Json(AccountView::new(&hrp, &id, &row)))
}

/// An operator with its devices.
#[utoipa::path(
    get, path = "/v1/operators/{address}", tag = "state",
    params(("address" = String, Path, description = "bech32m address, or 64 hexadecimal digits")),
    responses((status = 200, body = OperatorView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn operator(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<OperatorView>> {
    let chain = chain(&api).await?;
    let id = answer::account(&chain.hrp, &text)?;
    let row = api.node.get::<Operators>(&id).await?.ok_or_else(|| {
        Failure::missing("operator.unknown", "the account is no operator", "register it as an operator first")
    })?;
    let mut devices = Vec::new();
    for number in 0..row.devices.min(DEVICES) {
        // As the ledger numbers devices: see docs/reference/formats.md.
        let device = DeviceId::derive("cairn/device", &[id.as_ref(), &number.to_le_bytes()]);
        if let Some(found) = api.node.get::<Devices>(&device).await? {
            let half_life = chain.params.reputation_half_life;
            devices.push(DeviceView::new(&chain.hrp, &device, &found, chain.epoch, half_life));
        }
    }
    Ok(Json(OperatorView::new(&chain.hrp, &id, &row, devices)))
}

/// A device.
#[utoipa::path(
    get, path = "/v1/devices/{id}", tag = "state", params(("id" = String, Path, description = "64 hexadecimal digits")),
    responses((status = 200, body = DeviceView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn device(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<DeviceView>> {
    let id = DeviceId(answer::id("device", &text)?);
    let chain = chain(&api).await?;
    let row = api
        .node
        .get::<Devices>(&id)
        .await?
        .ok_or_else(|| Failure::from(cairn_ledger::registry::unknown_device()))?;
    Ok(Json(DeviceView::new(&chain.hrp, &id, &row, chain.epoch, chain.params.reputation_half_life)))
}

/// A lease with its slots and escrow.
#[utoipa::path(
    get, path = "/v1/leases/{id}", tag = "state", params(("id" = String, Path, description = "64 hexadecimal digits")),
    responses((status = 200, body = LeaseView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn lease(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<LeaseView>> {
    let id = LeaseId(answer::id("lease", &text)?);
    let row = api
        .node
        .get::<Leases>(&id)
        .await?
        .ok_or_else(|| Failure::from(cairn_ledger::market::unknown_lease()))?;
    Ok(Json(LeaseView::new(&api.node.status().hrp, &id, &row)))
}

/// Sectors of the network.
#[derive(Serialize, ToSchema)]
pub(crate) struct SectorList {
    sectors: Vec<SectorView>,
}

/// Sectors of the network.
#[utoipa::path(get, path = "/v1/sectors", tag = "state", responses((status = 200, body = SectorList)))]
pub(crate) async fn sectors(State(api): State<Api>) -> Answer<Json<SectorList>> {
    let chain = chain(&api).await?;
    Ok(Json(SectorList { sectors: sector_views(&api, &chain).await? }))
}

/// An epoch: heights of its phases, seed, and where each sector stands.
#[utoipa::path(
    get, path = "/v1/epochs/{epoch}", tag = "state", params(("epoch" = u64, Path)),
    responses((status = 200, body = EpochView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn epoch(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<EpochView>> {
    let epoch = answer::epoch(&text)?;
    let chain = chain(&api).await?;
    let row = api.node.get::<Epochs>(&epoch).await?.ok_or_else(|| {
        Failure::missing(
            "epoch.unknown",
            "the epoch has not begun or is forgotten",
            "see /v1/status for the present one",
        )
    })?;
    let mut sectors = Vec::new();
    for id in &chain.sectors {
        if let Some(found) = api.node.get::<SectorEpochs>(&(epoch, *id)).await? {
            let open = api.node.get::<EpochDigests>(&(epoch, *id)).await?;
            sectors.push(SectorEpochView::new(*id, &found, open.as_ref()));
        }
    }
    Ok(Json(EpochView::new(epoch, &row, &chain.params, sectors)))
}

/// What to send.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Proving {
    /// `false`: the value alone.
    proof: Option<bool>,
}

/// An entry of the state. All bytes in hexadecimal.
#[derive(Serialize, ToSchema)]
pub(crate) struct StateView {
    /// Height of the block whose state root is proved against. Without a proof: the value is of this height or later.
    height: u64,
    /// That root.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_root: Option<String>,
    /// Readable key and row, in borsh; absent: proved to be absent.
    value: Option<String>,
    /// Proof of value or absence.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    /// The block of that height.
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<String>,
    /// Its certificate; absent where only a later block has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}

/// An entry of the state with everything that a light client needs to believe it.
#[utoipa::path(
    get, path = "/v1/state/{key}", tag = "light client",
    params(("key" = String, Path, description = "State key: table number and 31 bytes of hash, 64 hexadecimal digits"), Proving),
    responses((status = 200, body = StateView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn state(
    State(api): State<Api>,
    Path(text): Path<String>,
    Query(proving): Query<Proving>,
) -> Answer<Json<StateView>> {
    let key = answer::id("state key", &text)?;
    if proving.proof == Some(false) {
        // A tenth of the work of a proof.
        let height = api.node.heights().borrow().0;
        let value = api.node.entry(key).await?.map(hex::encode);
        return Ok(Json(StateView {
            height,
            state_root: None,
            value,
            proof: None,
            block: None,
            certificate: None,
        }));
    }
    let found = api.node.prove(key).await?;
    let height = network_height(&api, found.height);
    let block = stored(&api, height).await?;
    Ok(Json(StateView {
        height: height.0,
        state_root: Some(hex::encode(found.state_root)),
        value: found.value.map(hex::encode),
        proof: Some(hex::encode(found.proof)),
        block: Some(hex::encode(block.bytes)),
        certificate: block.certificate.map(hex::encode),
    }))
}

/// Heights of the network go on in a fork; headers of blocks count from the fork.
fn network_height(api: &Api, header: u64) -> Height {
    api.node.status().origin.plus(header)
}

async fn stored(api: &Api, height: Height) -> Answer<StoredBlock> {
    api.node.block(height).await?.ok_or_else(|| {
        Failure::missing(
            "block.unknown",
            format!("no block of height {height} is stored"),
            "see /v1/status for the newest",
        )
    })
}

/// A final block. All bytes in hexadecimal.
#[derive(Serialize, ToSchema)]
pub(crate) struct BlockView {
    /// Height.
    height: u64,
    /// Digest; what certificates sign.
    digest: String,
    /// Digest of the block before.
    parent: String,
    /// Milliseconds since 1970, as the proposer said.
    timestamp_ms: u64,
    /// Identity of the proposer.
    proposer: String,
    /// Root of the state after the block.
    state_root: String,
    /// The block as it is hashed.
    block: String,
    /// Its certificate; absent where only a later block has one.
    certificate: Option<String>,
}

/// A final block with its certificate.
#[utoipa::path(
    get, path = "/v1/blocks/{height}", tag = "light client", params(("height" = u64, Path)),
    responses((status = 200, body = BlockView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn block(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<BlockView>> {
    let height = text.parse().map(Height).map_err(|_| Failure::argument("the height is not a number"))?;
    let StoredBlock { block, bytes, certificate } = stored(&api, height).await?;
    Ok(Json(BlockView {
        height: height.0,
        digest: hex::encode(block.digest),
        parent: hex::encode(block.header.parent),
        timestamp_ms: block.header.timestamp_ms,
        proposer: hex::encode(block.header.proposer),
        state_root: hex::encode(block.state_root),
        block: hex::encode(bytes),
        certificate: certificate.map(hex::encode),
    }))
}
