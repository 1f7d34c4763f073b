//! What the repair agents of a lease need: the lease's repair key and leave to read the index log, sealed to each.

use crate::error::ShardError;
use crate::gateway::Gateway;
use crate::log::salt;
use crate::ports::{Pen, Seat};
use crate::volume::Lease;
use cairn_storage_codec::wire::{Grant, Note, NoteSecret};
use cairn_types::DeviceId;

impl Gateway {
    /// Puts a note for the lease's helpers onto each of its slots; the number of slots that took it. Call it when a
    /// lease was opened or taken over, and when its helpers changed.
    ///
    /// # Errors
    /// The chain does not answer. A helper that does not answer gets its note next time.
    pub async fn publish_notes(&self) -> Result<usize, crate::error::GatewayError> {
        let mut taken = 0;
        for lease in self.volume().leases() {
            let Some(entry) = self.chain().lease(&lease.id()).await? else { continue };
            if entry.helpers.is_empty() {
                continue;
            }
            let mut note = Note::default();
            for helper in &entry.helpers {
                let Ok(endpoint) = self.chain().endpoint(helper).await else { continue };
                let seat =
                    Seat { pen: lease.pen().clone(), slot: 0, generation: 0, device: *helper, endpoint };
                if let Err(e) = self.add_box(&mut note, &lease, &seat).await {
                    tracing::warn!(helper = ?helper, error = %e, "a helper got no note");
                }
            }
            for seat in lease.seats().iter() {
                let put = self.operators().note(seat, note.clone());
                let done = tokio::time::timeout(self.limits().put, put).await;
                taken += usize::from(matches!(done, Ok(Ok(()))));
            }
        }
        Ok(taken)
    }

    async fn add_box(&self, note: &mut Note, lease: &Lease, helper: &Seat) -> Result<(), ShardError> {
        let hello = tokio::time::timeout(self.limits().get, self.operators().hello(helper)).await;
        let hello = hello.unwrap_or(Err(ShardError::Unreachable))?;
        let secret = self.note_secret(lease, helper.device, self.index_pen());
        let random = salt().map_err(|e| ShardError::Refused(e.to_string()))?;
        note.add(helper.device, &hello.box_key, &secret, &random)
            .map_err(|e| ShardError::Refused(e.to_string()))
    }

    fn note_secret(&self, lease: &Lease, helper: DeviceId, index: &Pen) -> NoteSecret {
        NoteSecret {
            lease: lease.id(),
            repair_key: *self.keys().repair.lease(&lease.id()).expose(),
            index: index.lease,
            grant: Grant::new(self.chain().network(), index.lease, helper, &index.key),
        }
    }
}
