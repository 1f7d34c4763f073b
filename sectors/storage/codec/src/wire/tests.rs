use super::*;
use crate::erasure::Profile;
use crate::keys::LeaseRepairKey;
use crate::segment::SegmentMeta;
use cairn_storage_rules::types::Receipt;
use proptest::prelude::*;

fn head() -> Head {
    Head {
        network: NetworkId([1; 32]),
        lease: LeaseId([2; 32]),
        slot: 3,
        generation: 4,
        fence: 5,
        device: DeviceId([6; 32]),
        expires: Epoch(7),
        nonce: 8,
        signer: Signer::Customer,
    }
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[9; 32])
}

fn fragment() -> Fragment {
    Fragment { root: Hash([0xAA; 32]), len: 1025 }
}

fn held(n: u8) -> Held {
    let id = SegmentId([n; 32]);
    Held { segment: id, fragment: Fragment { root: Hash([n; 32]), len: u64::from(n) * 700 } }
}

/// One of each kind of body.
fn bodies() -> Vec<Body> {
    let segment = SegmentId([0xBB; 32]);
    let list = SlotList::from_held([held(1), held(2)]).unwrap();
    let revision = Revision {
        network: NetworkId([1; 32]),
        lease: LeaseId([2; 32]),
        slot: 3,
        generation: 4,
        device: DeviceId([6; 32]),
        fence: 5,
        seq: 1,
        tree: list.root(),
    };
    let receipt = Receipt {
        network: NetworkId([1; 32]),
        lease: LeaseId([2; 32]),
        slot: 3,
        generation: 4,
        device: DeviceId([6; 32]),
        served_kib: 99,
    };
    let entry = LogEntry { checkpoint: Some(1), repair: vec![vec![1, 2]], private: vec![3] };
    vec![
        Body::Put { segment, fragment: fragment(), offset: 7, bytes: vec![1, 2, 3].into() },
        Body::Get { segment, offset: 1, len: 2 },
        Body::Delete { segments: vec![segment] },
        Body::List { staged: true, after: 5 },
        Body::Revise {
            revision: revision.sign_as_customer(&key()),
            remove: vec![segment],
            add: vec![segment],
        },
        Body::Receipt(receipt.sign(&key())),
        Body::LogAppend { seq: 1, prev: Hash([4; 32]), entries: vec![entry] },
        Body::LogHead,
        Body::LogRead { from: 1, max_bytes: 2 },
        Body::LogTruncate { before: 9 },
        Body::NotePut(Note::default()),
        Body::NoteGet,
        Body::Status,
        Body::Confirm(revision),
    ]
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().chars().take(16).collect()
}

#[test]
fn small_messages_are_frozen_byte_by_byte() {
    assert_eq!(hex::encode(encode_request(&Request::Hello)), "0100");
    assert_eq!(
        hex::encode(encode(&head())),
        "01010101010101010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202020202020202020202030004000000050000000000000006060606060606060606060606060606060606060606060606060606060606060700000000000000080000000000000000"
    );
    assert_eq!(hex::encode(encode_reply(&Ok(Reply::Put { have: 258 }))), "0101020201000000000000");
    let refusal = WireError::new(code::FULL, "a", "b");
    assert_eq!(
        hex::encode(encode_reply(&Err(refusal))),
        "01000c00000073746f726167652e66756c6c01000000610100000062"
    );
    let signed = Signed::new(head(), &Body::Status, None, &key());
    assert_eq!(
        hex::encode(signed.signature.0),
        "b044a597f6d909ccfdefe3985e00f93cae47e819cb4327d2b1b3bff15175b1b41e1284ba491d57936f8211a0de82c8b8fd4492a8a3da2aaca0b75043d439e406"
    );
}

#[test]
fn every_body_is_frozen_and_round_trips() {
    let frozen: [&str; 14] = [
        "66960f96e853461c",
        "a1ef552c86b68512",
        "0b46c0f1bad58bd7",
        "c66f140b2774d8fe",
        "19c2e0e39b5802cf",
        "95a459c1fff19c8b",
        "b407d252ef0a6a89",
        "448bd8dd9624154a",
        "ae9de4f2b19ad736",
        "ed3fccf993f785db",
        "f1394138d442f55c",
        "caebfd3859f5380e",
        "b76ffa778026e188",
        "bd7926e16e2ec9cf",
    ];
    for (body, want) in bodies().iter().zip(frozen) {
        let signed = Signed::new(head(), body, None, &key());
        assert_eq!(digest(&signed.body), want, "{body:?}");
        let message = Bytes::from(signed.clone().message());
        assert_eq!(encode_signed(vec![7], head(), body, None, &key()), message);
        assert_eq!(decode_request(&message), Ok(Request::Signed(Box::new(signed.clone()))));
        assert_eq!(signed.body().as_ref(), Ok(body));
        assert_eq!(signed.check(&key().public()), Ok(()));
    }
}

/// Reading in place accepts what borsh accepts, and reads the same.
#[test]
fn messages_read_in_place_are_those_of_borsh() {
    let put = Body::Put {
        segment: SegmentId([1; 32]),
        fragment: fragment(),
        offset: 7,
        bytes: vec![5; 300].into(),
    };
    let grant = Grant::new(NetworkId([1; 32]), LeaseId([2; 32]), DeviceId([3; 32]), &key());
    let request = Signed::new(head(), &put, Some(grant), &key());
    assert_eq!(encode_signed(vec![7], head(), &put, Some(grant), &key()), request.clone().message());
    let reply: Result<Reply, WireError> = Ok(Reply::Bytes(vec![9; 300].into()));
    let (asked, answered) = (request.message(), encode_reply(&reply));
    let (cases, step) = ([asked, answered], 7);
    for whole in cases {
        let cut = (0..=whole.len()).map(|n| whole[..n].to_vec());
        let longer = [whole.clone(), vec![0]].concat();
        let bent = (0..whole.len()).step_by(step).map(|at| {
            let mut bent = whole.clone();
            bent[at] ^= 3;
            bent
        });
        for bytes in cut.chain(bent).chain([longer]) {
            let message = Bytes::from(bytes);
            let borsh: Result<Request, _> = unversioned(&message);
            assert_eq!(decode_request(&message).ok(), borsh.ok());
            if let Ok(Request::Signed(signed)) = decode_request(&message) {
                let borsh = decode_bounded::<Body>(&signed.body, MAX_MESSAGE).ok();
                assert_eq!(signed.body().ok(), borsh.filter(|b| b.check_limits().is_ok()));
            }
            let borsh: Result<Result<Reply, WireError>, _> = unversioned(&message);
            assert_eq!(decode_reply(&message).ok(), borsh.ok().filter(|r| check_reply(r).is_ok()));
        }
    }
}

/// A message made around a fragment is the one that is made from the body.
#[test]
fn a_put_can_be_made_where_the_fragment_lies() {
    let (segment, bytes) = (SegmentId([1; 32]), vec![5; 300]);
    let fragment = Fragment { root: Hash([2; 32]), len: 300 };
    let (front, back) = put_around(head(), &segment, &fragment, 300, &key());
    assert_eq!((front.len(), back.len()), (PUT_FRONT, PUT_BACK));
    let body = Body::Put { segment, fragment, offset: 0, bytes: bytes.clone().into() };
    assert_eq!([front, bytes, back].concat(), Signed::new(head(), &body, None, &key()).message());
}

/// The root binds a fragment's bytes, so the signature need not; everything in front of them it covers.
#[test]
fn the_signature_of_a_put_covers_all_but_the_bytes() {
    let put = |n: u8, bytes: Vec<u8>| Body::Put {
        segment: SegmentId([n; 32]),
        fragment: Fragment { root: Hash([2; 32]), len: 300 },
        offset: 0,
        bytes: bytes.into(),
    };
    let signed = Signed::new(head(), &put(1, vec![5; 300]), None, &key());
    let checked = |body: &Body| {
        let other = Signed { body: encode(body).into(), ..signed.clone() };
        other.check(&key().public()).is_ok()
    };
    assert!(checked(&put(1, vec![6; 300])));
    assert!(!checked(&put(2, vec![5; 300])) && !checked(&put(1, vec![5; 299])));
}

#[test]
fn a_signature_covers_head_and_body() {
    let signed = Signed::new(head(), &Body::LogHead, None, &key());
    let mut other = signed.clone();
    other.head.fence = 6;
    assert!(other.check(&key().public()).is_err());
    let mut other = signed.clone();
    other.body = encode(&Body::Status).into();
    assert!(other.check(&key().public()).is_err());
    assert!(signed.check(&SecretKey::from_seed(&[1; 32]).public()).is_err());
}

#[test]
fn limits_hold_on_the_receiving_side() {
    let over = |body: Body| Signed::new(head(), &body, None, &key()).body().is_err();
    let segment = SegmentId([1; 32]);
    assert!(over(Body::Get { segment, offset: 0, len: MAX_PART + 1 }));
    assert!(!over(Body::Get { segment, offset: 0, len: MAX_PART }));
    assert!(over(Body::Put {
        segment,
        fragment: fragment(),
        offset: 0,
        bytes: vec![0; (4 << 20) + 1].into()
    }));
    assert!(over(Body::Delete { segments: vec![segment; MAX_IDS + 1] }));
    let big = LogEntry { private: vec![0; MAX_LOG_BATCH], ..LogEntry::default() };
    assert!(over(Body::LogAppend { seq: 0, prev: Hash::default(), entries: vec![big] }));
    let parts = LogEntry { repair: vec![Vec::new(); MAX_PARTS + 1], ..LogEntry::default() };
    assert!(over(Body::LogAppend { seq: 0, prev: Hash::default(), entries: vec![parts] }));
    assert!(decode_request(&vec![VERSION; MAX_MESSAGE + 1].into()).is_err());
    assert!(decode_request(&Bytes::from_static(&[VERSION + 1, 0])).is_err());
    assert!(decode_request(&Bytes::new()).is_err());
}

#[test]
fn a_repair_part_opens_under_its_key_only_and_is_frozen() {
    let (a, b) = (LeaseRepairKey::from_bytes([1; 32]), LeaseRepairKey::from_bytes([2; 32]));
    let profile = Profile::new(1, 2).unwrap();
    let meta =
        SegmentMeta::new(SegmentId([3; 32]), LeaseId([2; 32]), profile, 10, vec![Hash([5; 32]); 2]).unwrap();
    let part = RepairPart {
        lease: LeaseId([2; 32]),
        reset: false,
        added: vec![meta],
        removed: vec![SegmentId([4; 32])],
    };
    let sealed = seal_part(&a, 7, &part).unwrap();
    assert_eq!(digest(&sealed), "f94ed3948eb79007");
    assert_eq!(open_part(&a, &sealed), Some(part.clone()));
    assert_eq!(open_part(&b, &sealed), None);
    assert_ne!(seal_part(&a, 8, &part).unwrap()[..24], sealed[..24]);
    for at in 0..sealed.len() {
        let mut bad = sealed.clone();
        bad[at] ^= 1;
        assert_eq!(open_part(&a, &bad), None, "{at}");
    }
}

#[test]
fn a_note_opens_for_its_device_only() {
    let (network, lease) = (NetworkId([1; 32]), LeaseId([2; 32]));
    let (mine, other) = (SecretKey::from_seed(&[3; 32]), SecretKey::from_seed(&[4; 32]));
    let (me, you) = (DeviceId([5; 32]), DeviceId([6; 32]));
    let hello = sign_box_key(network, me, &mine);
    assert_eq!(check_box_key(&hello, &mine.public()), Ok(()));
    assert!(check_box_key(&hello, &other.public()).is_err());
    let grant = Grant::new(network, LeaseId([7; 32]), me, &key());
    assert!(grant.check(&key().public()).is_ok() && grant.check(&mine.public()).is_err());
    let secret = NoteSecret { lease, repair_key: [8; 32], index: LeaseId([7; 32]), grant };
    let mut note = Note::default();
    note.add(me, &hello.box_key, &secret, &[9; 32]).unwrap();
    assert_eq!(note.open(&me, &box_secret(&mine)), Some(secret));
    assert_eq!(note.open(&me, &box_secret(&other)), None);
    assert_eq!(note.open(&you, &box_secret(&mine)), None);
}

#[test]
fn a_log_chains() {
    let entry = LogEntry { checkpoint: None, repair: vec![vec![1]], private: vec![2] };
    let first = entry_hash(&Hash::default(), 0, &entry);
    assert_eq!(first.to_string(), "f130a3d2be6ae300a7ff37289e86c1165271fbb57224435943225d3b1614fa7f");
    assert_ne!(entry_hash(&first, 0, &entry), first);
    assert_ne!(entry_hash(&Hash::default(), 1, &entry), first);
}

proptest! {
    /// The list after any changes has the tree that is built from its fragments anew.
    #[test]
    fn a_changed_list_has_the_tree_of_its_fragments(steps in proptest::collection::vec((0u8..30, 0u8..30), 0..30)) {
        let mut list = SlotList::new();
        for (remove, add) in steps {
            let removes = list.get(&SegmentId([remove; 32])).map(|h| h.segment);
            let removes: Vec<SegmentId> = removes.into_iter().collect();
            let adds: Vec<Held> = if list.get(&held(add).segment).is_none() { vec![held(add)] } else { Vec::new() };
            let before = list.held().to_vec();
            // A change that fails leaves everything as it was.
            let twice = [held(add), held(add)];
            prop_assert!(list.apply(&[], &twice).is_err());
            prop_assert_eq!(list.held(), &before[..]);
            list.apply(&removes, &adds).unwrap();
            let fresh = SlotList::from_held(list.held().iter().copied()).unwrap();
            prop_assert_eq!(list.root(), fresh.root());
            for (i, h) in list.held().iter().enumerate() {
                prop_assert_eq!(list.position(&h.segment), Some(i));
            }
        }
    }
}

#[test]
fn the_auditors_question_and_its_answer_are_frozen_and_bounded() {
    let ask = Ask {
        network: NetworkId([1; 32]),
        epoch: Epoch(2),
        device: DeviceId([3; 32]),
        auditor: DeviceId([4; 32]),
    };
    assert_eq!(encode(&ask).len(), 104);
    let asked = AuditAsk { ask, signature: ask.sign(&key()) };
    let message = encode_request(&Request::Audit(asked));
    let fields = [&[1; 32][..], &[2, 0, 0, 0, 0, 0, 0, 0], &[3; 32], &[4; 32]].concat();
    assert_eq!(message, [&[1, 2][..], &fields, &asked.signature.0].concat());
    assert_eq!(key().public().verify("cairn/storage/audit/v1", &fields, &asked.signature), Ok(()));
    assert_eq!(decode_request(&message.into()), Ok(Request::Audit(asked)));
    assert_eq!(hex::encode(encode_reply(&Ok(Reply::Audited(vec![None])))), "01010c0100000000");
    let most = Ok(Reply::Audited(vec![None; MAX_AUDITED]));
    assert_eq!(decode_reply(&encode_reply(&most).into()), Ok(most));
    let over = encode_reply(&Ok(Reply::Audited(vec![None; MAX_AUDITED + 1])));
    assert!(decode_reply(&over.into()).is_err());
}
