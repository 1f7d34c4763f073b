//! Who may ask what.

use cairn_crypto::keys::PublicKey;
use cairn_sector::LeaseEntry;
use cairn_storage_codec::wire::{Body, Grant, MAX_LIFE, Signed, WireError, code};
use cairn_storage_rules::types::{Order, Signer};
use cairn_types::{DeviceId, decode_bounded};
use std::sync::PoisonError;

use super::StorageNode;
use crate::disk::Reads;
use crate::store::{Quota, SlotKey};

/// What an authorised request is about.
#[derive(Debug)]
pub(super) struct Access {
    pub lease: LeaseEntry,
    pub key: SlotKey,
    /// The agent that asks; `None` for the customer.
    pub agent: Option<DeviceId>,
    /// Key of who asks.
    pub signer: PublicKey,
    pub quota: Quota,
    pub read_only: bool,
}

fn signature(cause: &str) -> WireError {
    WireError::new(
        code::SIGNATURE,
        cause,
        "sign with the lease's key, or as a helper of the lease with its device key",
    )
}

impl StorageNode {
    /// Checks everything about a request that does not need the disk.
    pub(super) async fn authorise(&self, signed: &Signed) -> Result<(Access, Body), WireError> {
        let inner = &self.0;
        let head = &signed.head;
        if head.network != inner.chain.network() || head.device != inner.identity.device {
            let cause = "the request is for another network or device";
            return Err(WireError::new(code::NOT_YOUR_SLOT, cause, "look the lease up and ask its device"));
        }
        let now = inner.chain.epoch();
        if head.expires < now || head.expires > now.plus(MAX_LIFE) {
            let cause = format!("it expires in epoch {}, now is {now}", head.expires);
            return Err(WireError::new(code::EXPIRED, cause, "sign it again with the current epoch"));
        }
        let known = inner.chain.lease(&head.lease).await;
        match self.admit(signed, known).await {
            Err(refused) if refused.code != code::MALFORMED => {
                self.admit(signed, inner.chain.lease_now(&head.lease).await).await.map_err(|_| refused)
            }
            decided => decided,
        }
    }

    /// Checks a request against one view of its lease.
    async fn admit(&self, signed: &Signed, lease: Option<LeaseEntry>) -> Result<(Access, Body), WireError> {
        let head = &signed.head;
        let lease = lease.ok_or_else(|| {
            WireError::new(
                code::NOT_YOUR_SLOT,
                "the lease is not open",
                "open a lease, or wait until the device sees it",
            )
        })?;
        let (signer, agent, helper) = self.signer(&lease, head.signer, signed.grant.as_ref()).await?;
        signed.check(&signer).map_err(|e| signature(&e.to_string()))?;
        let body = signed.body().map_err(|e| {
            WireError::new(
                code::MALFORMED,
                e.to_string(),
                "send what docs/reference/storage-formats.md describes",
            )
        })?;
        let key = SlotKey { lease: lease.id, slot: head.slot, generation: head.generation };
        let access = Access {
            quota: self.quota(&lease, head.slot),
            read_only: self.reads_only(&lease),
            lease,
            key,
            agent,
            signer,
        };
        self.permit(&access, &body, helper, head.fence)?;
        Ok((access, body))
    }

    /// Key of who signs, the agent if it is one, and whether it is a helper of this very lease.
    async fn signer(
        &self,
        lease: &LeaseEntry,
        signer: Signer,
        grant: Option<&Grant>,
    ) -> Result<(PublicKey, Option<DeviceId>, bool), WireError> {
        let Signer::Agent(agent) = signer else { return Ok((lease.key, None, false)) };
        let helper = lease.helpers.contains(&agent);
        let granted = grant.is_some_and(|g| {
            (g.network, g.lease, g.device) == (self.0.chain.network(), lease.id, agent)
                && g.check(&lease.key).is_ok()
        });
        // Replicas of a log fill themselves from each other.
        let replica = lease.slots.iter().any(|s| s.device == agent);
        if !helper && !granted && !replica {
            return Err(signature(
                "the agent is no helper of this lease, holds no slot of it and has no grant",
            ));
        }
        let entry =
            self.0.chain.device(&agent).await.ok_or_else(|| signature("the agent is not registered"))?;
        Ok((entry.key, Some(agent), helper))
    }

    fn permit(&self, a: &Access, body: &Body, helper: bool, fence: u64) -> Result<(), WireError> {
        let me = self.0.identity.device;
        if let Body::Confirm(_) = body {
            let both = helper && a.lease.helpers.contains(&me) && a.agent != Some(me);
            return if both {
                Ok(())
            } else {
                Err(signature("confirmations are between the lease's helpers"))
            };
        }
        let slot = a.lease.slots.get(usize::from(a.key.slot));
        let Some(slot) = slot.filter(|s| s.device == me && s.generation == a.key.generation) else {
            let cause =
                format!("this device does not hold slot {} in generation {}", a.key.slot, a.key.generation);
            return Err(WireError::new(
                code::NOT_YOUR_SLOT,
                cause,
                "look the lease up again and ask the present holder",
            ));
        };
        if body.grows() && a.read_only {
            let cause = "the lease ended or its escrow is used up: it is served for reading only";
            return Err(WireError::new(
                code::READ_ONLY,
                cause,
                "fund the lease, or fetch the data before it ends",
            ));
        }
        let overtaken = body.writes() && a.agent.is_none() && fence < a.lease.fence;
        if overtaken {
            let cause = format!("fence {fence} is below the lease's {}", a.lease.fence);
            return Err(WireError::new(code::FENCE, cause, "recover from the index log before writing"));
        }
        if a.agent.is_none() {
            return Ok(());
        }
        let allowed = match body {
            Body::LogHead | Body::LogRead { .. } => true,
            Body::Get { .. } | Body::List { .. } | Body::NoteGet | Body::Status => helper,
            Body::Put { .. } | Body::Revise { .. } => helper && slot.lost_by.is_some(),
            _ => false,
        };
        if allowed { Ok(()) } else { Err(signature("an agent may not ask this here")) }
    }

    fn reads_only(&self, lease: &LeaseEntry) -> bool {
        let told = self.0.read_only.lock().unwrap_or_else(PoisonError::into_inner).contains(&lease.id);
        told || lease.closing.is_some_and(|last| self.0.chain.epoch() > last)
    }

    fn quota(&self, lease: &LeaseEntry, slot: u16) -> Quota {
        // An order that does not decode cannot be in the registry; nothing fits then.
        let order = decode_bounded::<Order>(&lease.order, 1 << 10).ok();
        let chunks = order.as_ref().map_or(0, |o| o.chunks_per_slot);
        let exposure = self.0.params.exposure_kib.saturating_mul(1024);
        // The code is systematic: the slots from k on are read only where others fail.
        let parity = order.is_some_and(|o| slot >= o.k.into());
        let reads = if parity { Reads::Seldom } else { Reads::Soon };
        Quota { reserve: chunks.saturating_mul(1024), exposure, reads }
    }
}
