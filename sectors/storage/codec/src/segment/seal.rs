//! From plaintext to padded fragments, one stripe at a time.

use super::{MAX_PLAIN, SegmentId, SegmentMeta};
use crate::erasure::layout::widen;
use crate::erasure::{CELL, Layout, Profile, StripeCoder};
use crate::keys::{LeaseRepairKey, StorageKeys};
use crate::pad::Pad;
use crate::stream::{Encryptor, RECORD_PLAIN};
use crate::{CodecError, stream};
use cairn_types::{DeviceId, Hash, LeaseId};

/// What is known once a segment is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// To be kept in the index and given to the repair agents.
    pub meta: SegmentMeta,
    /// BLAKE3 of each padded fragment, by slot: what each operator co-signs and proves.
    pub padded_roots: Vec<Hash>,
}

/// A whole segment in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// Padded fragments, by slot.
    pub fragments: Vec<Vec<u8>>,
    /// Metadata, with the hashes of the fragments before padding.
    pub meta: SegmentMeta,
    /// BLAKE3 of each padded fragment, by slot.
    pub padded_roots: Vec<Hash>,
}

/// Where finished cells go. The cells of one slot come in order and without gaps.
pub trait Cells {
    /// A copy of the cell where it will stay; it is padded there.
    fn place(&mut self, slot: u16, cell: &[u8]) -> &mut [u8];
    /// The cell placed last is padded now; it begins at `offset` of the slot's fragment.
    fn placed(&mut self, slot: u16, offset: u64);
}

/// Shows each cell to a closure.
struct Shown<'a, F> {
    sink: &'a mut F,
    cell: Vec<u8>,
}

impl<F: FnMut(u16, u64, &[u8])> Cells for Shown<'_, F> {
    fn place(&mut self, _: u16, cell: &[u8]) -> &mut [u8] {
        self.cell.clear();
        self.cell.extend_from_slice(cell);
        &mut self.cell
    }
    fn placed(&mut self, slot: u16, offset: u64) {
        (self.sink)(slot, offset, &self.cell);
    }
}

/// One fragment on its way out.
struct Lane {
    pad: Pad,
    plain: blake3::Hasher,
    padded: blake3::Hasher,
}

/// The stripe being collected and the n fragments that it becomes part of.
struct Outlet {
    profile: Profile,
    coder: StripeCoder,
    lanes: Vec<Lane>,
    stripe: Vec<u8>,
    offset: u64,
}

impl Outlet {
    /// Encodes, hashes, pads and hands out the stripe collected so far.
    fn emit(&mut self, cell_len: usize, cells: &mut impl Cells) -> Result<(), CodecError> {
        let Self { profile, coder, lanes, stripe, offset } = self;
        stripe.resize(usize::from(profile.k()) * cell_len, 0);
        let data: Vec<&[u8]> = stripe.chunks(cell_len).collect();
        let mut done = Ok(());
        let mut out = |slot: u16, cell: &[u8]| {
            let lane = &mut lanes[usize::from(slot)];
            lane.plain.update(cell);
            let place = cells.place(slot, cell);
            if let Err(e) = lane.pad.apply(*offset, place) {
                done = Err(e);
            }
            lane.padded.update(place);
            cells.placed(slot, *offset);
        };
        (0u16..).zip(&data).for_each(|(slot, cell)| out(slot, cell));
        coder.parity(&data, out)?;
        *offset += widen(cell_len);
        stripe.clear();
        done
    }
}

/// Seals a plaintext that arrives in pieces. Memory: about 3n cells of 64 KiB, whatever the segment's size.
///
/// After an error the sealer must be dropped and the segment id thrown away.
pub struct Sealer {
    id: SegmentId,
    lease: LeaseId,
    encryptor: Encryptor,
    outlet: Outlet,
    plain_len: u64,
}

impl Sealer {
    /// Starts a segment. `id` is 32 fresh random bytes; `slots` names one device for each slot 0..n, in any
    /// order.
    ///
    /// # Errors
    /// A slot missing, given twice or not below n.
    pub fn new(
        keys: &StorageKeys,
        profile: Profile,
        id: SegmentId,
        lease: LeaseId,
        slots: &[(u16, DeviceId)],
    ) -> Result<Self, CodecError> {
        let repair = keys.repair.lease(&lease);
        let lanes = pads(&repair, profile, &id, slots)?
            .into_iter()
            .zip(0u16..)
            .map(|(pad, slot)| {
                let pad = pad.ok_or(CodecError::SlotWithoutDevice { slot })?;
                Ok(Lane { pad, plain: blake3::Hasher::new(), padded: blake3::Hasher::new() })
            })
            .collect::<Result<Vec<_>, CodecError>>()?;
        let outlet =
            Outlet { profile, coder: StripeCoder::new(profile), lanes, stripe: Vec::new(), offset: 0 };
        let encryptor = Encryptor::new(&keys.content.segment(&id))?;
        Ok(Self { id, lease, encryptor, outlet, plain_len: 0 })
    }

    /// Takes plaintext. Each finished cell goes to `sink` as (slot, offset in the fragment, padded bytes);
    /// the cells of one slot come in order and without gaps.
    ///
    /// # Errors
    /// More than [`MAX_PLAIN`] bytes in total.
    pub fn push(&mut self, plain: &[u8], sink: &mut impl FnMut(u16, u64, &[u8])) -> Result<(), CodecError> {
        self.push_into(plain, &mut Shown { sink, cell: Vec::new() })
    }

    /// As [`Self::push`], with cells that are padded where they will stay.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_into(&mut self, plain: &[u8], cells: &mut impl Cells) -> Result<(), CodecError> {
        self.plain_len = self.plain_len.saturating_add(widen(plain.len()));
        if self.plain_len > MAX_PLAIN {
            return Err(CodecError::TooLarge { got: self.plain_len, limit: MAX_PLAIN });
        }
        let outlet = &mut self.outlet;
        // A bite of one record adds at most one record, so the stripe fills exactly.
        for bite in plain.chunks(RECORD_PLAIN) {
            self.encryptor.push(bite, &mut outlet.stripe)?;
            if outlet.stripe.len() == usize::from(outlet.profile.k()) * CELL {
                outlet.emit(CELL, cells)?;
            }
        }
        Ok(())
    }

    /// Emits the last cells and returns what must be remembered.
    pub fn finish(self, sink: &mut impl FnMut(u16, u64, &[u8])) -> Result<Sealed, CodecError> {
        self.finish_into(&mut Shown { sink, cell: Vec::new() })
    }

    /// As [`Self::finish`], with cells that are padded where they will stay.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_into(self, cells: &mut impl Cells) -> Result<Sealed, CodecError> {
        let Self { id, lease, encryptor, mut outlet, plain_len } = self;
        encryptor.finish(&mut outlet.stripe)?;
        let cipher_len = stream::cipher_len(plain_len).ok_or(CodecError::Cipher)?;
        let layout = Layout::new(outlet.profile, cipher_len);
        // The last record holds at least a tag, so there is a last stripe and it is not empty.
        outlet.emit(layout.cell_len(layout.stripes().saturating_sub(1)), cells)?;
        let hash = |h: &blake3::Hasher| Hash(*h.finalize().as_bytes());
        let plain = outlet.lanes.iter().map(|l| hash(&l.plain)).collect();
        let padded_roots = outlet.lanes.iter().map(|l| hash(&l.padded)).collect();
        let meta = SegmentMeta::new(id, lease, outlet.profile, plain_len, plain)?;
        Ok(Sealed { meta, padded_roots })
    }
}

/// Pads by slot; `None` where no device is named.
pub(super) fn pads(
    key: &LeaseRepairKey,
    profile: Profile,
    id: &SegmentId,
    devices: &[(u16, DeviceId)],
) -> Result<Vec<Option<Pad>>, CodecError> {
    let mut out: Vec<Option<Pad>> = (0..profile.n()).map(|_| None).collect();
    for (slot, device) in devices {
        profile.check_fragment(*slot)?;
        let pad = Pad::new(&key.pad(id, *slot, device))?;
        if out[usize::from(*slot)].replace(pad).is_some() {
            return Err(CodecError::DuplicateFragment { fragment: *slot });
        }
    }
    Ok(out)
}

/// Seals a plaintext that is in memory. See [`Sealer`] for the arguments.
pub fn seal(
    keys: &StorageKeys,
    profile: Profile,
    id: SegmentId,
    plain: &[u8],
    slots: &[(u16, DeviceId)],
    lease: LeaseId,
) -> Result<SealedSegment, CodecError> {
    let mut sealer = Sealer::new(keys, profile, id, lease, slots)?;
    if widen(plain.len()) > MAX_PLAIN {
        return Err(CodecError::TooLarge { got: widen(plain.len()), limit: MAX_PLAIN });
    }
    let cipher_len = stream::cipher_len(widen(plain.len())).ok_or(CodecError::Cipher)?;
    let capacity = usize::try_from(Layout::new(profile, cipher_len).fragment_len()).unwrap_or(0);
    let mut fragments: Vec<Vec<u8>> = (0..profile.n()).map(|_| Vec::with_capacity(capacity)).collect();
    let mut sink = |slot: u16, _: u64, cell: &[u8]| fragments[usize::from(slot)].extend_from_slice(cell);
    sealer.push(plain, &mut sink)?;
    let Sealed { meta, padded_roots } = sealer.finish(&mut sink)?;
    Ok(SealedSegment { fragments, meta, padded_roots })
}
