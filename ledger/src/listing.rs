//! Offers in price buckets: who is on the market, and at what standing.

use cairn_sector::DeviceState;
use cairn_types::{DeviceId, Epoch, PPM, Rate, SectorId};

use crate::bank::chain;
use crate::registry::{required_bond, save_device, unknown_device};
use crate::state::{Run, State};
use crate::tables::{BucketMap, BucketSlots, Buckets, DeviceRow, Devices};

/// Missing reputation of a newcomer (ppm); it heals with the half-life of the network.
pub const NEWCOMER_DEFICIT: u64 = 200_000;

/// Reputation in ppm: one minus a deficit that halves every `half_life` epochs.
pub fn reputation(deficit: (u64, Epoch), now: Epoch, half_life: u64) -> u64 {
    let halvings = now.0.saturating_sub(deficit.1.0) / half_life.max(1);
    let left = u32::try_from(halvings).ok().and_then(|n| deficit.0.checked_shr(n)).unwrap_or(0);
    PPM.saturating_sub(left)
}

/// Takes `loss` (ppm) of the present reputation away.
pub fn lose_reputation(row: &mut DeviceRow, now: Epoch, half_life: u64, loss: u64) {
    let have = reputation(row.deficit, now, half_life);
    let kept = have.saturating_sub(have.saturating_mul(loss.min(PPM)) / PPM);
    row.deficit = (PPM - kept, now);
}

/// Bucket of a list rate: two per power of two, ascending with the rate, `0..=127`.
pub fn bucket(rate: Rate) -> u8 {
    let r = rate.0.max(1);
    let log = r.ilog2();
    let half = if log > 0 { (r >> (log - 1)) & 1 } else { 0 };
    u8::try_from(u64::from(log) * 2 + half).unwrap_or(127)
}

fn insert(s: &mut State<'_>, at: (SectorId, u16, u16, u8), id: &DeviceId) -> Run<u32> {
    let n = s.get_or_default::<Buckets>(&at)?;
    s.put::<BucketSlots>(&(at.0, at.1, at.2, at.3, n), id);
    s.put::<Buckets>(&at, &(n + 1));
    if n == 0 {
        let group = (at.0, at.1, at.2);
        let map = s.get_or_default::<BucketMap>(&group)?;
        s.put::<BucketMap>(&group, &(map | 1u128 << at.3));
    }
    Ok(n)
}

/// Removes by swapping the last member in; returns the member that moved.
fn remove(s: &mut State<'_>, at: (SectorId, u16, u16, u8), index: u32) -> Run<Option<DeviceId>> {
    let n = s.get_or_default::<Buckets>(&at)?;
    let last = n.saturating_sub(1);
    let slot = |i: u32| (at.0, at.1, at.2, at.3, i);
    let moved = if index == last { None } else { s.get::<BucketSlots>(&slot(last))? };
    if let Some(m) = &moved {
        s.put::<BucketSlots>(&slot(index), m);
    }
    s.delete::<BucketSlots>(&slot(last));
    s.put::<Buckets>(&at, &last);
    if last == 0 {
        let group = (at.0, at.1, at.2);
        let map = s.get_or_default::<BucketMap>(&group)?;
        s.put::<BucketMap>(&group, &(map & !(1u128 << at.3)));
    }
    Ok(moved)
}

/// Puts a device on the market if it may take duties; otherwise leaves it off.
pub fn list(s: &mut State<'_>, id: &DeviceId) -> Run<()> {
    let mut row = s.need::<Devices>(id, unknown_device())?;
    let bonded = row.bond >= required_bond(s, &row.admission)?;
    if row.listed.is_some() || row.state != DeviceState::Active || !bonded {
        return Ok(());
    }
    let b = bucket(row.admission.list_rate);
    let (class, region) = (row.admission.class, row.admission.region);
    let own = insert(s, (row.sector, class, region, b), id)?;
    let any = if region == 0 { own } else { insert(s, (row.sector, class, 0, b), id)? };
    row.listed = Some((b, own, any));
    s.put::<Devices>(id, &row);
    Ok(())
}

/// Takes a device off the market.
pub fn unlist(s: &mut State<'_>, id: &DeviceId) -> Run<()> {
    let mut row = s.need::<Devices>(id, unknown_device())?;
    let Some((b, own, any)) = row.listed.take() else { return Ok(()) };
    s.put::<Devices>(id, &row);
    let (class, region) = (row.admission.class, row.admission.region);
    if let Some(moved) = remove(s, (row.sector, class, region, b), own)? {
        reposition(s, &moved, region, own)?;
    }
    if region != 0
        && let Some(moved) = remove(s, (row.sector, class, 0, b), any)?
    {
        reposition(s, &moved, 0, any)?;
    }
    Ok(())
}

/// Notes where a device lies now in the bucket of `region`. In that of region 0 lie devices of all regions; for those of
/// region 0 it is their own as well.
fn reposition(s: &mut State<'_>, id: &DeviceId, region: u16, at: u32) -> Run<()> {
    let mut row = s.need::<Devices>(id, unknown_device())?;
    let own = row.admission.region == region;
    if let Some(l) = &mut row.listed {
        if own {
            l.1 = at;
        }
        if region == 0 {
            l.2 = at;
        }
    }
    s.put::<Devices>(id, &row);
    Ok(())
}

/// Takes a device off the market if its bond no longer suffices, and lowers its reputation.
pub fn punish(s: &mut State<'_>, id: &DeviceId, loss_ppm: u64) -> Run<()> {
    let Some(before) = s.get::<Devices>(id)? else { return Ok(()) };
    let c = chain(s)?;
    let mut row = before.clone();
    lose_reputation(&mut row, c.epoch, c.params.reputation_half_life, loss_ppm);
    save_device(s, id, Some(&before), Some(&row))?;
    if row.listed.is_some() && row.bond < required_bond(s, &row.admission)? {
        unlist(s, id)?;
    }
    Ok(())
}
