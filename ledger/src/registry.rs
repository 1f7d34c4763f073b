//! Operators, devices, bonds, exits; and the content digest of what a lock freezes.

use cairn_crypto::keys::{PublicKey, Signature};
use cairn_crypto::lthash::LtHash;
use cairn_sector::{Admission, DeviceEntry, DeviceState, LeaseEntry, SaleEntry, Sectors};
use cairn_types::{AccountId, Amount, DeviceId, Epoch, Hash, Refusal, SectorId, Units, encode};

use crate::bank::{Pot, chain, pay};
use crate::events::Event;
use crate::listing;
use crate::state::{Run, State};
use crate::tables::{
    DeviceRow, Devices, LeaseRow, Leases, OperatorRow, Operators, Sales, SectorTable, Uniques,
};
use crate::tx::{DEVICE_PROOF_DOMAIN, device_proof};

/// Longest text of an operator in bytes.
const INFO_LIMIT: usize = 256;
/// Most unique keys and most failure domains of one device.
const KEYS_LIMIT: usize = 16;

/// Refusal for a sector that the network did not admit.
pub fn unknown_sector(id: SectorId) -> Refusal {
    Refusal::with(
        "sector.unknown",
        format!("sector {id} is not admitted here"),
        "use one that `cairn status` lists",
    )
}

/// Refusal for a device that does not exist.
pub fn unknown_device() -> Refusal {
    Refusal::new("device.unknown", "no such device", "check the device id with `cairn status`")
}

/// A device as a lock shows it (without what was posted for an epoch).
pub fn device_entry(id: &DeviceId, row: &DeviceRow) -> DeviceEntry {
    DeviceEntry {
        id: *id,
        operator: row.operator,
        sector: row.sector,
        key: row.key,
        offer: row.offer.clone(),
        commitment: None,
        answers: None,
        capacity: row.admission.capacity,
        domains: row.admission.domains.clone(),
        cell: row.admission.cell,
        state: row.state,
        since: row.since,
    }
}

/// Adds a device entry to a content digest.
pub fn digest_device(digest: &mut LtHash, e: &DeviceEntry, add: bool) {
    toggle(digest, "device", e.id.as_ref(), &encode(e), add);
}

/// Adds a lease entry to a content digest.
pub fn digest_lease(digest: &mut LtHash, e: &LeaseEntry, add: bool) {
    toggle(digest, "lease", e.id.as_ref(), &encode(e), add);
}

/// Adds a sale to a content digest.
pub fn digest_sale(digest: &mut LtHash, e: &SaleEntry, add: bool) {
    toggle(digest, "sale", e.id.as_ref(), &encode(e), add);
}

/// Adds a posting (commitment, answers digest, certified bundle) to a content digest.
pub fn digest_posting(digest: &mut LtHash, what: &str, device: &DeviceId, value: &[u8]) {
    toggle(digest, what, device.as_ref(), value, true);
}

fn toggle(digest: &mut LtHash, kind: &str, id: &[u8], value: &[u8], add: bool) {
    if add {
        digest.add(kind, id, value);
    } else {
        digest.remove(kind, id, value);
    }
}

/// Stores a device and keeps the sector's content digest true. `None` on either side: absent.
pub fn save_device(
    s: &mut State<'_>,
    id: &DeviceId,
    before: Option<&DeviceRow>,
    after: Option<&DeviceRow>,
) -> Run<()> {
    let (old, new) = (before.map(|r| device_entry(id, r)), after.map(|r| device_entry(id, r)));
    if old != new {
        let sector = after.or(before).map(|r| r.sector).unwrap_or(SectorId(0));
        update_digest(s, sector, |d| {
            if let Some(e) = &old {
                digest_device(d, e, false);
            }
            if let Some(e) = &new {
                digest_device(d, e, true);
            }
        })?;
    }
    match after {
        Some(row) => s.put::<Devices>(id, row),
        None => s.delete::<Devices>(id),
    }
    Ok(())
}

/// Stores a lease and keeps the sector's content digest true.
pub fn save_lease(s: &mut State<'_>, before: Option<&LeaseRow>, after: Option<&LeaseRow>) -> Run<()> {
    let (old, new) = (before.map(|r| &r.entry), after.map(|r| &r.entry));
    let Some(any) = new.or(old) else { return Ok(()) };
    let (id, sector) = (any.id, any.sector);
    if old != new {
        update_digest(s, sector, |d| {
            if let Some(e) = old {
                digest_lease(d, e, false);
            }
            if let Some(e) = new {
                digest_lease(d, e, true);
            }
        })?;
    }
    match after {
        Some(row) => s.put::<Leases>(&id, row),
        None => s.delete::<Leases>(&id),
    }
    Ok(())
}

/// Stores or ends a pooled sale.
pub fn save_sale(s: &mut State<'_>, sector: SectorId, sale: &SaleEntry, add: bool) -> Run<()> {
    update_digest(s, sector, |d| digest_sale(d, sale, add))?;
    if add {
        s.put::<Sales>(&(sector, sale.id), sale);
    } else {
        s.delete::<Sales>(&(sector, sale.id));
    }
    Ok(())
}

fn update_digest(s: &mut State<'_>, sector: SectorId, f: impl FnOnce(&mut LtHash)) -> Run<()> {
    let mut row = s.need::<SectorTable>(&sector, unknown_sector(sector))?;
    f(&mut row.registry);
    s.put::<SectorTable>(&sector, &row);
    Ok(())
}

/// Becomes an operator or changes the text.
pub fn operator(s: &mut State<'_>, who: AccountId, info: String) -> Run<()> {
    if info.len() > INFO_LIMIT {
        return Err(Refusal::with(
            "operator.info",
            format!("the text has {} bytes, {INFO_LIMIT} are allowed", info.len()),
            "shorten it",
        )
        .into());
    }
    let known = s.get::<Operators>(&who)?;
    let fresh = known.is_none();
    let row = OperatorRow { info, ..known.unwrap_or_default() };
    s.put::<Operators>(&who, &row);
    if fresh {
        s.emit(Event::OperatorRegistered { operator: who });
    }
    Ok(())
}

fn check_agreement(s: &State<'_>, who: &AccountId, key: &PublicKey, proof: &Signature) -> Run<()> {
    check_key(key)?;
    let message = device_proof(&chain(s)?.network, who);
    key.verify(DEVICE_PROOF_DOMAIN, &message, proof).map_err(|_| {
        Refusal::new(
            "device.agreement",
            "the hot key did not sign this operator",
            "sign with the device's own key",
        )
        .into()
    })
}

/// Refuses keys under which anybody could sign: a key is checked where it enters the state.
pub fn check_key(key: &PublicKey) -> Result<(), Refusal> {
    key.check().map_err(|e| Refusal::with("key.weak", e.to_string(), "make a new key with `cairn key new`"))
}

fn admit(s: &State<'_>, sectors: &Sectors, sector: SectorId, offer: &[u8]) -> Run<Admission> {
    let row = s.need::<SectorTable>(&sector, unknown_sector(sector))?;
    let admission = sectors.get(sector, row.version)?.admit(&row.params, offer)?;
    if admission.unique.len() > KEYS_LIMIT || admission.domains.len() > KEYS_LIMIT {
        return Err(Refusal::new(
            "device.keys",
            "too many unique keys or domains",
            "name at most 16 of each",
        )
        .into());
    }
    Ok(admission)
}

/// Pebbles of bond that an admission requires now.
pub fn required_bond(s: &State<'_>, a: &Admission) -> Run<Amount> {
    Ok(chain(s)?.price.pebbles_ceil(a.bond))
}

/// Registers a device.
#[allow(clippy::too_many_arguments)]
pub fn register(
    s: &mut State<'_>,
    sectors: &Sectors,
    who: AccountId,
    sector: SectorId,
    key: PublicKey,
    proof: &Signature,
    offer: Vec<u8>,
    bond: Amount,
) -> Run<DeviceId> {
    let mut op = s.need::<Operators>(
        &who,
        Refusal::new(
            "operator.unknown",
            "this account is no operator",
            "send an `Operator` transaction first",
        ),
    )?;
    check_agreement(s, &who, &key, proof)?;
    let admission = admit(s, sectors, sector, &offer)?;
    let required = required_bond(s, &admission)?;
    if bond < required {
        return Err(Refusal::with(
            "device.bond",
            format!("the bond of {bond} is below the {required} that this offer requires"),
            "raise the bond or offer less",
        )
        .into());
    }
    let id = DeviceId::derive("cairn/device", &[who.as_ref(), &op.devices.to_le_bytes()]);
    for unique in &admission.unique {
        if s.get::<Uniques>(&(sector, *unique))?.is_some() {
            return Err(Refusal::new(
                "device.duplicate",
                "a unique key of this device is taken",
                "register hardware once",
            )
            .into());
        }
        s.put::<Uniques>(&(sector, *unique), &id);
    }
    op.devices += 1;
    s.put::<Operators>(&who, &op);
    let row = DeviceRow {
        operator: who,
        sector,
        key,
        offer,
        admission,
        reserved: Units::ZERO,
        state: DeviceState::Active,
        since: chain(s)?.epoch,
        bond: Amount::ZERO,
        locked: Amount::ZERO,
        listed: None,
        deficit: (listing::NEWCOMER_DEFICIT, chain(s)?.epoch),
        weight: (listing::LIGHTEST, Epoch(0)),
        duties: 0,
        absent: false,
    };
    save_device(s, &id, None, Some(&row))?;
    pay(s, Pot::Account(who), Pot::Bond(id), bond)?;
    listing::place(s, &id)?;
    s.emit(Event::DeviceRegistered { device: id, operator: who, sector });
    Ok(id)
}

/// The caller's device, or a refusal.
pub fn own_device(s: &State<'_>, who: &AccountId, id: &DeviceId) -> Run<DeviceRow> {
    let row = s.need::<Devices>(id, unknown_device())?;
    if row.operator != *who {
        return Err(Refusal::new(
            "device.foreign",
            "the device belongs to another operator",
            "use the owner's account",
        )
        .into());
    }
    Ok(row)
}

/// Changes offer, hot key or rest.
pub fn change(
    s: &mut State<'_>,
    sectors: &Sectors,
    who: AccountId,
    id: DeviceId,
    offer: Option<Vec<u8>>,
    key: Option<(PublicKey, Signature)>,
    rest: Option<bool>,
) -> Run<()> {
    own_device(s, &who, &id)?;
    listing::unlist(s, &id)?;
    let before = own_device(s, &who, &id)?;
    if matches!(before.state, DeviceState::Exiting { .. }) {
        return Err(Refusal::new("device.exiting", "the device is leaving", "register a new device").into());
    }
    let mut row = before.clone();
    if let Some((key, proof)) = key {
        check_agreement(s, &who, &key, &proof)?;
        row.key = key;
    }
    if let Some(offer) = offer {
        let admission = admit(s, sectors, row.sector, &offer)?;
        if !row.reserved.within(&admission.capacity) {
            return Err(Refusal::new(
                "device.capacity",
                "leases hold more capacity than the new offer has",
                "keep the reserved capacity, or announce an exit",
            )
            .into());
        }
        swap_uniques(s, &id, row.sector, &row.admission.unique, &admission.unique)?;
        row.admission = admission;
        row.offer = offer;
    }
    match rest {
        Some(true) => row.state = DeviceState::Resting,
        Some(false) => row.state = DeviceState::Active,
        None => {}
    }
    save_device(s, &id, Some(&before), Some(&row))?;
    listing::place(s, &id)?;
    s.emit(Event::DeviceChanged { device: id });
    Ok(())
}

fn swap_uniques(s: &mut State<'_>, id: &DeviceId, sector: SectorId, old: &[Hash], new: &[Hash]) -> Run<()> {
    for key in old.iter().filter(|k| !new.contains(k)) {
        s.delete::<Uniques>(&(sector, *key));
    }
    for key in new.iter().filter(|k| !old.contains(k)) {
        if s.get::<Uniques>(&(sector, *key))?.is_some_and(|holder| holder != *id) {
            return Err(Refusal::new(
                "device.duplicate",
                "a unique key of this device is taken",
                "register hardware once",
            )
            .into());
        }
        s.put::<Uniques>(&(sector, *key), id);
    }
    Ok(())
}

/// Adds to a bond; a resting device whose bond suffices again takes duties at its owner's word.
pub fn add_bond(s: &mut State<'_>, who: AccountId, id: DeviceId, amount: Amount) -> Run<()> {
    s.need::<Devices>(&id, unknown_device())?;
    pay(s, Pot::Account(who), Pot::Bond(id), amount)?;
    listing::place(s, &id)?;
    s.emit(Event::BondAdded { device: id, amount });
    Ok(())
}

/// Announces an exit: no new duties; the rules hand the old ones over until the notice ends.
pub fn exit(s: &mut State<'_>, who: AccountId, id: DeviceId) -> Run<Epoch> {
    own_device(s, &who, &id)?;
    listing::unlist(s, &id)?;
    let before = own_device(s, &who, &id)?;
    if let DeviceState::Exiting { until } = before.state {
        return Ok(until);
    }
    let c = chain(s)?;
    let until = c.epoch.plus(c.params.exit_epochs);
    let row = DeviceRow { state: DeviceState::Exiting { until }, ..before.clone() };
    save_device(s, &id, Some(&before), Some(&row))?;
    s.emit(Event::DeviceExiting { device: id, until });
    Ok(until)
}

/// Pays the bond of a device that has left: notice and window are over, nothing is held or locked.
pub fn withdraw_bond(s: &mut State<'_>, who: AccountId, id: DeviceId) -> Run<()> {
    let row = own_device(s, &who, &id)?;
    let c = chain(s)?;
    let DeviceState::Exiting { until } = row.state else {
        return Err(
            Refusal::new("device.active", "the device has not left", "announce the exit first").into()
        );
    };
    let free_at = until.plus(c.params.window_epochs).plus(1);
    if c.epoch < free_at || row.duties > 0 || !row.locked.is_zero() {
        return Err(Refusal::with(
            "device.held",
            format!("{} duties, {} locked, free from epoch {free_at}", row.duties, row.locked),
            "wait until duties are handed over and the window has passed",
        )
        .into());
    }
    pay(s, Pot::Bond(id), Pot::Account(who), row.bond)?;
    let gone = own_device(s, &who, &id)?;
    swap_uniques(s, &id, gone.sector, &gone.admission.unique, &[])?;
    save_device(s, &id, Some(&gone), None)?;
    s.emit(Event::DeviceGone { device: id, bond: row.bond });
    Ok(())
}
