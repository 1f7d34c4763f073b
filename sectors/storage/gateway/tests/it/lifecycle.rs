//! The worker that expires, with a clock of the test's.

#![allow(clippy::unwrap_used)] // Helpers of tests, which may fail loudly.

use crate::support::*;
use cairn_storage_gateway::gateway::Gateway;
use cairn_storage_gateway::index::Condition;
use cairn_storage_gateway::record::*;
use std::sync::Arc;

const DAY: u64 = 86_400;

fn rule(prefix: &str) -> Rule {
    Rule {
        id: prefix.into(),
        enabled: true,
        filter: Filter { prefix: prefix.into(), ..Filter::default() },
        form: FilterForm::One,
        expire: None,
        noncurrent: None,
        abort: None,
    }
}

async fn rules(g: &Gateway, rules: Vec<Rule>) {
    g.set_bucket("b", Setting::Lifecycle(rules)).await.unwrap();
}

async fn put_at(g: &Gateway, key: &str, now: u64) {
    let put = cairn_storage_gateway::gateway::Put { now, ..request(key) };
    g.put_object(put, body(b"x"), |_| Ok(())).await.unwrap();
}

fn there(g: &Gateway, key: &str) -> bool {
    g.index().object("b", key).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_goes_at_the_end_of_its_last_day_and_not_before() {
    let (_world, g) = started(4).await;
    rules(&g, vec![Rule { expire: Some(Expire::Days(2)), ..rule("") }]).await;
    put_at(&g, "k", 10 * DAY + 5).await;
    assert_eq!(g.expire(13 * DAY - 1).await.unwrap(), 0);
    assert!(there(&g, "k"));
    assert_eq!(g.expire(13 * DAY).await.unwrap(), 1);
    assert!(!there(&g, "k"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_overwritten_meanwhile_stays() {
    let (_world, g) = started(4).await;
    rules(&g, vec![Rule { expire: Some(Expire::Days(1)), ..rule("") }]).await;
    put_at(&g, "k", DAY).await;
    // The worker's view is old: its condition names the version that it saw.
    let seen = g.index().version("b", "k", None).unwrap().id;
    put_at(&g, "k", 9 * DAY).await;
    let condition = Condition { current: Some(seen), ..Condition::at(10 * DAY) };
    assert!(g.delete_object_if("b", "k", condition).await.is_err());
    assert_eq!(g.expire(9 * DAY).await.unwrap(), 0);
    assert!(there(&g, "k"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_were_left_are_dropped_and_their_bytes_with_them() {
    let (world, g) = started(4).await;
    rules(&g, vec![Rule { abort: Some(3), ..rule("left/") }]).await;
    for key in ["left/a", "kept/a"] {
        let upload = Upload {
            bucket: "b".into(),
            key: key.into(),
            started: DAY,
            attributes: Attributes::default(),
            labels: Labels::default(),
            algorithm: None,
        };
        g.create_upload(upload).await.unwrap();
    }
    assert_eq!(g.expire(4 * DAY - 1).await.unwrap(), 0);
    assert_eq!(g.expire(4 * DAY).await.unwrap(), 1);
    let left: Vec<String> = g.index().uploads("b").into_iter().map(|(_, u)| u.key.clone()).collect();
    assert_eq!(left, ["kept/a"]);
    drop(world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_bounded_and_the_next_goes_on() {
    let (_world, g) = started(4).await;
    let keys: Vec<String> = (0..2500).map(|i| format!("k{i:04}")).collect();
    futures::future::join_all(keys.iter().map(|k| put_at(&g, k, DAY))).await;
    rules(&g, vec![Rule { expire: Some(Expire::Days(1)), ..rule("") }]).await;
    let mut runs = 0;
    while g.expire(100 * DAY).await.unwrap() > 0 {
        runs += 1;
        assert!(runs < 10);
    }
    assert!(runs > 1, "everything went in one run");
    assert_eq!(g.index().bucket("b").unwrap().keys(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_version_stays_until_its_retention_ends() {
    let (_world, g) = started(4).await;
    let settings = vec![Setting::Versioning(Versioning::Enabled), Setting::ObjectLock(ObjectLock::default())];
    g.create_bucket_with("locked", 1, settings).await.unwrap();
    let noncurrent = Some(Noncurrent { days: 1, keep: 0 });
    let setting = Setting::Lifecycle(vec![Rule { noncurrent, ..rule("") }]);
    g.set_bucket("locked", setting).await.unwrap();
    let mut put = cairn_storage_gateway::gateway::Put { now: DAY, bucket: "locked".into(), ..request("k") };
    put.labels.retention = Some(Retention { mode: LockMode::Governance, until: 50 * DAY });
    g.put_object(put, body(b"x"), |_| Ok(())).await.unwrap();
    let put = cairn_storage_gateway::gateway::Put { now: 2 * DAY, bucket: "locked".into(), ..request("k") };
    g.put_object(put, body(b"y"), |_| Ok(())).await.unwrap();
    assert_eq!(g.expire(49 * DAY).await.unwrap(), 0);
    assert_eq!(g.expire(50 * DAY).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_and_settings_come_back_after_a_takeover() {
    let (world, g) = started(4).await;
    g.set_bucket("b", Setting::Versioning(Versioning::Enabled)).await.unwrap();
    for now in [DAY, 2 * DAY, 3 * DAY] {
        put_at(&g, "k", now).await;
    }
    g.delete_object_if("b", "k", Condition::at(4 * DAY)).await.unwrap();
    let seen = |g: &Arc<Gateway>| {
        let query = cairn_storage_gateway::index::ListQuery { max: 100, ..Default::default() };
        g.index().bucket("b").unwrap().list_versions(&query).versions
    };
    let before = seen(&g);
    assert_eq!(before.len(), 4);
    g.stop();
    let g = world.start(&ROOT, config()).await.unwrap().gateway;
    assert_eq!(seen(&g), before);
    // Numbers go on rising even if the clock went back.
    put_at(&g, "k", DAY).await;
    assert!(seen(&g)[0].version.id > before[0].version.id);
}
