//! Buffers of fragments and messages, used again: fresh memory costs the system more than what is written into it.

use crate::volume::lock;
use bytes::Bytes;
use std::sync::{Arc, Mutex};

/// Smaller buffers are not worth keeping.
const WORTHWHILE: usize = 64 << 10;
/// Most bytes of buffers that nobody uses: 32 MiB.
const IDLE: usize = 32 << 20;

#[derive(Default)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// Buffers that wait for use. Share it by cloning.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Idle>>);

impl Pool {
    /// An empty buffer with at least this capacity.
    pub fn take(&self, capacity: usize) -> Buffer {
        let mut bytes = Vec::new();
        if capacity >= WORTHWHILE {
            let mut idle = lock(&self.0);
            if let Some(at) = idle.buffers.iter().rposition(|b| b.capacity() >= capacity) {
                bytes = idle.buffers.swap_remove(at);
                idle.bytes = idle.bytes.saturating_sub(bytes.capacity());
            }
        }
        bytes.reserve(capacity);
        Buffer { bytes, pool: self.clone() }
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        let mut idle = lock(&self.0);
        let sum = idle.bytes.saturating_add(bytes.capacity());
        if bytes.capacity() >= WORTHWHILE && sum <= IDLE {
            bytes.clear();
            idle.bytes = sum;
            idle.buffers.push(bytes);
        }
    }
}

/// A buffer that goes back to its pool.
pub(crate) struct Buffer {
    pub bytes: Vec<u8>,
    pool: Pool,
}

impl Buffer {
    /// The bytes, to be shared; the buffer goes back when the last share is gone.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_nobody_reads_it() {
        let pool = Pool::default();
        let mut first = pool.take(WORTHWHILE);
        first.bytes.extend_from_slice(b"abc");
        let at = first.bytes.as_ptr();
        let (all, part) = {
            let all = first.freeze();
            (all.clone(), all.slice(1..))
        };
        drop(all);
        assert_ne!(pool.take(WORTHWHILE).bytes.as_ptr(), at);
        assert_eq!(part, &b"bc"[..]);
        drop(part);
        let again = pool.take(WORTHWHILE);
        assert!(again.bytes.is_empty() && again.bytes.capacity() >= WORTHWHILE);
    }

    #[test]
    fn idle_buffers_are_bounded() {
        let pool = Pool::default();
        drop((0..40).map(|_| pool.take(4 << 20)).collect::<Vec<_>>());
        let idle = lock(&pool.0);
        assert!(idle.bytes <= IDLE && idle.bytes == idle.buffers.iter().map(Vec::capacity).sum::<usize>());
    }
}
