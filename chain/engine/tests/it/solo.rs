//! One validator: commits, restarts, refuses wrong directories, ends with a reason.

use crate::toy::{COUNTER, MAP, RECORD, Toy, key};
use cairn_engine::{Engine, EngineError, SoloConfig, start};
use std::{path::Path, sync::Arc, time::Duration};

pub fn config(dir: &Path) -> SoloConfig {
    let mut config = SoloConfig::new(dir, b"toy/0".to_vec(), [1; 32], [2; 32]);
    config.interval = Duration::ZERO;
    config.round_timeout = Duration::from_millis(200);
    config
}

pub async fn reach(engine: &Engine, height: u64) {
    engine.height().wait_for(|h| *h >= height).await.unwrap();
}

fn number(value: Option<Vec<u8>>) -> u64 {
    u64::from_be_bytes(value.unwrap().try_into().unwrap())
}

#[tokio::test]
async fn commits_blocks_and_answers_from_the_final_state() {
    let dir = tempfile::tempdir().unwrap();
    let toy = Toy::new();
    toy.pool.lock().unwrap().extend([(7, 70), (8, 80)]);
    let engine = start(config(dir.path()), toy.clone()).unwrap();
    reach(&engine, 5).await;
    let values = engine.get_many(&[key(MAP, 8), key(MAP, 9), key(MAP, 7)]).await.unwrap();
    assert_eq!(values, [Some(80u64.to_be_bytes().to_vec()), None, Some(70u64.to_be_bytes().to_vec())]);
    assert!(number(engine.get(key(COUNTER, 0)).await.unwrap()) >= 5);
    engine.shutdown().await.unwrap();

    let seen = toy.seen.lock().unwrap();
    for (index, pair) in seen.windows(2).enumerate() {
        assert_eq!(pair[0].header.height, index as u64 + 1);
        assert_eq!(pair[1].header.parent, pair[0].digest);
        assert!(pair[1].header.timestamp_ms > pair[0].header.timestamp_ms);
        assert_ne!(pair[1].state_root, pair[0].state_root);
    }
}

#[tokio::test]
async fn a_restart_resumes_with_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(config(dir.path()), Toy::busy()).unwrap();
    reach(&engine, 20).await;
    let before = *engine.height().borrow();
    let block = engine.block(before).await.unwrap().unwrap();
    engine.clone().shutdown().await.unwrap();
    assert_eq!(engine.get(key(MAP, 1)).await, Err(EngineError::Stopped));

    let engine = start(config(dir.path()), Toy::busy()).unwrap();
    assert!(*engine.height().borrow() >= before);
    assert_eq!(engine.block(before).await.unwrap().unwrap(), block);
    for height in 1..=before {
        assert_eq!(number(engine.get(key(MAP, height)).await.unwrap()), height);
    }
    reach(&engine, before + 3).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_table_is_scanned_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let toy = Toy::new();
    toy.pool.lock().unwrap().extend((0..50).map(|n| (n, n)));
    let engine = start(config(dir.path()), toy).unwrap();
    reach(&engine, 3).await;
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = engine.scan(MAP, after, 7).await.unwrap();
        found.extend(page.iter().cloned());
        if page.len() < 7 {
            break;
        }
        after = page.last().map(|(key, _)| *key);
    }
    let mut expected: Vec<_> = (0..50u64).map(|n| (key(MAP, n), n.to_be_bytes().to_vec())).collect();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(engine.scan(RECORD, None, 9).await.unwrap().len(), 1);
    assert_eq!(engine.scan(200, None, 9).await.unwrap(), []);
    assert_eq!(engine.scan(MAP, Some([0xff; 32]), 9).await.unwrap(), []);
    engine.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_interval_can_be_lifted_while_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = config(dir.path());
    slow.interval = Duration::from_secs(3600);
    let engine = start(slow, Toy::new()).unwrap();
    reach(&engine, 1).await;
    assert_eq!(*engine.height().borrow(), 1);
    engine.set_interval(Duration::ZERO);
    reach(&engine, 10).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_pace_slower_than_a_round_still_makes_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = config(dir.path());
    slow.round_timeout = Duration::from_millis(50);
    slow.interval = Duration::from_millis(300);
    let engine = start(slow, Toy::new()).unwrap();
    reach(&engine, 4).await;
    engine.shutdown().await.unwrap();
}

#[test]
fn starts_without_a_runtime_and_stops_with_its_last_handle() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(config(dir.path()), Toy::new()).unwrap();
    assert_eq!(
        start(config(dir.path()), Toy::new()).unwrap_err(),
        EngineError::InUse { dir: dir.path().into() }
    );
    let mut height = engine.height();
    drop(engine);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { while height.changed().await.is_ok() {} });
}

#[tokio::test]
async fn a_directory_of_another_network_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    start(config(dir.path()), Toy::new()).unwrap().shutdown().await.unwrap();
    let other = Arc::new(Toy { genesis: 9, ..Toy::default() });
    assert!(matches!(start(config(dir.path()), other), Err(EngineError::OtherChain { .. })));
    let mut key = config(dir.path());
    key.vote_secret = [3; 32];
    assert!(matches!(start(key, Toy::new()), Err(EngineError::OtherChain { .. })));
    start(config(dir.path()), Toy::new()).unwrap().shutdown().await.unwrap();
}

#[tokio::test]
async fn a_fault_ends_the_engine_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let bomb = Arc::new(Toy { bomb: Some(4), ..Toy::default() });
    let engine = start(config(dir.path()), bomb).unwrap();
    let EngineError::Failed(reason) = engine.ended().await else { panic!("no failure") };
    assert!(reason.contains("the toy's bomb"), "{reason}");
    assert!(matches!(engine.get(key(MAP, 1)).await, Err(EngineError::Failed(_))));
    // The block that could not be observed is observed again once the cause is gone.
    let toy = Toy::new();
    let engine = start(config(dir.path()), toy.clone()).unwrap();
    reach(&engine, 6).await;
    engine.shutdown().await.unwrap();
    assert!(toy.seen.lock().unwrap().iter().any(|block| block.header.height == 4));
}

#[test]
fn unusable_configurations_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut SoloConfig)| {
        let mut config = config(dir.path());
        change(&mut config);
        assert!(matches!(start(config, Toy::new()), Err(EngineError::Config(_))));
    };
    refused(&|c| c.network = vec![]);
    refused(&|c| c.network = vec![0; 256]);
    refused(&|c| c.max_body = 0);
    refused(&|c| c.max_body = 1 << 30);
    refused(&|c| c.interval = Duration::from_secs(3601));
    refused(&|c| c.round_timeout = Duration::ZERO);
    refused(&|c| c.threads = 0);
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(matches!(start(config(&file), Toy::new()), Err(EngineError::Directory { .. })));
}
