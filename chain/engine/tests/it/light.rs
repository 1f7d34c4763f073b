//! What a client believes, and what it does not.

use crate::{
    solo::{config, reach},
    toy::{MAP, Toy, key},
};
use cairn_engine::{
    Proof, StoredBlock, identity_public,
    light::{LightError, SeatSet, decode_block, verify_certificate, verify_digest, verify_proof},
    prove_possession, start, verify_possession, vote_public,
};
use proptest::prelude::*;
use std::sync::LazyLock;

struct Sample {
    block: StoredBlock,
    certificate: Vec<u8>,
    present: Proof,
    absent: Proof,
    empty: Proof,
}

/// One chain for all tests of this file.
static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let mut slow = config(dir.path());
        slow.interval = std::time::Duration::from_secs(60);
        let engine = start(slow.clone(), Toy::busy()).unwrap();
        let empty = engine.prove(key(MAP, 1)).await.unwrap();
        engine.set_interval(std::time::Duration::ZERO);
        reach(&engine, 30).await;
        // All of one block: stop the chain, and let the block in the making pass.
        engine.set_interval(std::time::Duration::from_secs(60));
        let (present, absent) = loop {
            let present = engine.prove(key(MAP, 3)).await.unwrap();
            let absent = engine.prove(key(MAP, u64::MAX)).await.unwrap();
            if absent.state_root == present.state_root {
                break (present, absent);
            }
        };
        let block = engine.block(present.height).await.unwrap().unwrap();
        assert_eq!(block.block.state_root, present.state_root);
        assert_eq!(engine.block(1 << 40).await.unwrap(), None);
        engine.shutdown().await.unwrap();
        Sample { certificate: block.certificate.clone().unwrap(), block, present, absent, empty }
    })
});

fn seats(network: &[u8], identity: u8, vote: u8) -> SeatSet {
    SeatSet::new(network, &[(identity_public(&[identity; 32]), vote_public(&[vote; 32]))]).unwrap()
}

/// Changing these moves every validator to another key.
const FROZEN_IDENTITY: &str = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
const FROZEN_VOTE: &str = "99f58f3da8ba234cb0f408d3a4a0fd50cbe69437b2ed5130bab2c100462d23899df2f1dd5c76cb12b0c72497fac14ae514333b312cf53c00431323bcd33ad2c8daea5851dd0c91a8627da5532f5167d90b018a6cbde959137c9d8291ae525704";

#[test]
fn a_certificate_convinces_only_of_its_block_and_its_seats() {
    let sample = &*SAMPLE;
    let ours = seats(b"toy/0", 1, 2);
    let block = verify_certificate(&ours, &sample.block.bytes, &sample.certificate).unwrap();
    assert_eq!(block, sample.block.block);
    assert_eq!(decode_block(&sample.block.bytes).unwrap(), block);
    verify_digest(&ours, block.digest, &sample.certificate).unwrap();
    for other in [seats(b"toy/1", 1, 2), seats(b"toy/0", 1, 3)] {
        let refused = verify_certificate(&other, &sample.block.bytes, &sample.certificate);
        assert_eq!(refused, Err(LightError::Signature));
    }
    assert_eq!(verify_digest(&ours, [0; 32], &sample.certificate), Err(LightError::OtherBlock));
    let two = [
        (identity_public(&[1; 32]), vote_public(&[2; 32])),
        (identity_public(&[3; 32]), vote_public(&[4; 32])),
    ];
    let two = SeatSet::new(b"toy/0", &two).unwrap();
    assert!(verify_digest(&two, block.digest, &sample.certificate).is_err());
}

#[test]
fn every_flipped_bit_of_a_certificate_or_block_is_noticed() {
    let sample = &*SAMPLE;
    let ours = seats(b"toy/0", 1, 2);
    for bit in 0..sample.certificate.len() * 8 {
        let mut bytes = sample.certificate.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_certificate(&ours, &sample.block.bytes, &bytes).is_err(), "bit {bit}");
    }
    for bit in 0..sample.block.bytes.len() * 8 {
        let mut bytes = sample.block.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_certificate(&ours, &bytes, &sample.certificate).is_err(), "bit {bit}");
    }
}

#[test]
fn proofs_show_the_value_its_absence_and_nothing_else() {
    let Sample { present, absent, empty, .. } = &*SAMPLE;
    assert_eq!(present.value, Some(3u64.to_be_bytes().to_vec()));
    assert_eq!(absent.value, None);
    let (here, gone) = (key(MAP, 3), key(MAP, u64::MAX));
    verify_proof(here, present.value.as_deref(), &present.proof, present.state_root).unwrap();
    verify_proof(gone, None, &absent.proof, absent.state_root).unwrap();
    if empty.height > 0 {
        verify_proof(key(MAP, 1), empty.value.as_deref(), &empty.proof, empty.state_root).unwrap();
    }
    let refused = |key, value: Option<&[u8]>, proof: &Proof, root| {
        assert_eq!(verify_proof(key, value, &proof.proof, root), Err(LightError::Proof));
    };
    refused(here, Some(&4u64.to_be_bytes()), present, present.state_root);
    refused(here, None, present, present.state_root);
    refused(key(MAP, 4), present.value.as_deref(), present, present.state_root);
    refused(here, present.value.as_deref(), present, [0; 32]);
    refused(here, None, absent, absent.state_root);
    refused(gone, Some(&[]), absent, absent.state_root);
    for (key, proof) in [(here, present), (gone, absent)] {
        for bit in 0..proof.proof.len() * 8 {
            let mut bytes = proof.proof.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                verify_proof(key, proof.value.as_deref(), &bytes, proof.state_root).is_err(),
                "bit {bit}"
            );
        }
    }
}

#[test]
fn keys_are_frozen_and_possession_is_bound_to_key_and_network() {
    assert_eq!(hex::encode(identity_public(&[1; 32])), FROZEN_IDENTITY);
    assert_eq!(hex::encode(vote_public(&[2; 32])), FROZEN_VOTE);
    let (key, proof) = (vote_public(&[2; 32]), prove_possession(&[2; 32], b"toy/0"));
    assert!(verify_possession(&key, b"toy/0", &proof));
    assert!(!verify_possession(&key, b"toy/1", &proof));
    assert!(!verify_possession(&vote_public(&[3; 32]), b"toy/0", &proof));
    assert!(!verify_possession(&key, b"toy/0", &proof[1..]));
}

#[test]
fn unusable_sets_of_seats_are_refused() {
    let good = (identity_public(&[1; 32]), vote_public(&[2; 32]).to_vec());
    let refused = |members: &[([u8; 32], Vec<u8>)]| {
        assert!(matches!(SeatSet::new(b"n", members), Err(LightError::Seats(_))))
    };
    refused(&[]);
    refused(&[good.clone(), good.clone()]);
    refused(&[good.clone(), (identity_public(&[3; 32]), good.1.clone())]);
    refused(&[(good.0, vec![0; 96])]);
    refused(&[(good.0, good.1[1..].to_vec())]);
    refused(&vec![good; 1025]);
}

/// Foreign bytes: random, or a good message that was cut, stretched and stained.
fn foreign(good: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let stained = (any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>(), any::<bool>())
        .prop_map(move |(at, byte, cut, append)| {
            let mut bytes = good.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if append {
                bytes.extend_from_slice(&good[..cut.index(good.len())])
            } else {
                bytes.truncate(cut.index(good.len()))
            }
            bytes
        });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..600), stained]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn malformed_bytes_are_refused_without_a_panic(
        block in foreign(&SAMPLE.block.bytes),
        certificate in foreign(&SAMPLE.certificate),
        present in foreign(&SAMPLE.present.proof),
        absent in foreign(&SAMPLE.absent.proof),
        root in any::<[u8; 32]>(),
    ) {
        let ours = seats(b"toy/0", 1, 2);
        let _ = decode_block(&block);
        let _ = verify_certificate(&ours, &block, &certificate);
        let _ = verify_digest(&ours, SAMPLE.block.block.digest, &certificate);
        for proof in [&present, &absent] {
            prop_assert!(verify_proof(key(MAP, 3), SAMPLE.present.value.as_deref(), proof, root).is_err());
            let _ = verify_proof(key(MAP, 3), SAMPLE.present.value.as_deref(), proof, SAMPLE.present.state_root);
            prop_assert!(verify_proof(key(MAP, 3), None, proof, SAMPLE.present.state_root).is_err());
        }
        prop_assert!(!verify_possession(&block, b"toy/0", &certificate));
    }
}

/// A block, its certificate and two proofs as they were once written: clients in the field hold such bytes.
fn golden() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden.txt")
}

#[test]
#[ignore = "writes the fixture anew; only after a decision to change a format"]
fn record_golden() {
    let Sample { block, certificate, present, absent, .. } = &*SAMPLE;
    let digest = hex::encode(block.block.digest);
    let parts = [&block.bytes, certificate, &present.proof, &absent.proof].map(hex::encode);
    std::fs::write(golden(), format!("{digest}\n{}\n", parts.join("\n"))).unwrap();
}

#[test]
fn bytes_recorded_earlier_are_still_understood() {
    let text = std::fs::read_to_string(golden()).unwrap();
    let parts: Vec<Vec<u8>> = text.lines().map(|line| hex::decode(line).unwrap()).collect();
    let [digest, bytes, certificate, present, absent] = parts.try_into().unwrap();
    let block = verify_certificate(&seats(b"toy/0", 1, 2), &bytes, &certificate).unwrap();
    assert_eq!(block.digest.to_vec(), digest);
    assert_eq!(block.header.proposer, identity_public(&[1; 32]));
    assert_eq!(block.body, crate::toy::encode(&[(block.header.height, block.header.height)]));
    verify_proof(key(MAP, 3), Some(&3u64.to_be_bytes()), &present, block.state_root).unwrap();
    verify_proof(key(MAP, u64::MAX), None, &absent, block.state_root).unwrap();
}
