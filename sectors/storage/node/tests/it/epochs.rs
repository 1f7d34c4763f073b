//! Commit, answer, hand in, be judged.

use crate::town::{DATA, Town};
use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::{Body, Reply};
use cairn_storage_node::Cheat;
use cairn_storage_rules::judge::note;
use cairn_storage_rules::types::{AT_REST, AnswerBody, Claim, Commitment, Defence, SERVED};
use cairn_testkit::world::epoch_seed;
use cairn_types::Epoch;

#[tokio::test(flavor = "multi_thread")]
async fn honest_devices_are_paid_for_what_they_hold_and_serve() {
    let mut t = Town::new();
    t.store(1, 300_000).await;
    t.ask(DATA, 0, t.receipt(0, 7)).await.unwrap();
    let rows = t.epoch().await;
    let units = |n: usize, kind: usize| -> u64 {
        rows.iter().filter(|r| r.payee == t.id(n)).map(|r| r.units.0[kind]).sum()
    };
    for n in 0..3 {
        assert_eq!(units(n, AT_REST), t.lists[n].root().total * 3600, "{rows:?}");
    }
    assert_eq!(units(0, SERVED), 7);
    assert!(rows.iter().all(|r| r.fault.is_none()));
    // The second epoch hands in nothing that is known, and passes again.
    t.commit().await;
    let items = t.seats[0].duties.bundle_items(t.lease_epoch()).unwrap();
    assert!(items.iter().all(|i| !matches!(i, cairn_storage_rules::types::Evidence::Revision(_))));
    assert!(t.judge().await.iter().any(|r| r.payee == t.id(0) && r.units.0[AT_REST] > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_after_the_commitment_waits_for_the_next() {
    let mut t = Town::new();
    t.store(1, 300_000).await;
    t.store(2, 300_000).await;
    t.commit().await;
    let before = t.lists[0].root().total;
    let removed = SegmentId([1; 32]);
    for slot in 0..3 {
        t.revise(slot, &[removed], &[]).await.unwrap();
    }
    t.store(3, 100_000).await;
    let rows = t.judge().await;
    let at_rest: u64 = rows.iter().filter(|r| r.payee == t.id(0)).map(|r| r.units.0[AT_REST]).sum();
    assert_eq!(at_rest, before * 3600, "{rows:?}");
    // Settled: the removed fragment's file is gone.
    assert!(!t.seats[0].disk.files().iter().any(|f| f.contains("010101")));
    let after = t.lists[0].root().total;
    let rows = t.epoch().await;
    let at_rest: u64 = rows.iter().filter(|r| r.payee == t.id(0)).map(|r| r.units.0[AT_REST]).sum();
    assert_eq!(at_rest, after * 3600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_posts_the_same_again() {
    let mut t = Town::new();
    t.store(1, 200_000).await;
    t.commit().await;
    let epoch = t.lease_epoch();
    let commitment = t.seats[0].duties.commitment(epoch).await.unwrap();
    t.restart(0);
    assert_eq!(t.seats[0].duties.commitment(epoch).await.unwrap(), commitment);
    let answers = |t: &Town, c: &Commitment| {
        t.seats[0].duties.answers(epoch, epoch_seed(7, epoch), &t.params, c, true).unwrap().unwrap()
    };
    let first = answers(&t, &commitment.unwrap());
    // Even if the disk rots afterwards.
    t.seats[0].disk.rot("010101");
    t.restart(0);
    assert_eq!(answers(&t, &commitment.unwrap()), first);
    assert!(first.0.iter().all(|a| a.body != AnswerBody::Missing));
    let rows = t.judge().await;
    assert!(t.notes(&rows, 0).contains(&note::PAID), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_data_is_declared_and_never_a_fault() {
    let mut t = Town::new();
    t.store(1, 200_000).await;
    t.store(2, 200_000).await;
    t.commit().await;
    t.seats[0].disk.lose("010101");
    t.seats[1].disk.rot("020202");
    let rows = t.judge().await;
    assert!(rows.iter().all(|r| r.fault.is_none()), "{rows:?}");
    assert!(t.notes(&rows, 0).contains(&note::MISSING), "{rows:?}");
    assert!(t.notes(&rows, 2).contains(&note::PAID));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moved_on_is_dropped_and_forgotten() {
    let mut t = Town::new();
    t.store(1, 200_000).await;
    t.epoch().await;
    t.reassign(0, 5);
    let rows = t.epoch().await;
    assert!(!t.notes(&rows, 0).contains(&note::OTHER_TREE), "{rows:?}");
    assert!(t.seats[0].store.keys().iter().all(|k| k.lease != DATA));
    assert_eq!(t.seats[0].store.free(), crate::town::CAPACITY);
    assert!(!t.seats[0].disk.files().iter().any(|f| f.contains("010101")));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_commitment_on_the_chain_means_silence() {
    let mut t = Town::new();
    t.store(1, 200_000).await;
    t.commit().await;
    let other = Commitment::default();
    let epoch = t.lease_epoch();
    assert_eq!(
        t.seats[0].duties.answers(epoch, epoch_seed(7, epoch), &t.params, &other, true).unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cheat_of_a_node_earns_nothing_at_rest() {
    for (cheat, fault) in [
        (Cheat::StaleProof, true),
        (Cheat::BadProof, true),
        (Cheat::CommitmentChanged, true),
        (Cheat::InflatedSize, false),
        (Cheat::DroppedData10, false),
    ] {
        let mut t = Town::new();
        t.store(1, 200_000).await;
        t.epoch().await;
        t.store(2, 200_000).await;
        t.seats[0].cheats.set(cheat, true);
        let rows = t.epoch().await;
        let mine: Vec<_> = rows.iter().filter(|r| r.payee == t.id(0)).collect();
        assert_eq!(mine.iter().any(|r| r.fault.is_some()), fault, "{cheat:?} {mine:?}");
        assert_eq!(mine.iter().map(|r| r.units.0[AT_REST]).sum::<u64>(), 0, "{cheat:?} {mine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_an_empty_slot_commits_and_is_not_silent() {
    let t = Town::new();
    let rows = t.epoch().await;
    assert_eq!(t.notes(&rows, 2), vec![note::PAID], "{rows:?}");
    assert_eq!(t.seats[5].duties.commitment(t.lease_epoch()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn accusations_are_answered_with_the_chunk_or_the_later_word() {
    let mut t = Town::new();
    let sealed = t.store(1, 200_000).await;
    let Ok(Reply::List(list)) = t.ask(DATA, 0, Body::List { staged: false, after: 0 }).await else {
        panic!()
    };
    let claim = Claim { revision: list.revision.unwrap(), position: 3 };
    let Some(Defence::Leaf(leaf)) = t.seats[0].duties.defence(&claim) else { panic!() };
    let tree = claim.revision.revision.tree;
    cairn_storage_rules::prove::verify_in_slot(&tree, 3, &leaf.in_slot, &leaf.fragment, &leaf.chunk).unwrap();
    let later = t.revise(0, &[*sealed.meta.id()], &[]).await.unwrap();
    assert_eq!(t.seats[0].duties.defence(&claim), Some(Defence::Superseded(Box::new(later))));
}

impl Town {
    fn lease_epoch(&self) -> Epoch {
        cairn_storage_node::ChainView::epoch(&*self.chain)
    }
}
