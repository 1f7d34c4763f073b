//! The power goes at every sync in turn; what was acknowledged is there afterwards.

use crate::town::{DATA, INDEX, Town};
use cairn_storage_codec::wire::{Body, LogEntry, Reply};
use cairn_types::Hash;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_at_any_crash_point() {
    let mut finished = false;
    for point in 1..60 {
        let mut t = Town::new();
        t.seats[0].disk.power_off_at(point);
        let sealed = [t.sealed(1, 50_000), t.sealed(2, 60_000)];
        let (one, held_one) = Town::put_body(&sealed[0], 0);
        let (two, held_two) = Town::put_body(&sealed[1], 0);
        let put_one = t.ask(DATA, 0, one).await.is_ok();
        let revised = put_one && t.revise(0, &[], &[held_one]).await.is_ok();
        let put_two = t.ask(DATA, 0, two).await.is_ok();
        let entry = LogEntry { private: vec![7; 100], ..LogEntry::default() };
        let append = Body::LogAppend { seq: 0, prev: Hash::default(), entries: vec![entry] };
        let logged = t.ask(INDEX, 0, append).await.is_ok();
        let epoch = cairn_storage_node::ChainView::epoch(&*t.chain);
        let commitment = t.seats[0].duties.commitment(epoch).await;
        finished = commitment.is_ok();
        t.restart(0);
        let read = |id: u8| {
            let segment = cairn_storage_codec::segment::SegmentId([id; 32]);
            t.ask(DATA, 0, Body::Get { segment, offset: 0, len: 1000 })
        };
        if put_one {
            assert_eq!(
                read(1).await,
                Ok(Reply::Bytes(sealed[0].fragments[0][..1000].to_vec().into())),
                "{point}"
            );
        }
        if put_two {
            assert_eq!(
                read(2).await,
                Ok(Reply::Bytes(sealed[1].fragments[0][..1000].to_vec().into())),
                "{point}"
            );
        }
        let Ok(Reply::List(list)) = t.ask(DATA, 0, Body::List { staged: false, after: 0 }).await else {
            panic!()
        };
        if revised {
            assert_eq!(list.entries, vec![held_one], "{point}");
        }
        // List and revision change together or not at all.
        let tree = list.revision.map(|r| r.revision.tree.total).unwrap_or_default();
        assert_eq!(tree, list.entries.iter().map(|h| h.fragment.chunks()).sum::<u64>(), "{point}");
        let Ok(Reply::Log(log)) = t.ask(INDEX, 0, Body::LogHead).await else { panic!() };
        assert!(log.next == 1 || !logged, "{point}");
        if let Ok(before) = commitment {
            assert_eq!(t.seats[0].duties.commitment(epoch).await.unwrap(), before, "{point}");
        }
        // The store goes on from here.
        let fresh = t.sealed(3, 1000);
        let (body, held) = Town::put_body(&fresh, 0);
        assert_eq!(t.ask(DATA, 0, body).await, Ok(Reply::Put { have: held.fragment.len }), "{point}");
        let staged = if put_two && revised { vec![held_two, held] } else { vec![held] };
        if revised {
            t.revise(0, &[], &staged).await.unwrap();
        }
        if finished {
            break;
        }
    }
    assert!(finished, "the last crash points must lie behind the work");
}
