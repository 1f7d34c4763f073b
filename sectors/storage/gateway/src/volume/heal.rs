//! Rebuilding fragments that are not where they belong.

use super::{Volume, read};
use crate::error::{GatewayError, ShardError};
use crate::operators::Packet;
use crate::ports::Seat;
use crate::record::{Mutation, SlotRoot};
use bytes::Bytes;
use cairn_storage_codec::segment::{Held, check_fragment, repair};
use cairn_storage_codec::{CodecError, SegmentId, SegmentMeta};
use cairn_storage_rules::types::Fragment;
use cairn_types::Hash;
use std::sync::Arc;

/// Fragments that one round of healing looks at.
const ROUND: usize = 64;

impl Volume {
    /// One round: looks at doubtful fragments and at those the index has as missing, rebuilds what is lost, and
    /// answers with what the index has to learn. Fragments whose slot does not answer stay for the next round.
    ///
    /// # Errors
    /// A newer gateway took over.
    pub async fn heal(&self) -> Result<Vec<Mutation>, GatewayError> {
        let mut out = Vec::new();
        let doubtful = self.take_doubtful();
        let missing: Vec<(SegmentId, u16)> = read(&self.index).incomplete().take(ROUND).collect();
        let moved = self.moved();
        for (segment, slot) in doubtful.iter().copied().chain(missing).chain(moved) {
            let Some(state) = read(&self.index).segment(&segment).cloned() else { continue };
            // What lay on a lease that ended is gone for good.
            let Ok(lease) = self.lease(state.meta.lease()) else { continue };
            let seats = lease.seats();
            let Some(seat) = seats.get(usize::from(slot)) else { continue };
            let known = state.roots.get(usize::from(slot)).copied().flatten();
            let agreed = known.is_some_and(|r| r.generation == seat.generation);
            match self.heal_one(&state.meta, &seats, seat, agreed).await {
                Ok(root) => {
                    let root = Some(SlotRoot { generation: seat.generation, root });
                    if state.roots.get(usize::from(slot)) != Some(&root) {
                        out.push(Mutation::SetRoot { segment, slot, root });
                    }
                }
                Err(ShardError::Fenced) => return Err(GatewayError::Fenced),
                Err(e) => {
                    tracing::debug!(slot, error = %e, "a fragment could not be healed yet");
                    if doubtful.contains(&(segment, slot)) && known.is_some() {
                        out.push(Mutation::SetRoot { segment, slot, root: None });
                    }
                }
            }
        }
        Ok(out)
    }

    /// Fragments of slots that changed hands since their root was written down.
    fn moved(&self) -> Vec<(SegmentId, u16)> {
        let mut out = Vec::new();
        for lease in self.leases() {
            for seat in lease.seats().iter().filter(|s| s.generation > 0) {
                let index = read(&self.index);
                let old = index.segments_of(&seat.pen.lease).filter(|s| {
                    let root = s.roots.get(usize::from(seat.slot)).copied().flatten();
                    root.is_some_and(|r| r.generation != seat.generation)
                });
                out.extend(old.take(ROUND).map(|s| (*s.meta.id(), seat.slot)));
            }
        }
        out
    }

    /// The root of the slot's fragment, which is there and right afterwards. What stands under a revision cannot be
    /// replaced: if it is `agreed` and bad, that is an error, and it has to leave the slot's list first.
    async fn heal_one(
        &self,
        meta: &Arc<SegmentMeta>,
        seats: &[Seat],
        seat: &Seat,
        agreed: bool,
    ) -> Result<Hash, ShardError> {
        let key = self.keys.repair.lease(meta.lease());
        match self.fetch(seat, *meta.id(), 0, meta.fragment_len()).await {
            Ok(bytes) => {
                let held = Held { slot: seat.slot, device: seat.device, padded: &bytes };
                if check_fragment(meta, &key, &held).map_err(codec)?.is_some() {
                    return Ok(Hash(*blake3::hash(&bytes).as_bytes()));
                }
            }
            Err(ShardError::NotFound) => {}
            Err(e) => return Err(e),
        }
        if agreed {
            return Err(ShardError::NotFound);
        }
        let rebuilt = self.rebuild(meta, seats, seat).await?;
        let fragment = Fragment { root: rebuilt.padded_root, len: meta.fragment_len() };
        // A wrong fragment that is staged there is withdrawn first.
        self.operators.delete(seat, vec![*meta.id()]).await?;
        let packet = Packet::alone(*meta.id(), fragment, rebuilt.padded.into());
        self.put_fragment(seat, &packet).await?;
        tracing::info!(slot = seat.slot, segment = ?meta.id(), "a fragment was rebuilt");
        Ok(fragment.root)
    }

    async fn rebuild(
        &self,
        meta: &Arc<SegmentMeta>,
        seats: &[Seat],
        seat: &Seat,
    ) -> Result<cairn_storage_codec::segment::Repaired, ShardError> {
        let key = self.keys.repair.lease(meta.lease());
        let mut held: Vec<(&Seat, Bytes)> = Vec::new();
        for other in seats.iter().filter(|s| s.slot != seat.slot) {
            if let Ok(bytes) = self.fetch(other, *meta.id(), 0, meta.fragment_len()).await {
                held.push((other, bytes));
            }
            if held.len() < usize::from(meta.profile().k()) {
                continue;
            }
            let view: Vec<Held<'_>> = held
                .iter()
                .map(|(s, bytes)| Held { slot: s.slot, device: s.device, padded: bytes })
                .collect();
            match repair(&view, &key, meta, seat.slot, &seat.device) {
                Err(CodecError::TooFewFragments { .. }) => {}
                other => return other.map_err(codec),
            }
        }
        Err(ShardError::Refused("too few right fragments to rebuild from".into()))
    }
}

fn codec(e: CodecError) -> ShardError {
    ShardError::Refused(e.to_string())
}
