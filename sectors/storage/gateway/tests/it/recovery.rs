use crate::support::*;
use cairn_storage_gateway::error::GatewayError;
use cairn_storage_gateway::gateway::Gateway;
use cairn_storage_gateway::memory::World;
use cairn_storage_gateway::ports::ChainPort;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_key_brings_everything_back() {
    let (world, g) = started(16).await;
    g.put_access_key("AKIA", "secret").await.unwrap();
    for (i, size) in [0usize, 100, 50_000, 3_000_000].into_iter().enumerate() {
        put(&g, &format!("k{i}"), &bytes(size, 5)).await.unwrap();
    }
    put(&g, "deleted", b"x").await.unwrap();
    g.delete_object("b", "deleted").await.unwrap();
    drop(g);
    let chain = Arc::clone(&world.chain) as Arc<dyn ChainPort>;
    let done = Gateway::recover(&ROOT, chain, world.transport(), config()).await.unwrap();
    assert_eq!((done.recovery.fresh, done.recovery.buckets, done.recovery.objects), (false, 1, 4));
    for (i, size) in [0usize, 100, 50_000, 3_000_000].into_iter().enumerate() {
        assert!(get(&done.gateway, &format!("k{i}")).await.unwrap() == bytes(size, 5));
    }
    assert_eq!(done.gateway.index().access_key("AKIA").map(|k| k.secret.clone()).as_deref(), Some("secret"));
    // And goes on from there.
    put(&done.gateway, "new", b"y").await.unwrap();
    assert_eq!(get(&done.gateway, "new").await.unwrap(), b"y");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_gateway_is_fenced_out() {
    let (world, old) = started(16).await;
    put(&old, "k", &bytes(50_000, 1)).await.unwrap();
    let new = world.start(&ROOT, config()).await.unwrap().gateway;
    assert_eq!(put(&old, "inline", b"late").await, Err(GatewayError::Fenced));
    assert!(put(&old, "segment", &bytes(2_000_000, 1)).await.is_err());
    assert_eq!(old.flush_revisions().await, Err(GatewayError::Fenced));
    assert!(old.health().fenced);
    put(&new, "k2", b"right").await.unwrap();
    drop(old);
    let third = world.start(&ROOT, config()).await.unwrap().gateway;
    assert_eq!(get(&third, "k2").await.unwrap(), b"right");
    assert!(get(&third, "inline").await.is_err() && get(&third, "segment").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_root_key_is_refused_and_destroys_nothing() {
    let (world, g) = started(4).await;
    put(&g, "k", b"secret").await.unwrap();
    drop(g);
    assert_eq!(world.start(&[8; 32], config()).await.err(), Some(GatewayError::WrongKey));
    let g = world.start(&ROOT, config()).await.unwrap().gateway;
    assert_eq!(get(&g, "k").await.unwrap(), b"secret");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_not_recovered() {
    let world = World::new(4);
    let chain = Arc::clone(&world.chain) as Arc<dyn ChainPort>;
    let none = Gateway::recover(&ROOT, chain, world.transport(), config()).await;
    assert_eq!(none.err(), Some(GatewayError::NothingToRecover));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_n_minus_k_operators_and_the_gateway() {
    let (world, g) = started(16).await;
    put(&g, "inline", b"counted").await.unwrap();
    put(&g, "segment", &bytes(200_000, 3)).await.unwrap();
    drop(g);
    // k = 4 of n = 12 at operators 0..12, eleven replicas of the log at 0..11, nine of which confirmed.
    (0..8).for_each(|i| world.set_down(i, true));
    let mut short = config();
    short.commit = std::time::Duration::from_millis(300);
    let g = world.start(&ROOT, short).await.unwrap().gateway;
    assert_eq!(get(&g, "inline").await.unwrap(), b"counted");
    assert!(get(&g, "segment").await.unwrap() == bytes(200_000, 3));
    assert_eq!(put(&g, "new", b"x").await, Err(GatewayError::Unconfirmed), "three replicas cannot confirm");
    drop(g);
    world.set_down(8, true);
    let few = world.start(&ROOT, short).await;
    assert!(matches!(few.err(), Some(GatewayError::TooFewReplicas { have: 2, need: 3 })));
    (0..9).for_each(|i| world.set_down(i, false));
    let g = world.start(&ROOT, config()).await.unwrap().gateway;
    put(&g, "new", b"x").await.unwrap();
    assert_eq!(get(&g, "inline").await.unwrap(), b"counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_is_brought_up_to_date() {
    let (world, g) = started(4).await;
    put(&g, "a", b"1").await.unwrap();
    world.set_down(0, true);
    put(&g, "b", b"2").await.unwrap();
    put(&g, "c", b"3").await.unwrap();
    world.set_down(0, false);
    put(&g, "d", b"4").await.unwrap();
    let entries: Vec<usize> = world.nodes[..3].iter().map(|n| n.log_entries()).collect();
    assert_eq!(entries, [entries[1]; 3]);
    // The one that was away alone knows everything.
    drop(g);
    world.set_down(1, true);
    world.set_down(2, true);
    let mut config = config();
    config.accept_replicas = Some(1);
    config.commit = std::time::Duration::from_millis(300);
    let g = world.start(&ROOT, config).await.unwrap().gateway;
    // Reading suffices with one, writing needs two of three.
    assert_eq!(put(&g, "e", b"5").await, Err(GatewayError::Unconfirmed));
    drop(g);
    world.set_down(1, false);
    let g = world.start(&ROOT, config).await.unwrap().gateway;
    for (key, value) in [("a", b"1"), ("b", b"2"), ("c", b"3"), ("d", b"4")] {
        assert_eq!(get(&g, key).await.unwrap(), value);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_shorten_the_log_and_lose_nothing() {
    let world = World::new(4);
    let mut config = config();
    config.snapshot_after = 20_000;
    let g = world.start(&ROOT, config).await.unwrap().gateway;
    g.create_bucket("b", 1).await.unwrap();
    for i in 0..60u32 {
        put(&g, &format!("k{}", i % 20), &bytes(1000, i)).await.unwrap();
    }
    put(&g, "segment", &bytes(10_000, 1)).await.unwrap();
    assert!(world.nodes[0].log_entries() < 60, "{} entries", world.nodes[0].log_entries());
    drop(g);
    let done = world.start(&ROOT, config).await.unwrap();
    assert_eq!(done.recovery.objects, 21);
    for i in 40..60u32 {
        assert!(get(&done.gateway, &format!("k{}", i % 20)).await.unwrap() == bytes(1000, i));
    }
    assert!(get(&done.gateway, "segment").await.unwrap() == bytes(10_000, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_that_a_dead_gateway_left_are_swept() {
    let (world, g) = started(16).await;
    put(&g, "k", &bytes(2_000_000, 1)).await.unwrap();
    g.flush_revisions().await.unwrap();
    let before: Vec<usize> = world.nodes.iter().map(|n| n.fragments()).collect();
    // Stored, and refused before it gets into the index: what should be deleted is known to this gateway alone.
    let refused =
        g.put_object(request("lost"), body(&bytes(2_000_000, 2)), |_| Err(GatewayError::Busy)).await;
    assert_eq!(refused, Err(GatewayError::Busy));
    drop(g);
    let left: usize = world.nodes.iter().map(|n| n.fragments()).sum();
    assert!(left > before.iter().sum());
    let g = world.start(&ROOT, config()).await.unwrap().gateway;
    put(&g, "new", &bytes(2_000_000, 3)).await.unwrap();
    assert_eq!(g.flush_revisions().await.unwrap().failed, 0);
    let now: Vec<usize> = world.nodes.iter().map(|n| n.fragments()).collect();
    let want: Vec<usize> = before.iter().map(|n| n * 2).collect();
    assert_eq!(now, want);
    assert!(get(&g, "k").await.unwrap() == bytes(2_000_000, 1));
    assert!(get(&g, "new").await.unwrap() == bytes(2_000_000, 3));
}
