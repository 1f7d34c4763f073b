//! Answers customers and repair agents: who may ask what, then the store.

mod access;
mod audited;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::keys::{PublicKey, SecretKey, Signature};
use cairn_net::Service;
use cairn_sector::LeaseEntry;
use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::{
    Body, Reply, Request, Signed, WireError, code, decode_request, encode_reply, sign_box_key,
};
use cairn_storage_rules::types::{CoSigned, Params, Revision, SignedReceipt, Signer};
use cairn_types::{DeviceId, Epoch, LeaseId, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::chain::ChainView;
use crate::cheats::Cheats;
use crate::store::{SlotKey, Store};
use access::Access;
use audited::AuditReads;

/// A device's id and key.
#[derive(Debug)]
pub struct Identity {
    /// Its id.
    pub device: DeviceId,
    /// Its key, which is also its address on the data plane.
    pub key: SecretKey,
}

/// Checks a slot that the lease's other agent rebuilt; see [`crate::RepairAgent`].
#[async_trait]
pub trait Confirm: Send + Sync {
    /// Confirms that `agent` rebuilt `revision` rightly.
    async fn confirm(
        &self,
        lease: &LeaseEntry,
        agent: DeviceId,
        revision: &Revision,
    ) -> Result<Signature, Refusal>;
}

/// Bytes that agents read in an epoch.
type AgentReads = (Epoch, BTreeMap<(SlotKey, DeviceId), u64>);

struct Inner {
    identity: Arc<Identity>,
    store: Arc<Store>,
    chain: Arc<dyn ChainView>,
    params: Params,
    cheats: Arc<Cheats>,
    read_only: Mutex<BTreeSet<LeaseId>>,
    agents: Mutex<AgentReads>,
    audits: Mutex<AuditReads>,
    confirmer: OnceLock<Arc<dyn Confirm>>,
}

/// The service of one device. Share it by cloning.
#[derive(Clone)]
pub struct StorageNode(Arc<Inner>);

impl StorageNode {
    /// A node over a store. `params` are the governed numbers in force.
    pub fn new(
        identity: Arc<Identity>,
        store: Arc<Store>,
        chain: Arc<dyn ChainView>,
        params: Params,
        cheats: Arc<Cheats>,
    ) -> Self {
        Self(Arc::new(Inner {
            identity,
            store,
            chain,
            params,
            cheats,
            read_only: Mutex::default(),
            agents: Mutex::default(),
            audits: Mutex::default(),
            confirmer: OnceLock::new(),
        }))
    }

    /// Who answers [`Body::Confirm`]; the first call counts.
    pub fn set_confirmer(&self, confirmer: Arc<dyn Confirm>) {
        let _ = self.0.confirmer.set(confirmer);
    }

    /// Serves a lease for reading only (its escrow ran dry), or fully again.
    pub fn set_read_only(&self, lease: LeaseId, on: bool) {
        let mut set = self.0.read_only.lock().unwrap_or_else(PoisonError::into_inner);
        if on {
            set.insert(lease);
        } else {
            set.remove(&lease);
        }
    }

    async fn answer(&self, from: PublicKey, request: &Bytes) -> Result<Reply, WireError> {
        let inner = &self.0;
        let malformed = |e: cairn_types::DecodeError| {
            WireError::new(
                code::MALFORMED,
                e.to_string(),
                "send what docs/reference/storage-formats.md describes",
            )
        };
        match decode_request(request).map_err(malformed)? {
            Request::Hello => {
                let network = inner.chain.network();
                Ok(Reply::Hello(sign_box_key(network, inner.identity.device, &inner.identity.key)))
            }
            Request::Audit(asked) => self.audited(&asked).await,
            Request::Signed(signed) => {
                let (access, body) = self.authorise(&signed).await?;
                tracing::trace!(?from, lease = ?access.lease.id, slot = access.key.slot, "storage.node.request");
                if let Body::Confirm(revision) = body {
                    return self.confirm(&access, &revision).await;
                }
                let this = self.clone();
                let done = tokio::task::spawn_blocking(move || this.handle(&access, &signed, body)).await;
                done.map_err(|e| {
                    WireError::new(code::DISK, format!("the request was given up: {e}"), "ask again")
                })?
                .map_err(Into::into)
            }
        }
    }

    async fn confirm(&self, access: &Access, revision: &Revision) -> Result<Reply, WireError> {
        let Some(confirmer) = self.0.confirmer.get() else {
            return Err(WireError::new(
                code::REPAIR,
                "this device runs no repair agent",
                "ask the customer to confirm",
            ));
        };
        let Some(agent) = access.agent else {
            return Err(WireError::new(code::REPAIR, "confirmations are between agents", "ask as an agent"));
        };
        Ok(Reply::Confirmed(confirmer.confirm(&access.lease, agent, revision).await?))
    }

    fn handle(&self, a: &Access, signed: &Signed, body: Body) -> Result<Reply, Refusal> {
        let (store, key) = (&self.0.store, &a.key);
        if body.writes() && a.agent.is_none() {
            store.raise_fence(key, signed.head.fence)?;
        }
        match body {
            Body::Put { segment, fragment, offset, bytes } => {
                let have = store.put(key, &segment, &fragment, offset, &bytes, &a.quota)?;
                Ok(Reply::Put { have })
            }
            Body::Get { segment, offset, len } => self.get(a, &segment, offset, len),
            Body::Delete { segments } => store.delete(key, &segments).map(|()| Reply::Done),
            Body::List { staged, after } => Ok(Reply::List(store.list(key, staged, after))),
            Body::Revise { revision, remove, add } => self.revise(a, &revision, &remove, &add),
            Body::Receipt(receipt) => self.receipt(a, &receipt),
            Body::LogAppend { seq, prev, entries } => {
                store.log_append(key, signed.head.fence, seq, &prev, &entries, &a.quota).map(Reply::Log)
            }
            Body::LogHead => Ok(Reply::Log(store.log_state(key))),
            Body::LogRead { from, max_bytes } => store.log_read(key, from, max_bytes).map(Reply::Entries),
            Body::LogTruncate { before } => store.log_truncate(key, before).map(Reply::Log),
            Body::NotePut(note) => store.put_note(key, &note).map(|()| Reply::Done),
            Body::NoteGet => store.note(key).map(Reply::Note),
            Body::Status => {
                let mut status = store.status(key, a.quota.exposure);
                status.read_only = a.read_only;
                Ok(Reply::Status(status))
            }
            Body::Confirm(_) => Err(Refusal::new(code::MALFORMED, "handled before", "report this")),
        }
    }

    fn get(&self, a: &Access, segment: &SegmentId, offset: u64, len: u32) -> Result<Reply, Refusal> {
        let inner = &self.0;
        if inner.cheats.refuses(segment) {
            return Err(Refusal::new(
                code::DAMAGED,
                "the fragment cannot be read",
                "read it from other slots",
            ));
        }
        if let Some(agent) = a.agent {
            self.charge_agent(&a.key, agent, u64::from(len))?;
            return inner.store.get(&a.key, segment, offset, len).map(into_reply);
        }
        inner.store.serve(&a.key, u64::from(len), a.quota.exposure)?;
        let bytes = inner.store.get(&a.key, segment, offset, len);
        if bytes.is_err() {
            inner.store.unserve(&a.key, u64::from(len));
        }
        bytes.map(into_reply)
    }

    /// Agents read unpaid: twice the slot and one exposure in an epoch, so that a repair and its check always fit.
    fn charge_agent(&self, key: &SlotKey, agent: DeviceId, len: u64) -> Result<(), Refusal> {
        let inner = &self.0;
        let chunks = inner.store.standing(key).map_or(0, |s| s.revision.tree.total);
        let exposure = inner.params.exposure_kib.saturating_mul(1024);
        let limit = chunks.saturating_mul(2048).saturating_add(exposure);
        let epoch = inner.chain.epoch();
        let mut agents = inner.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if agents.0 != epoch {
            *agents = (epoch, BTreeMap::new());
        }
        let read = agents.1.entry((*key, agent)).or_default();
        let sum = read.saturating_add(len);
        if sum > limit {
            return Err(Refusal::with(
                code::EXPOSURE,
                format!("the agent read {read} bytes in this epoch, at most {limit} are free"),
                "go on in the next epoch",
            ));
        }
        *read = sum;
        Ok(())
    }

    fn revise(
        &self,
        a: &Access,
        proposed: &CoSigned,
        remove: &[SegmentId],
        add: &[SegmentId],
    ) -> Result<Reply, Refusal> {
        let inner = &self.0;
        let refuse = |cause, remedy| Err(Refusal::new(code::REVISION, cause, remedy));
        let r = &proposed.revision;
        let named = (r.network, r.device) == (inner.chain.network(), inner.identity.device);
        if !named || SlotKey::of(r) != a.key {
            return refuse(
                "the revision names another slot than the request",
                "sign what the request is about",
            );
        }
        let by = match proposed.signer {
            Signer::Customer => None,
            Signer::Agent(agent) => Some(agent),
        };
        if by != a.agent || proposed.check_signer(&a.signer).is_err() {
            let cause = "the revision is not signed by who sent it";
            return Err(Refusal::new(code::SIGNATURE, cause, "sign revision and request with one key"));
        }
        if a.agent.is_none() && r.fence < a.lease.fence {
            let cause = format!("fence {} is below the lease's {}", r.fence, a.lease.fence);
            return Err(Refusal::with(code::FENCE, cause, "recover from the index log before writing"));
        }
        if by.is_some() && inner.store.standing(&a.key).is_some_and(|s| s.signer == Signer::Customer) {
            return refuse("the customer took this slot over already", "leave the slot to the customer");
        }
        let key = &inner.identity.key;
        inner.store.revise(&a.key, proposed, remove, add, |s| s.accept(key)).map(Reply::Revised)
    }

    fn receipt(&self, a: &Access, signed: &SignedReceipt) -> Result<Reply, Refusal> {
        let inner = &self.0;
        let r = &signed.receipt;
        let key = SlotKey { lease: r.lease, slot: r.slot, generation: r.generation };
        let named = (r.network, r.device) == (inner.chain.network(), inner.identity.device);
        if !named || key != a.key {
            let remedy = "name network, lease, slot, generation and device of the request";
            return Err(Refusal::new(
                code::RECEIPT,
                "the receipt names another slot than the request",
                remedy,
            ));
        }
        if signed.check(&a.lease.key).is_err() {
            return Err(Refusal::new(
                code::SIGNATURE,
                "the receipt's signature does not fit",
                "sign with the lease's key",
            ));
        }
        let (served, receipted_kib) = inner.store.receipt(&a.key, signed)?;
        Ok(Reply::Served { served, receipted_kib })
    }
}

fn into_reply(bytes: Vec<u8>) -> Reply {
    Reply::Bytes(bytes.into())
}

#[async_trait]
impl Service for StorageNode {
    async fn serve(&self, from: PublicKey, request: Bytes) -> Bytes {
        encode_reply(&self.answer(from, &request).await).into()
    }
}
