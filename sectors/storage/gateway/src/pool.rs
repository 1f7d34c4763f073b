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

/// Disks take what begins at a multiple of this as it lies.
const BLOCK: usize = 4096;

/// A fragment that grows behind room for what its message says in front of it, so that it is never copied on its way.
pub(crate) struct Cargo {
    buffer: Buffer,
    /// Where the message begins.
    start: usize,
    front: usize,
}

impl Cargo {
    /// Room for `front` bytes, a fragment of at most `len` and `back` bytes.
    pub fn new(pool: &Pool, front: usize, len: usize, back: usize) -> Self {
        let room = front.saturating_add(len).saturating_add(back).saturating_add(BLOCK);
        let mut buffer = pool.take(room);
        let lies = buffer.bytes.as_ptr().wrapping_add(front).align_offset(BLOCK);
        let start = if lies < BLOCK { lies } else { 0 };
        buffer.bytes.resize(start.saturating_add(front), 0);
        Self { buffer, start, front }
    }

    /// Appends to the fragment; what was appended.
    pub fn push(&mut self, bytes: &[u8]) -> &mut [u8] {
        let from = self.buffer.bytes.len();
        self.buffer.bytes.extend_from_slice(bytes);
        self.buffer.bytes.split_at_mut(from).1
    }

    /// The message, and the fragment within it. `front` must be as long as was announced.
    pub fn send(mut self, front: &[u8], back: &[u8]) -> (Bytes, Bytes) {
        let from = self.start.saturating_add(self.front);
        if let Some(place) = self.buffer.bytes.get_mut(self.start..from) {
            let len = place.len().min(front.len());
            place[..len].copy_from_slice(&front[..len]);
        }
        let end = self.buffer.bytes.len();
        self.buffer.bytes.extend_from_slice(back);
        let all = self.buffer.freeze();
        (all.slice(self.start..), all.slice(from..end))
    }
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
    fn a_fragment_travels_where_it_lies() {
        let pool = Pool::default();
        for _ in 0..2 {
            let mut cargo = Cargo::new(&pool, 5, 100_000, 3);
            (0..100).for_each(|_| {
                cargo.push(&[7; 1000]);
            });
            let (message, fragment) = cargo.send(b"front", b"end");
            assert_eq!(message, [b"front".as_slice(), &[7; 100_000], b"end"].concat());
            assert_eq!(fragment, vec![7; 100_000]);
            assert_eq!(fragment.as_ptr().align_offset(BLOCK), 0);
        }
    }

    #[test]
    fn idle_buffers_are_bounded() {
        let pool = Pool::default();
        drop((0..40).map(|_| pool.take(4 << 20)).collect::<Vec<_>>());
        let idle = lock(&pool.0);
        assert!(idle.bytes <= IDLE && idle.bytes == idle.buffers.iter().map(Vec::capacity).sum::<usize>());
    }
}
