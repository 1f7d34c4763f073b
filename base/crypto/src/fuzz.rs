//! Entry points for fuzzing: each decodes arbitrary bytes and verifies the result. None may panic.

use borsh::BorshDeserialize;
use cairn_types::{Hash, decode_bounded};

use crate::authority::{Authority, Signatures};
use crate::bls::{BlsPublic, BlsSignature};
use crate::lthash::LtHash;
use crate::merkle::chunk::{ChunkProof, Outboard, group_range, prove_chunk, verify_chunk};
use crate::merkle::rows::RowProof;
use crate::merkle::sum::{SumProof, SumRoot};
use crate::merkle::{rows, sum};
use crate::sealed::{BoxSecret, SealedBox};

/// Largest input looked at.
const LIMIT: usize = 128 * 1024;

fn parse<T: BorshDeserialize>(data: &[u8]) -> Option<T> {
    decode_bounded(data, LIMIT).ok()
}

/// (root, length, index, chunk proof).
pub fn chunk_proof(data: &[u8]) {
    if let Some((root, len, index, proof)) = parse::<(Hash, u64, u64, ChunkProof)>(data) {
        let _ = verify_chunk(&root, len, index, &proof);
        let _ = group_range(len, index);
    }
}

/// (outboard, index, group bytes).
pub fn outboard(data: &[u8]) {
    if let Some((outboard, index, group)) = parse::<(Outboard, u64, Vec<u8>)>(data) {
        let _ = prove_chunk(&outboard, index, &group);
    }
}

/// (sum root, position, sum proof).
pub fn sum_proof(data: &[u8]) {
    if let Some((root, position, proof)) = parse::<(SumRoot, u64, SumProof)>(data) {
        let _ = sum::verify(&root, position, &proof);
        let _ = sum::verify_leaf(&root, &proof);
    }
}

/// (root, count, index, leaf, row proof).
pub fn rows_proof(data: &[u8]) {
    if let Some((root, count, index, leaf, proof)) = parse::<(Hash, u64, u64, Vec<u8>, RowProof)>(data) {
        let _ = rows::verify(&root, count, index, &leaf, &proof);
    }
}

/// Text of an address.
pub fn address(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = crate::address::decode(crate::address::DEFAULT_HRP, text);
        let _ = crate::address::decode(text, text);
    }
}

/// A join link: its bytes behind a true checksum, and as the text that they may be.
pub fn join(data: &[u8]) {
    let text = std::str::from_utf8(data).map(str::to_owned);
    let body = bech32::encode::<bech32::Bech32m>(bech32::Hrp::parse_unchecked("join"), data);
    let texts = text.into_iter().chain(body.map(|b| format!("{}{b}", crate::join::SCHEME)));
    for text in texts {
        if let Ok(link) = crate::JoinLink::parse(&text) {
            let again = link.text().map(|t| crate::JoinLink::parse(&t));
            assert_eq!(again, Ok(Ok(link)), "what is read is written the same");
        }
    }
}

/// (authority, message, signatures).
pub fn authority(data: &[u8]) {
    if let Some((authority, message, signatures)) = parse::<(Authority, Vec<u8>, Signatures)>(data) {
        let _ = authority.check();
        let _ = authority.account_id();
        let _ = authority.verify("fuzz", &message, &signatures);
    }
}

/// A sealed box.
pub fn sealed(data: &[u8]) {
    if let Some(sealed) = parse::<SealedBox>(data) {
        let _ = BoxSecret::from_seed(&[7; 32]).open("fuzz", &sealed);
    }
}

/// (BLS key, message, signature).
pub fn bls(data: &[u8]) {
    if let Some((key, message, signature)) = parse::<(BlsPublic, Vec<u8>, BlsSignature)>(data) {
        let _ = key.verify("fuzz", &message, &signature);
        let _ = key.pop_verify(&signature);
    }
}

/// A set-hash state, and the words of a phrase.
pub fn others(data: &[u8]) {
    if let Some(state) = parse::<LtHash>(data) {
        let _ = state.digest();
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = crate::phrase::Phrase::parse(text);
    }
}

/// An entry point and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All entry points by name, for a fuzzing driver.
pub const TARGETS: &[Target] = &[
    ("chunk_proof", chunk_proof),
    ("outboard", outboard),
    ("sum_proof", sum_proof),
    ("rows_proof", rows_proof),
    ("address", address),
    ("join", join),
    ("authority", authority),
    ("sealed", sealed),
    ("bls", bls),
    ("others", others),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SecretKey, merkle::sum::SumTree};
    use proptest::prelude::*;

    /// Well-formed inputs, so that mutations reach behind the decoders.
    fn corpus() -> Vec<Vec<u8>> {
        let fragment = vec![3u8; 40_000];
        let board = Outboard::of(&fragment).unwrap();
        let proof = prove_chunk(&board, 17, &fragment[16_384..32_768]).unwrap();
        let tree = SumTree::from_leaves((1..9u64).map(|i| (Hash::default(), i))).unwrap();
        let leaves = ["a", "b", "c"];
        let row = (rows::root(leaves), 3u64, 1u64, b"b".to_vec(), rows::prove(&leaves, 1).unwrap());
        let key = SecretKey::from_seed(&[1; 32]);
        let signed = Signatures::single(key.sign("fuzz", b"m"));
        let to = BoxSecret::from_seed(&[7; 32]).public();
        let bls = crate::BlsSecret::from_seed(&[1; 32]);
        vec![
            borsh::to_vec(&(board.root(), 40_000u64, 17u64, proof)).unwrap(),
            borsh::to_vec(&(&board, 17u64, &fragment[16_384..32_768])).unwrap(),
            borsh::to_vec(&(tree.root(), 20u64, tree.prove_at(20).unwrap())).unwrap(),
            borsh::to_vec(&row).unwrap(),
            crate::address::encode("cairn", &Default::default()).unwrap().into_bytes(),
            crate::JoinLink {
                network: Default::default(),
                nodes: vec!["http://a".into()],
                relays: Vec::new(),
            }
            .text()
            .unwrap()
            .into_bytes(),
            borsh::to_vec(&(Authority::Single(key.public()), b"m".to_vec(), signed)).unwrap(),
            borsh::to_vec(&crate::sealed::seal(&to, "fuzz", b"m", &[1; 32]).unwrap()).unwrap(),
            borsh::to_vec(&(bls.public(), b"m".to_vec(), bls.sign("fuzz", b"m"))).unwrap(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..3000)) {
            for (_, target) in TARGETS {
                target(&data);
            }
        }

        #[test]
        fn mutated_inputs_never_panic(
            which in any::<prop::sample::Index>(),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            shorten in any::<bool>(),
        ) {
            let all = corpus();
            let mut data = which.get(&all).clone();
            for (at, byte) in edits {
                // Half of the edits near the front, where lengths and indices are.
                let i = if byte & 1 == 0 { at.index(data.len()) } else { at.index(data.len().min(64)) };
                data[i] = byte;
            }
            if shorten {
                data.truncate(cut.index(data.len()));
            }
            for (_, target) in TARGETS {
                target(&data);
            }
        }
    }
}
