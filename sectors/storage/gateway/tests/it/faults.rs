use crate::support::*;
use cairn_net::Faults;
use cairn_storage_gateway::error::GatewayError;
use std::time::{Duration, Instant};

// Sixteen operators: k = 4, n = 12, so eight may be lost.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n_minus_k_operators_down_still_serve_and_one_more_is_an_error_in_time() {
    let (world, g) = started(16).await;
    let (small, large) = (bytes(50_000, 1), bytes(3_000_000, 2));
    put(&g, "small", &small).await.unwrap();
    put(&g, "large", &large).await.unwrap();
    (0..8).for_each(|i| world.set_down(i, true));
    assert!(get(&g, "small").await.unwrap() == small);
    assert!(get(&g, "large").await.unwrap() == large);
    world.set_down(8, true);
    let begun = Instant::now();
    assert!(matches!(get(&g, "large").await, Err(GatewayError::Unavailable(_))));
    // The limit is generous: what must not happen is waiting for ever.
    assert!(begun.elapsed() < Duration::from_secs(60));
    world.set_down(8, false);
    assert!(get(&g, "large").await.unwrap() == large);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_that_hang_do_not_hang_the_reader() {
    let (world, g) = started(16).await;
    let data = bytes(300_000, 1);
    put(&g, "k", &data).await.unwrap();
    for node in &world.nodes[..8] {
        world.net.set_faults(&node.key(), Faults { delay: Duration::from_secs(3600), ..Faults::default() });
    }
    assert!(get(&g, "k").await.unwrap() == data);
}

/// The clock stands still but for waiting: whatever is waited for is counted, and nothing else.
#[tokio::test(start_paused = true)]
async fn operators_that_hang_cost_one_write_the_tail_and_others_the_grace() {
    let (world, g) = started(16).await;
    for node in &world.nodes[9..12] {
        world.net.set_faults(&node.key(), Faults { delay: Duration::from_secs(3600), ..Faults::default() });
    }
    let limits = config().volume;
    let mut waited = Vec::new();
    for i in 0..6u32 {
        let begun = tokio::time::Instant::now();
        put(&g, &format!("k{i}"), &bytes(50_000, i)).await.unwrap();
        waited.push(begun.elapsed());
    }
    // Once for the segment and once for the log, and what is waited for company.
    let about = |wait: Duration| wait * 2 + Duration::from_millis(20);
    assert!(waited[0] <= about(limits.tail), "{waited:?}");
    assert!(waited[1..].iter().all(|w| *w <= about(limits.grace)), "{waited:?}");
    assert_eq!(g.health().slow.len(), 3);
    assert_eq!(g.health().incomplete, 18);
    for node in &world.nodes[9..12] {
        world.net.set_faults(&node.key(), Faults::default());
    }
    assert_eq!(g.heal().await.unwrap(), 18);
    (0..8).for_each(|i| world.set_down(i, true));
    assert!(get(&g, "k3").await.unwrap() == bytes(50_000, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_with_few_operators_down_and_the_gaps_are_healed() {
    let (world, g) = started(16).await;
    (9..12).for_each(|i| world.set_down(i, true));
    let data = bytes(200_000, 1);
    put(&g, "k", &data).await.unwrap();
    assert_eq!(g.health().incomplete, 3);
    assert_eq!(g.heal().await.unwrap(), 0);
    (9..12).for_each(|i| world.set_down(i, false));
    assert_eq!(g.heal().await.unwrap(), 3);
    assert_eq!(g.health().incomplete, 0);
    // The healed ones alone, with one other, suffice.
    (0..8).for_each(|i| world.set_down(i, true));
    assert!(get(&g, "k").await.unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_operators_for_a_safe_write_is_an_error() {
    let (world, g) = started(16).await;
    (7..12).for_each(|i| world.set_down(i, true));
    let refused = put(&g, "k", &bytes(50_000, 1)).await;
    assert_eq!(refused, Err(GatewayError::Quorum { what: "segment", have: 7, need: 8 }));
    assert!(get(&g, "k").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_are_noticed_read_around_and_replaced() {
    let (world, g) = started(16).await;
    let data = bytes(2_000_000, 1);
    put(&g, "k", &data).await.unwrap();
    assert_eq!(world.nodes[0].corrupt(), 1);
    assert_eq!(world.nodes[5].corrupt(), 1);
    assert!(get(&g, "k").await.unwrap() == data);
    g.heal().await.unwrap();
    // With the wrong one replaced, eight others may go.
    (4..12).for_each(|i| world.set_down(i, true));
    assert!(get(&g, "k").await.unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_fragments_are_rebuilt_even_when_they_stand_under_a_revision() {
    let (world, g) = started(16).await;
    let data = bytes(700_000, 1);
    put(&g, "k", &data).await.unwrap();
    g.flush_revisions().await.unwrap();
    assert_eq!(world.nodes[1].lose(), 1);
    assert!(get(&g, "k").await.unwrap() == data);
    for _ in 0..3 {
        g.heal().await.unwrap();
        g.flush_revisions().await.unwrap();
    }
    assert_eq!((world.nodes[1].fragments(), world.nodes[1].agreed()), (1, 1));
    assert_eq!(g.health().incomplete, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_change_nothing() {
    let (world, g) = started(16).await;
    for node in &world.nodes {
        let faults = Faults { drop_answer: 7, ..Faults::default() };
        world.net.set_faults(&node.key(), faults);
    }
    for i in 0..12u32 {
        put(&g, &format!("k{i}"), &bytes(30_000, i)).await.unwrap();
    }
    for i in 0..12u32 {
        assert!(get(&g, &format!("k{i}")).await.unwrap() == bytes(30_000, i));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_trusts_little_gets_receipts_and_revisions_in_time() {
    let (world, g) = started(4).await;
    // One replica of 4 MiB segments, and 6 MiB on trust: a revision before every second segment.
    world.nodes.iter().for_each(|n| n.set_exposure(6 << 20));
    let data = bytes(30 << 20, 1);
    put(&g, "k", &data).await.unwrap();
    assert!(get(&g, "k").await.unwrap() == data);
    assert!(world.nodes.iter().map(|n| n.receipted_kib()).sum::<u64>() > 20 << 10);
    // A gateway that knows nothing of earlier receipts goes on.
    drop(g);
    let g = world.start(&ROOT, config()).await.unwrap().gateway;
    assert!(get(&g, "k").await.unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_follow_the_index_and_survive_a_restart() {
    let (world, g) = started(4).await;
    put(&g, "a", &bytes(50_000, 1)).await.unwrap();
    let flushed = g.flush_revisions().await.unwrap();
    assert_eq!((flushed.agreed, flushed.failed), (2, 0));
    assert_eq!(world.nodes[0].agreed(), 1);
    drop(g);
    let g = world.start(&ROOT, config()).await.unwrap().gateway;
    put(&g, "b", &bytes(50_000, 2)).await.unwrap();
    assert_eq!(g.flush_revisions().await.unwrap().failed, 0);
    assert_eq!(world.nodes[0].agreed(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_changed_hands_is_filled_again() {
    let (world, g) = started(16).await;
    let data = bytes(100_000, 1);
    put(&g, "k", &data).await.unwrap();
    let lease = g.volume().leases()[0].id();
    world.set_down(2, true);
    world.chain.reassign(&lease, 2, world.nodes[14].device());
    g.upkeep().await.unwrap();
    assert_eq!((world.nodes[14].fragments(), world.nodes[14].agreed()), (1, 1));
    [0, 1, 3, 4, 5, 6, 7, 8].into_iter().for_each(|i| world.set_down(i, true));
    assert!(get(&g, "k").await.unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_an_old_epoch_is_signed_again() {
    let (world, g) = started(4).await;
    world.chain.set_epoch(50);
    put(&g, "k", &bytes(50_000, 1)).await.unwrap();
    assert!(get(&g, "k").await.unwrap() == bytes(50_000, 1));
}
