//! Time to prove and to verify one operator's challenges: `cargo run --release -p cairn-storage-rules --example proof_speed`.
//! Measures; does not test.

use cairn_crypto::merkle::chunk::{ChunkProof, Outboard, group_range, prove_chunk};
use cairn_crypto::merkle::sum::SumProof;
use cairn_sector::Seed;
use cairn_storage_rules::prove::{
    ChunkReader, Exam, OperatorTree, answer, locate_fragment, slot_tree, verify_leaf,
};
use cairn_storage_rules::tasks::position;
use cairn_storage_rules::types::{AnswerBody, Fragment, Params, Revision};
use cairn_types::{DeviceId, Epoch, LeaseId, NetworkId, encode};
use std::time::Instant;

/// Every slot holds the same 32 fragments of 1 MiB, so that a million slots fit in memory; trees and paths are as long
/// as with different ones.
struct Same {
    data: Vec<u8>,
    outboard: Outboard,
    fragments: Vec<Fragment>,
}

impl ChunkReader for Same {
    fn fragment(&self, _: &Revision, position: u64) -> Option<(Fragment, SumProof)> {
        locate_fragment(&self.fragments, &slot_tree(&self.fragments).ok()?, position)
    }
    fn chunk(&self, _: &Revision, fragment: &Fragment, index: u64) -> Option<ChunkProof> {
        let range = group_range(fragment.len, index).ok()?;
        let group = self.data.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)?;
        prove_chunk(&self.outboard, index, group).ok()
    }
}

fn revision(n: u64, same: &Same) -> Option<Revision> {
    Some(Revision {
        network: NetworkId::default(),
        lease: LeaseId::derive("speed", &[&n.to_le_bytes()]),
        slot: 0,
        generation: 0,
        device: DeviceId::default(),
        fence: 0,
        seq: n,
        tree: slot_tree(&same.fragments).ok()?.root(),
    })
}

fn measure(slots: u64, same: &Same) -> Option<()> {
    let revisions: Vec<_> = (0..slots).filter_map(|n| revision(n, same)).collect();
    let started = Instant::now();
    let tree = OperatorTree::build(revisions).ok()?;
    let built = started.elapsed();
    // A target so coarse that the floor of 20 holds at every size.
    let params = Params { lost_ppm: 1_000_000, ..Params::default() };
    let (network, device, seed) = (NetworkId::default(), DeviceId::default(), Seed([7; 32]));
    let commitment = tree.commitment().tree;
    let exam = Exam { network, device, epoch: Epoch(1), seed, params: &params, commitment, suspect: false };
    let started = Instant::now();
    let answers = answer(&exam, &tree, same)?;
    let proven = started.elapsed();
    let bytes: usize = answers.iter().map(|a| encode(a).len()).sum();
    let mut best = None;
    for _ in 0..200 {
        let started = Instant::now();
        for a in &answers {
            let AnswerBody::Leaf(leaf) = &a.body else { return None };
            verify_leaf(
                &network,
                &device,
                &commitment,
                position(&seed, &device, a.index, commitment.total),
                leaf,
            )
            .ok()?;
        }
        let took = started.elapsed();
        best = Some(best.map_or(took, |b: std::time::Duration| b.min(took)));
    }
    println!(
        "{slots} slots, {} challenges, {bytes} B: tree {built:?}, proofs (bytes in memory, self-checked) {proven:?}, verification {:?}",
        answers.len(),
        best?
    );
    Some(())
}

fn main() {
    let data = vec![3u8; 1 << 20];
    let Ok(outboard) = Outboard::of(&data) else { return };
    let fragment = Fragment { root: outboard.root(), len: outboard.fragment_len() };
    let same = Same { data, outboard, fragments: vec![fragment; 32] };
    for slots in [10_000, 100_000, 1_000_000] {
        if measure(slots, &same).is_none() {
            println!("{slots} slots: a proof failed");
        }
    }
}
