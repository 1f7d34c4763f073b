use super::*;
use proptest::prelude::*;

fn leaf(i: usize) -> (Hash, u64) {
    (Hash::derive("leaf", &[&as_u64(i).to_le_bytes()]), as_u64(i) * 7 % 5 + 1)
}

fn tree(n: usize) -> SumTree {
    SumTree::from_leaves((0..n).map(leaf)).unwrap()
}

/// The definition, written plainly: join neighbours level by level, a last one without neighbour moves up.
fn plain_root(leaves: &[(Hash, u64)]) -> SumRoot {
    let mut level: Vec<Weighted> =
        leaves.iter().map(|(hash, weight)| lift(0, &Weighted { hash: *hash, weight: *weight })).collect();
    while level.len() > 1 {
        level = level.chunks(2).map(|p| if let [l, r] = p { join_hashed(l, r) } else { p[0] }).collect();
    }
    let (top, total) = level.first().map_or((Hash::default(), 0), |n| (n.hash, n.weight));
    seal(&top, total, as_u64(leaves.len()))
}

#[test]
fn roots_and_a_proof_are_frozen() {
    assert_eq!(
        hex::encode(borsh::to_vec(&tree(0).root()).unwrap()),
        "305d8bc54b6fabc293572a528ba72b96129b7ba9e7e5e275c0d48f7e17546e2e00000000000000000000000000000000"
    );
    assert_eq!(
        hex::encode(borsh::to_vec(&tree(1).root()).unwrap()),
        "57e9257d66148b96b26440cddfa3c57c4fbcf8987a77f890060fc3f4dce3f9eb01000000000000000100000000000000"
    );
    assert_eq!(
        hex::encode(borsh::to_vec(&tree(5).root()).unwrap()),
        "9fdb18971b8d2f386218c5cea2b315dd4f35a312a948e492411d68ad6691ce0b0f000000000000000500000000000000"
    );
    assert_eq!(
        hex::encode(borsh::to_vec(&tree(3).prove_at(2).unwrap()).unwrap()),
        "01000000000000000100000000000000426b4cde4da66287cae396826131cccde0454786d120dc23d2595afc2ef0e769030000000000000002000000b1718be88113a51ad3aa49d4c362ac3daf6044bcae3a39cfb62ab59ed26557ff0100000000000000f573cb8097630d1c625c29346c4ffa3213bb16f7864b7316f59da497b10dedd60500000000000000"
    );
}

#[test]
fn every_position_of_every_small_tree_proves() {
    for n in 1..40usize {
        let (t, leaves) = (tree(n), (0..n).map(leaf).collect::<Vec<_>>());
        assert_eq!(t.root(), plain_root(&leaves), "{n}");
        let mut position = 0;
        for (i, (hash, weight)) in leaves.iter().enumerate() {
            let proof = t.prove_leaf(as_u64(i)).unwrap();
            assert_eq!(verify_leaf(&t.root(), &proof), Ok(position));
            for offset in 0..*weight {
                let proof = t.prove_at(position).unwrap();
                assert_eq!((proof.index, proof.leaf.hash), (as_u64(i), *hash));
                assert_eq!(verify(&t.root(), position, &proof), Ok(offset));
                position += 1;
            }
        }
        assert_eq!(position, t.total());
        assert!(t.prove_at(position).is_err());
    }
}

#[test]
fn a_proof_for_another_position_is_refused() {
    let t = tree(9);
    let proof = t.prove_at(5).unwrap();
    let start = 5 - proof.offset_in_leaf;
    for position in (0..t.total()).filter(|p| *p != 5) {
        // As it is, and with an offset invented to fit.
        let mut invented = proof.clone();
        invented.offset_in_leaf = position.wrapping_sub(start);
        let same_leaf = (start..start + proof.leaf.weight).contains(&position);
        for (p, fine) in [(&proof, false), (&invented, same_leaf)] {
            let result = verify(&t.root(), position, p);
            assert_eq!(result.is_ok(), fine, "{position}");
            assert!(fine || matches!(result, Err(MerkleError::NotInLeaf { .. })), "{position}");
        }
    }
}

#[test]
fn weight_zero_and_overflow_are_refused_in_the_builder() {
    let mut t = tree(3);
    let before = t.root();
    assert_eq!(t.push(Hash::default(), 0), Err(MerkleError::ZeroWeight));
    assert_eq!(t.push(Hash::default(), u64::MAX), Err(MerkleError::Overflow));
    assert_eq!(t.set(0, Hash::default(), 0), Err(MerkleError::ZeroWeight));
    assert_eq!(t.set(0, Hash::default(), u64::MAX), Err(MerkleError::Overflow));
    assert_eq!(t.set(3, Hash::default(), 1), Err(MerkleError::OutOfRange { at: 3, size: 3 }));
    assert_eq!(t.root(), before);
}

#[test]
fn a_wrapping_sum_is_refused_by_the_verifier() {
    // A cheat hashes a node whose two sums wrap to a small total: the leaf seems to hold nearly everything.
    let (a, b) = (
        Weighted { hash: Hash::default(), weight: u64::MAX },
        Weighted { hash: Hash::default(), weight: 11 },
    );
    let (la, lb) = (lift(0, &a), lift(0, &b));
    let top = join_hashed(&la, &lb);
    let root = seal(&top.hash, 10, 2);
    let proof = SumProof { index: 0, offset_in_leaf: 3, leaf: a, path: vec![lb] };
    assert_eq!(verify(&root, 3, &proof), Err(MerkleError::Overflow));
    let root = seal(&top.hash, u64::MAX, 2);
    assert_eq!(verify(&root, 3, &proof), Err(MerkleError::Overflow));
}

#[test]
fn an_inflated_total_is_refused() {
    let t = tree(4);
    let top = t.edge().last().copied().flatten().unwrap();
    let inflated = seal(&top.hash, t.total() + 1000, 4);
    assert_eq!(verify(&inflated, 1, &t.prove_at(1).unwrap()), Err(MerkleError::WrongRoot));
}

#[test]
fn a_zero_weight_sibling_is_refused_by_the_verifier() {
    let t = tree(2);
    let mut proof = t.prove_at(0).unwrap();
    proof.path[0].weight = 0;
    assert_eq!(verify(&t.root(), 0, &proof), Err(MerkleError::ZeroWeight));
}

#[test]
fn an_empty_tree_proves_nothing() {
    let t = SumTree::new();
    assert_eq!(t.root(), plain_root(&[]));
    assert!(t.prove_at(0).is_err());
    assert!(t.leaf(0).is_err());
    assert!(t.prove_leaf(0).is_err());
    let proof = tree(1).prove_at(0).unwrap();
    assert!(verify(&t.root(), 0, &proof).is_err());
}

proptest! {
    #[test]
    fn editing_equals_building_anew(
        start in 0usize..40,
        edits in proptest::collection::vec((0u8..3, any::<prop::sample::Index>(), 1u64..1000), 0..40),
    ) {
        let mut leaves: Vec<(Hash, u64)> = (0..start).map(leaf).collect();
        let mut t = tree(start);
        for (kind, at, weight) in edits {
            let hash = Hash::derive("new", &[&weight.to_le_bytes()]);
            match kind {
                0 => { t.push(hash, weight).unwrap(); leaves.push((hash, weight)); }
                1 if !leaves.is_empty() => {
                    let i = at.index(leaves.len());
                    t.set(as_u64(i), hash, weight).unwrap();
                    leaves[i] = (hash, weight);
                }
                _ => { prop_assert_eq!(t.pop().map(|w| (w.hash, w.weight)), leaves.pop()); }
            }
            prop_assert_eq!(t.root(), plain_root(&leaves));
        }
        for position in (0..t.total()).step_by(97) {
            prop_assert!(verify(&t.root(), position, &t.prove_at(position).unwrap()).is_ok());
        }
    }

    #[test]
    fn a_changed_proof_or_root_fails(n in 1usize..60, at in any::<u64>(), byte in any::<prop::sample::Index>(), bit in 0u8..8) {
        let t = tree(n);
        let position = at % t.total();
        let proof = t.prove_at(position).unwrap();
        let mut bytes = borsh::to_vec(&proof).unwrap();
        let i = byte.index(bytes.len());
        bytes[i] ^= 1 << bit;
        if let Ok(bad) = borsh::from_slice::<SumProof>(&bytes) {
            prop_assert!(verify(&t.root(), position, &bad).is_err());
        }
        let mut root = borsh::to_vec(&t.root()).unwrap();
        root[byte.index(48)] ^= 1 << bit;
        prop_assert!(verify(&borsh::from_slice(&root).unwrap(), position, &proof).is_err());
    }
}
