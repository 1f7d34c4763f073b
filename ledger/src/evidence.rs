//! Commitments, answers, bundles, certificates and the seed: what devices and seats post about an epoch.

use cairn_crypto::bls::BlsSignature;
use cairn_sector::{Sectors, Seed};
use cairn_types::{DeviceId, Epoch, Hash, Refusal, SectorId};

use crate::bank::chain;
use crate::epoch::{epoch_row, set_seed, within};
use crate::events::Event;
use crate::registry::{digest_posting, unknown_device, unknown_sector};
use crate::state::{Run, State};
use crate::tables::{
    DeviceRow, Devices, DigestsRow, EpochDigests, PostingRow, Postings, SeatRow, SectorEpochs, SectorTable,
};
use crate::tx::{Duty, SeatDuty, seed_message};

/// Most devices in one certificate.
pub const CERTIFICATE_LIMIT: usize = 256;
/// Largest bundle in bytes.
pub const BUNDLE_LIMIT: u64 = 256 * 1024 * 1024;
/// Epochs beyond the window for which a device's posting is kept.
pub const POSTINGS_KEPT: u64 = 8;

fn twice() -> Refusal {
    Refusal::new("posting.twice", "the device posted this for the epoch already", "post once")
}

fn posting(s: &State<'_>, epoch: Epoch, id: &DeviceId) -> Run<(DeviceRow, PostingRow)> {
    let device = s.need::<Devices>(id, unknown_device())?;
    Ok((device, s.get_or_default::<Postings>(&(epoch, *id))?))
}

/// May this be posted now, and was it not posted before? Cheap: what a pool asks before it keeps a transaction.
pub fn check(s: &State<'_>, id: DeviceId, duty: &Duty) -> Run<()> {
    let posted = |epoch: &Epoch| s.get_or_default::<Postings>(&(*epoch, id));
    let again = match duty {
        Duty::Commit { epoch, .. } => {
            if *epoch != chain(s)?.epoch.plus(1) {
                return Err(Refusal::new(
                    "commit.phase",
                    "a commitment counts for the epoch after the present one",
                    "commit before the lock",
                )
                .into());
            }
            posted(epoch)?.commitment.is_some()
        }
        Duty::Answers { epoch, .. } => {
            within(s, *epoch, |_| 0, |p| p.answer_blocks)?;
            posted(epoch)?.answers.is_some()
        }
        Duty::Bundle { epoch, size, .. } => {
            within(s, epoch.plus(1), |_| 0, |p| p.cut_blocks)?;
            if *size > BUNDLE_LIMIT {
                return Err(Refusal::new(
                    "bundle.size",
                    "the bundle is too large",
                    "leave the rest for the next epoch",
                )
                .into());
            }
            posted(epoch)?.bundle.is_some()
        }
        Duty::Defend { dispute, .. } => return crate::dispute::check(s, id, dispute),
        Duty::Claim(p) => return crate::claims::check_claim(s, p),
    };
    if again { Err(twice().into()) } else { Ok(()) }
}

/// Stores a posting; the first one of an epoch drops the device's row of an epoch that no judge asks for any more.
fn store(s: &mut State<'_>, epoch: Epoch, id: DeviceId, row: &PostingRow) -> Run<()> {
    let old = epoch
        .0
        .checked_sub(chain(s)?.params.window_epochs.saturating_add(POSTINGS_KEPT))
        .map(|e| (Epoch(e), id));
    if let Some(old) = old
        && s.get::<Postings>(&old)?.is_some()
    {
        s.delete::<Postings>(&old);
    }
    s.put::<Postings>(&(epoch, id), row);
    Ok(())
}

fn sum_up(s: &mut State<'_>, at: (Epoch, SectorId), f: impl FnOnce(&mut DigestsRow)) -> Run<()> {
    let mut digests = s.get_or_default::<EpochDigests>(&at)?;
    f(&mut digests);
    s.put::<EpochDigests>(&at, &digests);
    Ok(())
}

/// A device binds itself before the lock of the next epoch.
pub fn commit(
    s: &mut State<'_>,
    sectors: &Sectors,
    id: DeviceId,
    epoch: Epoch,
    commitment: Vec<u8>,
) -> Run<()> {
    let (device, mut row) = posting(s, epoch, &id)?;
    let sector = s.need::<SectorTable>(&device.sector, unknown_sector(device.sector))?;
    let rules = sectors.get(device.sector, sector.version)?;
    if commitment.len() > rules.limits().commitment {
        return Err(
            Refusal::new("commit.size", "the commitment is too large", "see the sector's limits").into()
        );
    }
    rules.check_commitment(&commitment)?;
    crate::listing::set_absent(s, &id, false)?;
    sum_up(s, (epoch, device.sector), |d| {
        digest_posting(&mut d.commitments, "commitment", &id, &commitment)
    })?;
    row.commitment = Some(commitment);
    store(s, epoch, id, &row)?;
    s.emit(Event::Committed { device: id, epoch });
    Ok(())
}

/// Digest of the answers to the tasks of the current epoch.
pub fn answers(s: &mut State<'_>, id: DeviceId, epoch: Epoch, digest: Hash) -> Run<()> {
    let (device, mut row) = posting(s, epoch, &id)?;
    sum_up(s, (epoch, device.sector), |d| digest_posting(&mut d.answers, "answers", &id, digest.as_ref()))?;
    row.answers = Some(digest);
    store(s, epoch, id, &row)?;
    s.emit(Event::Answered { device: id, epoch });
    Ok(())
}

/// Digest of the bundle of the epoch that ended.
pub fn bundle(s: &mut State<'_>, id: DeviceId, epoch: Epoch, hash: Hash, size: u64) -> Run<()> {
    let (_, mut row) = posting(s, epoch, &id)?;
    row.bundle = Some((hash, size));
    store(s, epoch, id, &row)?;
    s.emit(Event::Bundled { device: id, epoch, bundle: hash, size });
    Ok(())
}

/// May a seat say this now? Cheap, as [`check`].
pub fn check_seat(s: &State<'_>, seat: u16, duty: &SeatDuty) -> Run<()> {
    match duty {
        SeatDuty::Seed { epoch, .. } => crate::epoch::check_seed(s, *epoch),
        SeatDuty::Certificate { epoch, .. } => within(s, epoch.plus(1), |_| 0, |p| p.certify_blocks),
        SeatDuty::Vote { epoch, sector, .. } => crate::settlement::check_vote(s, seat, *epoch, *sector),
        SeatDuty::Reveal { epoch, settlement, .. } => {
            crate::settlement::check_reveal(s, seat, *epoch, settlement.sector)
        }
        SeatDuty::Outcomes { epoch, sector, from, .. } => {
            crate::outcomes::check_outcomes(s, *epoch, *sector, *from)
        }
    }
}

fn nothing_new() -> Refusal {
    Refusal::new("certificate.nothing", "no bundle here is new", "certify what was posted since")
}

/// A seat certifies that it holds bundles. Devices without a bundle, of another sector or certified already are
/// passed over, so that one slip does not void a batch; a batch with nothing new is refused, so that a recorded one
/// cannot fill blocks.
pub fn certificate(s: &mut State<'_>, epoch: Epoch, sector: SectorId, devices: &[DeviceId]) -> Run<()> {
    if devices.len() > CERTIFICATE_LIMIT || !devices.windows(2).all(|w| w[0] < w[1]) {
        return Err(
            Refusal::new("certificate.shape", "devices must ascend, at most 256", "split the batch").into()
        );
    }
    let known = s.get::<SectorEpochs>(&(epoch, sector))?;
    // What is decided takes no more evidence.
    let Some(mut se) = known.filter(|row| row.roots.is_none()) else { return Err(nothing_new().into()) };
    let mut digests = s.get_or_default::<EpochDigests>(&(epoch, sector))?;
    let mut fresh = 0u32;
    for id in devices {
        let Some(mut row) = s.get::<Postings>(&(epoch, *id))? else { continue };
        let Some((hash, _)) = row.bundle else { continue };
        let own = s.get::<Devices>(id)?.is_some_and(|d| d.sector == sector);
        if row.certified || !own {
            continue;
        }
        row.certified = true;
        s.put::<Postings>(&(epoch, *id), &row);
        digest_posting(&mut digests.evidence, "bundle", id, hash.as_ref());
        se.bundles = se.bundles.saturating_add(1);
        fresh += 1;
    }
    if fresh == 0 {
        return Err(nothing_new().into());
    }
    let bundles = se.bundles;
    s.put::<EpochDigests>(&(epoch, sector), &digests);
    s.put::<SectorEpochs>(&(epoch, sector), &se);
    s.emit(Event::Certified { sector, epoch, bundles });
    Ok(())
}

/// The seed: a seat's unique signature over network, epoch and the seed before. Nobody can choose it, the seat can
/// only withhold it (one seat; with several seats a threshold signature takes its place).
pub fn seed(s: &mut State<'_>, seat: &SeatRow, epoch: Epoch, signature: &BlsSignature) -> Run<()> {
    let network = chain(s)?.network;
    let previous = epoch_row(s, epoch)?.previous;
    seat.vote.verify(crate::tx::SEED_DOMAIN, &seed_message(&network, epoch, &previous), signature).map_err(
        |_| {
            Refusal::new("seed.signature", "the seed is not the seat's signature", "sign the epoch's message")
        },
    )?;
    let digest = Hash::derive(crate::tx::SEED_DOMAIN, &[&cairn_types::encode(signature)]);
    set_seed(s, epoch, Seed(digest.0))
}
