//! Who is on the market, and at what standing.
//!
//! A device is listed exactly while it may take a duty: active, bonded, not full, and heard of since it last lost one. Lists are cut by price and by room, so
//! that a crowd of cheap offers with no room left lies in nobody's way. The price is the one that orders see: who serves
//! badly lists dearer than it is paid.

use cairn_sector::DeviceState;
use cairn_types::{DeviceId, Epoch, PPM, Rate};

use crate::bank::chain;
use crate::registry::{required_bond, save_device, unknown_device};
use crate::state::{Run, State};
use crate::tables::{BucketMap, Buckets, DeviceRow, Devices, LIST_PAGE, List, ListPages, Listing, Lists};

/// Missing reputation of a newcomer (ppm); it heals with the half-life of the network.
pub const NEWCOMER_DEFICIT: u64 = 200_000;

/// Price weight of a device that looks as dear as it lists (ppm).
pub const LIGHTEST: u32 = 1_000_000;
/// Largest price weight (ppm): eight times as dear.
pub const HEAVIEST: u32 = 8_000_000;
/// Price buckets between a rate and [`HEAVIEST`] times it: two per power of two.
pub(crate) const HEAVIEST_BUCKETS: u8 = 6;

/// The rate at which orders see a device: its list rate times its weight, rounded down.
pub fn seen_rate(row: &DeviceRow) -> Rate {
    let seen = u128::from(row.admission.list_rate.0) * u128::from(row.weight.0) / u128::from(PPM);
    Rate(u64::try_from(seen).unwrap_or(u64::MAX))
}

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

/// Logarithm to base 2, rounded down; 0 for 0.
pub fn floor_log2(x: u64) -> u8 {
    u8::try_from(x.max(1).ilog2()).unwrap_or(63)
}

/// Logarithm of what is left of the first kind of capacity, `0..=63`. `None`: of some kind that the device has, nothing
/// is left, so that it can take no further slot.
pub fn room(row: &DeviceRow) -> Option<u8> {
    let (has, used) = (&row.admission.capacity.0, &row.reserved.0);
    let full = has.iter().zip(used).any(|(has, used)| *has > 0 && used >= has);
    if full { None } else { Some(floor_log2(has[0].saturating_sub(used[0]))) }
}

fn page_of(list: List, index: u32) -> (List, u32) {
    (list, index / LIST_PAGE)
}

fn place_in(index: u32) -> usize {
    usize::try_from(index % LIST_PAGE).unwrap_or(0)
}

/// Says in both maps whether a list holds anybody.
fn mark(s: &mut State<'_>, at: List, holds: bool) -> Run<()> {
    let bucket = (at.sector, at.class, at.region, at.bucket);
    let group = (at.sector, at.class, at.region);
    let rooms = s.get_or_default::<Buckets>(&bucket)?;
    let bit = 1u64 << at.room;
    let rooms = if holds { rooms | bit } else { rooms & !bit };
    if rooms == 0 {
        s.delete::<Buckets>(&bucket);
    } else {
        s.put::<Buckets>(&bucket, &rooms);
    }
    let map = s.get_or_default::<BucketMap>(&group)?;
    let bit = 1u128 << at.bucket;
    s.put::<BucketMap>(&group, &if rooms == 0 { map & !bit } else { map | bit });
    Ok(())
}

fn insert(s: &mut State<'_>, at: List, id: &DeviceId) -> Run<u32> {
    let n = s.get_or_default::<Lists>(&at)?;
    let key = page_of(at, n);
    let mut page = s.get_or_default::<ListPages>(&key)?;
    page.push(*id);
    s.put::<ListPages>(&key, &page);
    s.put::<Lists>(&at, &(n + 1));
    if n == 0 {
        mark(s, at, true)?;
    }
    Ok(n)
}

/// Removes by putting the last member into the gap; returns the member that moved.
fn remove(s: &mut State<'_>, at: List, index: u32) -> Run<Option<DeviceId>> {
    let last = s.get_or_default::<Lists>(&at)?.saturating_sub(1);
    let key = page_of(at, last);
    let mut page = s.get_or_default::<ListPages>(&key)?;
    let moved = page.pop().filter(|_| index != last);
    if page.is_empty() {
        s.delete::<ListPages>(&key);
    } else {
        s.put::<ListPages>(&key, &page);
    }
    if let Some(id) = moved {
        let key = page_of(at, index);
        let mut page = s.get_or_default::<ListPages>(&key)?;
        if let Some(gap) = page.get_mut(place_in(index)) {
            *gap = id;
        }
        s.put::<ListPages>(&key, &page);
    }
    if last == 0 {
        s.delete::<Lists>(&at);
        mark(s, at, false)?;
    } else {
        s.put::<Lists>(&at, &last);
    }
    Ok(moved)
}

fn list_of(row: &DeviceRow, region: u16, bucket: u8, room: u8) -> List {
    List { sector: row.sector, class: row.admission.class, region, bucket, room }
}

/// Bucket and room where the device belongs now, if it may take duties.
fn belongs(s: &State<'_>, row: &DeviceRow) -> Run<Option<(u8, u8)>> {
    if row.state != DeviceState::Active || row.absent || row.bond < required_bond(s, &row.admission)? {
        return Ok(None);
    }
    Ok(room(row).map(|room| (bucket(seen_rate(row)), room)))
}

/// Puts a device on the market where it belongs, or takes it off; to be called after every change of its state, bond,
/// reservation or admission. (Where its class or region may change, it is unlisted before.) Bounded work.
pub fn place(s: &mut State<'_>, id: &DeviceId) -> Run<()> {
    let row = s.need::<Devices>(id, unknown_device())?;
    let wanted = belongs(s, &row)?;
    if row.listed.map(|l| (l.bucket, l.room)) == wanted {
        return Ok(());
    }
    unlist(s, id)?;
    let Some((bucket, room)) = wanted else { return Ok(()) };
    let mut row = s.need::<Devices>(id, unknown_device())?;
    let region = row.admission.region;
    let own = insert(s, list_of(&row, region, bucket, room), id)?;
    let any = if region == 0 { own } else { insert(s, list_of(&row, 0, bucket, room), id)? };
    row.listed = Some(Listing { bucket, room, own, any });
    s.put::<Devices>(id, &row);
    Ok(())
}

/// Takes a device off the market.
pub fn unlist(s: &mut State<'_>, id: &DeviceId) -> Run<()> {
    let mut row = s.need::<Devices>(id, unknown_device())?;
    let Some(l) = row.listed.take() else { return Ok(()) };
    s.put::<Devices>(id, &row);
    let region = row.admission.region;
    if let Some(moved) = remove(s, list_of(&row, region, l.bucket, l.room), l.own)? {
        reposition(s, &moved, region, l.own)?;
    }
    if region != 0
        && let Some(moved) = remove(s, list_of(&row, 0, l.bucket, l.room), l.any)?
    {
        reposition(s, &moved, 0, l.any)?;
    }
    Ok(())
}

/// Notes where a device lies now in the list of `region`. In that of region 0 lie devices of all regions; for those of
/// region 0 it is their own as well.
fn reposition(s: &mut State<'_>, id: &DeviceId, region: u16, at: u32) -> Run<()> {
    let mut row = s.need::<Devices>(id, unknown_device())?;
    let own = row.admission.region == region;
    if let Some(l) = &mut row.listed {
        if own {
            l.own = at;
        }
        if region == 0 {
            l.any = at;
        }
    }
    s.put::<Devices>(id, &row);
    Ok(())
}

/// Says whether a device counts as gone: it lost a duty by judgement, or it is heard of again. A dead device would
/// otherwise be given the next duty that another one loses.
pub fn set_absent(s: &mut State<'_>, id: &DeviceId, absent: bool) -> Run<()> {
    let Some(row) = s.get::<Devices>(id)?.filter(|r| r.absent != absent) else { return Ok(()) };
    s.put::<Devices>(id, &DeviceRow { absent, ..row });
    place(s, id)
}

/// Lets a device look as dear as a settlement says. What an older epoch says does not replace what a later one said.
pub fn weigh(s: &mut State<'_>, id: &DeviceId, epoch: Epoch, ppm: u32) -> Run<()> {
    let Some(row) = s.get::<Devices>(id)?.filter(|r| r.weight.1 <= epoch) else { return Ok(()) };
    let weight = (ppm.clamp(LIGHTEST, HEAVIEST), epoch);
    s.put::<Devices>(id, &DeviceRow { weight, ..row });
    place(s, id)
}

/// Lowers the reputation of a device.
pub fn punish(s: &mut State<'_>, id: &DeviceId, loss_ppm: u64) -> Run<()> {
    let Some(before) = s.get::<Devices>(id)? else { return Ok(()) };
    let c = chain(s)?;
    let mut row = before.clone();
    lose_reputation(&mut row, c.epoch, c.params.reputation_half_life, loss_ppm);
    save_device(s, id, Some(&before), Some(&row))
}
