//! A slot is lost, rebuilt, confirmed, paid.

use crate::town::{DATA, INDEX, Town, code};
use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::{Body, LogEntry, LogState, Reply, code as c, entry_hash};
use cairn_storage_rules::judge::note;
use cairn_storage_rules::types::{REBUILT, Signer};
use cairn_testkit::world::device_key;
use cairn_types::{DeviceId, Hash};

async fn lost_slot() -> Town {
    let mut t = Town::new();
    let a = t.store(1, 300_000).await;
    let b = t.store(2, 5_000).await;
    t.publish(&[&a, &b]).await;
    t.epoch().await;
    t.net.remove(&t.seats[0].identity.key.public());
    t.reassign(0, 5);
    t
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_is_rebuilt_confirmed_and_paid() {
    let t = lost_slot().await;
    let jobs = t.seats[3].agent.jobs(&DATA).await;
    assert_eq!((jobs.len(), jobs[0].rank, jobs[0].slot), (1, 0, 0));
    assert_eq!(t.seats[4].agent.jobs(&DATA).await[0].rank, 1);
    assert!(t.seats[2].agent.jobs(&DATA).await.is_empty());
    // Device 0 also held the index log; the other replica serves.
    let repaired = t.seats[3].agent.run(&jobs[0]).await.unwrap().unwrap();
    assert_eq!(repaired.revision.device, t.id(5));
    // Again: nothing new is signed.
    assert_eq!(t.seats[3].agent.run(&jobs[0]).await.unwrap().unwrap().revision, repaired.revision);
    // The second agent sees that the work is done.
    assert_eq!(t.seats[4].agent.run(&t.seats[4].agent.jobs(&DATA).await[0]).await.unwrap(), None);
    let rows = t.epoch().await;
    let row = rows.iter().find(|r| r.note == note::REBUILT).expect("the repair is paid");
    assert_eq!((row.payee, row.units.0[REBUILT]), (t.id(3), repaired.revision.tree.total));
    assert!(rows.iter().all(|r| r.fault.is_none()));
    read_back(&t).await;
}

/// The customer reads through the new holder and one other slot.
async fn read_back(t: &Town) {
    let devices: Vec<(u16, DeviceId)> =
        (0u16..).zip(t.lease_of(DATA).slots).map(|(n, s)| (n, s.device)).collect();
    let sealed = t.sealed(1, 300_000);
    let mut fragments = vec![None; 3];
    for slot in [0u16, 2] {
        let len = u32::try_from(sealed.meta.fragment_len()).unwrap();
        let reply = t.ask(DATA, slot, Body::Get { segment: SegmentId([1; 32]), offset: 0, len }).await;
        let Ok(Reply::Bytes(bytes)) = reply else { panic!("{reply:?}") };
        fragments[usize::from(slot)] = Some(bytes.to_vec());
    }
    let source = |slot: u16, offset: u64, len: usize| {
        let at = usize::try_from(offset).unwrap();
        fragments[usize::from(slot)].as_ref().map(|f: &Vec<u8>| f[at..at + len].to_vec())
    };
    let opened =
        cairn_storage_codec::segment::open(&t.keys, &sealed.meta, &devices, 0..300_000, &source).unwrap();
    assert!(opened.plain.iter().enumerate().all(|(i, b)| *b == u8::try_from(i % 251).unwrap() ^ 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_agent_does_it_when_the_first_is_gone_but_needs_a_confirmation() {
    let t = lost_slot().await;
    t.net.remove(&t.seats[3].identity.key.public());
    let job = t.seats[4].agent.jobs(&DATA).await[0];
    // The data is rebuilt, the confirmation is missing; nothing is lost by waiting for it.
    let refused = t.seats[4].agent.run(&job).await.unwrap_err();
    assert_eq!(refused.code, "storage.repair");
    t.net.register(t.seats[3].identity.key.public(), std::sync::Arc::new(t.seats[3].node.clone()));
    assert!(t.seats[4].agent.run(&job).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_new_holder_is_not_confirmed() {
    let t = lost_slot().await;
    let job = t.seats[3].agent.jobs(&DATA).await[0];
    t.net.remove(&t.seats[4].identity.key.public());
    assert!(t.seats[3].agent.run(&job).await.is_err());
    assert_eq!(t.seats[5].disk.rot("f/"), 1);
    t.net.register(t.seats[4].identity.key.public(), std::sync::Arc::new(t.seats[4].node.clone()));
    let refused = t.seats[3].agent.run(&job).await.unwrap_err();
    assert!(refused.to_string().contains("rebuilt wrongly"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_survivors_are_an_error_and_not_a_loop() {
    let t = lost_slot().await;
    t.net.remove(&t.seats[1].identity.key.public());
    let job = t.seats[3].agent.jobs(&DATA).await[0];
    assert!(t.seats[3].agent.run(&job).await.is_err());
}

/// Gives slot 0 of the log to device 5, after device 0 is gone for good; what a replica is then asked.
async fn replica_on_5(t: &Town) -> LogState {
    t.net.remove(&t.seats[0].identity.key.public());
    t.reassign_of(INDEX, 0, 5);
    let filled = t.seats[5].agent.refill(&INDEX).await.unwrap();
    assert!(filled > 0);
    assert_eq!(t.seats[5].agent.refill(&INDEX).await, Ok(0), "nothing is left to copy");
    log_head(t, 0).await
}

async fn log_head(t: &Town, slot: u16) -> LogState {
    let Ok(Reply::Log(state)) = t.ask(INDEX, slot, Body::LogHead).await else { panic!("no head") };
    state
}

fn entry(text: &str, checkpoint: Option<u64>) -> LogEntry {
    LogEntry { checkpoint, repair: Vec::new(), private: text.into() }
}

/// Appends to both replicas.
async fn append(t: &Town, seq: u64, prev: Hash, entries: Vec<LogEntry>) {
    for slot in 0..2 {
        t.ask(INDEX, slot, Body::LogAppend { seq, prev, entries: entries.clone() }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_replica_of_the_log_fills_itself_without_the_customer() {
    let mut t = Town::new();
    let a = t.store(1, 300_000).await;
    t.publish(&[&a]).await;
    let copied = replica_on_5(&t).await;
    assert_eq!(copied, log_head(&t, 1).await);
    // The writer goes on where it was, on the copy as well; and the repair of data finds its table there.
    append(&t, 1, copied.head, vec![entry("later", None)]).await;
    t.net.remove(&t.seats[1].identity.key.public());
    t.reassign(0, 5);
    assert!(t.seats[3].agent.run(&t.seats[3].agent.jobs(&DATA).await[0]).await.is_err(), "too few fragments");
    t.net.register(t.seats[1].identity.key.public(), std::sync::Arc::new(t.seats[1].node.clone()));
    assert!(t.seats[3].agent.run(&t.seats[3].agent.jobs(&DATA).await[0]).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_log_is_copied_from_its_checkpoint_and_goes_on() {
    let t = Town::new();
    let (a, b) = (entry("a", None), entry("b", None));
    let ha = entry_hash(&Hash::default(), 0, &a);
    let hb = entry_hash(&ha, 1, &b);
    append(&t, 0, Hash::default(), vec![a, b]).await;
    let (restated, c) = (entry("all of it", Some(2)), entry("c", None));
    let hr = entry_hash(&hb, 2, &restated);
    append(&t, 2, hb, vec![restated, c.clone()]).await;
    for slot in 0..2 {
        t.ask(INDEX, slot, Body::LogTruncate { before: 2 }).await.unwrap();
    }
    let copied = replica_on_5(&t).await;
    assert_eq!((copied.first, copied.next, copied.head), (2, 4, entry_hash(&hr, 3, &c)));
    append(&t, 4, copied.head, vec![entry("d", None)]).await;
    assert_eq!(log_head(&t, 0).await, log_head(&t, 1).await);
    // A copy of the copy.
    t.net.remove(&t.seats[1].identity.key.public());
    t.reassign_of(INDEX, 1, 4);
    assert_eq!(t.seats[4].agent.refill(&INDEX).await, Ok(3));
    assert_eq!(log_head(&t, 0).await, log_head(&t, 1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_copy_nothing_and_replicas_write_nothing() {
    let t = Town::new();
    append(&t, 0, Hash::default(), vec![entry("a", None)]).await;
    assert_eq!(t.seats[5].agent.refill(&INDEX).await, Ok(0), "holds no slot");
    let as_agent = |n: usize| {
        let mut head = t.head(INDEX, 1);
        head.signer = Signer::Agent(t.id(n));
        head
    };
    let read = Body::LogRead { from: 0, max_bytes: 1000 };
    let key = |n: usize| device_key(&t.id(n));
    assert_eq!(code(t.send(as_agent(5), &read, &key(5)).await), c::SIGNATURE);
    assert!(t.send(as_agent(0), &read, &key(0)).await.is_ok());
    let write = Body::LogAppend { seq: 1, prev: Hash::default(), entries: vec![entry("x", None)] };
    assert_eq!(code(t.send(as_agent(0), &write, &key(0)).await), c::SIGNATURE);
}
