//! What must always be true. The identities run after every transition; the full check walks a whole state.

use cairn_sector::DeviceState;
use cairn_types::{AccountId, Amount, Credits, DeviceId, Refusal};
use std::collections::BTreeMap;

use crate::listing::{bucket, room, seen_rate};
use crate::state::{Key, Table, open_entry};
use crate::tables::{
    Accounts, Chain, Claims, Devices, Disputes, Endowments, LIST_PAGE, Leases, List, ListPages, Lists, Locks,
    Money, MoneyRow, Operators, SectorTable,
};

fn broken(what: String) -> Refusal {
    Refusal::with("invariant.broken", what, "stop the node and report the block: this is a bug")
}

/// Both conservation identities over the totals.
///
/// CRN: balances + bonds + vault + payable + dust + stakers + treasury + pools + burned = genesis + minted.
/// Credits: free + escrow + endowed + unsettled + spent = issued.
pub fn identities(m: &MoneyRow) -> Result<(), Refusal> {
    let parts = [m.balances, m.bonds, m.vault, m.payable, m.dust, m.stakers, m.treasury, m.pools, m.burned];
    let sum = parts.iter().try_fold(Amount::ZERO, |a, b| a.checked_add(*b));
    if sum.is_none() || sum != m.genesis.checked_add(m.minted) {
        return Err(broken(format!(
            "CRN in pots {sum:?} is not genesis {} plus minted {}",
            m.genesis, m.minted
        )));
    }
    let places = [m.free, m.escrow, m.endowed, m.unsettled, m.spent];
    let credits = places.iter().try_fold(Credits::ZERO, |a, b| a.checked_add(*b));
    if credits != Some(m.issued) {
        return Err(broken(format!("credits in pots {credits:?} are not the {} issued", m.issued)));
    }
    Ok(())
}

/// Sums over a whole state.
#[derive(Default)]
struct Sums {
    balances: u128,
    credits: u64,
    endowed: u128,
    bonds: u128,
    locked: u128,
    lock_rows: u128,
    operator_bonds: u128,
    free_bonds: u128,
    pools: u128,
    stakes: u128,
    money: Option<MoneyRow>,
}

/// Keys and rows of a table.
type Entries<T> = Vec<(<T as Table>::Key, <T as Table>::Row)>;

fn each<T: Table>(rows: &BTreeMap<Key, Vec<u8>>) -> Result<Entries<T>, Refusal> {
    let (mut low, mut high) = ([0; 32], [255; 32]);
    (low[0], high[0]) = (T::TAG, T::TAG);
    rows.range(low..=high)
        .map(|(k, v)| {
            let (key, row) = open_entry::<T>(v)
                .ok_or_else(|| broken(format!("a row of table {} does not decode", T::TAG)))?;
            if crate::state::key_of::<T>(&key) != *k {
                return Err(broken(format!("a row of table {} lies under a foreign key", T::TAG)));
            }
            Ok((key, row))
        })
        .collect()
}

/// Sum, at most the largest number: the rows may come from a foreign file.
fn add_up(parts: impl Iterator<Item = u128>) -> u128 {
    parts.fold(0, u128::saturating_add)
}

/// Walks a whole state and compares every total with the sum of its rows.
pub fn check(rows: &BTreeMap<Key, Vec<u8>>) -> Result<(), Refusal> {
    let mut x = Sums::default();
    for (_, a) in each::<Accounts>(rows)? {
        x.balances = x.balances.saturating_add(a.balance.0);
        x.credits = x.credits.saturating_add(a.credits.0);
    }
    for (_, d) in each::<Devices>(rows)? {
        x.bonds = x.bonds.saturating_add(d.bond.0.saturating_add(d.locked.0));
        x.free_bonds = x.free_bonds.saturating_add(d.bond.0);
        x.locked = x.locked.saturating_add(d.locked.0);
    }
    x.lock_rows = add_up(each::<Locks>(rows)?.iter().map(|(_, l)| l.left.0));
    x.operator_bonds = add_up(each::<Operators>(rows)?.iter().map(|(_, o)| o.free_bond.0));
    x.pools = add_up(each::<SectorTable>(rows)?.iter().map(|(_, p)| p.pool.0));
    x.stakes = add_up(each::<Disputes>(rows)?.iter().map(|(_, d)| d.bond.0));
    x.endowed = add_up(each::<Endowments>(rows)?.iter().map(|(_, e)| e.left.0.into()));
    x.money = each::<Money>(rows)?.into_iter().next().map(|(_, m)| m);
    compare(&x)?;
    held(rows)?;
    listed(rows)?;
    duties(rows)
}

fn compare(x: &Sums) -> Result<(), Refusal> {
    let m = x.money.as_ref().ok_or_else(|| broken("there is no totals row".into()))?;
    identities(m)?;
    let pairs = [
        ("balances", x.balances, m.balances.0),
        ("bonds", x.bonds.saturating_add(x.stakes), m.bonds.0),
        ("pools", x.pools, m.pools.0),
        ("locked bonds", x.lock_rows, x.locked),
        ("free bonds of operators", x.operator_bonds, x.free_bonds),
        ("free credits", u128::from(x.credits), u128::from(m.free.0)),
        ("endowments", x.endowed, u128::from(m.endowed.0)),
    ];
    for (what, sum, total) in pairs {
        if sum != total {
            return Err(broken(format!("{what}: rows sum to {sum}, the total says {total}")));
        }
    }
    Ok(())
}

/// What operators drew before it matured is what their claims say, sector by sector.
fn held(rows: &BTreeMap<Key, Vec<u8>>) -> Result<(), Refusal> {
    let mut sums: BTreeMap<AccountId, u128> = BTreeMap::new();
    for ((_, operator), row) in each::<Claims>(rows)? {
        let sum = sums.entry(operator).or_default();
        *sum = sum.saturating_add(row.held().0);
    }
    for (id, row) in each::<Operators>(rows)? {
        if sums.remove(&id).unwrap_or_default() != row.held.0 {
            return Err(broken(format!(
                "operator {id} holds another sum of unripe earnings than its claims say"
            )));
        }
    }
    match sums.values().all(|held| *held == 0) {
        true => Ok(()),
        false => Err(broken("somebody who is no operator drew earnings".into())),
    }
}

/// Devices that may take a duty, and nobody else, lie on the lists, each where its row says; lists have no gaps.
fn listed(rows: &BTreeMap<Key, Vec<u8>>) -> Result<(), Refusal> {
    let mut members: BTreeMap<(List, u32), DeviceId> = BTreeMap::new();
    for ((list, page), ids) in each::<ListPages>(rows)? {
        let first = u64::from(page) * u64::from(LIST_PAGE);
        members.extend((first..).zip(ids).filter_map(|(at, id)| Some(((list, u32::try_from(at).ok()?), id))));
    }
    let mut lengths: BTreeMap<List, u32> = BTreeMap::new();
    members.keys().for_each(|(list, _)| *lengths.entry(*list).or_default() += 1);
    if lengths != each::<Lists>(rows)?.into_iter().collect() {
        return Err(broken("a list of offers does not hold as many as it says".into()));
    }
    let price = each::<Chain>(rows)?.into_iter().next().map(|(_, c)| c.price);
    for (id, d) in each::<Devices>(rows)? {
        let bonded = price.is_some_and(|p| d.bond >= p.pebbles_ceil(d.admission.bond));
        let takes = d.state == DeviceState::Active && !d.absent && bonded;
        let place = room(&d).filter(|_| takes).map(|room| (bucket(seen_rate(&d)), room));
        if d.listed.map(|l| (l.bucket, l.room)) != place {
            return Err(broken(format!(
                "device {id} is on the market where it should not be, or not where it should"
            )));
        }
        let Some(l) = d.listed else { continue };
        let list = |region| List {
            sector: d.sector,
            class: d.admission.class,
            region,
            bucket: l.bucket,
            room: l.room,
        };
        let mut places = vec![(list(d.admission.region), l.own)];
        if d.admission.region != 0 {
            places.push((list(0), l.any));
        }
        if places.iter().any(|p| members.remove(p) != Some(id)) {
            return Err(broken(format!("device {id} does not lie where its row says on the lists")));
        }
    }
    match members.is_empty() {
        true => Ok(()),
        false => Err(broken("a list holds a device that does not say so".into())),
    }
}

/// Reserved capacity and duties of every device are those of the leases.
fn duties(rows: &BTreeMap<Key, Vec<u8>>) -> Result<(), Refusal> {
    let mut held: BTreeMap<_, (u32, u128)> = BTreeMap::new();
    for (_, lease) in each::<Leases>(rows)? {
        if lease.refunded.is_some() {
            continue;
        }
        for slot in lease.entry.slots.iter().filter(|s| !crate::tables::vacant(s)) {
            let entry = held.entry(slot.device).or_default();
            entry.0 += 1;
            entry.1 += lease.entry.reserve.0.iter().map(|u| u128::from(*u)).sum::<u128>();
        }
    }
    for (id, d) in each::<Devices>(rows)? {
        let (duties, reserved) = held.remove(&id).unwrap_or_default();
        let has: u128 = d.reserved.0.iter().map(|u| u128::from(*u)).sum();
        if duties != d.duties || reserved != has {
            return Err(broken(format!("device {id} holds {} duties, leases name {duties}", d.duties)));
        }
        if !d.reserved.within(&d.admission.capacity) {
            return Err(broken(format!("device {id} has more reserved than admitted")));
        }
    }
    match held.is_empty() {
        true => Ok(()),
        false => Err(broken("a lease names a device that does not exist".into())),
    }
}
