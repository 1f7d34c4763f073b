//! Rebuilding slots that changed hands.
//!
//! The chain draws two agents for each lease. When a slot gets a new holder, an agent fetches its key from the note on
//! the lease's slots, reads the segment table from the index log, rebuilds the lost fragments from any k others, puts
//! them on the new holder and signs a revision in the customer's place. The other agent reads a sample back, compares it
//! with the table and confirms; only then is the repair paid. Plaintext is never seen.

mod ask;
mod replica;
mod table;

use async_trait::async_trait;
use cairn_crypto::keys::Signature;
use cairn_net::Transport;
use cairn_sector::LeaseEntry;
use cairn_storage_codec::segment::{Held as Padded, SegmentId, SegmentMeta, check_fragment, repair};
use cairn_storage_codec::wire::{Body, Held, MAX_PART, Reply, SlotList, code};
use cairn_storage_rules::sign;
use cairn_storage_rules::types::{CoSigned, Confirmer, Fragment, Kind, Order, Repaired, Revision};
use cairn_types::{DeviceId, LeaseId, Refusal, decode};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::ChainView;
use crate::client::{Caller, nonsense};
use crate::service::{Confirm, Identity};
use crate::store::Store;
use table::Secrets;

/// Fragments that a confirming agent reads back whole.
const SAMPLE: usize = 8;
/// Bytes put before the agent signs an intermediate revision; at most the exposure that nodes allow.
const STEP: u64 = 8 << 20;

fn refuse(cause: impl Into<String>) -> Refusal {
    Refusal::with(
        code::REPAIR,
        cause,
        "try again once more slots answer; the chain keeps the slot marked as lost",
    )
}

/// One lost slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// The lease.
    pub lease: LeaseId,
    /// The slot.
    pub slot: u16,
    /// The new holder's generation.
    pub generation: u32,
    /// This agent's place among the helpers: 0 acts at once, others wait in case it does not.
    pub rank: usize,
}

impl Job {
    /// How long this agent waits before it runs the job: nothing as the first, one `step` more for each place behind.
    /// [`RepairAgent::run`] then finds the work done, unless those before failed.
    pub fn delay(&self, step: Duration) -> Duration {
        step.saturating_mul(u32::try_from(self.rank).unwrap_or(u32::MAX))
    }
}

/// Rebuilds and confirms, as one of a lease's drawn helpers.
#[derive(Clone)]
pub struct RepairAgent {
    identity: Arc<Identity>,
    chain: Arc<dyn ChainView>,
    store: Arc<Store>,
    caller: Caller,
}

impl RepairAgent {
    /// An agent that calls through `transport` and keeps finished repairs in `store`, from where bundles take them.
    pub fn new(
        identity: Arc<Identity>,
        chain: Arc<dyn ChainView>,
        store: Arc<Store>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        Self { identity, chain, store, caller: Caller::new(transport) }
    }

    /// The device that this agent acts for.
    pub fn device(&self) -> DeviceId {
        self.identity.device
    }

    /// Slots of a lease that wait for this agent. Call it on every `SlotReassigned` of a lease with this device among
    /// its helpers, and for all such leases at start.
    pub async fn jobs(&self, lease: &LeaseId) -> Vec<Job> {
        let me = self.identity.device;
        let Some(lease) = self.chain.lease(lease).await else { return Vec::new() };
        let Some(rank) = lease.helpers.iter().position(|h| *h == me) else { return Vec::new() };
        // Replicas of a log fill themselves: see `refill`.
        let is_log = decode::<Order>(&lease.order).is_ok_and(|o| o.kind == Kind::Index);
        if is_log {
            return Vec::new();
        }
        // A holder's own word for itself counts nothing.
        let waits =
            |s: &cairn_sector::Slot| s.lost_by.is_some() && s.device != me && s.device != DeviceId::default();
        let slots = (0u16..).zip(&lease.slots).filter(|(_, s)| waits(s));
        slots.map(|(slot, s)| Job { lease: lease.id, slot, generation: s.generation, rank }).collect()
    }

    /// Does a job: rebuilds what is missing, gets it confirmed, keeps the evidence for the bundle. Safe to repeat; goes
    /// on where an earlier try stopped. `Ok(None)`: somebody else did it, or the slot changed hands again.
    ///
    /// # Errors
    /// Too few slots answer, the log cannot be read, or the other agent does not confirm.
    pub async fn run(&self, job: &Job) -> Result<Option<Repaired>, Refusal> {
        let lease = self.chain.lease(&job.lease).await.ok_or_else(|| refuse("the lease is gone"))?;
        let slot = lease.slots.get(usize::from(job.slot));
        let still = slot.is_some_and(|s| s.generation == job.generation && s.lost_by.is_some());
        if !still {
            return Ok(None);
        }
        let secrets = self.secrets(&lease).await?;
        let table = self.table(&secrets).await?;
        let (mut list, standing) = self.holding(&lease, job.slot).await?;
        let me = self.identity.device;
        let foreign =
            standing.as_ref().is_some_and(|s| s.signer != cairn_storage_rules::types::Signer::Agent(me));
        if foreign {
            return Ok(None);
        }
        let standing = self.rebuild(&lease, job.slot, &secrets, &table, &mut list, standing).await?;
        let signed =
            standing.ok_or_else(|| refuse("there is nothing to rebuild: the segment table is empty"))?;
        let repaired = self.confirmed(&lease, &signed).await?;
        self.store.put_repair(&repaired)?;
        Ok(Some(repaired))
    }

    /// Brings every fragment that is missing to the new holder.
    async fn rebuild(
        &self,
        lease: &LeaseEntry,
        slot: u16,
        secrets: &Secrets,
        table: &BTreeMap<SegmentId, SegmentMeta>,
        list: &mut SlotList,
        mut standing: Option<CoSigned>,
    ) -> Result<Option<CoSigned>, Refusal> {
        let mut staged = self.staged(lease, slot).await?;
        let mut batch: Vec<Held> = Vec::new();
        let mut bytes = 0u64;
        for meta in table.values().filter(|m| *m.lease() == lease.id) {
            if list.get(meta.id()).is_some() {
                continue;
            }
            if bytes.saturating_add(meta.fragment_len()) > STEP && !batch.is_empty() {
                standing = Some(self.revise(lease, slot, list, &batch, standing.as_ref()).await?);
                (batch, bytes) = (Vec::new(), 0);
            }
            let held = match staged.remove(meta.id()) {
                Some(held) => held,
                None => self.rebuild_one(lease, slot, secrets, meta).await?,
            };
            bytes = bytes.saturating_add(held.fragment.len);
            batch.push(held);
        }
        if !batch.is_empty() {
            standing = Some(self.revise(lease, slot, list, &batch, standing.as_ref()).await?);
        }
        Ok(standing)
    }

    async fn rebuild_one(
        &self,
        lease: &LeaseEntry,
        slot: u16,
        secrets: &Secrets,
        meta: &SegmentMeta,
    ) -> Result<Held, Refusal> {
        let need = usize::from(meta.profile().k());
        let holder = lease.slots.get(usize::from(slot)).map(|s| s.device).unwrap_or_default();
        let mut got: Vec<(u16, DeviceId, Vec<u8>)> = Vec::new();
        for (n, s) in (0u16..).zip(&lease.slots).filter(|(n, _)| *n != slot && *n < meta.profile().n()) {
            if got.len() >= need {
                break;
            }
            let Ok(padded) = self.fetch(lease, n, meta).await else { continue };
            let held = Padded { slot: n, device: s.device, padded: &padded };
            if matches!(check_fragment(meta, &secrets.key, &held), Ok(Some(_))) {
                got.push((n, s.device, padded));
            }
        }
        let held: Vec<Padded<'_>> = got
            .iter()
            .map(|(slot, device, padded)| Padded { slot: *slot, device: *device, padded })
            .collect();
        let rebuilt = repair(&held, &secrets.key, meta, slot, &holder).map_err(|e| refuse(e.to_string()))?;
        let len = u64::try_from(rebuilt.padded.len()).map_err(|e| refuse(e.to_string()))?;
        let fragment = Fragment { root: rebuilt.padded_root, len };
        self.put(lease, slot, meta.id(), fragment, &rebuilt.padded).await?;
        Ok(Held { segment: *meta.id(), fragment })
    }

    async fn put(
        &self,
        lease: &LeaseEntry,
        slot: u16,
        segment: &SegmentId,
        fragment: Fragment,
        data: &[u8],
    ) -> Result<(), Refusal> {
        let part = usize::try_from(MAX_PART).unwrap_or(usize::MAX);
        let mut offset = 0u64;
        for bytes in data.chunks(part) {
            let body = Body::Put {
                segment: *segment,
                fragment,
                offset,
                bytes: bytes::Bytes::copy_from_slice(bytes),
            };
            match self.ask(lease, slot, &body, None).await? {
                Reply::Put { have } => offset = have,
                other => return Err(nonsense(&other).into()),
            }
        }
        if offset == fragment.len {
            Ok(())
        } else {
            Err(refuse("the new holder did not take the whole fragment"))
        }
    }

    /// Signs the next revision and gets the holder's signature.
    async fn revise(
        &self,
        lease: &LeaseEntry,
        slot: u16,
        list: &mut SlotList,
        add: &[Held],
        standing: Option<&CoSigned>,
    ) -> Result<CoSigned, Refusal> {
        let entry = lease.slots.get(usize::from(slot)).ok_or_else(|| refuse("the slot is gone"))?;
        list.apply(&[], add).map_err(|e| refuse(e.to_string()))?;
        let revision = Revision {
            network: self.chain.network(),
            lease: lease.id,
            slot,
            generation: entry.generation,
            device: entry.device,
            fence: lease.fence,
            seq: standing.map_or(1, |s| s.revision.seq.saturating_add(1)),
            tree: list.root(),
        };
        let signed = revision.sign_as_agent(self.identity.device, &self.identity.key);
        let add = add.iter().map(|h| h.segment).collect();
        let body = Body::Revise { revision: signed, remove: Vec::new(), add };
        match self.ask(lease, slot, &body, None).await? {
            Reply::Revised(signed) if signed.revision == revision => Ok(signed),
            other => Err(nonsense(&other).into()),
        }
    }

    /// The other agents are asked in turn.
    async fn confirmed(&self, lease: &LeaseEntry, signed: &CoSigned) -> Result<Repaired, Refusal> {
        let me = self.identity.device;
        let mut last = refuse("the lease has no other agent");
        for other in lease.helpers.iter().filter(|h| **h != me && **h != signed.revision.device) {
            match self.ask_confirmation(lease, *other, &signed.revision).await {
                Ok(confirmation) => {
                    return Ok(Repaired {
                        revision: signed.revision,
                        agent: me,
                        signature: signed.signature,
                        confirmer: Confirmer::Agent(*other),
                        confirmation,
                    });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    async fn ask_confirmation(
        &self,
        lease: &LeaseEntry,
        other: DeviceId,
        revision: &Revision,
    ) -> Result<Signature, Refusal> {
        let entry = self.chain.device(&other).await.ok_or_else(|| refuse("the other agent is gone"))?;
        let head = self.head(lease, revision.slot, revision.generation, other);
        let body = Body::Confirm(*revision);
        let reply = self
            .caller
            .ask(&entry.key, head, &body, None, &self.identity.key)
            .await
            .map_err(Refusal::from)?;
        let Reply::Confirmed(signature) = reply else { return Err(nonsense(&reply).into()) };
        let signed = cairn_types::encode(&(revision.digest(), self.identity.device));
        entry.key.verify(sign::CONFIRM, &signed, &signature).map_err(|e| refuse(e.to_string()))?;
        Ok(signature)
    }

    /// Which fragments are read back: drawn from the revision and this agent's own secret, so that nobody can know.
    fn sample(&self, revision: &Revision, list: &SlotList) -> Vec<Held> {
        let mut drawn: Vec<([u8; 64], Held)> = list
            .held()
            .iter()
            .map(|h| {
                let text = cairn_types::encode(&(revision.digest(), h.segment));
                (self.identity.key.sign("cairn/storage/sample/v1", &text).0, *h)
            })
            .collect();
        drawn.sort_unstable();
        drawn.into_iter().take(SAMPLE).map(|(_, h)| h).collect()
    }
}

#[async_trait]
impl Confirm for RepairAgent {
    async fn confirm(
        &self,
        lease: &LeaseEntry,
        agent: DeviceId,
        revision: &Revision,
    ) -> Result<Signature, Refusal> {
        let slot = lease.slots.get(usize::from(revision.slot));
        let right = slot.is_some_and(|s| s.device == revision.device && s.generation == revision.generation);
        if !right || revision.lease != lease.id || revision.device == self.identity.device {
            return Err(refuse("the revision is not about the slot's present holder"));
        }
        let secrets = self.secrets(lease).await?;
        let table = self.table(&secrets).await?;
        let (list, _) = self.holding(lease, revision.slot).await?;
        if list.root() != revision.tree {
            return Err(refuse("the holder lists other fragments than the revision names"));
        }
        for held in list.held() {
            let meta = table.get(&held.segment).filter(|m| *m.lease() == lease.id);
            if meta.is_none_or(|m| m.fragment_len() != held.fragment.len) {
                return Err(refuse("the holder has a fragment that is not in the segment table"));
            }
        }
        for held in self.sample(revision, &list) {
            let meta = table.get(&held.segment).ok_or_else(|| refuse("not in the table"))?;
            let padded = self.fetch(lease, revision.slot, meta).await.map_err(Refusal::from)?;
            let root = cairn_types::Hash(*blake3::hash(&padded).as_bytes());
            let seen = Padded { slot: revision.slot, device: revision.device, padded: &padded };
            let good = check_fragment(meta, &secrets.key, &seen).map_err(|e| refuse(e.to_string()))?;
            if root != held.fragment.root || good.is_none() {
                return Err(refuse(format!("{:?} was rebuilt wrongly", held.segment)));
            }
        }
        Ok(sign::confirm(revision, &agent, &self.identity.key))
    }
}
