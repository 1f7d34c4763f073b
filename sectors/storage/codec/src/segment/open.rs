//! From padded fragments back to plaintext.
//!
//! Three paths, each tried only when the one before did not do:
//! 1. the data cells that hold the range, each checked by its record's tag;
//! 2. missing or wrong cells rebuilt from other cells of the same stripe;
//! 3. whole fragments checked by hash, which singles out lying parity operators: any k honest ones suffice.

use super::SegmentMeta;
use super::seal::pads;
use crate::CodecError;
use crate::erasure::layout::widen;
use crate::erasure::{CellRange, Layout, StripeCoder};
use crate::keys::{LeaseRepairKey, SegmentKey, StorageKeys};
use crate::pad::Pad;
use crate::stream::{RECORD, RECORD_PLAIN, StreamCipher, record_count, record_range};
use cairn_types::{DeviceId, Hash};
use std::ops::Range;

/// Where padded bytes come from: a cache of replies, a disk, a network.
pub trait FragmentSource {
    /// `len` bytes at `offset` of the padded fragment in `slot`; `None` when its operator does not answer.
    /// `len` is at most a cell while all goes well; once a data slot failed it may be several neighbouring
    /// cells (about 4 MiB over all slots), and when all else failed the whole fragment.
    fn cell(&self, slot: u16, offset: u64, len: usize) -> Option<Vec<u8>>;
}

impl<F: Fn(u16, u64, usize) -> Option<Vec<u8>>> FragmentSource for F {
    fn cell(&self, slot: u16, offset: u64, len: usize) -> Option<Vec<u8>> {
        self(slot, offset, len)
    }
}

/// A range of plaintext and what was learned about the operators on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The bytes asked for.
    pub plain: Vec<u8>,
    /// Slots that did not answer (only slots that were asked).
    pub missing: Vec<u16>,
    /// Slots whose bytes were provably not what was stored.
    pub wrong: Vec<u16>,
}

/// The pieces of padded fragments that hold a range of plaintext: what to prefetch for the fast path.
///
/// # Errors
/// A range outside the segment.
pub fn plan(meta: &SegmentMeta, range: &Range<u64>) -> Result<Vec<CellRange>, CodecError> {
    check_range(meta, range)?;
    meta.layout().locate(&cipher_range(meta, range))
}

/// Reads a range of plaintext. `devices` names the present holder of each slot that has one.
///
/// # Errors
/// A range outside the segment, fewer than k usable fragments, or keys that are not those of the segment.
pub fn open(
    keys: &StorageKeys,
    meta: &SegmentMeta,
    devices: &[(u16, DeviceId)],
    range: Range<u64>,
    source: &impl FragmentSource,
) -> Result<Opened, CodecError> {
    let (content, repair) = (keys.content.segment(meta.id()), keys.repair.lease(meta.lease()));
    open_with(&content, &repair, meta, devices, range, source)
}

/// As [`open`], with only the keys of this segment and lease: what a share of one object carries.
pub fn open_with(
    content: &SegmentKey,
    repair: &LeaseRepairKey,
    meta: &SegmentMeta,
    devices: &[(u16, DeviceId)],
    range: Range<u64>,
    source: &impl FragmentSource,
) -> Result<Opened, CodecError> {
    check_range(meta, &range)?;
    let mut reader = Reader {
        meta,
        layout: meta.layout(),
        cipher: StreamCipher::new(content)?,
        coder: StripeCoder::new(meta.profile()),
        pads: pads(repair, meta.profile(), meta.id(), devices)?,
        source,
        state: vec![Slot::Unknown; usize::from(meta.profile().n())],
        verified: None,
    };
    let plain = reader.read(&range)?;
    let slots = |want: Slot| {
        (0u16..).zip(&reader.state).filter(|(_, s)| **s == want).map(|(slot, _)| slot).collect::<Vec<_>>()
    };
    Ok(Opened { plain, missing: slots(Slot::Missing), wrong: slots(Slot::Wrong) })
}

fn check_range(meta: &SegmentMeta, range: &Range<u64>) -> Result<(), CodecError> {
    if range.start > range.end || range.end > meta.plain_len() {
        return Err(CodecError::BadRange { start: range.start, end: range.end, len: meta.plain_len() });
    }
    Ok(())
}

/// The ciphertext of all records that a range of plaintext touches.
fn cipher_range(meta: &SegmentMeta, range: &Range<u64>) -> Range<u64> {
    let records = record_range(range);
    let size = widen(RECORD);
    (records.start * size).min(meta.cipher_len())..(records.end * size).min(meta.cipher_len())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Unknown,
    Missing,
    Wrong,
}

struct Reader<'a, S> {
    meta: &'a SegmentMeta,
    layout: Layout,
    cipher: StreamCipher,
    coder: StripeCoder,
    pads: Vec<Option<Pad>>,
    source: &'a S,
    state: Vec<Slot>,
    /// k whole fragments that match their hashes, once they were needed.
    verified: Option<Vec<(u16, Vec<u8>)>>,
}

/// Neighbouring full stripes, or one stripe, read in one go.
#[derive(Clone, Copy)]
struct Batch {
    stripe: u64,
    count: u64,
}

/// Cells of one batch by slot.
type Cells = Vec<Option<Vec<u8>>>;

impl<S: FragmentSource> Reader<'_, S> {
    fn read(&mut self, range: &Range<u64>) -> Result<Vec<u8>, CodecError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let cipher = cipher_range(self.meta, range);
        let size = usize::try_from(cipher.end - cipher.start).map_err(|_| CodecError::Cipher)?;
        let mut out = Vec::with_capacity(size);
        let (mut stripe, last) = (self.layout.stripe_of(cipher.start), self.layout.stripe_of(cipher.end - 1));
        while stripe <= last {
            let count = if self.degraded() { self.layout.batch(stripe, last - stripe + 1) } else { 1 };
            let held =
                self.layout.stripe_range(stripe).start..self.layout.stripe_range(stripe + count - 1).end;
            let want = cipher.start.max(held.start)..cipher.end.min(held.end);
            let batch = Batch { stripe, count };
            let done = self.verified.is_none() && self.read_cells(batch, &want, &mut out)?;
            if !done {
                if self.verified.is_none() {
                    self.verified = Some(self.verify_fragments()?);
                }
                self.read_verified(batch, &want, &mut out)?;
            }
            stripe += count;
        }
        let skip = range.start - record_range(range).start * widen(RECORD_PLAIN);
        out.drain(..usize::try_from(skip).map_err(|_| CodecError::Cipher)?);
        out.truncate(usize::try_from(range.end - range.start).map_err(|_| CodecError::Cipher)?);
        Ok(out)
    }

    /// Whether some data cell is known to need rebuilding.
    fn degraded(&self) -> bool {
        self.state[..usize::from(self.meta.profile().k())].iter().any(|s| *s != Slot::Unknown)
    }

    /// Paths 1 and 2. `false`: some cell is wrong and it is not known which, or too few cells are there.
    fn read_cells(&mut self, batch: Batch, want: &Range<u64>, out: &mut Vec<u8>) -> Result<bool, CodecError> {
        let (needed, k) = (self.needed(batch, want), usize::from(self.meta.profile().k()));
        let mut cells: Cells = vec![None; usize::from(self.meta.profile().n())];
        // Each turn condemns one more slot, so n turns end it.
        for _ in 0..cells.len() {
            for slot in needed.clone() {
                self.fill(batch, slot, &mut cells)?;
            }
            let absent: Vec<u16> = needed.clone().filter(|s| cells[usize::from(*s)].is_none()).collect();
            let mut rebuilt = Vec::new();
            if !absent.is_empty() {
                for slot in 0..self.meta.profile().n() {
                    if cells.iter().flatten().count() < k {
                        self.fill(batch, slot, &mut cells)?;
                    }
                }
                if cells.iter().flatten().count() < k {
                    return Ok(false);
                }
                rebuilt = self.rebuild(&cells, &absent)?;
            }
            let cell = |slot: u16| {
                let known = cells[usize::from(slot)].as_deref();
                known.or_else(|| rebuilt.iter().find(|r| r.0 == slot).map(|r| &r.1[..]))
            };
            match self.decrypt(batch, want, cell, out)? {
                None => return Ok(true),
                // In a full stripe record and cell coincide, so the tag convicts the cell's operator.
                Some(record) if batch.stripe < self.layout.full_stripes() => {
                    let slot = record % u64::from(self.meta.profile().k());
                    let slot = usize::try_from(slot).map_err(|_| CodecError::Cipher)?;
                    if cells[slot].take().is_none() {
                        return Ok(false);
                    }
                    self.state[slot] = Slot::Wrong;
                }
                Some(_) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Path 3: k whole fragments that match the hashes of the metadata.
    fn verify_fragments(&mut self) -> Result<Vec<(u16, Vec<u8>)>, CodecError> {
        let len = usize::try_from(self.layout.fragment_len()).map_err(|_| CodecError::Cipher)?;
        let need = self.meta.profile().k();
        let mut good = Vec::new();
        // Slots that were silent once get a second chance. Those convicted by a tag come last: they stay
        // named, but where even they are needed, the hash tells bad operators from a wrong content key.
        let mut order: Vec<u16> = (0..self.meta.profile().n()).collect();
        order.sort_by_key(|slot| self.state[usize::from(*slot)] == Slot::Wrong);
        for slot in order {
            if good.len() == usize::from(need) {
                break;
            }
            let convicted =
                std::mem::replace(&mut self.state[usize::from(slot)], Slot::Unknown) == Slot::Wrong;
            if let Some(bytes) = self.fetch(slot, 0, len)? {
                if Hash(*blake3::hash(&bytes).as_bytes()) == self.meta.hashes()[usize::from(slot)] {
                    good.push((slot, bytes));
                } else {
                    self.state[usize::from(slot)] = Slot::Wrong;
                }
            }
            if convicted {
                self.state[usize::from(slot)] = Slot::Wrong;
            }
        }
        if good.len() < usize::from(need) {
            let have = u16::try_from(good.len()).unwrap_or(need);
            return Err(CodecError::TooFewFragments { have, need });
        }
        Ok(good)
    }

    fn read_verified(
        &mut self,
        batch: Batch,
        want: &Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let (offset, len) = self.layout.batch_span(batch.stripe, batch.count);
        let start = usize::try_from(offset).map_err(|_| CodecError::Cipher)?;
        let end = start + len;
        let needed: Vec<u16> = self.needed(batch, want).collect();
        let fragments = self.verified.as_deref().unwrap_or_default();
        let cells: Vec<(u16, &[u8])> = fragments.iter().map(|(s, b)| (*s, &b[start..end])).collect();
        let mut got = Vec::with_capacity(needed.len());
        self.coder.recover(&cells, &needed, |slot, cell| got.push((slot, cell.to_vec())))?;
        let cell = |slot: u16| got.iter().find(|g| g.0 == slot).map(|g| &g.1[..]);
        // The hashes fit and the tag does not: the keys are not those that sealed this segment.
        self.decrypt(batch, want, cell, out)?.map_or(Ok(()), |record| Err(CodecError::Unauthentic { record }))
    }

    /// Slots of the data cells that hold `want` of the segment.
    fn needed(&self, batch: Batch, want: &Range<u64>) -> Range<u16> {
        let k = self.meta.profile().k();
        if batch.count > 1 {
            return 0..k;
        }
        let start = self.layout.stripe_range(batch.stripe).start;
        let cell = widen(self.layout.cell_len(batch.stripe));
        let slot = |byte: u64| u16::try_from((byte - start) / cell).unwrap_or(k).min(k - 1);
        slot(want.start)..slot(want.end - 1) + 1
    }

    fn fill(&mut self, batch: Batch, slot: u16, cells: &mut Cells) -> Result<(), CodecError> {
        if cells[usize::from(slot)].is_none() {
            let (offset, len) = self.layout.batch_span(batch.stripe, batch.count);
            cells[usize::from(slot)] = self.fetch(slot, offset, len)?;
        }
        Ok(())
    }

    /// Fetches and removes the pad; remembers who is silent or sends another length.
    fn fetch(&mut self, slot: u16, offset: u64, len: usize) -> Result<Option<Vec<u8>>, CodecError> {
        let index = usize::from(slot);
        if self.state[index] != Slot::Unknown {
            return Ok(None);
        }
        let Some(pad) = &self.pads[index] else {
            self.state[index] = Slot::Missing;
            return Ok(None);
        };
        let Some(mut bytes) = self.source.cell(slot, offset, len) else {
            self.state[index] = Slot::Missing;
            return Ok(None);
        };
        if bytes.len() != len {
            self.state[index] = Slot::Wrong;
            return Ok(None);
        }
        pad.apply(offset, &mut bytes)?;
        Ok(Some(bytes))
    }

    fn rebuild(&mut self, cells: &Cells, want: &[u16]) -> Result<Vec<(u16, Vec<u8>)>, CodecError> {
        let given: Vec<(u16, &[u8])> =
            (0u16..).zip(cells).filter_map(|(s, c)| c.as_deref().map(|c| (s, c))).collect();
        let mut out = Vec::with_capacity(want.len());
        self.coder.recover(&given, want, |slot, cell| out.push((slot, cell.to_vec())))?;
        Ok(out)
    }

    /// Assembles `want` (whole records) from cells and appends the plaintext to `out`; the number of the
    /// first record that fails, if any, and then `out` is as before.
    fn decrypt<'c>(
        &self,
        batch: Batch,
        want: &Range<u64>,
        cell: impl Fn(u16) -> Option<&'c [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Option<u64>, CodecError> {
        let before = out.len();
        let base = self.layout.cell_offset(batch.stripe);
        let last = record_count(self.meta.plain_len()) - 1;
        let mut at = want.start;
        while at < want.end {
            let end = (at + widen(RECORD)).min(want.end);
            let start = out.len();
            for piece in self.layout.locate(&(at..end))? {
                let from = usize::try_from(piece.offset - base).map_err(|_| CodecError::Cipher)?;
                let bytes = cell(piece.fragment).and_then(|c| c.get(from..from + piece.len));
                out.extend_from_slice(bytes.ok_or(CodecError::Cipher)?);
            }
            let record = at / widen(RECORD);
            let Ok(plain) = self.cipher.open_in_place(record, record == last, &mut out[start..]) else {
                out.truncate(before);
                return Ok(Some(record));
            };
            let len = plain.len();
            out.truncate(start + len);
            at = end;
        }
        Ok(None)
    }
}
