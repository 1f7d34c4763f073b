//! kill -9 at arbitrary points loses nothing that was acknowledged.

use crate::{
    solo::{config, reach},
    toy::{MAP, Toy, key},
};
use cairn_engine::start;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

const CHILD: &str = "CAIRN_ENGINE_CRASH_CHILD";

/// The victim: runs until it is killed and acknowledges on stdout. Does nothing in a normal run.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let (sender, blocks) = std::sync::mpsc::channel();
    let toy = Toy { busy: true, watcher: Some(Mutex::new(sender)), ..Toy::default() };
    let engine = start(config(&dir), Arc::new(toy)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut out = std::io::stdout().lock();
    for block in blocks {
        let height = block.header.height;
        // `finalized` came first; the state follows within the same block.
        let value = runtime.block_on(async {
            reach(&engine, height).await;
            engine.get(key(MAP, height)).await.unwrap().unwrap()
        });
        assert_eq!(value, height.to_be_bytes());
        writeln!(out, "@{height} {} {}", hex::encode(block.digest), hex::encode(block.state_root)).unwrap();
        out.flush().unwrap();
    }
}

/// Runs a child until it has acknowledged `lines` blocks, kills it, and returns all it said.
fn run_and_kill(dir: &Path, lines: usize) -> Vec<(u64, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads", "1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The harness may have begun the first line.
        if let Some((_, line)) = line.unwrap().split_once('@') {
            let (height, rest) = line.split_once(' ').unwrap();
            // A line that the kill tore apart acknowledged nothing.
            if rest.len() == 129 {
                said.push((height.parse().unwrap(), rest.to_owned()));
            }
        }
        if said.len() == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(said.len() >= lines, "the child ended by itself after {} blocks", said.len());
    said
}

#[tokio::test]
async fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for lines in [1, 2, 23, 1, 57, 5, 140, 11] {
        for (height, facts) in run_and_kill(dir.path(), lines) {
            let before = acknowledged.insert(height, facts.clone());
            assert!(before.is_none_or(|before| before == facts), "height {height} changed after a crash");
        }
    }
    let engine = start(config(dir.path()), Toy::busy()).unwrap();
    for (height, facts) in &acknowledged {
        let block = engine.block(*height).await.unwrap().expect("an acknowledged block").block;
        assert_eq!(*facts, format!("{} {}", hex::encode(block.digest), hex::encode(block.state_root)));
        assert_eq!(engine.get(key(MAP, *height)).await.unwrap(), Some(height.to_be_bytes().to_vec()));
    }
    // No height was jumped over either.
    let top = *acknowledged.keys().next_back().unwrap();
    assert!((1..=top).all(|height| acknowledged.contains_key(&height)));
    reach(&engine, top + 3).await;
    engine.shutdown().await.unwrap();
}
