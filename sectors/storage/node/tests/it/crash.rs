//! The power goes at every sync in turn, and leaves more or less of what was not synced; what was acknowledged is
//! there afterwards.

use crate::town::{DATA, INDEX, Town};
use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::{Body, LogEntry, Reply};
use cairn_storage_node::disk::Lie;
use cairn_types::Hash;

/// Bytes of journal: one that takes everything, one that goes into the database again and again, none.
const JOURNALS: [u64; 3] = [1 << 20, 700, 0];

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, Debug)]
enum Crash {
    Nothing,
    Torn(u64),
}

fn must(held: bool, what: &str) -> Result<(), String> {
    if held { Ok(()) } else { Err(what.to_owned()) }
}

/// Works until the power goes at the `point`-th sync, starts again, and looks for what was acknowledged. Ok(true): the
/// power did not go before the end. Err: what was lost.
async fn work(point: u64, crash: Crash, lie: Lie, journal: u64) -> Result<bool, String> {
    let mut t = Town::with_journal(journal);
    t.seats[0].disk.set_lie(lie);
    t.seats[0].disk.power_off_at(point);
    // One lies in a file, the other in the index.
    let sealed = [t.sealed(1, 150_000), t.sealed(2, 60_000)];
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
    match crash {
        Crash::Nothing => t.restart(0),
        Crash::Torn(seed) => must(t.restart_torn(0, seed), "the store opens")?,
    }
    let whole = |n: usize| {
        let (segment, bytes) = (SegmentId([u8::try_from(n + 1).unwrap(); 32]), &sealed[n].fragments[0]);
        let ask = t.ask(DATA, 0, Body::Get { segment, offset: 0, len: u32::try_from(bytes.len()).unwrap() });
        async { ask.await == Ok(Reply::Bytes(bytes.clone().into())) }
    };
    must(!put_one || whole(0).await, "the first fragment")?;
    must(!put_two || whole(1).await, "the second fragment")?;
    let listed = t.ask(DATA, 0, Body::List { staged: false, after: 0 }).await;
    let Ok(Reply::List(list)) = listed else { return Err("the list".into()) };
    must(!revised || list.entries == vec![held_one], "the revision")?;
    // List and revision change together or not at all.
    let tree = list.revision.map(|r| r.revision.tree.total).unwrap_or_default();
    must(tree == list.entries.iter().map(|h| h.fragment.chunks()).sum::<u64>(), "list and revision as one")?;
    // Whatever is offered as staged is whole, acknowledged or not.
    let staged = t.ask(DATA, 0, Body::List { staged: true, after: 0 }).await;
    let Ok(Reply::List(staged)) = staged else { return Err("the staged list".into()) };
    for held in &staged.entries {
        must(whole(usize::from(held.segment.0[0]) - 1).await, "a staged fragment as a whole")?;
    }
    let Ok(Reply::Log(log)) = t.ask(INDEX, 0, Body::LogHead).await else { return Err("the log".into()) };
    must(log.next == 1 || !logged, "the log entry")?;
    let finished = commitment.is_ok();
    if let Ok(before) = commitment {
        must(t.seats[0].duties.commitment(epoch).await == Ok(before), "the commitment")?;
    }
    // The store goes on from here.
    let fresh = t.sealed(3, 1000);
    let (body, held) = Town::put_body(&fresh, 0);
    must(t.ask(DATA, 0, body).await == Ok(Reply::Put { have: held.fragment.len }), "another put")?;
    let staged = if put_two && revised { vec![held_two, held] } else { vec![held] };
    if revised {
        must(t.revise(0, &[], &staged).await.is_ok(), "another revision")?;
    }
    Ok(finished)
}

/// All crash points of one kind of crash; the first loss, if any.
async fn first_loss(crash: Crash, lie: Lie, journal: u64) -> Option<String> {
    for point in 1..60 {
        match work(point, crash, lie, journal).await {
            Ok(true) => return None,
            Ok(false) => {}
            Err(what) => return Some(format!("{what} (power off at sync {point}, {crash:?})")),
        }
    }
    panic!("the last crash points must lie behind the work");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_at_any_crash_point() {
    for journal in JOURNALS {
        assert_eq!(first_loss(Crash::Nothing, Lie::None, journal).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_where_writes_are_torn_and_reordered() {
    for journal in JOURNALS {
        for seed in 0..12 {
            assert_eq!(first_loss(Crash::Torn(seed), Lie::None, journal).await, None);
        }
    }
}

/// The proof that the two tests above can fail: without any one of the kinds of sync something is lost.
#[tokio::test(flavor = "multi_thread")]
async fn every_sync_is_needed() {
    for lie in [Lie::Content, Lie::Names, Lie::Index, Lie::Region] {
        let mut lost = None;
        for seed in 0..24 {
            lost = lost.or(first_loss(Crash::Torn(seed), lie, JOURNALS[usize::from(seed % 2 == 0)]).await);
        }
        assert!(lost.is_some(), "{lie:?} can be left out");
    }
}

/// Rows of many small changes, over journals of all lengths, with the power going anywhere: afterwards each row is the
/// one acknowledged last, or one that was asked for later.
#[test]
fn every_acknowledged_note_is_the_newest_after_any_crash() {
    use cairn_crypto::sealed::SealedBox;
    use cairn_storage_codec::wire::Note;
    use cairn_storage_node::Store;
    use cairn_storage_node::disk::{Fault, SimDisk};
    use cairn_storage_node::store::SlotKey;
    use std::sync::Arc;
    let dice = |seed: u64, n: u64| {
        let hash = blake3::hash(&[seed.to_le_bytes(), n.to_le_bytes()].concat());
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap())
    };
    let key = |n: u64| SlotKey {
        lease: cairn_types::LeaseId([5; 32]),
        slot: u16::try_from(n).unwrap(),
        generation: 0,
    };
    let note = |n: u64| {
        let mut note = Note::default();
        let sealed =
            SealedBox { ephemeral: [1; 32], ciphertext: vec![2; usize::try_from(16 + n % 300).unwrap()] };
        note.boxes = vec![(cairn_types::DeviceId([u8::try_from(n % 250).unwrap(); 32]), sealed)];
        note
    };
    for seed in 0..150 {
        let mut disk = SimDisk::new();
        let journal = 200 + dice(seed, 0) % 5000;
        let (mut acknowledged, mut asked) = ([None; 4], [0; 4]);
        let mut n = 1;
        for round in 0..4 {
            let Ok(store) = Store::open_with(Arc::new(disk.clone()), 1 << 20, journal) else {
                panic!("seed {seed}, round {round}: the store does not open")
            };
            for slot in 0..4u64 {
                let at = usize::try_from(slot).unwrap();
                let found = store.note(&key(slot)).unwrap();
                let fits = (acknowledged[at].unwrap_or(0)..=asked[at])
                    .any(|n| if n == 0 { found.is_none() } else { found == Some(note(n)) });
                assert!(
                    fits,
                    "seed {seed}, round {round}, slot {slot}: {:?}..{:?}",
                    acknowledged[at], asked[at]
                );
            }
            disk.power_off_at(1 + dice(seed, 1000 + round) % 30);
            for _ in 0..40 {
                let slot = dice(seed, n) % 4;
                let at = usize::try_from(slot).unwrap();
                if dice(seed, 5000 + n) % 9 == 0 {
                    disk.set_fault([Fault::Full, Fault::ShortWrite][usize::from(n % 2 == 0)]);
                }
                asked[at] = n;
                if store.put_note(&key(slot), &note(n)).is_ok() {
                    acknowledged[at] = Some(n);
                }
                disk.set_fault(Fault::None);
                n += 1;
            }
            let rest = if dice(seed, 9000 + round) % 2 == 0 {
                disk.after_crash()
            } else {
                disk.after_torn_crash(seed)
            };
            drop(store);
            disk = rest;
        }
    }
}
