#![allow(clippy::unwrap_used)] // Helpers of tests, which may fail loudly.

use crate::support::*;
use cairn_storage_gateway::error::GatewayError;
use cairn_storage_gateway::gateway::Gateway;
use cairn_storage_gateway::memory::World;
use cairn_storage_gateway::ports::ChainPort;
use std::sync::Arc;

/// A gateway whose data lease costs 48 credits an epoch when full, with 1,000 in each escrow and `free` on the account.
async fn paying(free: u64) -> (World, Arc<Gateway>) {
    let world = World::new(16);
    let mut config = config();
    (config.terms.escrow.0, config.terms.index_escrow.0) = (1_000, 1_000);
    // One credit for each slot of the log, four for each slot of data.
    world.chain.set_rate(1_000_000_000_000u64.div_ceil(config.terms.index_chunks));
    let gateway = world.start(&ROOT, config).await.unwrap().gateway;
    gateway.create_bucket("b", 1).await.unwrap();
    world.chain.set_credits(free);
    (world, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escrows_are_topped_up_from_free_credits_and_no_further() {
    let (world, g) = paying(700).await;
    let data = g.escrows().await.unwrap()[1];
    assert_eq!((data.left.0, data.epoch_price.0, data.is_empty()), (1_000, 48, false));
    world.chain.charge(&data.lease, 400);
    g.upkeep().await.unwrap();
    assert_eq!(g.escrows().await.unwrap()[1].left.0, 600, "more than half is left: nothing is moved");
    world.chain.charge(&data.lease, 600);
    g.upkeep().await.unwrap();
    assert_eq!(g.escrows().await.unwrap()[1].left.0, 1_000, "filled up");
    world.chain.charge(&data.lease, 1_400);
    g.upkeep().await.unwrap();
    assert_eq!(g.escrows().await.unwrap()[1].left.0, 300, "with all that was left on the account");
    put(&g, "k", &bytes(50_000, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_escrow_that_runs_empty_is_filled_higher_each_epoch_until_it_lasts() {
    let (world, g) = paying(100_000).await;
    let data = g.escrows().await.unwrap()[1].lease;
    let deposited = |g: &Arc<Gateway>| {
        let g = g.clone();
        async move { g.escrows().await.unwrap()[1].left.0 }
    };
    g.upkeep().await.unwrap();
    let mut charged = 0;
    for (epoch, full) in [(2, 2_000), (3, 4_000), (4, 8_000)] {
        charged += deposited(&g).await;
        world.chain.set_epoch(epoch);
        world.chain.charge(&data, charged);
        // However often it looks in an epoch.
        g.upkeep().await.unwrap();
        g.upkeep().await.unwrap();
        assert_eq!(deposited(&g).await, full);
    }
    for epoch in 5..9 {
        world.chain.set_epoch(epoch);
        g.upkeep().await.unwrap();
    }
    world.chain.charge(&data, charged + 7_500);
    g.upkeep().await.unwrap();
    assert_eq!(deposited(&g).await, 500, "what the terms say, once it lasts");
    world.chain.charge(&data, charged + 7_501);
    g.upkeep().await.unwrap();
    assert_eq!(deposited(&g).await, 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_money_data_can_be_read_and_deleted_but_not_written() {
    let (world, g) = paying(0).await;
    let data = bytes(50_000, 1);
    put(&g, "k", &data).await.unwrap();
    let lease = g.escrows().await.unwrap()[1].lease;
    world.chain.charge(&lease, 989);
    g.upkeep().await.unwrap();
    assert_eq!(put(&g, "more", &data).await, Err(GatewayError::Unpaid));
    assert!(get(&g, "k").await.unwrap() == data);
    put(&g, "inline", b"goes into the log, which is paid").await.unwrap();
    world.chain.set_credits(1_000);
    g.upkeep().await.unwrap();
    put(&g, "more", &data).await.unwrap();
    g.delete_object("b", "k").await.unwrap();

    world.chain.set_credits(0);
    let log = g.escrows().await.unwrap()[0].lease;
    world.chain.charge(&log, 1_000);
    g.upkeep().await.unwrap();
    assert_eq!(put(&g, "inline", b"x").await, Err(GatewayError::Unpaid));
    assert!(get(&g, "more").await.unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ended_takes_its_objects_along_and_nothing_else() {
    let (world, g) = paying(0).await;
    let data = bytes(50_000, 1);
    put(&g, "gone", &data).await.unwrap();
    let lease = g.escrows().await.unwrap()[1].lease;
    world.chain.end(&lease);
    g.upkeep().await.unwrap();
    assert_eq!(get(&g, "gone").await, Err(GatewayError::Ended(lease)));
    assert_eq!(put(&g, "new", &data).await, Err(GatewayError::Unpaid), "another lease needs credits");
    world.chain.set_credits(1_000);
    put(&g, "new", &data).await.unwrap();
    g.upkeep().await.unwrap();
    assert!(get(&g, "new").await.unwrap() == data);
    g.delete_object("b", "gone").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vacant_slot_does_not_stop_the_upkeep() {
    let (world, g) = started(16).await;
    let data = bytes(50_000, 1);
    put(&g, "k", &data).await.unwrap();
    let lease = g.escrows().await.unwrap()[1].lease;
    world.chain.reassign(&lease, 3, cairn_types::DeviceId::default());
    g.upkeep().await.unwrap();
    assert!(get(&g, "k").await.unwrap() == data);
    world.chain.reassign(&lease, 3, world.chain.device(15));
    g.upkeep().await.unwrap();
    assert_eq!(g.health().incomplete, 0, "healed on the new holder");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_from_which_all_was_deleted_is_closed_and_refunded() {
    let (world, g) = paying(1_000).await;
    let data = bytes(50_000, 1);
    let leases = async || g.escrows().await.unwrap().len();
    for epoch in 2..20 {
        world.chain.set_epoch(epoch);
        g.upkeep().await.unwrap();
    }
    assert_eq!(leases().await, 2, "one that was never used waits for its first object");
    put(&g, "a", &data).await.unwrap();
    put(&g, "b", &data).await.unwrap();
    let lease = g.escrows().await.unwrap()[1].lease;
    world.chain.charge(&lease, 400);
    g.delete_object("b", "a").await.unwrap();
    for epoch in 20..40 {
        world.chain.set_epoch(epoch);
        g.upkeep().await.unwrap();
    }
    assert_eq!(leases().await, 2, "something lies there");
    g.delete_object("b", "b").await.unwrap();
    for epoch in 40..46 {
        world.chain.set_epoch(epoch);
        g.upkeep().await.unwrap();
        assert_eq!(leases().await, 2, "for a while it may be used again");
    }
    world.chain.set_epoch(46);
    g.upkeep().await.unwrap();
    assert_eq!(leases().await, 1, "the log stays");
    assert!(world.chain.find(&lease).unwrap().closing.is_some());
    assert_eq!(world.chain.credits().await.unwrap().0, 1_600, "what was not earned came back");
    put(&g, "c", &data).await.unwrap();
    assert!(get(&g, "c").await.unwrap() == data, "in a lease of its own");
    assert_ne!(g.escrows().await.unwrap()[1].lease, lease);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_lease_that_is_used_again_stays() {
    let (world, g) = paying(0).await;
    let data = bytes(50_000, 1);
    let lease = g.escrows().await.unwrap()[1].lease;
    for round in 0u64..5 {
        put(&g, "k", &data).await.unwrap();
        for epoch in 0..5 {
            world.chain.set_epoch(10 * round + epoch + 2);
            g.upkeep().await.unwrap();
            g.delete_object("b", "k").await.unwrap();
        }
    }
    assert_eq!(g.escrows().await.unwrap()[1].lease, lease);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_before_the_next_look_was_there_nevertheless() {
    let (world, g) = paying(1_000).await;
    put(&g, "k", &bytes(50_000, 1)).await.unwrap();
    g.delete_object("b", "k").await.unwrap();
    for epoch in 2..=8 {
        world.chain.set_epoch(epoch);
        g.upkeep().await.unwrap();
    }
    assert_eq!(g.escrows().await.unwrap().len(), 1, "the lease was used, and is closed");
}
