//! Devices as those who look for them see them: by key, and as a market.

use crate::answer::{self, Answer, Failure, RefusalBody};
use crate::server::Api;
use axum::Json;
use axum::extract::{Path, State};
use cairn_crypto::{Authority, PublicKey};
use cairn_ledger::tables::{Accounts, DeviceRow, Devices};
use cairn_node::Node;
use cairn_types::{Credits, DeviceId, Hash, SectorId, Units};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// How old a picture of the registry may be. Bounds what a flood of questions can cost: one scan in this time.
const FRESH: Duration = Duration::from_secs(1);
/// Rows of one page of a scan.
const PAGE: usize = 1024;

/// Devices at one moment.
#[derive(Default)]
pub(crate) struct Picture {
    devices: BTreeMap<DeviceId, DeviceRow>,
    keys: BTreeMap<PublicKey, DeviceId>,
}

impl Picture {
    fn add(&mut self, id: DeviceId, row: DeviceRow) {
        self.keys.insert(row.key, id);
        self.devices.insert(id, row);
    }

    /// The device that works with a key.
    pub(crate) fn device(&self, key: &PublicKey) -> Option<DeviceId> {
        self.keys.get(key).copied()
    }

    fn market(&self, sector: SectorId) -> MarketView {
        let listed: Vec<&DeviceRow> =
            self.devices.values().filter(|d| d.sector == sector && d.listed.is_some()).collect();
        let mut rates: Vec<u64> = listed.iter().map(|d| d.admission.list_rate.0).collect();
        rates.sort_unstable();
        let sum = |of: fn(&DeviceRow) -> &Units| {
            let mut total = Units::ZERO;
            for d in &listed {
                total.0.iter_mut().zip(of(d).0).for_each(|(t, u)| *t = t.saturating_add(u));
            }
            total.0.iter().map(u64::to_string).collect()
        };
        MarketView {
            devices: listed.len(),
            domains: independent(&listed),
            lowest_rate: rates.first().map(u64::to_string),
            median_rate: rates.get(rates.len() / 2).map(u64::to_string),
            highest_rate: rates.last().map(u64::to_string),
            capacity: sum(|d| &d.admission.capacity),
            reserved: sum(|d| &d.reserved),
        }
    }
}

/// Devices of which no two share a failure domain, taken as they come. One that names none counts as sharing with
/// every other that names none.
fn independent(devices: &[&DeviceRow]) -> usize {
    let nowhere = [Hash::default()];
    let mut taken: BTreeSet<Hash> = BTreeSet::new();
    let mut count = 0usize;
    for device in devices {
        let named = &device.admission.domains;
        let domains: &[Hash] = if named.is_empty() { &nowhere } else { named };
        if domains.iter().all(|d| !taken.contains(d)) {
            taken.extend(domains);
            count += 1;
        }
    }
    count
}

/// The latest picture.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Option<(Instant, Arc<Picture>)>>);

impl Registry {
    /// Devices as of at most a second ago.
    pub(crate) async fn picture(&self, node: &Node) -> Answer<Arc<Picture>> {
        let mut latest = self.0.lock().await;
        if let Some((at, picture)) = latest.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(picture.clone());
        }
        let mut picture = Picture::default();
        let mut after = None;
        loop {
            let page = node.scan::<Devices>(after, PAGE).await?;
            after = page.last().map(|(stored, ..)| *stored);
            let last = page.len() < PAGE;
            page.into_iter().for_each(|(_, id, row)| picture.add(id, row));
            if last {
                break;
            }
        }
        let picture = Arc::new(picture);
        *latest = Some((Instant::now(), picture.clone()));
        Ok(picture)
    }
}

/// Reads a key.
pub(crate) fn key(text: &str) -> Answer<PublicKey> {
    answer::id("key", text).map(PublicKey)
}

/// Whose a key is.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// `device`: the hot key of a registered device. `customer`: the key of an account that holds credits or opened
    /// leases.
    role: &'static str,
    /// Device or account, 64 hexadecimal digits.
    id: String,
}

/// Whose a key is: what a relay asks before it carries somebody's traffic.
#[utoipa::path(
    get, path = "/v1/keys/{key}", tag = "peers", params(("key" = String, Path, description = "64 hexadecimal digits")),
    responses(
        (status = 200, body = KeyView),
        (status = 404, description = "`key.unknown`: neither a device nor a customer", body = RefusalBody),
        (status = "4XX", body = RefusalBody),
    )
)]
pub(crate) async fn whose(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<KeyView>> {
    let key = key(&text)?;
    if let Some(device) = api.registry.picture(&api.node).await?.device(&key) {
        return Ok(Json(KeyView { role: "device", id: device.to_string() }));
    }
    let account = Authority::Single(key).account_id();
    let row = api.node.get::<Accounts>(&account).await?.unwrap_or_default();
    if row.credits > Credits::ZERO || api.leases.has(&account) {
        return Ok(Json(KeyView { role: "customer", id: account.to_string() }));
    }
    let cause =
        "the key is neither that of a registered device nor that of a customer with credits or leases";
    Err(Failure::missing("key.unknown", cause, "register the device, or buy credits, and ask again"))
}

/// What is on offer in a sector.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct MarketView {
    /// Devices that take new duties.
    devices: usize,
    /// How many of them share no failure domain with another.
    domains: usize,
    /// List rates, in 10^-12 credits a unit; absent while nobody offers.
    lowest_rate: Option<String>,
    /// The middle one.
    median_rate: Option<String>,
    /// The highest.
    highest_rate: Option<String>,
    /// Units an epoch that these devices can do, by kind.
    capacity: Vec<String>,
    /// Of it reserved by leases.
    reserved: Vec<String>,
}

/// What is on offer in a sector: devices, independent failure domains, rates, and how much of it is taken.
#[utoipa::path(
    get, path = "/v1/market/{sector}", tag = "state", params(("sector" = u16, Path)),
    responses((status = 200, body = MarketView), (status = "4XX", body = RefusalBody))
)]
pub(crate) async fn market(State(api): State<Api>, Path(text): Path<String>) -> Answer<Json<MarketView>> {
    let sector = answer::sector(&text)?;
    Ok(Json(api.registry.picture(&api.node).await?.market(sector)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_ledger::tables::Listing;
    use cairn_sector::{Admission, DeviceState};
    use cairn_types::{AccountId, Amount, Epoch, Rate};

    fn device(rate: u64, domains: &[u8], listed: bool) -> DeviceRow {
        DeviceRow {
            operator: AccountId::default(),
            sector: SectorId(1),
            key: PublicKey([u8::try_from(rate).unwrap(); 32]),
            offer: Vec::new(),
            admission: Admission {
                capacity: Units([10, 0, 0, 0]),
                rates: [Rate(0); 4],
                list_rate: Rate(rate),
                bond: Credits(0),
                unique: Vec::new(),
                domains: domains.iter().map(|d| Hash([*d; 32])).collect(),
                class: 0,
                region: 1,
                cell: None,
            },
            reserved: Units([3, 0, 0, 0]),
            state: DeviceState::Active,
            since: Epoch(0),
            bond: Amount(0),
            locked: Amount(0),
            listed: listed.then_some(Listing { bucket: 0, room: 0, own: 0, any: 0 }),
            deficit: (0, Epoch(0)),
            weight: (0, Epoch(0)),
            duties: 0,
            absent: false,
        }
    }

    #[test]
    fn a_market_counts_listed_devices_and_those_that_do_not_fail_together() {
        let mut picture = Picture::default();
        for (n, row) in [
            device(7, &[1, 9], true),
            device(5, &[2], true),
            device(6, &[2, 3], true),
            device(9, &[], true),
            device(8, &[], true),
            device(1, &[4], false),
        ]
        .into_iter()
        .enumerate()
        {
            picture.add(DeviceId([u8::try_from(n).unwrap(); 32]), row);
        }
        let market = picture.market(SectorId(1));
        assert_eq!((market.devices, market.domains), (5, 3));
        assert_eq!(market.lowest_rate.as_deref(), Some("5"));
        assert_eq!(market.median_rate.as_deref(), Some("7"));
        assert_eq!(market.highest_rate.as_deref(), Some("9"));
        assert_eq!((market.capacity[0].as_str(), market.reserved[0].as_str()), ("50", "15"));
        assert_eq!(picture.market(SectorId(2)).median_rate, None);
        assert_eq!(picture.device(&PublicKey([6; 32])), Some(DeviceId([2; 32])));
        assert_eq!(picture.device(&PublicKey([77; 32])), None);
    }
}
