//! How much may lie in the places of a key.

use super::{Caller, Gate, other};
use crate::access::key::Scope;
use crate::index::Index;
use hyper::StatusCode;
use s3s::{S3Result, s3_error};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// For how long a sum is believed, with what came since. Counting anew is what notices deletions.
const FRESH: Duration = Duration::from_secs(5);

/// Sums by key id.
#[derive(Default)]
pub struct Usage(Mutex<BTreeMap<String, (Instant, u64)>>);

/// Bytes of objects and of parts of unfinished uploads in the places of a scope.
fn stored(index: &Index, scope: &Scope) -> u64 {
    let mut sum = 0u64;
    for (name, _) in index.buckets().filter(|(name, _)| scope.sees(name)) {
        sum = sum.saturating_add(index.bytes_where(name, |key| scope.covers(name, key)));
    }
    sum
}

impl Gate {
    /// Counts `bytes` more for the key of a caller.
    ///
    /// # Errors
    /// Its quota does not allow them, or nobody says how many they are.
    pub fn charge(&self, caller: &Caller, bytes: Option<u64>) -> S3Result<()> {
        let Some((id, key)) = &caller.key else { return Ok(()) };
        let Some((scope, quota)) = key.scope.as_ref().and_then(|s| Some((s, s.quota?))) else {
            return Ok(());
        };
        let length = || s3_error!(MissingContentLength, "this key has a quota: say how long the body is");
        let bytes = bytes.ok_or_else(length)?;
        let mut usage = crate::volume::lock(&self.usage.0);
        let known = usage.get(id).filter(|(at, _)| at.elapsed() < FRESH).map(|(at, sum)| (*at, *sum));
        let fits = |sum: u64| sum.saturating_add(bytes) <= quota;
        let (at, sum) = match known {
            Some((at, sum)) if fits(sum) => (at, sum),
            _ => (Instant::now(), stored(&self.gateway.index(), scope)),
        };
        if !fits(sum) {
            let cause = format!(
                "storage.quota: {sum} bytes lie in the places of this key, which may take {quota}; delete something or \
                 ask for a larger quota"
            );
            return Err(other("QuotaExceeded", StatusCode::FORBIDDEN, cause));
        }
        usage.insert(id.clone(), (at, sum.saturating_add(bytes)));
        Ok(())
    }
}
