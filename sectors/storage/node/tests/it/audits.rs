//! Drawn auditors ask devices of a town: who is let in, what is seen, what comes of it.

use async_trait::async_trait;
use bytes::Bytes;
use cairn_net::{Faults, Service, Transport};
use cairn_sector::{Audit, DeviceEntry, LeaseEntry, RawMemory};
use cairn_storage_codec::wire::{AuditAsk, Reply, Request, decode_reply, encode_reply, encode_request};
use cairn_storage_node::cheats::Cheat;
use cairn_storage_node::{Auditor, ChainView, StorageNode};
use cairn_storage_rules::audit::{self, FULL};
use cairn_storage_rules::types::{Ask, Audited, Evidence, Memory, Retrieval, Seen, retrieval_key};
use cairn_testkit::world::epoch_seed;
use cairn_types::{DeviceId, Epoch, LeaseId, NetworkId, decode, encode};
use std::sync::Arc;

use crate::town::*;

fn auditor(town: &Town, n: usize) -> Auditor {
    let identity = town.seats[n].identity.clone();
    let transport: Arc<dyn Transport> = Arc::new(town.net.endpoint(identity.key.public()));
    Auditor::new(identity, transport, town.chain.network(), params())
}

async fn entry(town: &Town, n: usize) -> DeviceEntry {
    town.chain.device(&town.id(n)).await.unwrap()
}

/// What auditor `by` sees of device `of`.
async fn audit(town: &Town, by: usize, of: usize) -> Option<Seen> {
    auditor(town, by).audit(town.chain.epoch(), &entry(town, of).await).await
}

fn ask(town: &Town, by: usize, of: usize, epoch: Epoch) -> AuditAsk {
    let ask = Ask { network: town.chain.network(), epoch, device: town.id(of), auditor: town.id(by) };
    AuditAsk { signature: ask.sign(&town.seats[by].identity.key), ask }
}

async fn send_to(node: &StorageNode, town: &Town, asked: AuditAsk) -> Result<Reply, String> {
    let from = town.seats[0].identity.key.public();
    let answer = node.serve(from, encode_request(&Request::Audit(asked)).into()).await;
    decode_reply(&answer).unwrap().map_err(|e| e.code)
}

async fn send(town: &Town, of: usize, asked: AuditAsk) -> Result<Reply, String> {
    send_to(&town.seats[of].node, town, asked).await
}

async fn stored() -> Town {
    let mut town = Town::new();
    town.store(200, 300_000).await;
    town.commit().await;
    town
}

#[tokio::test]
async fn an_honest_device_serves_every_chunk_that_it_is_asked_for() {
    let town = stored().await;
    for of in 0..3 {
        assert!(matches!(audit(&town, 5, of).await, Some(Seen::Served { .. })));
        let Ok(Reply::Audited(proofs)) = send(&town, of, ask(&town, 4, of, Epoch(1))).await else { panic!() };
        assert_eq!(u32::try_from(proofs.len()), Ok(params().audit_chunks));
    }
    assert_eq!(audit(&town, 0, 5).await, None, "who committed to nothing is not asked");
}

#[tokio::test]
async fn an_auditor_sees_refusal_loss_silence_and_other_bytes_apart() {
    let town = stored().await;
    town.seats[0].cheats.set(Cheat::BytesRefused, true);
    assert_eq!(audit(&town, 5, 0).await, Some(Seen::Refused));
    let key = town.seats[1].identity.key.public();
    town.net.set_faults(&key, Faults { down: true, ..Faults::default() });
    assert_eq!(audit(&town, 5, 1).await, Some(Seen::Unreachable));
    town.net.set_faults(&key, Faults::default());
    town.net.register(key, Arc::new(Says(Reply::Audited(Vec::new()))));
    assert_eq!(audit(&town, 5, 1).await, Some(Seen::Refused), "no chunks are not all chunks");
    town.net.register(key, Arc::new(Says(Reply::Done)));
    assert_eq!(audit(&town, 5, 1).await, Some(Seen::Wrong));
    // The chunks of another question: right bytes, wrong places.
    let other = send(&town, 2, ask(&town, 4, 2, Epoch(1))).await.unwrap();
    town.net.register(town.seats[2].identity.key.public(), Arc::new(Says(other)));
    assert_eq!(audit(&town, 5, 2).await, Some(Seen::Wrong));

    // A tenth of the segments is gone: this one is.
    let mut robbed = Town::new();
    robbed.store(7, 300_000).await;
    robbed.commit().await;
    robbed.seats[0].cheats.set(Cheat::DroppedData10, true);
    assert_eq!(audit(&robbed, 5, 0).await, Some(Seen::Refused));
}

/// Answers everything alike.
struct Says(Reply);

#[async_trait]
impl Service for Says {
    async fn serve(&self, _: cairn_crypto::keys::PublicKey, _: Bytes) -> Bytes {
        encode_reply(&Ok(self.0.clone())).into()
    }
}

async fn refused(town: &Town, asked: AuditAsk) -> String {
    send(town, 0, asked).await.unwrap_err()
}

#[tokio::test]
async fn strangers_other_epochs_and_floods_are_turned_away() {
    let town = stored().await;
    let good = ask(&town, 5, 0, Epoch(1));
    assert_eq!(
        refused(&town, AuditAsk { ask: Ask { auditor: town.id(4), ..good.ask }, ..good }).await,
        "storage.signature"
    );
    let unknown = Ask { auditor: DeviceId([9; 32]), ..good.ask };
    assert_eq!(refused(&town, AuditAsk { ask: unknown, ..good }).await, "storage.signature");
    assert_eq!(refused(&town, ask(&town, 5, 1, Epoch(1))).await, "storage.not-your-slot");
    assert_eq!(refused(&town, ask(&town, 5, 0, Epoch(3))).await, "storage.expired");
    assert_eq!(
        refused(&town, ask(&town, 5, 0, Epoch(2))).await,
        "storage.damaged",
        "nothing is frozen for it yet"
    );
    for _ in 0..4 {
        assert!(send(&town, 0, good).await.is_ok());
    }
    assert_eq!(refused(&town, good).await, "storage.audit");
    assert!(send(&town, 0, ask(&town, 4, 0, Epoch(1))).await.is_ok(), "others are answered still");
}

/// A chain that knows the draw.
struct Drawn(Arc<Chain>, Vec<DeviceId>);

#[async_trait]
impl ChainView for Drawn {
    async fn lease(&self, id: &LeaseId) -> Option<LeaseEntry> {
        self.0.lease(id).await
    }
    async fn device(&self, id: &DeviceId) -> Option<DeviceEntry> {
        self.0.device(id).await
    }
    async fn auditors(&self, _: Epoch) -> Option<Vec<DeviceId>> {
        Some(self.1.clone())
    }
    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }
    fn network(&self) -> NetworkId {
        self.0.network()
    }
}

#[tokio::test]
async fn where_the_draw_is_known_nobody_else_is_answered() {
    let town = stored().await;
    let seat = &town.seats[0];
    let chain: Arc<dyn ChainView> = Arc::new(Drawn(town.chain.clone(), vec![town.id(4)]));
    let node =
        StorageNode::new(seat.identity.clone(), seat.store.clone(), chain, params(), seat.cheats.clone());
    assert!(send_to(&node, &town, ask(&town, 4, 0, Epoch(1))).await.is_ok());
    assert_eq!(send_to(&node, &town, ask(&town, 5, 0, Epoch(1))).await, Err("storage.audit".into()));
    assert_eq!(node.audits_answered(), 1);
}

#[tokio::test]
async fn reports_survive_a_crash_and_go_with_their_epoch() {
    let mut town = stored().await;
    let report = Audited { epoch: Epoch(1), device: town.id(2), seen: Seen::Wrong };
    town.seats[0].store.put_report(&report).unwrap();
    town.restart(0);
    let store = town.seats[0].store.clone();
    assert_eq!(store.reports(Epoch(1)).unwrap(), [report]);
    assert!(store.reports(Epoch(2)).unwrap().is_empty());
    town.judge().await;
    assert!(store.reports(Epoch(1)).unwrap().is_empty());
}

fn retrieval(town: &Town, n: usize) -> Option<Retrieval> {
    let memory = &town.chain.0.lock().unwrap().memory;
    match decode(&memory.get(&retrieval_key(&town.id(n)))?).unwrap() {
        Memory::Retrieval(r) => Some(r),
        other => panic!("{other:?}"),
    }
}

/// All drawn audits of the epoch, as their auditors perform them.
async fn audits(town: &Town) {
    let epoch = town.chain.epoch();
    let drawn: Vec<Audit> = {
        let world = town.chain.0.lock().unwrap();
        let devices: Vec<_> = world.registry.devices.values().cloned().collect();
        audit::audits(&params(), &epoch_seed(7, epoch), &devices)
    };
    assert!(drawn.len() >= 9, "three devices hold data: {drawn:?}");
    let number = |id: &DeviceId| (0..6).find(|n| town.id(*n) == *id).unwrap();
    for a in drawn {
        let seen = audit(town, number(&a.auditor), number(&a.device)).await.unwrap();
        let report = Evidence::Audited(Audited { epoch, device: a.device, seen });
        town.chain.0.lock().unwrap().evidence.push((a.auditor, encode(&report)));
    }
}

#[tokio::test]
async fn a_device_that_proves_and_does_not_serve_looks_dearer_and_nobody_else_does() {
    let town = stored().await;
    town.seats[1].cheats.set(Cheat::BytesRefused, true);
    audits(&town).await;
    town.judge().await;
    town.commit().await;
    audits(&town).await;
    let rows = town.judge().await;
    assert!(rows.iter().all(|r| r.fault.is_none()), "it proves, so nothing is slashed: {rows:?}");
    let r = retrieval(&town, 1).unwrap();
    assert!(r.weight > FULL && r.medians.iter().all(|m| m.seen == Seen::Refused), "{r:?}");
    assert_eq!([retrieval(&town, 0), retrieval(&town, 2)], [None, None]);
}
