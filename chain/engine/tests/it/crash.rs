//! kill -9 at arbitrary points loses nothing that was acknowledged.

use crate::{
    solo::{config, reach},
    toy::{MAP, Toy, facts, key},
};
use cairn_engine::start;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
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
    let toy = Toy { busy: true, loud: true, watcher: Some(Mutex::new(sender)), ..Toy::default() };
    let engine = start(config(&dir), Arc::new(toy)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for block in blocks {
        let height = block.header.height;
        let value = runtime.block_on(async {
            reach(&engine, height).await;
            engine.get(key(MAP, height)).await.unwrap().unwrap()
        });
        assert_eq!(value, height.to_be_bytes());
        println!("@{}", facts(&block));
    }
}

/// What a killed child had said: blocks seen by `finalized`, and blocks answered by `get` too.
#[derive(Default)]
struct Said {
    observed: Vec<(u64, String)>,
    answered: Vec<(u64, String)>,
}

/// Runs a child until it has acknowledged `lines` blocks, kills it, and returns all it said.
fn run_and_kill(dir: &Path, lines: usize) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads", "1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Said::default();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The harness may have begun the first line.
        let Some(at) = line.find(['#', '@']) else { continue };
        let facts = &line[at + 1..];
        let height = facts.split(' ').next().unwrap().parse().unwrap();
        // A line that the kill tore apart acknowledged nothing.
        if facts.len() != height_digits(height) + 130 {
            continue;
        }
        let list = if &line[at..=at] == "#" { &mut said.observed } else { &mut said.answered };
        list.push((height, facts.to_owned()));
        if said.answered.len() == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(said.answered.len() >= lines, "the child ended by itself after {} blocks", said.answered.len());
    said
}

fn height_digits(height: u64) -> usize {
    height.to_string().len()
}

#[tokio::test]
async fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (mut known, mut observed) = (BTreeMap::new(), BTreeSet::new());
    for lines in [1, 2, 23, 1, 57, 5, 140, 11] {
        let said = run_and_kill(dir.path(), lines);
        observed.extend(said.observed.iter().map(|(height, _)| *height));
        for (height, facts) in said.observed.into_iter().chain(said.answered) {
            let before = known.insert(height, facts.clone());
            assert!(before.is_none_or(|before| before == facts), "height {height} changed after a crash");
        }
    }
    // `finalized` jumped over no height, whatever happened around it.
    let top = *observed.last().unwrap();
    assert_eq!(observed, (1..=top).collect());
    let engine = start(config(dir.path()), Toy::busy()).unwrap();
    for (height, before) in &known {
        let block = engine.block(*height).await.unwrap().expect("an acknowledged block").block;
        assert_eq!(*before, facts(&block));
        assert_eq!(engine.get(key(MAP, *height)).await.unwrap(), Some(height.to_be_bytes().to_vec()));
    }
    reach(&engine, top + 3).await;
    engine.shutdown().await.unwrap();
}
