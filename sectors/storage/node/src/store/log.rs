//! The replicated index log of a slot.

use cairn_storage_codec::wire::{LogEntry, LogPage, LogState, code, entry_hash};
use cairn_types::{Hash, Refusal, encode};

use super::index::{LOG, SLOTS};
use super::rows::LogRow;
use super::{Quota, Slot, SlotKey, SlotRow, Store, StoreError, as_len, locked};

fn refuse(cause: String) -> StoreError {
    Refusal::with(
        code::LOG,
        cause,
        "read the log's head and go on from there; a machine that lags behind must recover",
    )
}

/// New rows of an append, and the state after it.
struct Plan {
    state: LogState,
    rows: Vec<(u64, LogRow)>,
    /// First old entry that goes away.
    cut: u64,
}

impl Store {
    /// State of a slot's log.
    pub fn log_state(&self, key: &SlotKey) -> LogState {
        self.existing(key).map(|s| locked(&s).row.log).unwrap_or_default()
    }

    fn log_row(&self, key: &SlotKey, seq: u64) -> Result<Option<LogRow>, StoreError> {
        self.index.get(LOG, &key.with(seq))
    }

    /// Appends entries; they are durable when this returns. Entries that are there already are skipped. Where the log
    /// holds other entries, those of a lower fence give way (a machine that was overtaken left them here); equal or
    /// higher ones do not.
    ///
    /// # Errors
    /// A gap (unless the batch restates everything before it), a break in the chain, no room, or the disk.
    pub fn log_append(
        &self,
        key: &SlotKey,
        fence: u64,
        at: u64,
        prev: &Hash,
        entries: &[LogEntry],
        quota: &Quota,
    ) -> Result<LogState, StoreError> {
        let slot = self.slot(key);
        let mut slot = locked(&slot);
        let Some(plan) = self.plan(key, &slot.row.log, fence, at, prev, entries)? else {
            return Ok(slot.row.log);
        };
        let before = slot.row.log.bytes;
        let more = plan.state.bytes.saturating_sub(before);
        room(&slot, plan.state.bytes, quota)?;
        self.reserve(more)?;
        let fence = slot.row.fence.max(fence);
        let before_first = if plan.state.first == at && plan.state.first != slot.row.log.first {
            *prev
        } else {
            slot.row.before
        };
        let row = SlotRow { log: plan.state, fence, before: before_first, ..slot.row.clone() };
        let written = self.index.write(|tx| {
            // Only what goes away is looked at: an append must not cost more the longer the log is.
            let (old, first) = (slot.row.log, plan.state.first);
            tx.remove_range(LOG, &key.with(old.first), &key.with(first.min(old.next)))?;
            tx.remove_range(LOG, &key.with(plan.cut.max(old.first)), &key.with(old.next))?;
            plan.rows.iter().for_each(|(seq, row)| tx.put(LOG, &key.with(*seq), row));
            tx.put(SLOTS, &key.bytes(), &row);
            Ok(())
        });
        if let Err(e) = written {
            self.give_back(more);
            return Err(e);
        }
        self.give_back(before.saturating_sub(plan.state.bytes));
        slot.row = row;
        Ok(slot.row.log)
    }

    fn plan(
        &self,
        key: &SlotKey,
        state: &LogState,
        fence: u64,
        at: u64,
        prev: &Hash,
        entries: &[LogEntry],
    ) -> Result<Option<Plan>, StoreError> {
        let end = at.checked_add(as_len(entries.len())).ok_or_else(|| refuse("numbers overflow".into()))?;
        if at < state.first {
            return Err(refuse(format!("entry {at} was truncated, the log begins at {}", state.first)));
        }
        let mut hash = *prev;
        let (mut new, mut cut) = (Vec::new(), state.next);
        for (seq, entry) in (at..end).zip(entries) {
            hash = entry_hash(&hash, seq, entry);
            if seq < cut && new.is_empty() {
                match self.log_row(key, seq)? {
                    Some(old) if old.hash == hash => continue,
                    Some(old) if old.fence >= fence => {
                        return Err(refuse(format!("another entry {seq} stands under fence {}", old.fence)));
                    }
                    _ => cut = seq,
                }
            }
            new.push((seq, LogRow { hash, fence, entry: entry.clone() }));
        }
        let Some((start, _)) = new.first() else { return Ok(None) };
        let gap = *start > state.next;
        if gap && !entries.iter().any(|e| e.checkpoint == Some(at)) {
            return Err(refuse(format!("the next entry is {}, not {at}", state.next)));
        }
        if !gap {
            self.check_chain(key, state, at, prev)?;
        }
        let first = if gap { at } else { state.first };
        let kept = if gap { (0, 0) } else { self.measure(key, state, cut)? };
        let added: u64 = new.iter().map(|(_, r)| size(r)).sum();
        let points = new.iter().filter_map(|(seq, r)| r.entry.checkpoint.filter(|c| *c >= first && c <= seq));
        let checkpoint = points.max().unwrap_or(0).max(kept.1);
        let bytes = kept.0 + added;
        let state = LogState { first, next: end, head: hash, bytes, checkpoint };
        Ok(Some(Plan { state, rows: new, cut: if gap { first } else { cut } }))
    }

    /// `prev` must be the hash of the entry before `at`, as far as it is known.
    fn check_chain(&self, key: &SlotKey, state: &LogState, at: u64, prev: &Hash) -> Result<(), StoreError> {
        let known = match at.checked_sub(1) {
            None => Some(Hash::default()),
            Some(_) if at == state.next => Some(state.head),
            Some(before) => self.log_row(key, before)?.map(|r| r.hash),
        };
        match known {
            Some(known) if known != *prev => {
                Err(refuse(format!("entry {at} does not follow the one before it")))
            }
            _ => Ok(()),
        }
    }

    /// Bytes and latest checkpoint of the entries before `cut`.
    fn measure(&self, key: &SlotKey, state: &LogState, cut: u64) -> Result<(u64, u64), StoreError> {
        if cut == state.next {
            return Ok((state.bytes, state.checkpoint));
        }
        let (mut bytes, mut checkpoint) = (0u64, 0);
        let end = key.with(cut);
        self.index.scan(LOG, &key.bytes(), &key.with(state.first), |k, row: LogRow| {
            if k >= end.as_slice() {
                return false;
            }
            bytes += size(&row);
            checkpoint = checkpoint.max(row.entry.checkpoint.unwrap_or(0));
            true
        })?;
        Ok((bytes, checkpoint))
    }

    /// Entries from `from` on, at most `max` bytes but at least one.
    ///
    /// # Errors
    /// Truncated, or the disk.
    pub fn log_read(&self, key: &SlotKey, from: u64, max: u32) -> Result<LogPage, StoreError> {
        let state = self.log_state(key);
        if from < state.first {
            return Err(refuse(format!("entry {from} was truncated, the log begins at {}", state.first)));
        }
        let (mut entries, mut bytes) = (Vec::new(), 0u64);
        let mut next = from;
        self.index.scan(LOG, &key.bytes(), &key.with(from), |k, row: LogRow| {
            bytes += size(&row);
            // An entry that is just being written is shown by the index before it is durable.
            if next >= state.next
                || k != key.with(next).as_slice()
                || (!entries.is_empty() && bytes > u64::from(max))
            {
                return false;
            }
            next += 1;
            entries.push(row.entry);
            true
        })?;
        let prev = match from.checked_sub(1) {
            Some(_) if from == state.first => self.existing(key).map(|s| locked(&s).row.before),
            Some(seq) => self.log_row(key, seq)?.map(|r| r.hash),
            None => None,
        };
        let prev = prev.unwrap_or_default();
        Ok(LogPage { seq: from, prev, entries, state })
    }

    /// Forgets entries before `before`; of the last of them the hash is kept.
    ///
    /// # Errors
    /// No checkpoint covers them, or the disk.
    pub fn log_truncate(&self, key: &SlotKey, before: u64) -> Result<LogState, StoreError> {
        let slot = self.slot(key);
        let mut slot = locked(&slot);
        let state = slot.row.log;
        if before <= state.first {
            return Ok(state);
        }
        if before > state.checkpoint {
            return Err(refuse(format!(
                "the latest checkpoint restates what is before {}",
                state.checkpoint
            )));
        }
        let last = before.checked_sub(1).map(|seq| self.log_row(key, seq)).transpose()?.flatten();
        let last = last.map(|r| r.hash).unwrap_or_default();
        let mut gone = 0u64;
        let end = key.with(before);
        self.index.scan(LOG, &key.bytes(), &key.bytes(), |k, row: LogRow| {
            let old = k < end.as_slice();
            gone += if old { size(&row) } else { 0 };
            old
        })?;
        let log = LogState { first: before, bytes: state.bytes.saturating_sub(gone), ..state };
        let row = SlotRow { log, before: last, ..slot.row.clone() };
        self.index.write(|tx| {
            tx.remove_range(LOG, &key.with(state.first), &end)?;
            tx.put(SLOTS, &key.bytes(), &row);
            Ok(())
        })?;
        self.give_back(gone);
        slot.row = row;
        Ok(log)
    }
}

/// What an entry counts for in the reserve.
fn size(row: &LogRow) -> u64 {
    as_len(encode(row).len())
}

fn room(slot: &Slot, log: u64, quota: &Quota) -> Result<(), StoreError> {
    let total = slot.standing.saturating_add(slot.unsigned).saturating_add(log);
    if total <= quota.reserve {
        return Ok(());
    }
    Err(Refusal::with(
        code::FULL,
        format!("{total} bytes exceed the {} reserved by the lease", quota.reserve),
        "write a checkpoint and truncate the log, or open a larger lease",
    ))
}
