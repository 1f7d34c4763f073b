//! The worker that does what lifecycle rules ask for, a bounded piece at a time.

use super::Gateway;
use crate::error::GatewayError;
use crate::index::lifecycle::{Due, due, upload_is_due};
use crate::index::{Condition, Index};
use crate::record::{Mutation, VersionId};
use futures::StreamExt;
use std::ops::Bound;

/// Keys looked at in one go, while the index is locked for writers.
const SCAN: usize = 2_000;
/// Keys looked at in one run.
const SCAN_RUN: usize = 200_000;
/// Changes made in one run.
const CHANGES: usize = 1_000;
/// Changes that wait for the writer at once.
const AT_ONCE: usize = 64;

/// Where the next run goes on: a bucket and the last key looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor(Option<(String, Vec<u8>)>);

/// What a piece of a scan found.
#[derive(Default)]
struct Piece {
    changes: Vec<(Mutation, Condition)>,
    looked: usize,
    next: Cursor,
}

impl Gateway {
    /// Seconds of a day, for lifecycle rules.
    pub const fn day(&self) -> u64 {
        self.config.day
    }

    /// Deletes what lifecycle rules say is due at `now` (Unix seconds), at most a bounded number of changes; returns
    /// how many it made. The next call goes on behind it. What is locked, or changed meanwhile, stays.
    ///
    /// # Errors
    /// A newer gateway took over, or the log cannot be written.
    pub async fn expire(&self, now: u64) -> Result<usize, GatewayError> {
        let dropped = uploads(&self.index(), now, self.day());
        let mut made = self.apply_due(dropped).await?;
        let mut looked = 0;
        while made < CHANGES && looked < SCAN_RUN {
            let from = crate::volume::lock(&self.lifecycle).clone();
            let piece = scan(&self.index(), &from, now, self.day());
            looked += piece.looked;
            made += self.apply_due(piece.changes).await?;
            let end = piece.next == Cursor::default();
            *crate::volume::lock(&self.lifecycle) = piece.next;
            if end {
                break;
            }
        }
        Ok(made)
    }

    async fn apply_due(&self, changes: Vec<(Mutation, Condition)>) -> Result<usize, GatewayError> {
        let changes = futures::stream::iter(changes);
        let mut done = changes.map(|(m, c)| self.commit(m, Vec::new(), c)).buffer_unordered(AT_ONCE);
        let mut made = 0;
        while let Some(result) = done.next().await {
            match result {
                Ok(_) => made += 1,
                Err(
                    e @ (GatewayError::Fenced
                    | GatewayError::Unpaid
                    | GatewayError::Unconfirmed
                    | GatewayError::Log(_)),
                ) => return Err(e),
                Err(e) => tracing::debug!(error = %e, "something due stays"),
            }
        }
        Ok(made)
    }
}

fn uploads(index: &Index, now: u64, day: u64) -> Vec<(Mutation, Condition)> {
    let mut out = Vec::new();
    for (name, bucket) in index.buckets().filter(|(_, b)| !b.settings.lifecycle.is_empty()) {
        let due =
            index.uploads(name).into_iter().filter(|(_, u)| upload_is_due(&bucket.settings, u, now, day));
        out.extend(due.map(|(id, _)| (Mutation::AbortUpload { id }, Condition::at(now))));
        if out.len() >= CHANGES {
            out.truncate(CHANGES);
            break;
        }
    }
    out
}

/// Looks at some keys behind a cursor; the next cursor is empty at the end of the last bucket.
fn scan(index: &Index, from: &Cursor, now: u64, day: u64) -> Piece {
    let mut piece = Piece::default();
    for (name, bucket) in index.buckets().filter(|(_, b)| !b.settings.lifecycle.is_empty()) {
        let after = match &from.0 {
            Some((at, _)) if name < at => continue,
            Some((at, key)) if name == at => Bound::Excluded(key.as_slice()),
            _ => Bound::Unbounded,
        };
        for (key, versions) in bucket.scan(after) {
            if piece.looked == SCAN || piece.changes.len() >= SCAN {
                return piece;
            }
            piece.looked += 1;
            piece.next = Cursor(Some((name.clone(), key.to_vec())));
            let key = String::from_utf8_lossy(key);
            let found = due(&bucket.settings, &key, &versions, now, day);
            piece.changes.extend(found.into_iter().map(|d| change(name, &key, d, now)));
        }
    }
    piece.next = Cursor::default();
    piece
}

fn change(bucket: &str, key: &str, due: Due, now: u64) -> (Mutation, Condition) {
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    match due {
        Due::Delete(id) => {
            let condition = Condition { current: Some(id), ..Condition::at(now) };
            (Mutation::DeleteObject { bucket, key, version: VersionId::at(now) }, condition)
        }
        Due::Remove(version) => (Mutation::DeleteVersion { bucket, key, version }, Condition::at(now)),
    }
}
