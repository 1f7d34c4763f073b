//! The power goes at every sync in turn, and leaves more or less of what was not synced; what was acknowledged is
//! there afterwards.

use crate::town::{DATA, INDEX, Town};
use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::{Body, LogEntry, Reply};
use cairn_storage_node::disk::Lie;
use cairn_types::Hash;

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
async fn work(point: u64, crash: Crash, lie: Lie) -> Result<bool, String> {
    let mut t = Town::new();
    t.seats[0].disk.set_lie(lie);
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
async fn first_loss(crash: Crash, lie: Lie) -> Option<String> {
    for point in 1..60 {
        match work(point, crash, lie).await {
            Ok(true) => return None,
            Ok(false) => {}
            Err(what) => return Some(format!("{what} (power off at sync {point}, {crash:?})")),
        }
    }
    panic!("the last crash points must lie behind the work");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_at_any_crash_point() {
    assert_eq!(first_loss(Crash::Nothing, Lie::None).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_where_writes_are_torn_and_reordered() {
    for seed in 0..12 {
        assert_eq!(first_loss(Crash::Torn(seed), Lie::None).await, None);
    }
}

/// The proof that the two tests above can fail: without any one of the three kinds of sync something is lost.
#[tokio::test(flavor = "multi_thread")]
async fn every_sync_is_needed() {
    for lie in [Lie::Content, Lie::Names, Lie::Index] {
        let mut lost = None;
        for seed in 0..12 {
            lost = lost.or(first_loss(Crash::Torn(seed), lie).await);
        }
        assert!(lost.is_some(), "{lie:?} can be left out");
    }
}
