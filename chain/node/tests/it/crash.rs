//! kill -9 at arbitrary points: settlement goes on, nothing acknowledged is lost.

use crate::net::{World, config, daemon, populate, sectors, settled};
use crate::toy::TOY;
use cairn_node::Node;
use cairn_types::{DeviceId, Epoch, Hash, LeaseId};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CHILD: &str = "CAIRN_NODE_CRASH_CHILD";

/// The victim: a node and its device's daemon; tells every final block until it is killed.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Node::start(config(&dir)).await.unwrap();
        let mut blocks = node.events();
        let world = world(&dir, &node).await;
        tokio::spawn(daemon(node.clone(), world));
        loop {
            let Ok(block) = blocks.recv().await else { continue };
            let digest = Hash::derive("t", &[&cairn_types::encode(&*block)]);
            let mut out = std::io::stdout().lock();
            writeln!(out, "@{} {digest}", block.height).unwrap();
            out.flush().unwrap();
        }
    });
}

/// The device and lease of the first run, kept in a file.
async fn world(dir: &Path, node: &Node) -> World {
    let path = dir.join("world");
    if let Ok(bytes) = std::fs::read(&path) {
        let (device, lease): (DeviceId, LeaseId) = cairn_types::decode(&bytes).unwrap();
        return World { device, lease };
    }
    let world = populate(node).await;
    std::fs::write(&path, cairn_types::encode(&(world.device, world.lease))).unwrap();
    world
}

fn run_and_kill(dir: &Path, lines: usize) -> Vec<(u64, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads", "1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some((_, line)) = line.unwrap().split_once('@') {
            let (height, digest) = line.split_once(' ').unwrap();
            if digest.len() == 64 {
                said.push((height.parse().unwrap(), digest.to_owned()));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_any_phase_settlement_goes_on_and_no_event_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = std::collections::BTreeMap::new();
    // Each run ends in another phase of an epoch of ten blocks.
    for lines in [25, 13, 7, 4, 16, 11, 5, 18] {
        for (height, digest) in run_and_kill(dir.path(), lines) {
            let before = acknowledged.insert(height, digest.clone());
            assert!(
                before.is_none_or(|b| b == digest),
                "the events of height {height} changed after a crash"
            );
        }
    }
    let node = Node::start(config(dir.path())).await.unwrap();
    for (height, digest) in &acknowledged {
        let stored = node.history(cairn_types::Height(*height), 1).unwrap();
        assert_eq!(stored[0].height.0, *height);
        assert_eq!(
            Hash::derive("t", &[&cairn_types::encode(&*stored[0])]).to_string(),
            *digest,
            "height {height}"
        );
    }
    let world = world(dir.path(), &node).await;
    let now = node.status().epoch;
    let work = tokio::spawn(daemon(node.clone(), world));
    let (epoch, id) = settled(&node, now).await;
    cairn_audit::verify(&node.pack(TOY, epoch).await.unwrap(), &id, &sectors()).unwrap();
    let before: Vec<u64> = {
        let mut found = Vec::new();
        for e in 0..now.0 {
            if node.settlement(TOY, Epoch(e)).await.unwrap().is_some() {
                found.push(e);
            }
        }
        found
    };
    assert!(!before.is_empty(), "no epoch at all was settled across the crashes");
    assert_eq!(node.status().trouble, None);
    work.abort();
    node.shutdown().await.unwrap();
}
