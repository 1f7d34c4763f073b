//! Turns a judgement into a settlement: the pure function that seats, full nodes and auditors all run.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::lthash::LtHash;
use cairn_crypto::merkle::rows::{self, RootBuilder};
use cairn_sector::{
    AnyRules, LeaseEntry, MemoryChange, Next, RawContext, RawEvidence, RawMemory, Registry, Row, Source,
    Weight,
};
use cairn_types::{
    AccountId, Amount, Credits, DeviceId, DutyId, Epoch, Hash, LeaseId, NetworkId, PPM, Price, Rate, Refusal,
    SectorId, UNIT_KINDS, Units, decode, encode, mul_div, ppm_of,
};
use std::collections::{BTreeMap, BTreeSet};

use crate::listing::{HEAVIEST, LIGHTEST};
use crate::settlement::{OUTCOMES_PER_CHUNK, Outcome, Settlement, charge_leaf, claim_leaf, outcome_chunk};
use crate::tables::Terms;
use crate::tally::{self, DueTally, charged_before};

pub use crate::tally::{apply, keys};

/// Everything a settlement is made of.
pub struct Inputs<'a> {
    /// Network.
    pub network: NetworkId,
    /// Sector.
    pub sector: SectorId,
    /// Epoch.
    pub epoch: Epoch,
    /// Seed.
    pub seed: cairn_sector::Seed,
    /// Price at the lock.
    pub price: Price,
    /// Roots as the chain knows them: registry, commitments, answers, evidence.
    pub roots: [Hash; 4],
    /// Numbers at the lock.
    pub terms: &'a Terms,
    /// Registry at the lock, with commitments and answer digests filled in.
    pub registry: &'a dyn Registry,
    /// Items of certified bundles, sorted.
    pub evidence: &'a dyn RawEvidence,
    /// Sector memory before.
    pub memory: &'a dyn RawMemory,
    /// Its content digest.
    pub memory_digest: LtHash,
    /// Tally before.
    pub tally: &'a dyn RawMemory,
    /// Its content digest.
    pub tally_digest: LtHash,
}

/// What one row was worth; `earnings --explain` prints it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Line {
    /// The judged row.
    pub row: Row,
    /// Who is paid.
    pub operator: AccountId,
    /// Taken from an escrow.
    pub charged: Credits,
    /// Due by the rates but not covered by the escrow; stays due.
    pub unpaid: Credits,
    /// Paid from pool or bond, before any limit.
    pub granted: Amount,
}

/// A made settlement with all its leaves.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Settled {
    /// The record.
    pub settlement: Settlement,
    /// Rows with their worth, in row order.
    pub lines: Vec<Line>,
    /// Changes of sector memory.
    pub memory: Vec<MemoryChange<Vec<u8>>>,
    /// Changes of the tally.
    pub tally: Vec<MemoryChange<Vec<u8>>>,
    /// Digests after the changes.
    pub digests: (LtHash, LtHash),
    /// Cumulative earnings by operator, ascending.
    pub claims: Vec<(AccountId, Amount)>,
    /// Cumulative charges by lease, ascending.
    pub charges: Vec<(LeaseId, Credits)>,
    /// Outcomes in order of application.
    pub outcomes: Vec<Outcome>,
}

impl Settled {
    /// See [`outcome_chunks`].
    pub fn chunks(&self) -> Vec<(u32, Vec<Outcome>, rows::RowProof)> {
        outcome_chunks(&self.outcomes)
    }
}

/// Outcomes in transaction-sized chunks with their Merkle paths: (number of the first, outcomes, path).
pub fn outcome_chunks(outcomes: &[Outcome]) -> Vec<(u32, Vec<Outcome>, rows::RowProof)> {
    let leaves: Vec<Vec<u8>> = outcomes.chunks(OUTCOMES_PER_CHUNK).map(outcome_chunk).collect();
    let tree = rows::RowTree::new(&leaves);
    (0u64..)
        .zip(outcomes.chunks(OUTCOMES_PER_CHUNK))
        .filter_map(|(i, c)| {
            let from = u32::try_from(i).ok()?.checked_mul(u32::try_from(OUTCOMES_PER_CHUNK).ok()?)?;
            Some((from, c.to_vec(), tree.prove(i).ok()?))
        })
        .collect()
}

/// Judges and settles an epoch.
pub fn settle(rules: &dyn AnyRules, x: &Inputs<'_>) -> Result<Settled, Refusal> {
    let raw = RawContext {
        network: x.network,
        epoch: x.epoch,
        epoch_seconds: x.terms.chain.epoch_seconds,
        seed: x.seed,
        params: &x.terms.params,
        registry: x.registry,
        memory: x.memory,
    };
    let judged = rules.judge(&raw, x.evidence)?;
    let mut work = Work::new(x);
    work.rows(judged.rows);
    work.weights(&judged.weights);
    for sale in x.registry.sales() {
        let shares = rules.attribute(&raw, &sale.sale)?;
        work.sale(&sale, &shares);
    }
    work.finish(judged.memory)
}

struct Work<'a> {
    x: &'a Inputs<'a>,
    lines: Vec<Line>,
    due: BTreeMap<Vec<u8>, DueTally>,
    lease_charges: BTreeMap<LeaseId, Credits>,
    /// Leases with rows: since when the escrow has not covered what is due, if it does not.
    unpaid: BTreeMap<LeaseId, Option<Epoch>>,
    operator_credits: BTreeMap<AccountId, u128>,
    operator_pool: BTreeMap<AccountId, Amount>,
    /// Attributed in this epoch.
    sales: Credits,
    /// Sales that this settlement attributes or pays back.
    decided: BTreeSet<Hash>,
    outcomes: Vec<Outcome>,
    /// Work paid from bonds, by whose bond and who worked.
    pays: BTreeMap<(DeviceId, DeviceId), Amount>,
    faults: BTreeMap<DeviceId, (u32, u16, Hash)>,
}

impl<'a> Work<'a> {
    fn new(x: &'a Inputs<'a>) -> Self {
        Self {
            x,
            lines: Vec::new(),
            due: BTreeMap::new(),
            lease_charges: BTreeMap::new(),
            unpaid: BTreeMap::new(),
            operator_credits: BTreeMap::new(),
            operator_pool: BTreeMap::new(),
            sales: Credits::ZERO,
            decided: BTreeSet::new(),
            outcomes: Vec::new(),
            pays: BTreeMap::new(),
            faults: BTreeMap::new(),
        }
    }

    /// Rows in order. A row that names what does not exist is dropped: the core pays only duties that it knows.
    fn rows(&mut self, rows: Vec<Row>) {
        let mut escrow: BTreeMap<LeaseId, Vec<(usize, Credits)>> = BTreeMap::new();
        let mut pool: Vec<(usize, Amount)> = Vec::new();
        for row in rows {
            let Some(device) = self.x.registry.device(&row.payee) else { continue };
            let index = self.lines.len();
            let mut line = Line {
                operator: device.operator,
                charged: Credits::ZERO,
                unpaid: Credits::ZERO,
                granted: Amount::ZERO,
                row,
            };
            match line.row.source {
                Source::Escrow => {
                    if let Some((lease, due)) = self.add_units(&line.row) {
                        escrow.entry(lease).or_default().push((index, due));
                    }
                }
                Source::Pool => {
                    line.granted = self.worth(&self.x.terms.pool_rates, &line.row.units);
                    pool.push((index, line.granted));
                }
                Source::Bond { of } => {
                    line.granted = self.worth(&self.x.terms.bond_rates, &line.row.units);
                    let sum = self.pays.entry((of, line.row.payee)).or_default();
                    *sum = sum.saturating_add(line.granted);
                }
            }
            self.follow(&line.row);
            self.lines.push(line);
        }
        self.charge(escrow);
        self.grant(pool);
    }

    fn worth(&self, rates: &[Rate; UNIT_KINDS], units: &Units) -> Amount {
        worth(self.x.price, rates, units)
    }

    /// Adds a row's units to the holder's tally; the credits that became due.
    fn add_units(&mut self, row: &Row) -> Option<(LeaseId, Credits)> {
        let Some(DutyId::Lease { lease, slot }) = row.duty else { return None };
        let entry = self.x.registry.lease(&lease)?;
        let place = entry.slots.get(usize::from(slot))?;
        if place.device != row.payee || entry.closing.is_some_and(|e| e < self.x.epoch) {
            return None;
        }
        let key = keys::due(&lease, slot, &row.payee);
        let tally = match self.due.get(&key) {
            Some(t) => t.clone(),
            None => self.x.tally.get(&key).and_then(|v| decode(&v).ok()).unwrap_or_default(),
        };
        let fresh = DueTally { generation: place.generation, ..DueTally::default() };
        let mut next = if tally.generation == place.generation { tally } else { fresh };
        for (have, add) in next.units.iter_mut().zip(&row.units.0) {
            *have = have.saturating_add(u128::from(*add));
        }
        let total = add_up(place.rates.iter().zip(&next.units).filter_map(|(r, u)| r.charge(*u)));
        let due = total.saturating_sub(next.charged);
        self.due.insert(key, next);
        Some((lease, due))
    }

    /// Takes what is due from each escrow; where it does not reach, everybody gets the same share.
    fn charge(&mut self, escrow: BTreeMap<LeaseId, Vec<(usize, Credits)>>) {
        for (id, dues) in escrow {
            let Some(lease) = self.x.registry.lease(&id) else { continue };
            let before = charged_before(self.x.tally, &id);
            let left = lease.deposited.saturating_sub(before);
            let total: u128 = dues.iter().map(|d| u128::from(d.1.0)).sum();
            let mut taken = Credits::ZERO;
            for (index, due) in dues {
                let pay = if total <= u128::from(left.0) {
                    due
                } else {
                    let part = mul_div(u128::from(due.0), u128::from(left.0), total.max(1)).unwrap_or(0);
                    Credits(u64::try_from(part).unwrap_or(0))
                };
                taken = taken.saturating_add(pay);
                self.book(index, &lease, due, pay);
            }
            self.lease_charges.insert(id, before.saturating_add(taken));
            self.watch(&lease, total > u128::from(left.0));
        }
    }

    /// Keeps since when a lease has been short; one that has been for `unpaid_epochs` lapses.
    fn watch(&mut self, lease: &LeaseEntry, short: bool) {
        let known = self.x.tally.get(&keys::unpaid(&lease.id)).and_then(|v| decode::<Epoch>(&v).ok());
        let since = short.then(|| known.unwrap_or(self.x.epoch));
        let patience = self.x.terms.chain.unpaid_epochs;
        if since.is_some_and(|e| self.x.epoch >= e.plus(patience)) {
            self.outcomes.push(Outcome::Lapse { lease: lease.id, deposited: lease.deposited });
        }
        self.unpaid.insert(lease.id, since);
    }

    /// Leases of which no epoch can be charged any more, and that nobody asked to refund.
    fn wind_up(&mut self) {
        for lease in self.x.registry.leases().filter(|l| l.closing.is_some_and(|e| e < self.x.epoch)) {
            let charged = charged_before(self.x.tally, &lease.id);
            self.outcomes.push(Outcome::WindUp { lease: lease.id, charged });
        }
    }

    fn book(&mut self, index: usize, lease: &LeaseEntry, due: Credits, pay: Credits) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let Some(DutyId::Lease { slot, .. }) = line.row.duty else { return };
        (line.charged, line.unpaid) = (pay, due.saturating_sub(pay));
        *self.operator_credits.entry(line.operator).or_default() += u128::from(pay.0);
        if let Some(t) = self.due.get_mut(&keys::due(&lease.id, slot, &line.row.payee)) {
            t.charged = t.charged.saturating_add(pay);
        }
    }

    /// Pays standing duties from the pool, pro rata where the epoch's budget does not reach.
    fn grant(&mut self, pool: Vec<(usize, Amount)>) {
        let total = pool.iter().fold(0u128, |sum, p| sum.saturating_add(p.1.0));
        let budget = self.x.terms.pool_budget.0;
        for (index, worth) in pool {
            let pay = if total <= budget { worth.0 } else { mul_div(worth.0, budget, total).unwrap_or(0) };
            let Some(line) = self.lines.get_mut(index) else { continue };
            line.granted = Amount(pay);
            let sum = self.operator_pool.entry(line.operator).or_default();
            *sum = sum.saturating_add(Amount(pay));
        }
    }

    /// Faults and ends of duties.
    fn follow(&mut self, row: &Row) {
        if let Some(f) = row.fault {
            let worst = self.faults.entry(row.payee).or_insert((0, f.code, f.evidence));
            if f.severity_ppm > worst.0 {
                *worst = (f.severity_ppm, f.code, f.evidence);
            }
        }
        let Some(DutyId::Lease { lease, slot }) = row.duty else { return };
        match row.next {
            Next::Continues => {}
            Next::Done => self.outcomes.push(Outcome::Done { lease }),
            Next::Reassign => self.outcomes.push(Outcome::Reassign { lease, slot, device: row.payee }),
            Next::Repair { ppm } => {
                // The bond rates price reserved capacity (what a loss locks) and rebuilt work (what a repair earns)
                // in the kinds that the sector uses for each.
                let reserve = self.x.registry.lease(&lease).map(|l| l.reserve).unwrap_or_default();
                let whole = self.worth(&self.x.terms.bond_rates, &reserve);
                let cost = Amount(ppm_of(whole.0, u64::from(ppm)));
                self.outcomes.push(Outcome::Repair { lease, slot, device: row.payee, cost });
            }
        }
    }

    /// Price weights, inside the bounds of the market. One of an unknown device is dropped.
    fn weights(&mut self, weights: &[Weight]) {
        let known = |w: &&Weight| self.x.registry.device(&w.device).is_some();
        let weigh = |w: &Weight| Outcome::Weigh { device: w.device, ppm: w.ppm.clamp(LIGHTEST, HEAVIEST) };
        self.outcomes.extend(weights.iter().filter(known).map(weigh));
    }

    /// Attributes a pooled sale once. Without a supplier it waits for as long as the window, then the buyer is paid back.
    fn sale(&mut self, sale: &cairn_sector::SaleEntry, shares: &[(DeviceId, u64)]) {
        let total: u128 = shares.iter().map(|s| u128::from(s.1)).sum();
        if self.x.tally.get(&keys::sale(&sale.id)).is_some() {
            return;
        }
        if total == 0 {
            if self.x.epoch >= sale.epoch.plus(self.x.terms.chain.window_epochs) {
                self.decided.insert(sale.id);
                self.outcomes.push(Outcome::SaleRefunded { sale: sale.id });
            }
            return;
        }
        for (device, weight) in shares {
            let Some(entry) = self.x.registry.device(device) else { continue };
            let part = mul_div(u128::from(sale.paid.0), u128::from(*weight), total).unwrap_or(0);
            let sum = self.operator_credits.entry(entry.operator).or_default();
            *sum = sum.saturating_add(part);
        }
        self.sales = self.sales.saturating_add(sale.paid);
        self.decided.insert(sale.id);
        self.outcomes.push(Outcome::SaleDone { sale: sale.id });
    }

    fn finish(mut self, memory: Vec<MemoryChange<Vec<u8>>>) -> Result<Settled, Refusal> {
        for (device, (severity_ppm, code, evidence)) in std::mem::take(&mut self.faults) {
            self.outcomes.push(Outcome::Fault { device, code, severity_ppm, evidence });
        }
        for ((of, to), amount) in std::mem::take(&mut self.pays) {
            self.outcomes.push(Outcome::Pay { of, to, amount });
        }
        self.wind_up();
        self.outcomes.sort();
        self.outcomes.dedup();
        let x = self.x;
        let (earned, pool_paid, claims) = self.earnings();
        let charges = self.charges();
        let tally = tally::Next {
            due: &self.due,
            unpaid: &self.unpaid,
            claims: &claims,
            charges: &charges,
            decided: &self.decided,
            sales: &x.registry.sales().iter().map(|s| s.id).collect(),
        }
        .changes(x.tally);
        let digests = (
            apply(&x.memory_digest, "memory", x.memory, &memory),
            apply(&x.tally_digest, "tally", x.tally, &tally),
        );
        let charged = add_up(self.lines.iter().map(|l| l.charged));
        let settlement = Settlement {
            network: x.network,
            sector: x.sector,
            version: x.terms.version,
            epoch: x.epoch,
            seed: x.seed,
            price: x.price,
            registry_root: x.roots[0],
            terms_root: x.terms.root(),
            commitments_root: x.roots[1],
            answers_root: x.roots[2],
            evidence_root: x.roots[3],
            memory: (x.memory_digest.digest(), digests.0.digest()),
            tally: (x.tally_digest.digest(), digests.1.digest()),
            rows: root_of(self.lines.iter().map(encode)),
            charged,
            sales: self.sales,
            earned,
            pool_paid,
            claims: root_of(claims.iter().map(|(o, a)| claim_leaf(o, *a))),
            charges: root_of(charges.iter().map(|(l, c)| charge_leaf(l, *c))),
            outcomes: outcomes_root(&self.outcomes)?,
        };
        Ok(Settled {
            settlement,
            lines: self.lines,
            memory,
            tally,
            digests,
            claims,
            charges,
            outcomes: self.outcomes,
        })
    }

    /// Earned from customers, earned from the pool, cumulative claims of everybody.
    fn earnings(&self) -> (Amount, Amount, Vec<(AccountId, Amount)>) {
        let p = &self.x.terms.chain;
        let share = PPM - p.burn_ppm - p.stakers_ppm - p.treasury_ppm;
        let mut claims: BTreeMap<AccountId, Amount> = self
            .x
            .tally
            .scan(b"e")
            .filter_map(|(k, v)| Some((AccountId(k.get(1..)?.try_into().ok()?), decode(&v).ok()?)))
            .collect();
        let mut earned = Amount::ZERO;
        for (operator, credits) in &self.operator_credits {
            let pebbles = mul_div(*credits, u128::from(self.x.price.0), u128::from(PPM)).unwrap_or(0);
            let amount = Amount(ppm_of(pebbles, share));
            earned = earned.saturating_add(amount);
            let sum = claims.entry(*operator).or_default();
            *sum = sum.saturating_add(amount);
        }
        let mut pool_paid = Amount::ZERO;
        for (operator, amount) in &self.operator_pool {
            pool_paid = pool_paid.saturating_add(*amount);
            let sum = claims.entry(*operator).or_default();
            *sum = sum.saturating_add(*amount);
        }
        (earned, pool_paid, claims.into_iter().collect())
    }

    /// Cumulative charge of every lease in the registry.
    fn charges(&self) -> Vec<(LeaseId, Credits)> {
        let now = |id: &LeaseId| match self.lease_charges.get(id) {
            Some(c) => *c,
            None => charged_before(self.x.tally, id),
        };
        self.x.registry.leases().map(|l| (l.id, now(&l.id))).collect()
    }
}

/// Pebbles that units are worth at a price and rates by kind.
pub(crate) fn worth(price: Price, rates: &[Rate; UNIT_KINDS], units: &Units) -> Amount {
    price.pebbles(add_up(rates.iter().zip(&units.0).filter_map(|(r, u)| r.charge(u128::from(*u)))))
}

/// Sum, at most the largest number: what evidence says must not stop a judge.
fn add_up(parts: impl Iterator<Item = Credits>) -> Credits {
    parts.fold(Credits::ZERO, Credits::saturating_add)
}

fn root_of(leaves: impl Iterator<Item = Vec<u8>>) -> (Hash, u64) {
    let mut b = RootBuilder::new();
    leaves.for_each(|l| b.push(&l));
    (b.root(), b.count())
}

fn outcomes_root(outcomes: &[Outcome]) -> Result<(Hash, u32), Refusal> {
    let (root, _) = root_of(outcomes.chunks(OUTCOMES_PER_CHUNK).map(outcome_chunk));
    let n = u32::try_from(outcomes.len()).map_err(|_| {
        Refusal::new("settle.outcomes", "too many outcomes in one epoch", "lower the sector's limits")
    })?;
    Ok((root, n))
}
