//! Disputes on chain: a customer accuses a device, the device answers in time or loses.

use cairn_sector::{DisputeContext, Ruling, Sectors};
use cairn_types::{AccountId, Amount, DeviceId, Hash, LeaseId, Refusal, ppm_of};

use crate::bank::{Pot, chain, pay};
use crate::epoch::schedule;
use crate::events::Event;
use crate::listing::punish;
use crate::locks::lock;
use crate::registry::{device_entry, unknown_device, unknown_sector};
use crate::state::{Run, State};
use crate::tables::{Accused, Devices, DisputeRow, Disputes, DueEntry, Leases, LockCause, SectorTable};

fn unknown() -> Refusal {
    Refusal::new("dispute.unknown", "no such open dispute", "it may be decided already")
}

/// The id of a dispute says what it is about, so that one matter is open once, whoever brings it.
pub fn id_of(device: &DeviceId, lease: Option<&LeaseId>, claim: &[u8]) -> Hash {
    let lease: &[u8] = lease.map_or(&[], |l| l.as_ref());
    Hash::derive("cairn/dispute", &[device.as_ref(), lease, claim])
}

/// Opens a dispute. The rules see the claim at once, so that a hopeless one is refused before it costs anything.
pub fn open(
    s: &mut State<'_>,
    sectors: &Sectors,
    who: AccountId,
    device: DeviceId,
    lease: Option<LeaseId>,
    claim: Vec<u8>,
) -> Run<Hash> {
    let c = chain(s)?;
    let id = id_of(&device, lease.as_ref(), &claim);
    let bond = c.price.pebbles_ceil(c.params.dispute_bond);
    let until = c.height.plus(c.params.dispute_blocks);
    let row = DisputeRow { accuser: who, device, lease, claim, bond, until };
    // A trial without an answer: a well-formed claim is upheld or pending, anything else is refused here.
    if rule(s, sectors, &row, None)? == Ruling::Dismissed {
        return Err(
            Refusal::new("dispute.void", "the claim accuses nobody of anything", "check the claim").into()
        );
    }
    if s.get::<Disputes>(&id)?.is_some() {
        return Err(Refusal::new(
            "dispute.open",
            "the device is accused of this already, and may still answer",
            "wait for the ruling",
        )
        .into());
    }
    pay(s, Pot::Account(who), Pot::Stake, bond)?;
    s.put::<Disputes>(&id, &row);
    schedule(s, until.plus(1), DueEntry::Judge(id))?;
    s.emit(Event::DisputeOpened { dispute: id, device });
    Ok(id)
}

fn rule(s: &State<'_>, sectors: &Sectors, row: &DisputeRow, answer: Option<&[u8]>) -> Run<Ruling> {
    let device = s.need::<Devices>(&row.device, unknown_device())?;
    let sector = s.need::<SectorTable>(&device.sector, unknown_sector(device.sector))?;
    let lease = match &row.lease {
        Some(id) => s.get::<Leases>(id)?.map(|l| l.entry),
        None => None,
    };
    let c = chain(s)?;
    let context = DisputeContext {
        network: c.network,
        epoch: c.epoch,
        device: device_entry(&row.device, &device),
        lease,
        seed: c.seed.1,
    };
    Ok(sectors.get(device.sector, sector.version)?.dispute(&sector.params, &context, &row.claim, answer)?)
}

/// Is there such a dispute against the device, and is it still time?
pub fn check(s: &State<'_>, device: DeviceId, id: &Hash) -> Run<()> {
    let row = s.need::<Disputes>(id, unknown())?;
    if row.device != device || chain(s)?.height > row.until {
        return Err(unknown().into());
    }
    Ok(())
}

/// The accused answers. An answer that does not convince is refused and may be repeated until the deadline.
pub fn defend(s: &mut State<'_>, sectors: &Sectors, device: DeviceId, id: Hash, answer: &[u8]) -> Run<()> {
    check(s, device, &id)?;
    let row = s.need::<Disputes>(&id, unknown())?;
    match rule(s, sectors, &row, Some(answer))? {
        Ruling::Dismissed => {
            pay(s, Pot::Stake, Pot::Burned, row.bond)?;
            close(s, id, &row, false)
        }
        Ruling::Upheld { .. } | Ruling::Pending => Err(Refusal::new(
            "dispute.answer",
            "the answer does not refute the claim",
            "answer with the proof asked for",
        )
        .into()),
    }
}

/// The deadline passed in silence.
pub fn expire(s: &mut State<'_>, sectors: &Sectors, id: &Hash) -> Run<()> {
    let Some(row) = s.get::<Disputes>(id)? else { return Ok(()) };
    // The matter was closed and brought again since: this is the deadline of the first time.
    if chain(s)?.height <= row.until {
        return Ok(());
    }
    let ruling = match rule(s, sectors, &row, None) {
        Ok(r) => r,
        // The device or lease left meanwhile: nobody loses anything.
        Err(crate::state::Stop::Refused(_)) => Ruling::Pending,
        Err(stop) => return Err(stop),
    };
    pay(s, Pot::Stake, Pot::Account(row.accuser), row.bond)?;
    let Ruling::Upheld { severity_ppm, code } = ruling else { return close(s, *id, &row, false) };
    uphold(s, &row, severity_ppm, code)?;
    close(s, *id, &row, true)
}

/// Locks the share of the bond. However many accuse a device over one duty within a window, it loses one share of its
/// bond, the largest, and its reputation once: a device that is offline is one loss, not one for each accuser.
fn uphold(s: &mut State<'_>, row: &DisputeRow, severity_ppm: u32, code: u16) -> Run<()> {
    let device = s.need::<Devices>(&row.device, unknown_device())?;
    let duty = (row.device, row.lease);
    let before = s.get::<Accused>(&duty)?;
    let had = before.unwrap_or_default();
    let whole = Amount(ppm_of(device.bond.saturating_add(had).0, u64::from(severity_ppm)));
    let more = whole.saturating_sub(had).min(device.bond);
    let c = chain(s)?;
    lock(s, &row.device, device.sector, c.epoch, more, LockCause::Fault { code }, Some(row.accuser))?;
    s.put::<Accused>(&duty, &had.saturating_add(more));
    if before.is_some() {
        return Ok(());
    }
    let window = c.params.window_epochs.saturating_mul(c.params.epoch_blocks);
    schedule(s, c.height.plus(window), DueEntry::Forget(row.device, row.lease))?;
    punish(s, &row.device, 500_000)
}

/// The window has passed since a duty's first upheld dispute: the next one counts anew.
pub fn forget(s: &mut State<'_>, device: DeviceId, lease: Option<LeaseId>) {
    s.delete::<Accused>(&(device, lease));
}

fn close(s: &mut State<'_>, id: Hash, row: &DisputeRow, upheld: bool) -> Run<()> {
    s.delete::<Disputes>(&id);
    s.emit(Event::DisputeRuled { dispute: id, device: row.device, upheld });
    Ok(())
}
