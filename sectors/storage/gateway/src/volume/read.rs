//! Reading a range of a segment, and paying for it.

use super::{Lease, Served, Volume, lock};
use crate::error::{GatewayError, ShardError};
use crate::ports::Seat;
use bytes::Bytes;
use cairn_storage_codec::segment::{open, plan};
use cairn_storage_codec::{CodecError, SegmentId, SegmentMeta};
use cairn_storage_rules::types::Receipt;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

/// Bytes of a fragment, from `offset` on.
type Piece = (u64, Bytes);

/// Cells that were fetched before decoding, by slot; `None` for slots that do not answer.
#[derive(Default)]
struct Fetched(BTreeMap<u16, Option<Vec<Piece>>>);

impl Fetched {
    /// `Some(None)`: known not to answer.
    fn get(&self, slot: u16, offset: u64, len: usize) -> Option<Option<Vec<u8>>> {
        let Some(pieces) = self.0.get(&slot)? else { return Some(None) };
        pieces.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(offset.checked_sub(*start)?).ok()?;
            bytes.get(from..from.checked_add(len)?).map(|b| Some(b.to_vec()))
        })
    }
    fn add(&mut self, slot: u16, offset: u64, answer: Option<Bytes>) {
        let entry = self.0.entry(slot).or_insert_with(|| Some(Vec::new()));
        match (entry.as_mut(), answer) {
            (Some(pieces), Some(bytes)) => pieces.push((offset, bytes)),
            _ => *entry = None,
        }
    }
    fn gone(&self) -> usize {
        self.0.values().filter(|v| v.is_none()).count()
    }
}

impl Volume {
    /// Reads a range of a segment's plaintext. Memory: a small multiple of the range.
    ///
    /// # Errors
    /// Fewer than k slots answer rightly; known within about three times the limit of a slot.
    pub async fn read(
        self: &Arc<Self>,
        meta: &Arc<SegmentMeta>,
        range: Range<u64>,
    ) -> Result<Vec<u8>, GatewayError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let lease = self.lease(meta.lease())?;
        let seats = lease.seats();
        let fetched = self.prefetch(meta, &seats, &range).await?;
        let (volume, meta, keys) = (Arc::clone(self), Arc::clone(meta), self.keys.clone());
        let runtime = tokio::runtime::Handle::current();
        // Decoding costs CPU and may have to fetch more, cell by cell.
        let decode = move || {
            let cache = Mutex::new(fetched);
            let source = |slot: u16, offset: u64, len: usize| {
                if let Some(known) = lock(&cache).get(slot, offset, len) {
                    return known;
                }
                let seat = seats.get(usize::from(slot))?;
                let want = u64::try_from(len).ok()?;
                let bytes = runtime.block_on(volume.fetch(seat, *meta.id(), offset, want)).ok();
                lock(&cache).add(slot, offset, bytes.clone());
                bytes.map(|b| b.to_vec())
            };
            let opened = open(&keys, &meta, &Lease::devices(&seats), range, &source)?;
            volume.note_wrong(&meta, &opened.wrong);
            Ok::<_, CodecError>(opened.plain)
        };
        let done = tokio::task::spawn_blocking(decode).await;
        Ok(done.map_err(|_| GatewayError::Codec(CodecError::Cipher))??)
    }

    fn note_wrong(&self, meta: &SegmentMeta, wrong: &[u16]) {
        for slot in wrong {
            tracing::warn!(slot, segment = ?meta.id(), "an operator served wrong bytes");
            lock(&self.doubtful).insert((*meta.id(), *slot));
        }
    }

    /// Fetches what the fast path needs, from all slots at once; where slots fail, the same stripes from others.
    async fn prefetch(
        self: &Arc<Self>,
        meta: &Arc<SegmentMeta>,
        seats: &Arc<Vec<Seat>>,
        range: &Range<u64>,
    ) -> Result<Fetched, GatewayError> {
        let layout = meta.layout();
        let mut hulls: BTreeMap<u16, Range<u64>> = BTreeMap::new();
        for piece in plan(meta, range)? {
            // Whole cells, because that is what decoding asks for.
            let stripe = piece.offset / layout.cell_offset(1).max(1);
            let cell = layout.cell_offset(stripe);
            let end = cell.saturating_add(u64::try_from(layout.cell_len(stripe)).unwrap_or(0));
            let hull = hulls.entry(piece.fragment).or_insert(cell..end);
            *hull = hull.start.min(cell)..hull.end.max(end);
        }
        let start = hulls.values().map(|h| h.start).min().unwrap_or(0);
        let all = start..hulls.values().map(|h| h.end).max().unwrap_or(start);
        let mut fetched = Fetched::default();
        self.fetch_all(meta, seats, hulls.into_iter().collect(), &mut fetched).await;
        if fetched.gone() == 0 {
            return Ok(fetched);
        }
        // Every k slots rebuild the stripes: widen what is there, and ask as many others as were lost, until k answer.
        let k = usize::from(meta.profile().k());
        let mut left: Vec<u16> = (0..meta.profile().n()).filter(|s| !self.known_gone(&fetched, *s)).collect();
        left.sort_by_key(|slot| seats.get(usize::from(*slot)).is_none_or(|s| self.is_slow(s)));
        let mut asked = 0;
        while asked < left.len() {
            let good = left[..asked].iter().filter(|s| matches!(fetched.0.get(*s), Some(Some(_)))).count();
            let Some(missing) = k.checked_sub(good).filter(|m| *m > 0) else { break };
            let next = left[asked..].iter().take(missing).map(|s| (*s, all.clone())).collect();
            asked = asked.saturating_add(missing).min(left.len());
            self.fetch_all(meta, seats, next, &mut fetched).await;
        }
        Ok(fetched)
    }

    fn known_gone(&self, fetched: &Fetched, slot: u16) -> bool {
        matches!(fetched.0.get(&slot), Some(None))
    }

    async fn fetch_all(
        self: &Arc<Self>,
        meta: &Arc<SegmentMeta>,
        seats: &Arc<Vec<Seat>>,
        wanted: Vec<(u16, Range<u64>)>,
        fetched: &mut Fetched,
    ) {
        let mut tasks = JoinSet::new();
        for (slot, hull) in wanted {
            let (volume, seats, id) = (Arc::clone(self), Arc::clone(seats), *meta.id());
            tasks.spawn(async move {
                let Some(seat) = seats.get(usize::from(slot)) else { return (slot, hull.start, None) };
                let len = hull.end.saturating_sub(hull.start);
                let bytes = volume.fetch(seat, id, hull.start, len).await;
                (slot, hull.start, bytes.ok())
            });
        }
        while let Some(Ok((slot, offset, bytes))) = tasks.join_next().await {
            fetched.add(slot, offset, bytes);
        }
    }

    /// Bytes of a padded fragment, with a receipt where one is due.
    pub(super) async fn fetch(
        &self,
        seat: &Seat,
        segment: SegmentId,
        offset: u64,
        len: u64,
    ) -> Result<Bytes, ShardError> {
        let attempt = async {
            self.send_receipt(seat, len, false).await?;
            match self.operators.get(seat, segment, offset, len).await {
                Err(ShardError::Exposure) => {
                    self.send_receipt(seat, len, true).await?;
                    self.operators.get(seat, segment, offset, len).await
                }
                other => other,
            }
        };
        let done =
            tokio::time::timeout(self.limits.get, attempt).await.unwrap_or(Err(ShardError::Unreachable));
        match &done {
            Ok(_) => {
                self.mark(seat, true);
                let key = (seat.pen.lease, seat.slot, seat.generation);
                let mut served = lock(&self.served);
                let count = served.entry(key).or_default();
                count.bytes = count.bytes.saturating_add(len);
            }
            Err(ShardError::NotFound) => {
                lock(&self.doubtful).insert((segment, seat.slot));
            }
            Err(e) => {
                tracing::debug!(slot = seat.slot, error = %e, "a slot did not serve");
                self.mark(seat, false);
            }
        }
        done
    }

    /// Sends a receipt once enough was served since the last. `forced`: the device says that it waits for one, also
    /// for bytes that an earlier gateway took; it gets at most what it may have served on trust.
    async fn send_receipt(&self, seat: &Seat, next: u64, forced: bool) -> Result<(), ShardError> {
        let key = (seat.pen.lease, seat.slot, seat.generation);
        let mut count = lock(&self.served).get(&key).copied().unwrap_or_default();
        let due = |c: &Served| c.base_kib.saturating_add(c.bytes / 1024);
        let ahead = due(&count).saturating_add(next / 1024).saturating_sub(count.receipted_kib);
        if !forced && (ahead < self.limits.receipt_kib || due(&count) == count.receipted_kib) {
            return Ok(());
        }
        if forced || !count.known {
            let status = self.operators.status(seat).await?;
            let trust = status.receipted_kib.saturating_add(self.limits.exposure_kib);
            if forced {
                count.base_kib = (status.served / 1024).min(trust).saturating_sub(count.bytes / 1024);
            } else {
                count.base_kib = status.receipted_kib.saturating_sub(count.receipted_kib);
            }
            count.known = true;
        }
        let served_kib = due(&count).max(count.receipted_kib);
        let receipt = Receipt {
            network: self.operators.network(),
            lease: seat.pen.lease,
            slot: seat.slot,
            generation: seat.generation,
            device: seat.device,
            served_kib,
        };
        self.operators.receipt(seat, receipt.sign(&seat.pen.key)).await?;
        let mut served = lock(&self.served);
        let kept = served.entry(key).or_default();
        (kept.base_kib, kept.known) = (count.base_kib, true);
        kept.receipted_kib = kept.receipted_kib.max(served_kib);
        Ok(())
    }

    /// Sends receipts for all that was served since the last ones; call it before an epoch's cut.
    pub async fn flush_receipts(&self) {
        for lease in self.leases() {
            for seat in lease.seats().iter() {
                let key = (seat.pen.lease, seat.slot, seat.generation);
                let open = lock(&self.served).get(&key).is_some_and(|c| c.bytes > 0);
                if open {
                    let send = self.send_receipt(seat, self.limits.receipt_kib << 10, false);
                    let _ = tokio::time::timeout(self.limits.get, send).await;
                }
            }
        }
    }

    /// Fragments that reads found missing or wrong since the last call.
    pub(super) fn take_doubtful(&self) -> BTreeSet<(SegmentId, u16)> {
        std::mem::take(&mut *lock(&self.doubtful))
    }
}
