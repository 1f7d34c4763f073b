//! Deterministic assignment: which devices an order finds, and whom it takes.
//!
//! Work is bounded: a search looks at no more than `scan_limit` offers, whatever the market holds.

use cairn_sector::{AnyRules, Demand, Sectors, Seed};
use cairn_types::{DeviceId, Hash, PPM, Rate, SectorId, UNIT_KINDS};
use std::collections::BTreeMap;

use crate::bank::chain;
use crate::listing::{HEAVIEST, HEAVIEST_BUCKETS, LIGHTEST, bucket, floor_log2, reputation};
use crate::registry::{unknown_device, unknown_sector};
use crate::state::{Run, State};
use crate::tables::{
    BucketMap, Buckets, ChainRow, DeviceRow, Devices, LIST_PAGE, List, ListPages, Lists, SectorRow,
    SectorTable,
};

/// A device that could serve an order.
pub(crate) struct Candidate {
    pub id: DeviceId,
    pub domains: Vec<Hash>,
    pub rates: [Rate; UNIT_KINDS],
    /// List rate x (2 - reputation) x weight, the order of choice.
    pub cost: u128,
}

/// What a choice must respect.
pub(crate) struct Wanted<'a> {
    pub sector: SectorId,
    pub order: &'a [u8],
    pub demand: &'a Demand,
    pub label: &'a [u8],
    pub exclude: &'a [DeviceId],
    /// Failure domains of slots that are filled already.
    pub taken: &'a [Vec<Hash>],
    pub enough: usize,
}

/// Candidates looked for per place: the draw inside a bucket should not decide who is cheapest.
const CHOICE: u32 = 4;

/// Counts candidates that a spread could use: of one failure domain no more than [`CHOICE`] times its limit, so that
/// a crowd in one place cannot end the search.
struct Useful {
    limit: u32,
    used: BTreeMap<Hash, u32>,
    count: usize,
}

impl Useful {
    fn new(w: &Wanted<'_>) -> Self {
        let mut used: BTreeMap<Hash, u32> = BTreeMap::new();
        for d in w.taken.iter().flatten() {
            *used.entry(*d).or_default() += CHOICE;
        }
        Self { limit: u32::from(w.demand.max_per_domain) * CHOICE, used, count: 0 }
    }

    fn add(&mut self, domains: &[Hash]) {
        let full = |d: &Hash| self.used.get(d).is_some_and(|u| *u >= self.limit);
        if self.limit > 0 && domains.iter().any(full) {
            return;
        }
        for d in domains {
            *self.used.entry(*d).or_default() += 1;
        }
        self.count += 1;
    }
}

/// A search on its way.
struct Search<'a, 'b> {
    s: &'a State<'b>,
    w: &'a Wanted<'a>,
    c: ChainRow,
    sector: SectorRow,
    rules: &'a dyn AnyRules,
    found: Vec<Candidate>,
    looked: u32,
    /// Members looked at that had no room.
    misfits: u32,
    useful: Useful,
}

/// Collects candidates from the cheapest price bucket on, starting inside a list where the seed says.
///
/// In a bucket come the lists whose members all have room for the order, then the one of which only some have. The
/// latter is left alone once a quarter of the search went to members without room: who keeps a crowd of offers a
/// little too small cannot use up the search.
pub(crate) fn candidates(s: &State<'_>, sectors: &Sectors, w: &Wanted<'_>) -> Run<Vec<Candidate>> {
    let sector = s.need::<SectorTable>(&w.sector, unknown_sector(w.sector))?;
    let rules = &**sectors.get(w.sector, sector.version)?;
    let (c, useful) = (chain(s)?, Useful::new(w));
    let mut search = Search { s, w, c, sector, rules, found: Vec::new(), looked: 0, misfits: 0, useful };
    let group = (w.sector, w.demand.class, w.demand.region);
    let mut map = s.get_or_default::<BucketMap>(&group)?;
    // A device may lie as many buckets above its rate as it can look dearer.
    let dearest = bucket(w.demand.max_rate).saturating_add(HEAVIEST_BUCKETS);
    while map != 0 && search.useful.count < w.enough {
        let b = u8::try_from(map.trailing_zeros()).unwrap_or(127);
        map &= map - 1;
        if b > dearest {
            break;
        }
        for (room, sure) in rooms(s.get_or_default::<Buckets>(&(group.0, group.1, group.2, b))?, w.demand) {
            search.list(List { sector: group.0, class: group.1, region: group.2, bucket: b, room }, sure)?;
        }
    }
    Ok(search.found)
}

/// Rooms of a bucket in the order of search, each with whether all its members can take the order's first kind.
fn rooms(map: u64, demand: &Demand) -> Vec<(u8, bool)> {
    let need = demand.reserve.0[0];
    let edge = floor_log2(need);
    let first = if need.max(1).is_power_of_two() { edge } else { edge + 1 };
    let holds = |room: &u8| map >> *room & 1 == 1;
    let sure = (first..64).filter(holds).map(|room| (room, true));
    sure.chain((edge..first).filter(holds).map(|room| (room, false))).collect()
}

impl Search<'_, '_> {
    /// Looks at the members of a list, as far as the search may go.
    fn list(&mut self, list: List, sure: bool) -> Run<()> {
        let n = self.s.get_or_default::<Lists>(&list)?;
        let parts: [&[u8]; 2] = [self.w.label, &[list.bucket, list.room]];
        let start = self.c.seed.1.below("market/start", &parts, u64::from(n));
        let start = u32::try_from(start).unwrap_or(0);
        let most = n.min(self.c.params.scan_limit.saturating_sub(self.looked));
        let ids = self.members(list, n, start, most)?;
        let wanted: Vec<DeviceId> = ids.iter().filter(|id| !self.w.exclude.contains(id)).copied().collect();
        let mut rows = wanted.iter().zip(self.s.get_many::<Devices>(&wanted)?).peekable();
        for id in ids {
            if !sure && self.misfits >= self.c.params.scan_limit / 4 {
                break;
            }
            self.looked += 1;
            if let Some((_, row)) = rows.next_if(|(next, _)| **next == id) {
                self.consider(id, row.ok_or_else(unknown_device)?);
            }
        }
        Ok(())
    }

    /// `most` members of a list of `n`, from `start` on, around its end.
    fn members(&self, list: List, n: u32, start: u32, most: u32) -> Run<Vec<DeviceId>> {
        let places: Vec<u32> = (0..most)
            .map(|i| u64::from(start) + u64::from(i))
            .filter_map(|at| u32::try_from(at.checked_rem(u64::from(n))?).ok())
            .collect();
        let mut numbers: Vec<u32> = places.iter().map(|at| at / LIST_PAGE).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let keys: Vec<(List, u32)> = numbers.iter().map(|page| (list, *page)).collect();
        let pages: BTreeMap<u32, Vec<DeviceId>> = numbers
            .into_iter()
            .zip(self.s.get_many::<ListPages>(&keys)?)
            .map(|(page, members)| (page, members.unwrap_or_default()))
            .collect();
        let member = |at: u32| pages.get(&(at / LIST_PAGE))?.get(usize::try_from(at % LIST_PAGE).ok()?);
        Ok(places.into_iter().filter_map(member).copied().collect())
    }

    fn consider(&mut self, id: DeviceId, row: DeviceRow) {
        let (w, a) = (self.w, row.admission);
        let fits = row.reserved.checked_add(&w.demand.reserve).is_some_and(|r| r.within(&a.capacity));
        if !fits {
            self.misfits += 1;
        }
        if !fits || a.list_rate > w.demand.max_rate {
            return;
        }
        let Ok(quote) = self.rules.quote(&self.sector.params, &row.offer, w.order) else { return };
        self.useful.add(&a.domains);
        let rep = reputation(row.deficit, self.c.epoch, self.c.params.reputation_half_life);
        let cost = u128::from(a.list_rate.0)
            * u128::from(2 * PPM - rep)
            * u128::from(row.weight.0.clamp(LIGHTEST, HEAVIEST));
        self.found.push(Candidate { id, domains: a.domains, rates: quote.rates, cost });
    }
}

/// In order of choice: cheapest first, equals as the seed draws. Draws only where it has to.
fn rank(from: &mut [Candidate], seed: &Seed, label: &[u8]) {
    from.sort_by_key(|x| x.cost);
    for equal in from.chunk_by_mut(|a, b| a.cost == b.cost).filter(|x| x.len() > 1) {
        equal.sort_by_cached_key(|x| seed.draw("market/tie", &[label, x.id.as_ref()]));
    }
}

/// Chooses up to `n` devices, cheapest first, at most `max_per_domain` in each failure domain (those of `taken`
/// count).
pub(crate) fn choose(
    s: &State<'_>,
    mut from: Vec<Candidate>,
    n: usize,
    w: &Wanted<'_>,
) -> Run<Vec<Candidate>> {
    rank(&mut from, &chain(s)?.seed.1, w.label);
    let (max_per_domain, taken) = (w.demand.max_per_domain, w.taken);
    let mut used: BTreeMap<Hash, u16> = BTreeMap::new();
    for d in taken.iter().flatten() {
        *used.entry(*d).or_default() += 1;
    }
    let mut chosen = Vec::new();
    for c in from {
        if chosen.len() == n {
            break;
        }
        let full =
            max_per_domain > 0 && c.domains.iter().any(|d| used.get(d).is_some_and(|u| *u >= max_per_domain));
        if full {
            continue;
        }
        for d in &c.domains {
            *used.entry(*d).or_default() += 1;
        }
        chosen.push(c);
    }
    Ok(chosen)
}
