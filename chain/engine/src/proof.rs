//! Bytes of state proofs: one tag, then the proof.

use crate::{
    app::{CHUNK, DbKey},
    block::D,
    machine::{Hash, Key},
    value::Value,
};
use commonware_codec::{Copying, Decode as _, DecodeExt as _, Encode as _};
use commonware_cryptography::Sha256;
use commonware_storage::{
    mmr,
    qmdb::{any::value::VariableEncoding, current::ordered::proof::constant},
};

const PRESENT: u8 = 1;
const ABSENT: u8 = 0;
/// Digests of one proof: paths in a tree of at most 2^63 leaves, and its peaks.
const MAX_DIGESTS: usize = 256;

/// Largest proof in bytes that is looked at: digests, a neighbour's value and small change.
pub(crate) const MAX_PROOF: usize = (MAX_DIGESTS + 8) * 32 + crate::MAX_VALUE + 512;

pub(crate) type Present = constant::KeyValueProof<mmr::Family, DbKey, D, CHUNK>;
pub(crate) type Absent = constant::ExclusionProof<mmr::Family, DbKey, VariableEncoding<Value>, D, CHUNK>;

pub(crate) fn present(proof: &Present) -> Vec<u8> {
    tagged(PRESENT, &proof.encode())
}

pub(crate) fn absent(proof: &Absent) -> Vec<u8> {
    tagged(ABSENT, &proof.encode())
}

fn tagged(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(bytes);
    out
}

/// Whether `proof` shows that `key` has exactly this value (or none) under `root`.
pub(crate) fn verify(key: Key, value: Option<&[u8]>, proof: &[u8], root: Hash) -> bool {
    if proof.len() > MAX_PROOF || value.is_some_and(|value| value.len() > crate::MAX_VALUE) {
        return false;
    }
    let (key, Ok(root)) = (DbKey::new(key), D::decode(Copying(&root))) else { return false };
    match (proof.split_first(), value) {
        (Some((&PRESENT, bytes)), Some(value)) => Present::decode_cfg(Copying(bytes), &(MAX_DIGESTS, ()))
            .is_ok_and(|proof| {
                proof.verify::<Sha256, VariableEncoding<Value>>(key, Value(value.to_vec()), &root)
            }),
        (Some((&ABSENT, bytes)), None) => Absent::decode_cfg(Copying(bytes), &(MAX_DIGESTS, ((), ()), ()))
            .is_ok_and(|proof| proof.verify::<Sha256>(&key, &root)),
        _ => false,
    }
}
