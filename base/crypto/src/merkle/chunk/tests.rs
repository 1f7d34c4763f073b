use super::*;
use proptest::prelude::*;

fn data(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new_derive_key("cairn test data").finalize_xof().fill(&mut out);
    out
}

fn prove(bytes: &[u8], outboard: &Outboard, index: u64) -> Result<ChunkProof, MerkleError> {
    let range = group_range(as_u64(bytes.len()), index)?;
    let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
    prove_chunk(outboard, index, &bytes[start..end])
}

const LENGTHS: [usize; 17] = [
    0, 1, 1023, 1024, 1025, 2048, 2049, 16_383, 16_384, 16_385, 17_409, 32_767, 32_768, 32_769, 49_153,
    65_536, 81_921,
];

#[test]
fn an_outboard_and_a_proof_are_frozen() {
    let bytes = data(20_000);
    let outboard = Outboard::of(&bytes).unwrap();
    assert_eq!(
        hex::encode(borsh::to_vec(&outboard).unwrap()),
        "7bbd0683bef08e338a1095ef5a826358c4e64658e4e0af33b6d891607aa4a3cd204e0000000000000200000012ba7304fee5f229e74cd692db20fa9329c71be90526ce52b8a7d08e2fada72ccfc5b62785ec1cad410bf5ca96dec70108a5e3126bab19042b7311d8405a1616"
    );
    let proof = borsh::to_vec(&prove(&bytes, &outboard, 19).unwrap()).unwrap();
    assert_eq!(
        Hash::derive("t", &[&proof]).to_string(),
        "ac4d3e909358487222ede768f30d5d2a37f3cdf777c4d5b2ba0abdddc866cb9a"
    );
    assert_eq!(&proof[..4], &544u32.to_le_bytes());
    assert_eq!(proof.len(), 4 + 544 + 4 + 3 * 32);
}

#[test]
fn the_root_is_the_plain_hash_and_every_chunk_proves() {
    for len in LENGTHS {
        let bytes = data(len);
        let outboard = Outboard::of(&bytes).unwrap();
        assert_eq!(outboard.root().0, *blake3::hash(&bytes).as_bytes(), "{len}");
        for index in 0..chunk_count(as_u64(len)) {
            let proof = prove(&bytes, &outboard, index).unwrap();
            let range = chunk_range(as_u64(len), index).unwrap();
            let got = verify_chunk(&outboard.root(), as_u64(len), index, &proof).unwrap();
            assert_eq!(
                got,
                &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
            );
        }
        let end = chunk_count(as_u64(len));
        assert!(matches!(prove(&bytes, &outboard, end), Err(MerkleError::OutOfRange { .. })));
        let back: Outboard = borsh::from_slice(&borsh::to_vec(&outboard).unwrap()).unwrap();
        assert_eq!(back, outboard);
    }
}

#[test]
fn arrival_in_pieces_gives_the_same_outboard() {
    let bytes = data(100_000);
    for piece in [1usize, 1000, 16_384, 40_000] {
        let mut builder = OutboardBuilder::new();
        for part in bytes.chunks(piece) {
            builder.update(part).unwrap();
        }
        assert_eq!(builder.finish(), Outboard::of(&bytes).unwrap());
    }
}

#[test]
fn a_proof_holds_at_its_own_index_only() {
    for len in [1025usize, 4096, 20_000] {
        let bytes = data(len);
        let (outboard, count) = (Outboard::of(&bytes).unwrap(), chunk_count(as_u64(len)));
        for index in 0..count {
            let proof = prove(&bytes, &outboard, index).unwrap();
            for other in (0..count + 2).filter(|o| *o != index) {
                assert!(
                    verify_chunk(&outboard.root(), as_u64(len), other, &proof).is_err(),
                    "{len} {index} {other}"
                );
            }
        }
    }
}

#[test]
fn the_last_chunk_pins_the_length() {
    let bytes = data(5000);
    let outboard = Outboard::of(&bytes).unwrap();
    let proof = prove(&bytes, &outboard, 4).unwrap();
    for len in (3000..9000).filter(|l| *l != 5000) {
        assert!(verify_chunk(&outboard.root(), len, 4, &proof).is_err(), "{len}");
    }
    assert!(matches!(verify_chunk(&outboard.root(), u64::MAX, 4, &proof), Err(MerkleError::TooLong { .. })));
}

#[test]
fn a_parent_node_is_not_accepted_as_a_chunk() {
    let bytes = data(2048);
    let outboard = Outboard::of(&bytes).unwrap();
    let mut parent = subtree(0, &bytes[..1024]).to_vec();
    parent.extend_from_slice(&subtree(1024, &bytes[1024..]));
    let proof = ChunkProof { chunk: parent, path: vec![] };
    assert_eq!(verify_chunk(&outboard.root(), 64, 0, &proof), Err(MerkleError::WrongRoot));
}

#[test]
fn a_rotten_group_is_noticed_by_the_prover() {
    let mut bytes = data(40_000);
    let outboard = Outboard::of(&bytes).unwrap();
    bytes[20_000] ^= 1;
    assert_eq!(prove(&bytes, &outboard, 16), Err(MerkleError::Corrupt { group: 1 }));
    assert!(prove(&bytes, &outboard, 0).is_ok());
    assert!(prove(&bytes, &outboard, 38).is_ok());
}

#[test]
fn a_changed_outboard_is_refused_on_reading() {
    let mut bytes = borsh::to_vec(&Outboard::of(&data(40_000)).unwrap()).unwrap();
    bytes[60] ^= 1;
    assert!(borsh::from_slice::<Outboard>(&bytes).is_err());
}

#[test]
fn an_oversized_chunk_is_refused_before_it_is_read() {
    let text = borsh::from_slice::<ChunkProof>(&1025u32.to_le_bytes()).unwrap_err().to_string();
    assert!(text.contains("1025 bytes"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_flipped_bit_fails(len in 0usize..300_000, at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bit in 0u8..8) {
        let bytes = data(len);
        let outboard = Outboard::of(&bytes).unwrap();
        prop_assert_eq!(outboard.root().0, *blake3::hash(&bytes).as_bytes());
        let total = as_u64(len);
        let index = as_u64(at.index(usize::try_from(chunk_count(total)).unwrap()));
        let proof = prove(&bytes, &outboard, index).unwrap();
        prop_assert!(verify_chunk(&outboard.root(), total, index, &proof).is_ok());
        let mut raw = borsh::to_vec(&proof).unwrap();
        let i = byte.index(raw.len());
        raw[i] ^= 1 << bit;
        if let Ok(bad) = borsh::from_slice::<ChunkProof>(&raw) {
            prop_assert!(verify_chunk(&outboard.root(), total, index, &bad).is_err());
        }
    }

    #[test]
    fn wrong_lengths_never_yield_other_bytes(len in 1usize..50_000, claimed in 0u64..60_000, at in any::<prop::sample::Index>()) {
        let bytes = data(len);
        let outboard = Outboard::of(&bytes).unwrap();
        let index = as_u64(at.index(usize::try_from(chunk_count(as_u64(len))).unwrap()));
        let proof = prove(&bytes, &outboard, index).unwrap();
        if let Ok(got) = verify_chunk(&outboard.root(), claimed, index, &proof) {
            let start = usize::try_from(index * CHUNK).unwrap();
            prop_assert_eq!(got, &bytes[start..start + got.len()]);
        }
    }
}
