//! What a node grants and refuses.

use crate::town::{DATA, INDEX, Town, code};
use cairn_crypto::keys::SecretKey;
use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::{Body, LogEntry, LogState, Note, Reply, code as c, entry_hash};
use cairn_storage_node::disk::Fault;
use cairn_storage_rules::types::{Fragment, Signer};
use cairn_testkit::world::{device_key, lease_key};
use cairn_types::{Epoch, Hash, LeaseId};
use std::sync::Arc;

fn fragment(bytes: &[u8]) -> Fragment {
    Fragment { root: Hash(*blake3::hash(bytes).as_bytes()), len: u64::try_from(bytes.len()).unwrap() }
}

fn put(id: u8, bytes: &[u8]) -> Body {
    Body::Put {
        segment: SegmentId([id; 32]),
        fragment: fragment(bytes),
        offset: 0,
        bytes: bytes.to_vec().into(),
    }
}

fn get(id: u8, offset: u64, len: u32) -> Body {
    Body::Get { segment: SegmentId([id; 32]), offset, len }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_and_revised_is_listed_and_read_back() {
    let mut t = Town::new();
    let sealed = t.store(1, 300_000).await;
    let want = &sealed.fragments[1];
    let reply = t.ask(DATA, 1, get(1, 1000, 5000)).await;
    assert_eq!(reply, Ok(Reply::Bytes(want[1000..6000].to_vec().into())));
    let Ok(Reply::List(list)) = t.ask(DATA, 1, Body::List { staged: false, after: 0 }).await else {
        panic!()
    };
    assert_eq!(list.entries, t.lists[1].held());
    let revision = list.revision.unwrap();
    assert_eq!(revision.revision.tree, t.lists[1].root());
    assert!(revision.accepted_by(&device_key(&t.id(1)).public()));
    assert_eq!(t.refused(DATA, 1, get(2, 0, 1)).await, c::UNKNOWN_SEGMENT);
    assert_eq!(t.refused(DATA, 1, get(1, 0, 4 << 20)).await, c::MALFORMED);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_arrive_in_order_and_a_wrong_root_is_refused() {
    let t = Town::new();
    let data = vec![5; 100_000];
    let part = |from: usize, to: usize| Body::Put {
        segment: SegmentId([3; 32]),
        fragment: fragment(&data),
        offset: u64::try_from(from).unwrap(),
        bytes: data[from..to].to_vec().into(),
    };
    assert_eq!(t.refused(DATA, 0, part(50_000, 60_000)).await, c::FRAGMENT);
    assert_eq!(t.ask(DATA, 0, part(0, 40_000)).await, Ok(Reply::Put { have: 40_000 }));
    assert_eq!(t.refused(DATA, 0, part(50_000, 60_000)).await, c::FRAGMENT);
    assert_eq!(t.ask(DATA, 0, part(30_000, 40_000)).await, Ok(Reply::Put { have: 40_000 }));
    assert_eq!(t.ask(DATA, 0, part(40_000, 100_000)).await, Ok(Reply::Put { have: 100_000 }));
    assert_eq!(t.ask(DATA, 0, part(0, 100_000)).await, Ok(Reply::Put { have: 100_000 }));
    let wrong = Body::Put {
        segment: SegmentId([4; 32]),
        fragment: fragment(&data),
        offset: 0,
        bytes: vec![6; 100_000].into(),
    };
    assert_eq!(t.refused(DATA, 0, wrong).await, c::FRAGMENT);
    let Ok(Reply::Status(status)) = t.ask(DATA, 0, Body::Status).await else { panic!() };
    assert_eq!((status.staged, status.free), (100_000, crate::town::CAPACITY - 100_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn exposure_reserve_and_offer_bound_what_is_taken() {
    let mut t = Town::new();
    let data = vec![1; 4 << 20];
    for id in 0..4 {
        assert!(t.ask(DATA, 0, put(id, &data)).await.is_ok());
    }
    assert_eq!(t.refused(DATA, 0, put(9, b"x")).await, c::EXPOSURE);
    let held: Vec<_> = (0..4)
        .map(|id| cairn_storage_codec::wire::Held { segment: SegmentId([id; 32]), fragment: fragment(&data) })
        .collect();
    t.revise(0, &[], &held).await.unwrap();
    for id in 10..14 {
        assert!(t.ask(DATA, 0, put(id, &data)).await.is_ok());
    }
    // 32 MiB are reserved and taken; deleting what is staged makes room again.
    assert_eq!(t.refused(DATA, 0, put(20, b"x")).await, c::EXPOSURE);
    let entries = vec![LogEntry { private: vec![0; 1000], ..LogEntry::default() }];
    let append = Body::LogAppend { seq: 0, prev: Hash::default(), entries };
    assert_eq!(t.refused(DATA, 0, append).await, c::FULL);
    let segments = vec![SegmentId([10; 32]), SegmentId([77; 32])];
    assert_eq!(t.ask(DATA, 0, Body::Delete { segments }).await, Ok(Reply::Done));
    assert_eq!(t.refused(DATA, 0, get(10, 0, 1)).await, c::UNKNOWN_SEGMENT);
    assert!(t.ask(DATA, 0, put(20, b"x")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_lease_key_for_this_slot_and_time_is_served() {
    let t = Town::new();
    let key = lease_key(&DATA);
    let status = |head| t.send(head, &Body::Status, &key);
    let head = t.head(DATA, 0);
    assert!(status(head).await.is_ok());
    let stranger = SecretKey::from_seed(&[1; 32]);
    assert_eq!(code(t.send(head, &Body::Status, &stranger).await), c::SIGNATURE);
    assert_eq!(code(status(wire_head(head, |h| h.generation = 1)).await), c::NOT_YOUR_SLOT);
    assert_eq!(code(status(wire_head(head, |h| h.slot = 1)).await), c::NOT_YOUR_SLOT);
    assert_eq!(code(status(wire_head(head, |h| h.expires = Epoch(0))).await), c::EXPIRED);
    assert_eq!(code(status(wire_head(head, |h| h.expires = Epoch(99))).await), c::EXPIRED);
    let agent = wire_head(head, |h| h.signer = Signer::Agent(t.id(5)));
    assert_eq!(code(t.send(agent, &Body::Status, &device_key(&t.id(5))).await), c::SIGNATURE);
    let helper = wire_head(head, |h| h.signer = Signer::Agent(t.id(3)));
    assert!(t.send(helper, &Body::Status, &device_key(&t.id(3))).await.is_ok());
    assert_eq!(code(t.send(helper, &put(1, b"x"), &device_key(&t.id(3))).await), c::SIGNATURE);
    assert_eq!(
        code(t.send(helper, &Body::NotePut(Note::default()), &device_key(&t.id(3))).await),
        c::SIGNATURE
    );
}

fn wire_head(
    mut head: cairn_storage_codec::wire::Head,
    f: impl FnOnce(&mut cairn_storage_codec::wire::Head),
) -> cairn_storage_codec::wire::Head {
    f(&mut head);
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overtaken_machine_is_fenced_and_read_only_leases_take_nothing() {
    let t = Town::new();
    let newer = wire_head(t.head(DATA, 0), |h| h.fence = 5);
    assert!(t.send(newer, &put(1, b"new"), &lease_key(&DATA)).await.is_ok());
    assert_eq!(t.refused(DATA, 0, put(2, b"old")).await, c::FENCE);
    assert!(t.ask(DATA, 0, get(1, 0, 3)).await.is_ok());
    // The chain's fence counts as well, before any newer machine wrote here.
    t.chain.0.lock().unwrap().registry.leases.get_mut(&DATA).unwrap().fence = 7;
    assert_eq!(code(t.send(newer, &put(2, b"old"), &lease_key(&DATA)).await), c::FENCE);
    t.seats[1].node.set_read_only(DATA, true);
    assert_eq!(t.refused(DATA, 1, put(2, b"x")).await, c::READ_ONLY);
    // What makes the slot smaller costs the operator nothing, and saves the customer money.
    let shrink = Body::Delete { segments: vec![SegmentId([1; 32])] };
    assert!(t.ask(DATA, 1, shrink).await.is_ok());
    t.seats[1].node.set_read_only(DATA, false);
    assert!(t.ask(DATA, 1, put(2, b"x")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_stops_without_receipts_and_goes_on_with_them() {
    let t = Town::new();
    let data = vec![1; 4 << 20];
    t.ask(DATA, 0, put(1, &data)).await.unwrap();
    for _ in 0..4 {
        assert!(t.ask(DATA, 0, get(1, 0, 4 << 20)).await.is_ok());
    }
    assert_eq!(t.refused(DATA, 0, get(1, 0, 1)).await, c::EXPOSURE);
    let reply = t.ask(DATA, 0, t.receipt(0, 16 << 10)).await;
    assert_eq!(reply, Ok(Reply::Served { served: 16 << 20, receipted_kib: 16 << 10 }));
    assert!(t.ask(DATA, 0, get(1, 0, 4 << 20)).await.is_ok());
    // An older receipt changes nothing.
    let reply = t.ask(DATA, 0, t.receipt(0, 1)).await;
    assert_eq!(reply, Ok(Reply::Served { served: 20 << 20, receipted_kib: 16 << 10 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_sequential_fenced_and_truncated_below_checkpoints_only() {
    let t = Town::new();
    let entry = |text: &str, checkpoint| LogEntry { checkpoint, repair: Vec::new(), private: text.into() };
    let (a, b, x) = (entry("a", None), entry("b", None), entry("x", None));
    let ha = entry_hash(&Hash::default(), 0, &a);
    let hb = entry_hash(&ha, 1, &b);
    let append = |seq, prev, entries: Vec<LogEntry>| Body::LogAppend { seq, prev, entries };
    let state = |reply| match reply {
        Ok(Reply::Log(LogState { first, next, head, .. })) => (first, next, head),
        other => panic!("{other:?}"),
    };
    assert_eq!(t.refused(INDEX, 0, append(1, ha, vec![b.clone()])).await, c::LOG);
    assert_eq!(
        state(t.ask(INDEX, 0, append(0, Hash::default(), vec![a.clone(), b.clone()])).await),
        (0, 2, hb)
    );
    // Equal content again; then another one under the same fence.
    assert_eq!(
        state(t.ask(INDEX, 0, append(0, Hash::default(), vec![a.clone(), b.clone()])).await),
        (0, 2, hb)
    );
    assert_eq!(t.refused(INDEX, 0, append(1, ha, vec![x.clone()])).await, c::LOG);
    assert_eq!(t.refused(INDEX, 0, append(2, ha, vec![x.clone()])).await, c::LOG);
    // A machine with a higher fence replaces the tail that it did not see.
    let head = wire_head(t.head(INDEX, 0), |h| h.fence = 1);
    let hx = entry_hash(&ha, 1, &x);
    let reply = t.send(head, &append(1, ha, vec![x.clone()]), &lease_key(&INDEX)).await;
    assert_eq!(state(reply), (0, 2, hx));
    assert_eq!(t.refused(INDEX, 0, append(2, hx, vec![a.clone()])).await, c::FENCE);
    let body = append(2, hx, vec![entry("all of it", Some(2))]);
    assert_eq!(state(t.send(head, &body, &lease_key(&INDEX)).await).1, 3);
    let truncate = |before| Body::LogTruncate { before };
    assert_eq!(code(t.send(head, &truncate(3), &lease_key(&INDEX)).await), c::LOG);
    assert_eq!(state(t.send(head, &truncate(2), &lease_key(&INDEX)).await).0, 2);
    let Ok(Reply::Entries(page)) = t.ask(INDEX, 0, Body::LogRead { from: 2, max_bytes: 1 }).await else {
        panic!()
    };
    assert_eq!((page.seq, page.entries.len(), page.state.next), (2, 1, 3));
    assert_eq!(t.refused(INDEX, 0, Body::LogRead { from: 1, max_bytes: 1 }).await, c::LOG);
    // A replica that lags behind starts anew at a checkpoint.
    let reply = t.ask(INDEX, 1, append(2, hx, vec![entry("all of it", Some(2))])).await;
    assert_eq!(state(reply).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_is_named_and_leaves_nothing_half_visible() {
    let t = Town::new();
    let disk = &t.seats[0].disk;
    for (fault, want) in [
        (Fault::Full, c::FULL),
        (Fault::ReadOnly, c::READ_ONLY),
        (Fault::Broken, c::DISK),
        (Fault::ShortWrite, c::DISK),
    ] {
        disk.set_fault(fault);
        assert_eq!(t.refused(DATA, 0, put(1, b"some bytes")).await, want, "{fault:?}");
        disk.set_fault(Fault::None);
        let Ok(Reply::Status(status)) = t.ask(DATA, 0, Body::Status).await else { panic!() };
        assert_eq!((status.staged, status.free), (0, crate::town::CAPACITY), "{fault:?}");
        assert_eq!(t.refused(DATA, 0, get(1, 0, 1)).await, c::UNKNOWN_SEGMENT);
    }
    assert!(t.ask(DATA, 0, put(1, &[7; 40_000])).await.is_ok());
    assert_eq!(disk.lose("010101"), 1);
    assert_eq!(t.refused(DATA, 0, get(1, 0, 1)).await, c::DAMAGED);
}

/// Fragments in files and in the index, deleted and put again: the offer holds, and what is beside it stays bounded.
#[test]
fn a_disk_never_holds_more_than_the_offer_and_its_bookkeeping() {
    use cairn_storage_node::Store;
    use cairn_storage_node::disk::{Reads, SimDisk};
    use cairn_storage_node::store::{Quota, SlotKey};
    const OFFER: u64 = 4 << 20;
    const JOURNAL: u64 = 256 << 10;
    let disk = SimDisk::new();
    let store = Store::open_with(Arc::new(disk.clone()), OFFER, JOURNAL).unwrap();
    let key = SlotKey { lease: LeaseId([4; 32]), slot: 0, generation: 0 };
    let quota = Quota { reserve: OFFER * 2, exposure: OFFER * 2, reads: Reads::Soon };
    let mut index = Vec::new();
    for round in 0..6u8 {
        let mut put = Vec::new();
        let refused = loop {
            let n = u8::try_from(put.len()).unwrap();
            let bytes = vec![n; if n.is_multiple_of(2) { 60_000 } else { 20_000 }];
            let root = Hash(*blake3::hash(&bytes).as_bytes());
            let fragment = Fragment { root, len: u64::try_from(bytes.len()).unwrap() };
            let mut id = [round; 32];
            id[0] = n;
            match store.put(&key, &SegmentId(id), &fragment, 0, &bytes, &quota) {
                Ok(_) => put.push((SegmentId(id), fragment)),
                Err(e) => break e,
            }
        };
        assert_eq!(refused.code, c::FULL);
        let bytes: u64 = put.iter().map(|(_, f)| f.len).sum();
        assert_eq!(store.free(), OFFER - bytes);
        let (files, rows) = disk.stored();
        // Tails of files and the journal are all that lies beside what was offered.
        assert!(u64::try_from(files).unwrap() <= OFFER + OFFER / 100 + JOURNAL, "{files}");
        index.push(rows);
        let ids: Vec<SegmentId> = put.iter().map(|(id, _)| *id).collect();
        store.delete(&key, &ids).unwrap();
        assert_eq!(store.free(), OFFER);
    }
    // The database does not grow with what was deleted.
    assert!(index[5] <= index[1].max(OFFER.try_into().unwrap()), "{index:?}");
}
