//! Encoding and reconstruction, one stripe at a time.

use super::layout::{Layout, widen};
use super::{CELL, Profile};
use crate::CodecError;
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

/// Codes stripes of one profile, keeping its working memory (about 2n cells) from stripe to stripe.
pub struct StripeCoder {
    profile: Profile,
    encoder: Option<ReedSolomonEncoder>,
    decoder: Option<ReedSolomonDecoder>,
}

impl StripeCoder {
    /// A coder without working memory yet; it is allocated by the first stripe that needs it.
    pub const fn new(profile: Profile) -> Self {
        Self { profile, encoder: None, decoder: None }
    }

    /// Computes the parity cells of a stripe from its k data cells (equal, even, non-zero length) and hands
    /// each to `sink` with its fragment number, in order.
    pub fn parity(&mut self, data: &[&[u8]], mut sink: impl FnMut(u16, &[u8])) -> Result<(), CodecError> {
        let profile = self.profile;
        if data.len() != profile.data() {
            let have = u16::try_from(data.len()).unwrap_or(u16::MAX);
            return Err(CodecError::TooFewFragments { have, need: profile.k });
        }
        if profile.k == 1 {
            (1..profile.n).for_each(|f| sink(f, data[0]));
            return Ok(());
        }
        if profile.k == profile.n {
            return Ok(());
        }
        let encoder = ready_encoder(&mut self.encoder, profile, data[0].len())?;
        for cell in data {
            encoder.add_original_shard(cell)?;
        }
        let result = encoder.encode()?;
        (profile.k..profile.n).zip(result.recovery_iter()).for_each(|(f, cell)| sink(f, cell));
        Ok(())
    }

    /// Computes the cells `want` of a stripe from any k of its cells and hands each to `sink`. Cells beyond
    /// the first k (data cells first) are ignored.
    ///
    /// # Errors
    /// Fewer than k cells, unequal or odd lengths, a number twice or not below n.
    pub fn recover(
        &mut self,
        cells: &[(u16, &[u8])],
        want: &[u16],
        mut sink: impl FnMut(u16, &[u8]),
    ) -> Result<(), CodecError> {
        let profile = self.profile;
        want.iter().try_for_each(|f| profile.check_fragment(*f))?;
        let given = index_cells(profile, cells)?;
        let len = cells.first().map_or(0, |c| c.1.len());
        if profile.k == 1 {
            // index_cells saw at least one cell, and all copies are equal.
            want.iter().for_each(|f| sink(*f, given[usize::from(*f)].unwrap_or(cells[0].1)));
            return Ok(());
        }
        let mut data: Vec<Option<&[u8]>> = given[..profile.data()].to_vec();
        let missing = data.iter().filter(|c| c.is_none()).count();
        let parity_wanted = want.iter().any(|f| *f >= profile.k && given[usize::from(*f)].is_none());
        let data_wanted = want.iter().any(|f| *f < profile.k && given[usize::from(*f)].is_none());
        let decoded;
        if missing > 0 && (parity_wanted || data_wanted) {
            let decoder = ready_decoder(&mut self.decoder, profile, len)?;
            for (i, cell) in given.iter().enumerate().take(profile.data()) {
                if let Some(cell) = cell {
                    decoder.add_original_shard(i, cell)?;
                }
            }
            let parity = given[profile.data()..].iter().enumerate();
            for (i, cell) in parity.filter_map(|(i, c)| c.map(|c| (i, c))).take(missing) {
                decoder.add_recovery_shard(i, cell)?;
            }
            decoded = decoder.decode()?;
            for (i, cell) in decoded.restored_original_iter() {
                data[i] = Some(cell);
            }
        }
        if parity_wanted {
            let encoder = ready_encoder(&mut self.encoder, profile, len)?;
            for cell in data.iter().flatten() {
                encoder.add_original_shard(cell)?;
            }
            let result = encoder.encode()?;
            for f in want {
                let computed = f.checked_sub(profile.k).and_then(|p| result.recovery(usize::from(p)));
                let known = given[usize::from(*f)].or(data.get(usize::from(*f)).copied().flatten());
                emit(*f, known.or(computed), &mut sink)?;
            }
            return Ok(());
        }
        for f in want {
            let known = given[usize::from(*f)].or(data.get(usize::from(*f)).copied().flatten());
            emit(*f, known, &mut sink)?;
        }
        Ok(())
    }
}

fn emit(fragment: u16, cell: Option<&[u8]>, sink: &mut impl FnMut(u16, &[u8])) -> Result<(), CodecError> {
    let cell = cell.ok_or_else(|| CodecError::Erasure(format!("no cell {fragment} after decoding")))?;
    sink(fragment, cell);
    Ok(())
}

/// Puts the cells at their numbers and checks that they fit together and suffice.
fn index_cells<'a>(profile: Profile, cells: &[(u16, &'a [u8])]) -> Result<Vec<Option<&'a [u8]>>, CodecError> {
    let mut given: Vec<Option<&[u8]>> = vec![None; usize::from(profile.n)];
    let want = cells.first().map_or(0, |c| c.1.len());
    for (fragment, cell) in cells {
        profile.check_fragment(*fragment)?;
        if cell.len() != want {
            let (got, want) = (widen(cell.len()), widen(want));
            return Err(CodecError::BadFragmentLength { fragment: *fragment, got, want });
        }
        if given[usize::from(*fragment)].replace(cell).is_some() {
            return Err(CodecError::DuplicateFragment { fragment: *fragment });
        }
    }
    if cells.len() < profile.data() {
        // Numbers are distinct and below n <= 64 here.
        let have = u16::try_from(cells.len()).unwrap_or(u16::MAX);
        return Err(CodecError::TooFewFragments { have, need: profile.k });
    }
    Ok(given)
}

// The reset before each use also drops shards that an earlier, failed use left behind.
fn ready_encoder(
    slot: &mut Option<ReedSolomonEncoder>,
    profile: Profile,
    len: usize,
) -> Result<&mut ReedSolomonEncoder, CodecError> {
    if slot.is_none() {
        *slot = Some(ReedSolomonEncoder::new(profile.data(), profile.parity(), len)?);
    }
    let encoder = slot.as_mut().ok_or(CodecError::Cipher)?;
    encoder.reset(profile.data(), profile.parity(), len)?;
    Ok(encoder)
}

fn ready_decoder(
    slot: &mut Option<ReedSolomonDecoder>,
    profile: Profile,
    len: usize,
) -> Result<&mut ReedSolomonDecoder, CodecError> {
    if slot.is_none() {
        *slot = Some(ReedSolomonDecoder::new(profile.data(), profile.parity(), len)?);
    }
    let decoder = slot.as_mut().ok_or(CodecError::Cipher)?;
    decoder.reset(profile.data(), profile.parity(), len)?;
    Ok(decoder)
}

/// Cuts and encodes a whole segment into n fragments. Memory: the result plus one stripe.
pub fn encode(profile: Profile, segment: &[u8]) -> Result<Vec<Vec<u8>>, CodecError> {
    let layout = Layout::new(profile, widen(segment.len()));
    let capacity = usize::try_from(layout.fragment_len()).map_err(|_| CodecError::Cipher)?;
    let mut fragments: Vec<Vec<u8>> = (0..profile.n).map(|_| Vec::with_capacity(capacity)).collect();
    let mut coder = StripeCoder::new(profile);
    let mut tail = Vec::new();
    for (chunk, stripe) in segment.chunks(profile.data() * CELL).zip(0u64..) {
        let cell_len = layout.cell_len(stripe);
        let whole = padded(chunk, cell_len * profile.data(), &mut tail);
        let data: Vec<&[u8]> = whole.chunks(cell_len).collect();
        for (fragment, cell) in fragments.iter_mut().zip(&data) {
            fragment.extend_from_slice(cell);
        }
        coder.parity(&data, |f, cell| fragments[usize::from(f)].extend_from_slice(cell))?;
    }
    Ok(fragments)
}

/// The chunk itself when it fills the stripe, otherwise a zero-padded copy in `tail`.
fn padded<'a>(chunk: &'a [u8], len: usize, tail: &'a mut Vec<u8>) -> &'a [u8] {
    if chunk.len() == len {
        return chunk;
    }
    tail.clear();
    tail.extend_from_slice(chunk);
    tail.resize(len, 0);
    tail
}

/// Rebuilds the fragments `want` from any k others. Memory: the result and about 4 MiB of data with their
/// coding space.
///
/// # Errors
/// Fewer than k fragments, a wrong length, a number twice or not below n.
pub fn reconstruct(
    profile: Profile,
    segment_len: u64,
    available: &[(u16, &[u8])],
    want: &[u16],
) -> Result<Vec<Vec<u8>>, CodecError> {
    let layout = Layout::new(profile, segment_len);
    check_whole(&layout, available)?;
    want.iter().try_for_each(|f| profile.check_fragment(*f))?;
    let capacity = usize::try_from(layout.fragment_len()).map_err(|_| CodecError::Cipher)?;
    let mut out: Vec<Vec<u8>> = want.iter().map(|_| Vec::with_capacity(capacity)).collect();
    let mut coder = StripeCoder::new(profile);
    let mut stripe = 0;
    while stripe < layout.stripes() {
        let count = layout.batch(stripe, u64::MAX);
        let cells = slice_cells(&layout, available, stripe, count)?;
        stripe += count;
        let mut next = 0;
        coder.recover(&cells, want, |_, cell| {
            out[next].extend_from_slice(cell);
            next += 1;
        })?;
    }
    Ok(out)
}

/// Rebuilds the whole segment from any k fragments. Memory: the result and about 4 MiB of data with their
/// coding space.
///
/// # Errors
/// As [`reconstruct`].
pub fn decode(profile: Profile, segment_len: u64, available: &[(u16, &[u8])]) -> Result<Vec<u8>, CodecError> {
    let layout = Layout::new(profile, segment_len);
    check_whole(&layout, available)?;
    let len = usize::try_from(segment_len).map_err(|_| CodecError::Cipher)?;
    let mut out = Vec::with_capacity(len);
    let want: Vec<u16> = (0..profile.k).collect();
    let mut coder = StripeCoder::new(profile);
    let (mut stripe, mut columns) = (0, vec![Vec::new(); profile.data()]);
    while stripe < layout.stripes() {
        let count = layout.batch(stripe, u64::MAX);
        let cells = slice_cells(&layout, available, stripe, count)?;
        columns.iter_mut().for_each(Vec::clear);
        coder.recover(&cells, &want, |f, cell| columns[usize::from(f)].extend_from_slice(cell))?;
        let cell_len = layout.cell_len(stripe);
        for at in (0..columns[0].len()).step_by(cell_len) {
            columns.iter().for_each(|column| out.extend_from_slice(&column[at..at + cell_len]));
        }
        stripe += count;
    }
    out.truncate(len);
    Ok(out)
}

/// Rebuilds one cell of one stripe from any k other cells of the same stripe.
///
/// # Errors
/// As [`reconstruct`], or a stripe that the segment does not have.
pub fn reconstruct_cell(
    profile: Profile,
    segment_len: u64,
    stripe: u64,
    cells: &[(u16, &[u8])],
    want: u16,
) -> Result<Vec<u8>, CodecError> {
    let layout = Layout::new(profile, segment_len);
    if stripe >= layout.stripes() {
        return Err(CodecError::NoSuchStripe { stripe, stripes: layout.stripes() });
    }
    let len = layout.cell_len(stripe);
    if let Some((fragment, cell)) = cells.iter().find(|c| c.1.len() != len) {
        let (got, want) = (widen(cell.len()), widen(len));
        return Err(CodecError::BadFragmentLength { fragment: *fragment, got, want });
    }
    let mut out = Vec::new();
    StripeCoder::new(profile).recover(cells, &[want], |_, cell| out.extend_from_slice(cell))?;
    Ok(out)
}

fn check_whole(layout: &Layout, available: &[(u16, &[u8])]) -> Result<(), CodecError> {
    let want = layout.fragment_len();
    for (fragment, bytes) in available {
        let got = widen(bytes.len());
        if got != want {
            return Err(CodecError::BadFragmentLength { fragment: *fragment, got, want });
        }
    }
    index_cells(layout.profile(), available).map(|_| ())
}

fn slice_cells<'a>(
    layout: &Layout,
    available: &[(u16, &'a [u8])],
    stripe: u64,
    count: u64,
) -> Result<Vec<(u16, &'a [u8])>, CodecError> {
    // Within the fragment, whose length check_whole compared.
    let (offset, len) = layout.batch_span(stripe, count);
    let start = usize::try_from(offset).map_err(|_| CodecError::Cipher)?;
    Ok(available.iter().map(|(f, bytes)| (*f, &bytes[start..start + len])).collect())
}
