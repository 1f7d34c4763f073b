//! Deterministic assignment: which devices an order finds, and whom it takes.
//!
//! Work is bounded: a search looks at no more than `scan_limit` offers, whatever the market holds.

use cairn_sector::{Demand, Sectors};
use cairn_types::{DeviceId, Hash, PPM, Rate, SectorId, UNIT_KINDS};
use std::collections::BTreeMap;

use crate::bank::chain;
use crate::listing::reputation;
use crate::registry::{unknown_device, unknown_sector};
use crate::state::{Run, State};
use crate::tables::{BucketMap, BucketSlots, Buckets, Devices, SectorTable};

/// A device that could serve an order.
pub(crate) struct Candidate {
    pub id: DeviceId,
    pub domains: Vec<Hash>,
    pub rates: [Rate; UNIT_KINDS],
    /// List rate x (2 - reputation), the order of choice.
    pub cost: u128,
    pub tie: [u8; 32],
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

/// Collects candidates bucket by bucket from the cheapest, starting inside a bucket where the seed says.
pub(crate) fn candidates(s: &State<'_>, sectors: &Sectors, w: &Wanted<'_>) -> Run<Vec<Candidate>> {
    let c = chain(s)?;
    let sector = s.need::<SectorTable>(&w.sector, unknown_sector(w.sector))?;
    let rules = sectors.get(w.sector, sector.version)?;
    let group = (w.sector, w.demand.class, w.demand.region);
    let mut map = s.get_or_default::<BucketMap>(&group)?;
    let (mut found, mut looked, mut useful) = (Vec::new(), 0u32, Useful::new(w));
    while map != 0 && useful.count < w.enough {
        let b = u8::try_from(map.trailing_zeros()).unwrap_or(127);
        map &= map - 1;
        let n = s.get_or_default::<Buckets>(&(group.0, group.1, group.2, b))?;
        let start = c.seed.1.below("market/start", &[w.label, &[b]], u64::from(n.max(1)));
        for i in 0..n {
            if looked >= c.params.scan_limit {
                return Ok(found);
            }
            looked += 1;
            let at = u32::try_from((start + u64::from(i)) % u64::from(n)).unwrap_or(0);
            let Some(id) = s.get::<BucketSlots>(&(group.0, group.1, group.2, b, at))? else { continue };
            if w.exclude.contains(&id) {
                continue;
            }
            let row = s.need::<Devices>(&id, unknown_device())?;
            let fits = row
                .reserved
                .checked_add(&w.demand.reserve)
                .is_some_and(|r| r.within(&row.admission.capacity));
            if !fits || row.admission.list_rate > w.demand.max_rate {
                continue;
            }
            let Ok(quote) = rules.quote(&sector.params, &row.offer, w.order) else { continue };
            useful.add(&row.admission.domains);
            let rep = reputation(row.deficit, c.epoch, c.params.reputation_half_life);
            found.push(Candidate {
                id,
                domains: row.admission.domains,
                rates: quote.rates,
                cost: u128::from(row.admission.list_rate.0) * u128::from(2 * PPM - rep),
                tie: c.seed.1.draw("market/tie", &[w.label, id.as_ref()]),
            });
        }
    }
    Ok(found)
}

/// Chooses up to `n` devices, cheapest first, at most `max_per_domain` in each failure domain (those of `taken`
/// count).
pub(crate) fn choose(
    mut from: Vec<Candidate>,
    n: usize,
    max_per_domain: u16,
    taken: &[Vec<Hash>],
) -> Vec<Candidate> {
    from.sort_by(|a, b| (a.cost, a.tie).cmp(&(b.cost, b.tie)));
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
    chosen
}
