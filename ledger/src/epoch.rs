//! What happens at the start of a block, in which order: the one list of hooks.

use cairn_sector::Sectors;
use cairn_sector::Seed;
use cairn_types::{Amount, Epoch, Height, Refusal, SectorId};

use crate::bank::chain;
use crate::events::Event;
use crate::state::{Run, State};
use crate::tables::{
    Chain, ChainParams, Due, DueEntry, DueWork, EpochDigests, EpochRow, Epochs, Phase, SectorEpochRow,
    SectorEpochs, SectorTable, Terms,
};
use crate::{dispute, locks, slots};

/// Due entries that one block works off; the rest waits for the next.
pub const DUE_PER_BLOCK: u32 = 64;
/// Epochs beyond the window for which the rows of an epoch are kept.
pub const EPOCHS_KEPT: u64 = 64;

/// Everything that happens before the transactions of a block:
/// 1. height and epoch advance; 2. at the first height of an epoch the lock; 3. due work, oldest first.
///
/// `block` is the height of the block in its fork. An imported network starts again at block 1, while its own heights
/// (deadlines, epochs, due work) go on where the fork before ended.
pub fn begin_block(s: &mut State<'_>, sectors: &Sectors, block: Height) -> Run<()> {
    let mut c = chain(s)?;
    let height = block.plus(c.origin.0);
    c.height = height;
    let since = height.0.saturating_sub(1);
    let epoch = Epoch(since / c.params.epoch_blocks);
    let starts = since.is_multiple_of(c.params.epoch_blocks);
    c.epoch = epoch;
    s.put::<Chain>(&(), &c);
    if starts {
        lock(s, epoch)?;
    }
    due(s, sectors, height)
}

/// Freezes the registry, the terms and the price of an epoch for every sector.
fn lock(s: &mut State<'_>, epoch: Epoch) -> Run<()> {
    let c = chain(s)?;
    s.put::<Epochs>(&epoch, &EpochRow { start: c.height, price: c.price, seed: None, previous: c.seed.1 });
    for id in c.sectors.clone() {
        let sector = s.need::<SectorTable>(&id, crate::registry::unknown_sector(id))?;
        let pledged = pledged(s, epoch, id)?;
        let terms = Terms {
            version: sector.version,
            params: sector.params,
            pool_rates: sector.pool_rates,
            pool_budget: sector.pool_limit.min(sector.pool.saturating_sub(pledged)),
            bond_rates: sector.bond_rates,
            chain: c.params.clone(),
        };
        let row = SectorEpochRow {
            phase: Phase::Open,
            registry_root: sector.registry.digest(),
            terms,
            roots: None,
            bundles: 0,
            votes: Vec::new(),
            settlement: None,
            applied: 0,
        };
        s.put::<SectorEpochs>(&(epoch, id), &row);
        // Commitments may have made it already.
        let digests = s.get_or_default::<EpochDigests>(&(epoch, id))?;
        s.put::<EpochDigests>(&(epoch, id), &digests);
        let deadline = c.height.plus(c.params.epoch_blocks).plus(c.params.vote_blocks);
        schedule(s, deadline, DueEntry::VoteDeadline(epoch, id))?;
    }
    let kept = c.params.window_epochs.saturating_add(EPOCHS_KEPT);
    schedule(s, c.height.plus(kept.saturating_mul(c.params.epoch_blocks)), DueEntry::Prune(epoch))?;
    s.emit(Event::EpochLocked { epoch });
    Ok(())
}

/// What the epoch before, judged only later, may still draw from the pool: two budgets never pledge one pebble.
fn pledged(s: &State<'_>, epoch: Epoch, sector: SectorId) -> Run<Amount> {
    let Some(before) = epoch.0.checked_sub(1) else { return Ok(Amount::ZERO) };
    let row = s.get::<SectorEpochs>(&(Epoch(before), sector))?;
    Ok(row
        .filter(|r| matches!(r.phase, Phase::Open | Phase::Committed))
        .map(|r| r.terms.pool_budget)
        .unwrap_or_default())
}

/// Ends a sector's epoch, final or void: the digests stay, what they were summed up from goes.
pub(crate) fn end(
    s: &mut State<'_>,
    at: (Epoch, SectorId),
    mut row: SectorEpochRow,
    phase: Phase,
) -> Run<()> {
    row.roots = Some(row.contents(s.get::<EpochDigests>(&at)?.as_ref()));
    row.phase = phase;
    s.delete::<EpochDigests>(&at);
    s.put::<SectorEpochs>(&at, &row);
    Ok(())
}

/// Drops the rows of an epoch. A sector's stays while its outcomes are not applied, and while it is the sector's latest
/// settlement: claims and refunds are cumulative and may be proved from any, so one is enough for all of them.
fn prune(s: &mut State<'_>, epoch: Epoch) -> Run<()> {
    let c = chain(s)?;
    let mut needed = false;
    for id in &c.sectors {
        let Some(row) = s.get::<SectorEpochs>(&(epoch, *id))? else { continue };
        let sector = s.need::<SectorTable>(id, crate::registry::unknown_sector(*id))?;
        let undecided = matches!(row.phase, Phase::Open | Phase::Committed);
        let unapplied = row.settlement.as_ref().is_some_and(|x| row.applied < x.outcomes.1);
        if undecided || unapplied || sector.latest.is_some_and(|(latest, _)| latest == epoch) {
            needed = true;
        } else {
            s.delete::<SectorEpochs>(&(epoch, *id));
        }
    }
    if needed {
        return schedule(s, c.height.plus(c.params.epoch_blocks), DueEntry::Prune(epoch));
    }
    s.delete::<Epochs>(&epoch);
    Ok(())
}

/// The row of an epoch that was locked.
pub fn epoch_row(s: &State<'_>, epoch: Epoch) -> Run<EpochRow> {
    s.need::<Epochs>(
        &epoch,
        Refusal::new("epoch.unknown", "the epoch has not begun or is forgotten", "name one that is known"),
    )
}

/// Refuses unless the present height lies after `from` and at most `until` blocks after the start of `epoch`.
/// A `from` of zero means from the first block on.
pub fn within(
    s: &State<'_>,
    epoch: Epoch,
    from: impl Fn(&ChainParams) -> u64,
    until: impl Fn(&ChainParams) -> u64,
) -> Run<()> {
    let c = chain(s)?;
    let start = epoch_row(s, epoch)?.start;
    let (low, high) = (start.plus(from(&c.params)), start.plus(until(&c.params)));
    if c.height < low || c.height > high {
        return Err(Refusal::with(
            "epoch.phase",
            format!("height {} is outside the phase of heights {low} to {high}", c.height),
            "post within the phase; records that missed it count in a later epoch",
        )
        .into());
    }
    Ok(())
}

/// Puts work off to a height.
pub fn schedule(s: &mut State<'_>, at: Height, entry: DueEntry) -> Run<()> {
    let n = s.get_or_default::<Due>(&at)?;
    s.put::<DueWork>(&(at, n), &entry);
    s.put::<Due>(&at, &n.saturating_add(1));
    Ok(())
}

/// Where the row lies that says how far due work has come, while it lags behind. No work is due at height 0.
const BACKLOG: (Height, u32) = (Height(0), 0);

/// Works off what is due, oldest first. A height costs one step, an entry one; what is left waits where it lies.
fn due(s: &mut State<'_>, sectors: &Sectors, height: Height) -> Run<()> {
    let behind = s.get::<DueWork>(&BACKLOG)?;
    let (mut at, mut i) = match &behind {
        Some(DueEntry::Backlog(at, i)) => (*at, *i),
        _ => (height, 0),
    };
    let mut steps = 0;
    while at <= height {
        let n = s.get_or_default::<Due>(&at)?;
        while i < n && steps < DUE_PER_BLOCK {
            let entry = s.get::<DueWork>(&(at, i))?;
            s.delete::<DueWork>(&(at, i));
            if let Some(entry) = entry {
                work(s, sectors, entry)?;
            }
            (i, steps) = (i + 1, steps + 1);
        }
        if i < n || (steps >= DUE_PER_BLOCK && at < height) {
            s.put::<DueWork>(&BACKLOG, &DueEntry::Backlog(at, i));
            return Ok(());
        }
        if n > 0 {
            s.delete::<Due>(&at);
        }
        (at, i, steps) = (at.plus(1), 0, steps + 1);
    }
    if behind.is_some() {
        s.delete::<DueWork>(&BACKLOG);
    }
    Ok(())
}

fn work(s: &mut State<'_>, sectors: &Sectors, entry: DueEntry) -> Run<()> {
    match entry {
        DueEntry::Release(id) => locks::release(s, &id),
        DueEntry::Judge(id) => dispute::expire(s, sectors, &id),
        DueEntry::Refill(lease, slot) => refill(s, sectors, lease, slot),
        DueEntry::VoteDeadline(epoch, sector) => void(s, epoch, sector),
        DueEntry::Backlog(..) => Ok(()),
        DueEntry::Forget(device, lease) => {
            dispute::forget(s, device, lease);
            Ok(())
        }
        DueEntry::Prune(epoch) => prune(s, epoch),
        DueEntry::Endowment(lease) => crate::endowment::fill(s, lease),
    }
}

fn refill(s: &mut State<'_>, sectors: &Sectors, lease: cairn_types::LeaseId, slot: u16) -> Run<()> {
    let (now, row) = (chain(s)?.epoch, s.get::<crate::tables::Leases>(&lease)?);
    let still = row.is_some_and(|l| {
        let lasts = l.refunded.is_none() && l.entry.closing.is_none_or(|e| e > now);
        lasts && l.entry.slots.get(usize::from(slot)).is_some_and(crate::tables::vacant)
    });
    if still { slots::reassign(s, sectors, lease, slot) } else { Ok(()) }
}

/// A sector's epoch that nobody decided in time is void: no charge, no slash, records carry over.
fn void(s: &mut State<'_>, epoch: Epoch, sector: SectorId) -> Run<()> {
    let Some(row) = s.get::<SectorEpochs>(&(epoch, sector))? else { return Ok(()) };
    if matches!(row.phase, Phase::Open | Phase::Committed) {
        end(s, (epoch, sector), row, Phase::Void)?;
        s.emit(Event::Void { sector, epoch });
    }
    Ok(())
}

/// Refuses a seed that is set or not of the present epoch.
pub fn check_seed(s: &State<'_>, epoch: Epoch) -> Run<()> {
    if epoch != chain(s)?.epoch || epoch_row(s, epoch)?.seed.is_some() {
        return Err(Refusal::new("seed.late", "the seed is set or the epoch is over", "nothing to do").into());
    }
    Ok(())
}

/// Sets the seed of the current epoch.
pub fn set_seed(s: &mut State<'_>, epoch: Epoch, seed: Seed) -> Run<()> {
    check_seed(s, epoch)?;
    let mut c = chain(s)?;
    let mut row = epoch_row(s, epoch)?;
    row.seed = Some(seed);
    c.seed = (epoch, seed);
    s.put::<Epochs>(&epoch, &row);
    s.put::<Chain>(&(), &c);
    s.emit(Event::Seeded { epoch });
    Ok(())
}
