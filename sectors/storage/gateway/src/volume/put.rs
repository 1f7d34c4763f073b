//! Sealing and storing a segment.

use super::budget::Share;
use super::{Lease, Volume, lock};
use crate::error::{GatewayError, ShardError};
use crate::log::salt;
use crate::operators::Packet;
use crate::pool::Cargo;
use crate::ports::Seat;
use crate::record::{SlotRoot, Stored};
use cairn_storage_codec::segment::{Cells, MAX_PLAIN, Sealer};
use cairn_storage_codec::stream::RECORD_PLAIN;
use cairn_storage_codec::{Profile, SegmentId, SegmentMeta, erasure, stream};
use cairn_storage_rules::types::Fragment;
use cairn_types::{Hash, LeaseId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Plaintext of a streamed segment: at most 132 records (8.25 MiB less 2 KiB: a round 8 MiB fits into one, and a few
/// of them fit into memory), and fragments of at most 4 MiB.
pub fn segment_plain(profile: Profile) -> u64 {
    let records = u64::from(profile.k()).saturating_mul(64).min(132);
    records.saturating_mul(u64::try_from(RECORD_PLAIN).unwrap_or(u64::MAX)).min(MAX_PLAIN)
}

/// Slots that must have a segment on disk before it counts as stored.
pub fn need(profile: Profile) -> u16 {
    profile.k() + (profile.n() - profile.k()).div_ceil(2)
}

/// A segment being sealed. Memory: its n fragments, which become the messages that carry them, within the volume's
/// budget.
pub struct Writer {
    sealer: Sealer,
    fragments: Vec<Cargo>,
    seats: Arc<Vec<Seat>>,
    permit: Share,
    id: SegmentId,
    len: u64,
    room: u64,
    claim: Claim,
}

/// A sealed segment, to be uploaded.
pub struct Ready {
    meta: SegmentMeta,
    roots: Vec<Hash>,
    fragments: Vec<Cargo>,
    seats: Arc<Vec<Seat>>,
    permit: Share,
    claim: Claim,
}

impl Writer {
    /// Bytes taken.
    pub const fn len(&self) -> u64 {
        self.len
    }
    /// True before the first byte.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The segment.
    pub const fn id(&self) -> SegmentId {
        self.id
    }
    /// Bytes that still fit.
    pub const fn room(&self) -> u64 {
        self.room.saturating_sub(self.len)
    }
    /// Takes plaintext, at most [`Self::room`].
    ///
    /// # Errors
    /// The codec refuses.
    pub fn push(&mut self, plain: &[u8]) -> Result<(), GatewayError> {
        self.sealer.push_into(plain, &mut Fragments(&mut self.fragments))?;
        self.len = self.len.saturating_add(u64::try_from(plain.len()).unwrap_or(u64::MAX));
        Ok(())
    }
    /// Seals the end.
    ///
    /// # Errors
    /// The codec refuses.
    pub fn finish(mut self) -> Result<Ready, GatewayError> {
        let sealed = self.sealer.finish_into(&mut Fragments(&mut self.fragments))?;
        Ok(Ready {
            meta: sealed.meta,
            roots: sealed.padded_roots,
            fragments: self.fragments,
            seats: self.seats,
            permit: self.permit,
            claim: self.claim,
        })
    }
}

/// Cells go where their fragments will be sent from.
struct Fragments<'a>(&'a mut [Cargo]);

impl Cells for Fragments<'_> {
    fn place(&mut self, slot: u16, cell: &[u8]) -> &mut [u8] {
        self.0[usize::from(slot)].push(cell)
    }
    fn placed(&mut self, _: u16, _: u64) {}
}

/// Room on each slot of a lease for a segment that is being filled; from its upload on the segment itself counts.
pub(super) struct Claim {
    claims: Arc<Mutex<BTreeMap<LeaseId, u64>>>,
    lease: LeaseId,
    chunks: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = lock(&self.claims);
        if let Some(claimed) = claims.get_mut(&self.lease) {
            *claimed = claimed.saturating_sub(self.chunks);
        }
    }
}

/// An upload under way; given up when dropped, unless kept.
struct Pending {
    volume: Arc<Volume>,
    id: SegmentId,
    keep: bool,
}

impl Pending {
    fn new(volume: Arc<Volume>, stored: Stored) -> Self {
        let id = *stored.meta.id();
        lock(&volume.pending).insert(id, stored);
        Self { volume, id, keep: false }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.keep {
            self.volume.abandon(&self.id);
        }
    }
}

impl Volume {
    /// Starts a segment of at most `expected` bytes (at most [`segment_plain`] are taken). Waits for memory.
    ///
    /// # Errors
    /// No lease has room, or those that have are not paid.
    pub async fn writer(&self, expected: u64) -> Result<Writer, GatewayError> {
        let (lease, claim) = self.lease_with_room()?;
        let (profile, seats) = (lease.profile(), lease.seats());
        let room = expected.min(segment_plain(profile));
        let fragment = erasure::fragment_len(profile, stream::cipher_len(room).unwrap_or(room));
        let permit = self.budgets.fragments.take(fragment.saturating_mul(profile.n().into())).await?;
        let id = SegmentId(salt()?);
        let sealer = Sealer::new(&self.keys, profile, id, lease.id(), &Lease::devices(&seats))?;
        let capacity = usize::try_from(fragment).unwrap_or(0);
        let fragments = (0..profile.n()).map(|_| self.operators.cargo(capacity)).collect();
        Ok(Writer { sealer, fragments, seats, permit, id, len: 0, room, claim })
    }

    /// A lease with room for another segment, beside those that are being filled, and the claim to that room.
    fn lease_with_room(&self) -> Result<(Arc<Lease>, Claim), GatewayError> {
        if !self.log_is_paid() {
            return Err(GatewayError::Unpaid);
        }
        let mut claims = lock(&self.claims);
        let leases = self.leases();
        let unpaid = leases.iter().any(|l| !l.is_paid());
        for lease in leases.into_iter().rev().filter(|l| l.is_paid() && !l.is_retired()) {
            let chunks = segment_plain(lease.profile()).div_ceil(u64::from(lease.profile().k()) << 10);
            let claimed = claims.get(&lease.id()).copied().unwrap_or(0);
            let used = self.used_chunks(&lease.id()).saturating_add(claimed);
            if used.saturating_add(chunks) <= lease.chunks_per_slot() {
                claims.insert(lease.id(), claimed.saturating_add(chunks));
                lease.set_used();
                let claim = Claim { claims: Arc::clone(&self.claims), lease: lease.id(), chunks };
                return Ok((lease, claim));
            }
        }
        Err(if unpaid { GatewayError::Unpaid } else { GatewayError::Full })
    }

    /// Takes no more data for a lease, if it holds nothing and nothing is on its way to it.
    pub fn retire(&self, lease: &Lease) -> bool {
        // Whoever writes holds a claim, then a pending segment, then one in the index; the claims are given under this lock.
        let claims = lock(&self.claims);
        let free = claims.get(&lease.id()).copied().unwrap_or(0) == 0 && self.used_chunks(&lease.id()) == 0;
        if free {
            lease.set_retired(true);
        }
        free
    }

    /// Takes no more notice of a lease that was closed.
    pub fn forget(&self, id: &LeaseId) {
        super::write(&self.leases).remove(id);
    }

    /// Stores a sealed segment at all its slots; pending until committed or abandoned.
    ///
    /// # Errors
    /// Too few slots stored it, or a newer gateway took over.
    pub async fn upload(self: &Arc<Self>, ready: Ready) -> Result<Stored, GatewayError> {
        let Ready { meta, roots, fragments, seats, permit, claim } = ready;
        let profile = meta.profile();
        let need = need(profile);
        let none = vec![None; usize::from(profile.n())];
        let mut guard = Pending::new(Arc::clone(self), Stored { meta: meta.clone(), roots: none });
        drop(claim);
        let mut tasks = JoinSet::new();
        for ((seat, root), cargo) in seats.iter().zip(&roots).zip(fragments) {
            let (volume, seat, id) = (Arc::clone(self), seat.clone(), *meta.id());
            let fragment = Fragment { root: *root, len: meta.fragment_len() };
            let packet = self.operators.packet(&seat, id, fragment, cargo);
            tasks.spawn(async move {
                let done = volume.put_fragment(&seat, &packet).await;
                if done.is_ok() {
                    volume.staged(&seat, id, packet.fragment.root);
                }
                (seat, done)
            });
        }
        let (stored, fenced) = self.collect(&mut tasks, &seats, need).await;
        drop(permit);
        if fenced {
            return Err(GatewayError::Fenced);
        }
        let have = u16::try_from(stored.iter().filter(|s| **s).count()).unwrap_or(u16::MAX);
        if have < need {
            return Err(GatewayError::Quorum { what: "segment", have, need });
        }
        drop(tasks);
        guard.keep = true;
        let stored = lock(&self.pending).get(meta.id()).cloned();
        stored.ok_or_else(|| GatewayError::Log("an upload was given up while it was under way".into()))
    }

    /// The slot has its fragment: from now on a revision of the slot covers it.
    fn staged(&self, seat: &Seat, segment: SegmentId, root: Hash) {
        let mut pending = lock(&self.pending);
        let stored = pending.get_mut(&segment);
        if let Some(place) = stored.and_then(|s| s.roots.get_mut(usize::from(seat.slot))) {
            *place = Some(SlotRoot { generation: seat.generation, root });
        }
    }

    async fn collect(
        &self,
        tasks: &mut JoinSet<(Seat, Result<(), ShardError>)>,
        seats: &[Seat],
        need: u16,
    ) -> (Vec<bool>, bool) {
        let (mut done, mut fenced) = (vec![None; seats.len()], false);
        let mut enough: Option<Instant> = None;
        loop {
            let next = match enough {
                None => tasks.join_next().await,
                Some(since) => {
                    let only_slow = done.iter().zip(seats).all(|(d, s)| d.is_some() || self.is_slow(s));
                    let wait = if only_slow { self.limits.grace } else { self.limits.tail };
                    tokio::time::timeout_at(since + wait, tasks.join_next()).await.unwrap_or(None)
                }
            };
            let Some(Ok((seat, result))) = next else { break };
            self.mark(&seat, result.is_ok());
            fenced |= result == Err(ShardError::Fenced);
            if let Err(e) = &result {
                tracing::debug!(slot = seat.slot, error = %e, "a slot did not store a fragment");
            }
            done[usize::from(seat.slot)] = Some(result.is_ok());
            let stored = done.iter().filter(|d| **d == Some(true)).count();
            if enough.is_none() && stored >= usize::from(need) {
                enough = Some(Instant::now());
            }
        }
        let late = done.iter().zip(seats).filter(|(done, _)| done.is_none());
        late.for_each(|(_, seat)| self.mark(seat, false));
        (done.into_iter().map(|d| d == Some(true)).collect(), fenced)
    }

    /// Stores a fragment; where the operator wants a revision first, brings it and tries again.
    pub(super) async fn put_fragment(&self, seat: &Seat, packet: &Packet) -> Result<(), ShardError> {
        let attempt = async {
            let mut pause = Duration::from_millis(2);
            loop {
                match self.operators.bring(seat, packet).await {
                    Err(ShardError::Exposure) => {
                        self.revise_seat(seat).await?;
                        // Others fill the room that the revision made; everybody's turn comes.
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(Duration::from_millis(100));
                    }
                    other => return other,
                }
            }
        };
        tokio::time::timeout(self.limits.put, attempt).await.unwrap_or(Err(ShardError::Unreachable))
    }
}
