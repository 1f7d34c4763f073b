use crate::support::*;
use cairn_storage_gateway::error::GatewayError;
use cairn_storage_gateway::gateway::{Copy, PutPart};
use cairn_storage_gateway::index::Condition;
use cairn_storage_gateway::record::{Attributes, Labels, Upload};
use proptest::prelude::*;

const SIZES: [usize; 9] = [0, 1, 4096, 4097, 65_520, 65_521, (1 << 20) - 1, 1 << 20, 20_000_001];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_every_class_come_back() {
    let (_world, g) = started(16).await;
    for (i, size) in SIZES.into_iter().enumerate() {
        let (key, data) = (format!("k{i}"), bytes(size, 1));
        let done = put(&g, &key, &data).await.unwrap();
        assert_eq!(done.size, u64::try_from(size).unwrap());
        assert!(get(&g, &key).await.unwrap() == data, "{size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_exactly_these_bytes() {
    let (_world, g) = started(16).await;
    let data = bytes(17_500_000, 3);
    put(&g, "big", &data).await.unwrap();
    for range in
        [0..1, 65_519..65_521, 262_079..262_081, 4_193_279..4_193_281, 16_773_119..16_773_121, 0..17_500_000]
    {
        let want = &data[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        assert!(get_range(&g, "big", range.clone()).await.unwrap() == want, "{range:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_objects_of_one_moment_share_a_segment() {
    let (_world, g) = started(16).await;
    let data: Vec<Vec<u8>> = (0..64).map(|i| bytes(10_000, i)).collect();
    let names: Vec<String> = (0..64).map(|i| format!("k{i}")).collect();
    let puts = names.iter().zip(&data).map(|(k, d)| put(&g, k, d));
    futures::future::join_all(puts).await.into_iter().for_each(|done| drop(done.unwrap()));
    for (k, d) in names.iter().zip(&data) {
        assert!(get(&g, k).await.unwrap() == *d);
    }
    // On a slow machine they may need several, but never one each.
    assert!(g.index().segments().count() < 32, "{} segments", g.index().segments().count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_or_broken_body_stores_nothing() {
    let (world, g) = started(4).await;
    let data = bytes(3_000_000, 1);
    let refused = g.put_object(request("k"), body(&data), |_| Err(GatewayError::BadDigest("MD5"))).await;
    assert_eq!(refused, Err(GatewayError::BadDigest("MD5")));
    let broken = futures::stream::iter([Ok(data.clone().into()), Err("gone".into())]);
    let broken = g.put_object(request("k"), Box::pin(broken), |_| Ok(())).await;
    assert!(matches!(broken, Err(GatewayError::Body(_))));
    assert_eq!(get(&g, "k").await, Err(GatewayError::NoSuchKey("k".into())));
    // What was uploaded in vain is given up.
    g.flush_revisions().await.unwrap();
    assert_eq!(world.nodes.iter().map(|n| n.fragments()).sum::<usize>(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_leaves_the_operators() {
    let (world, g) = started(4).await;
    put(&g, "a", &bytes(100_000, 1)).await.unwrap();
    let source = g.index().object("b", "a").unwrap();
    let copy = Copy {
        bucket: "b".into(),
        key: "copy".into(),
        attributes: None,
        labels: Labels::default(),
        condition: Condition::default(),
        now: 2,
    };
    g.copy_object(&source, copy).await.unwrap();
    g.flush_revisions().await.unwrap();
    assert_eq!(world.nodes.iter().map(|n| n.agreed()).sum::<usize>(), 2);
    g.delete_object("b", "a").await.unwrap();
    g.flush_revisions().await.unwrap();
    assert!(get(&g, "copy").await.unwrap() == bytes(100_000, 1));
    g.delete_object("b", "copy").await.unwrap();
    g.flush_revisions().await.unwrap();
    assert_eq!(world.nodes.iter().map(|n| n.agreed() + n.fragments()).sum::<usize>(), 0);
}

fn upload() -> Upload {
    Upload {
        bucket: "b".into(),
        key: "k".into(),
        started: 1,
        attributes: Attributes::default(),
        labels: Labels::default(),
        algorithm: None,
    }
}

fn part(id: [u8; 16], number: u16) -> PutPart {
    PutPart {
        bucket: "b".into(),
        key: "k".into(),
        id,
        number,
        algorithms: Vec::new(),
        limit: 5 << 30,
        expected: None,
        copied: false,
        now: 1,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_become_an_object_even_when_the_last_is_tiny() {
    let (_world, g) = started(4).await;
    let id = g.create_upload(upload()).await.unwrap();
    let (first, last) = (bytes(5 << 20, 1), bytes(10, 2));
    let a = g.put_part(part(id, 1), body(&first), |_| Ok(())).await.unwrap();
    // Sent twice: the later one counts.
    g.put_part(part(id, 2), body(&bytes(9, 9)), |_| Ok(())).await.unwrap();
    let b = g.put_part(part(id, 2), body(&last), |_| Ok(())).await.unwrap();
    let parts = vec![(1, a.md5), (2, b.md5)];
    g.complete_upload(("b", "k", id), parts, Vec::new(), Condition::default(), 2).await.unwrap();
    assert!(get(&g, "k").await.unwrap() == [first, last].concat());
    assert_eq!(g.index().object("b", "k").unwrap().etag.parts, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_complete_and_abort_exactly_one_wins() {
    let (_world, g) = started(4).await;
    for _ in 0..8 {
        let id = g.create_upload(upload()).await.unwrap();
        let done = g.put_part(part(id, 1), body(b"abc"), |_| Ok(())).await.unwrap();
        let complete =
            g.complete_upload(("b", "k", id), vec![(1, done.md5)], Vec::new(), Condition::default(), 2);
        let (completed, aborted) = tokio::join!(complete, g.abort_upload("b", "k", id));
        assert_ne!(completed.is_ok(), aborted.is_ok());
        assert_eq!(get(&g, "k").await.is_ok(), completed.is_ok());
        g.delete_object("b", "k").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_that_demand_a_new_key_one_wins() {
    let (_world, g) = started(4).await;
    let writers = (0..10).map(|i| {
        let mut put = request("once");
        put.condition.if_none_match = Some("*".into());
        let g = &g;
        async move { g.put_object(put, body(&bytes(5000, i)), |_| Ok(())).await }
    });
    let done = futures::future::join_all(writers).await;
    assert_eq!(done.iter().filter(|d| d.is_ok()).count(), 1);
    assert_eq!(done.iter().filter(|d| **d == Err(GatewayError::PreconditionFailed)).count(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_not_deleted_under_a_writer() {
    let (_world, g) = started(4).await;
    for i in 0..8 {
        let name = format!("bucket{i}");
        g.create_bucket(&name, 1).await.unwrap();
        let mut one = request("k");
        one.bucket.clone_from(&name);
        let (put, deleted) = tokio::join!(g.put_object(one, body(b"x"), |_| Ok(())), g.delete_bucket(&name));
        assert_ne!(put.is_ok(), deleted.is_ok(), "{put:?} {deleted:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_key_of_any_plane_is_opaque(keys in proptest::collection::btree_set(any::<String>(), 1..12)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (world, g) = started(3).await;
            for key in &keys {
                put(&g, key, key.as_bytes()).await.unwrap();
            }
            g.stop();
            let g = world.start(&ROOT, config()).await.unwrap().gateway;
            for key in &keys {
                assert_eq!(get(&g, key).await.unwrap(), key.as_bytes());
            }
            assert_eq!(g.index().bucket("b").unwrap().list(&all()).objects.len(), keys.len());
        });
    }
}

fn all() -> cairn_storage_gateway::index::ListQuery {
    cairn_storage_gateway::index::ListQuery { max: 1000, ..Default::default() }
}

/// Several segments of one object are filled at once; none may land in a lease without room for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_larger_than_a_lease_opens_another() {
    let (_world, g) = started(16).await;
    let leases = g.volume().leases().len();
    let room = usize::try_from(g.volume().leases()[0].chunks_per_slot() << 10).unwrap() * 4;
    let body = bytes(room + room / 2, 9);
    put(&g, "large", &body).await.unwrap();
    assert!(g.volume().leases().len() > leases);
    assert!(get(&g, "large").await.unwrap() == body);
}
