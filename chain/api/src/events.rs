//! Events: as JSON, as a stream, as pages of the past.

use crate::answer::{Answer, Failure, RefusalBody, show_account};
use crate::guard::busy;
use crate::server::Api;
use axum::Json;
use axum::extract::{Query, State};
use axum::response::sse::{self, KeepAlive, Sse};
use cairn_ledger::events::Event;
use cairn_node::{BlockEvents, Node};
use cairn_types::{
    AccountId, Amount, Credits, DeviceId, Epoch, Hash, Height, LeaseId, Refusal, SectorId, encode,
};
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use utoipa::{IntoParams, ToSchema};

/// Blocks of one page of the past.
const PAGE: usize = 256;
/// How often a silent stream shows that it lives.
const ALIVE: Duration = Duration::from_secs(15);

/// One thing that happened.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Height of the block.
    height: u64,
    /// Number within the block.
    index: u32,
    /// Name of the event.
    #[serde(rename = "type")]
    #[schema(example = "Transferred")]
    kind: &'static str,
    /// Its fields; ids in hexadecimal, accounts as addresses, money as decimal strings with the unit in the name.
    #[schema(value_type = Object)]
    fields: Map<String, Value>,
    /// The event in borsh, hexadecimal.
    borsh: String,
}

impl EventView {
    pub(crate) fn new(hrp: &str, height: Height, index: u32, event: &Event) -> Self {
        let (kind, fields) = describe(hrp, event);
        Self { height: height.0, index, kind, fields, borsh: hex::encode(encode(event)) }
    }

    /// All events of a block.
    fn all(hrp: &str, block: &BlockEvents) -> Vec<Self> {
        block
            .events
            .iter()
            .zip(0u32..)
            .map(|(event, index)| Self::new(hrp, block.height, index, event))
            .collect()
    }
}

/// How a field is shown: suffix of its name, and value.
trait Show {
    const UNIT: &'static str = "";
    fn show(&self, hrp: &str) -> Value;
}

macro_rules! show {
    ($($kind:ty, $unit:literal, |$value:ident, $hrp:ident| $shown:expr;)*) => {$(
        impl Show for $kind {
            const UNIT: &'static str = $unit;
            fn show(&self, $hrp: &str) -> Value {
                let $value = self;
                Value::from($shown)
            }
        }
    )*};
}

show! {
    AccountId, "", |v, hrp| show_account(hrp, v);
    Amount, "_pebbles", |v, _hrp| v.0.to_string();
    Credits, "_micro_usd", |v, _hrp| v.0.to_string();
    DeviceId, "", |v, _hrp| v.to_string();
    LeaseId, "", |v, _hrp| v.to_string();
    Hash, "", |v, _hrp| v.to_string();
    Epoch, "", |v, _hrp| v.0;
    SectorId, "", |v, _hrp| v.0;
    Option<DeviceId>, "", |v, _hrp| v.map(|d| d.to_string());
    u64, "", |v, _hrp| *v;
    u32, "", |v, _hrp| *v;
    u16, "", |v, _hrp| *v;
    bool, "", |v, _hrp| *v;
}

fn field<T: Show>(out: &mut Map<String, Value>, name: &str, value: &T, hrp: &str) {
    out.insert(format!("{name}{}", T::UNIT), value.show(hrp));
}

/// Lists every event with its fields; the compiler refuses the list when one is missing.
macro_rules! describe {
    ($($name:ident { $($field:ident),* })*) => {
        fn describe(hrp: &str, event: &Event) -> (&'static str, Map<String, Value>) {
            let mut out = Map::new();
            let kind = match event {
                $(Event::$name { $($field),* } => {
                    $(field(&mut out, stringify!($field), $field, hrp);)*
                    stringify!($name)
                })*
            };
            (kind, out)
        }
    };
}

describe! {
    EpochLocked { epoch }
    Seeded { epoch }
    Transferred { from, to, amount }
    CreditsBought { by, account, credits, cost }
    OperatorRegistered { operator }
    DeviceRegistered { device, operator, sector }
    DeviceChanged { device }
    DeviceExiting { device, until }
    DeviceGone { device, bond }
    BondAdded { device, amount }
    LeaseOpened { lease, customer, sector }
    LeaseFunded { lease, credits }
    LeaseClosing { lease, epoch }
    LeaseRefunded { lease, credits }
    SlotReassigned { lease, slot, from, to, repair }
    Fenced { lease, fence }
    Committed { device, epoch }
    Answered { device, epoch }
    Bundled { device, epoch, bundle, size }
    Certified { sector, epoch, bundles }
    Voted { sector, epoch, seat }
    Settled { sector, epoch, settlement, charged, earned }
    Void { sector, epoch }
    Faulted { device, epoch, code, severity_ppm }
    BondLocked { device, lock, amount }
    BondPaid { of, to, amount }
    BondReleased { device, lock, burned, returned }
    Claimed { sector, operator, amount }
    SaleMade { sector, sale, credits }
    DisputeOpened { dispute, device }
    DisputeRuled { dispute, device, upheld }
    LegalNotice { lease, slot, device, notice, locked }
    SaleRefunded { sector, sale, buyer, credits }
    LeaseLapsed { lease }
    Endowed { lease, credits }
    EndowmentSpent { lease }
}

/// Where to begin.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// First height; the next block if left out.
    from: Option<u64>,
}

/// Past and future blocks in order, without gaps.
struct Blocks {
    node: Node,
    next: Height,
    past: std::vec::IntoIter<Arc<BlockEvents>>,
    live: broadcast::Receiver<Arc<BlockEvents>>,
    caught_up: bool,
    stop: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Blocks {
    /// The next block, or `None` when the node stops.
    async fn next(&mut self) -> Option<Arc<BlockEvents>> {
        loop {
            if let Some(block) = self.past.next() {
                self.next = block.height.plus(1);
                return Some(block);
            }
            if !self.caught_up {
                let page = past(&self.node, self.next, PAGE).await.ok()?;
                self.caught_up = page.is_empty();
                self.past = page.into_iter();
                continue;
            }
            let received = tokio::select! {
                received = self.live.recv() => received,
                _ = self.stop.wait_for(|stop| *stop) => return None,
            };
            match received {
                Ok(block) if block.height == self.next => {
                    self.next = block.height.plus(1);
                    return Some(block);
                }
                Ok(block) if block.height < self.next => {}
                // A gap: the store has what was missed.
                Ok(_) | Err(RecvError::Lagged(_)) => self.caught_up = false,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Reads the store on a thread that may block.
async fn past(node: &Node, from: Height, limit: usize) -> Result<Vec<Arc<BlockEvents>>, Refusal> {
    let node = node.clone();
    let read = tokio::task::spawn_blocking(move || node.history(from, limit));
    read.await
        .unwrap_or_else(|_| Err(Refusal::new("node.stopped", "the node is shut down", "start it again")))
}

/// Events from a height on, past and future, as server-sent events: `data` is an event in JSON, `id` is
/// `height.index`.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", params(From),
    responses(
        (status = 200, description = "A stream that does not end", body = EventView, content_type = "text/event-stream"),
        (status = "4XX", body = RefusalBody),
        (status = 503, description = "Too many streams", body = RefusalBody),
    )
)]
pub(crate) async fn stream(
    State(api): State<Api>,
    Query(query): Query<From>,
) -> Answer<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>> {
    let permit =
        api.streams.clone().try_acquire_owned().map_err(|_| busy("too many event streams at once"))?;
    let live = api.node.events();
    let status = api.node.status();
    let next = query.from.map_or(status.height.plus(1), Height);
    let blocks = Blocks {
        node: api.node.clone(),
        // Nothing happens in the genesis block.
        next: next.max(Height(1)),
        past: Vec::new().into_iter(),
        live,
        caught_up: false,
        stop: api.stop.clone(),
        _permit: permit,
    };
    let views = futures::stream::unfold(blocks, |mut blocks| async move {
        let block = blocks.next().await?;
        Some((block, blocks))
    });
    let hrp = status.hrp;
    let lines = views.flat_map(move |block| {
        futures::stream::iter(EventView::all(&hrp, &block).into_iter().filter_map(|view| line(&view)).map(Ok))
    });
    Ok(Sse::new(lines).keep_alive(KeepAlive::new().interval(ALIVE)))
}

fn line(view: &EventView) -> Option<sse::Event> {
    let id = format!("{}.{}", view.height, view.index);
    sse::Event::default().id(id).event(view.kind).json_data(view).ok()
}

/// A page of the past.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// First height, 1 if left out.
    from: Option<u64>,
    /// Blocks to look at, at most 256.
    limit: Option<usize>,
}

/// Events of the past.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryPage {
    /// Events in order.
    events: Vec<EventView>,
    /// Height to go on from.
    next: u64,
}

/// Past events of some blocks. Go on from `next` until it stands still.
#[utoipa::path(
    get, path = "/v1/history", tag = "events", params(Page),
    responses((status = 200, body = HistoryPage), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn history(State(api): State<Api>, Query(page): Query<Page>) -> Answer<Json<HistoryPage>> {
    let from = Height(page.from.unwrap_or(1));
    let limit = page.limit.unwrap_or(PAGE).min(PAGE);
    if limit == 0 {
        return Err(Failure::argument("a limit of 0 asks for nothing"));
    }
    let blocks = past(&api.node, from, limit).await?;
    let hrp = api.node.status().hrp;
    let next = blocks.last().map_or(from, |block| block.height.plus(1));
    let events = blocks.iter().flat_map(|block| EventView::all(&hrp, block)).collect();
    Ok(Json(HistoryPage { events, next: next.0 }))
}
