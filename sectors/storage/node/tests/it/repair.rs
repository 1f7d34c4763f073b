//! A slot is lost, rebuilt, confirmed, paid.

use crate::town::{DATA, Town};
use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::{Body, Reply};
use cairn_storage_rules::judge::note;
use cairn_storage_rules::types::REBUILT;
use cairn_types::DeviceId;

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
    assert_eq!(t.seats[5].disk.rot("f/"), 2);
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
