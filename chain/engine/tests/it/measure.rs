//! Figures for the README: `cargo test -p cairn-engine -- --ignored --nocapture measure`.

use crate::{
    solo::{config, reach},
    toy::{MAP, Toy, key},
};
use cairn_engine::start;
use std::time::{Duration, Instant};

#[tokio::test]
#[ignore = "prints figures and asserts nothing"]
async fn measure() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Instant::now();
    let engine = start(config(dir.path()), Toy::busy()).unwrap();
    println!("start, empty directory: {:?}", clock.elapsed());
    reach(&engine, 1).await;
    println!("first block after {:?}", clock.elapsed());
    let (from, clock) = (*engine.height().borrow(), Instant::now());
    tokio::time::sleep(Duration::from_secs(8)).await;
    let blocks = *engine.height().borrow() - from;
    println!("unpaced: {blocks} blocks, {:?} each", clock.elapsed() / u32::try_from(blocks).unwrap());

    let mut at = Vec::new();
    for n in 0..2000 {
        let clock = Instant::now();
        engine.get(key(MAP, n % 100 + 1)).await.unwrap();
        at.push(clock.elapsed());
    }
    at.sort();
    println!("get under load: p50 {:?} p95 {:?} p99 {:?}", at[1000], at[1900], at[1980]);
    engine.set_interval(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_millis(300)).await;
    at.clear();
    for n in 0..2000 {
        let clock = Instant::now();
        engine.get(key(MAP, n % 100 + 1)).await.unwrap();
        at.push(clock.elapsed());
    }
    at.sort();
    println!("get at rest: p50 {:?} p95 {:?} p99 {:?}", at[1000], at[1900], at[1980]);
    let clock = Instant::now();
    let present = engine.prove(key(MAP, 3)).await.unwrap();
    println!("proof: {:?}, {} bytes", clock.elapsed(), present.proof.len());
    let absent = engine.prove(key(MAP, u64::MAX)).await.unwrap();
    println!("proof of absence: {} bytes", absent.proof.len());
    let block = engine.block(present.height).await.unwrap().unwrap();
    println!("block: {} bytes, certificate {} bytes", block.bytes.len(), block.certificate.unwrap().len());
    let clock = Instant::now();
    engine.shutdown().await.unwrap();
    println!("shutdown: {:?}", clock.elapsed());
    let clock = Instant::now();
    let engine = start(config(dir.path()), Toy::busy()).unwrap();
    println!("start at height {}: {:?}", engine.height().borrow().clone(), clock.elapsed());
    let (from, clock) = (*engine.height().borrow(), Instant::now());
    reach(&engine, from + 1).await;
    println!("next block after {:?}", clock.elapsed());
    engine.shutdown().await.unwrap();
}
