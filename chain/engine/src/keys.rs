//! Validator keys, in bytes.

use crate::block::{Identity, identity_bytes};
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_consensus::simplex::scheme::bls12381_multisig;
use commonware_cryptography::{
    Hasher as _, Sha256, Signer as _,
    bls12381::primitives::{
        group::Private,
        ops,
        variant::{MinSig, Variant},
    },
    ed25519,
};
use commonware_utils::ordered::BiMap;

/// Signature scheme of votes: BLS12-381 multisignatures, 48-byte signatures, attributable.
pub(crate) type Scheme = bls12381_multisig::Scheme<Identity, MinSig>;
/// Public half of a vote key.
pub(crate) type VotePublic = <MinSig as Variant>::Public;

/// Bytes of a vote public key (compressed G2 point).
pub const VOTE_PUBLIC_LEN: usize = 96;
/// Bytes of a proof of possession (compressed G1 point).
pub const POSSESSION_LEN: usize = 48;

const VOTE_DOMAIN: &[u8] = b"cairn/engine/vote-key/v1";

/// The private vote key of a secret: the first candidate of `SHA-256(domain || secret || n)` for
/// n = 0, 1, .. that is a valid scalar (each is with probability 0.45).
pub(crate) fn vote_private(secret: &[u8; 32]) -> Private {
    for n in 0..=u64::MAX {
        let candidate = Sha256::hash(&[VOTE_DOMAIN, secret, &n.to_be_bytes()]);
        if let Ok(private) = Private::decode(Copying(&candidate.0)) {
            return private;
        }
    }
    unreachable!("2^64 hashes without a valid scalar")
}

pub(crate) fn identity_private(seed: &[u8; 32]) -> ed25519::PrivateKey {
    ed25519::PrivateKey::decode(Copying(seed)).expect("every 32 bytes are an ed25519 seed")
}

/// The ed25519 identity that belongs to a seed (RFC 8032 private key).
pub fn identity_public(seed: &[u8; 32]) -> [u8; 32] {
    identity_bytes(&identity_private(seed).public_key())
}

/// The vote public key that belongs to a vote secret (32 uniformly random bytes).
pub fn vote_public(secret: &[u8; 32]) -> [u8; VOTE_PUBLIC_LEN] {
    fixed(&ops::compute_public::<MinSig>(&vote_private(secret)).encode())
}

/// Proof that whoever registers a vote key holds its secret.
///
/// Without it a rogue key could be chosen that cancels others' keys in an aggregate, and the
/// voting scheme does not check it: registration must.
pub fn prove_possession(secret: &[u8; 32], network: &[u8]) -> [u8; POSSESSION_LEN] {
    fixed(&ops::sign_proof_of_possession::<MinSig>(&vote_private(secret), network).encode())
}

/// Checks a proof made by [`prove_possession`]. Malformed input is simply not a proof.
pub fn verify_possession(vote_public: &[u8], network: &[u8], proof: &[u8]) -> bool {
    let Ok(public) = VotePublic::decode(Copying(vote_public)) else { return false };
    let Ok(proof) = <MinSig as Variant>::Signature::decode(Copying(proof)) else { return false };
    ops::verify_proof_of_possession::<MinSig>(&public, network, &proof).is_ok()
}

/// The seats of one epoch.
pub(crate) type Seats = BiMap<Identity, VotePublic>;

/// Seats from their members; `None` when a key appears twice.
pub(crate) fn seats(members: Vec<(Identity, VotePublic)>) -> Option<Seats> {
    Seats::try_from(members).ok()
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

/// The voting scheme of a member of a set; `None` when the key does not belong to the set.
pub(crate) fn signer(network: &[u8], seats: Seats, private: Private) -> Option<Scheme> {
    Scheme::signer(network, seats, private)
}

/// The scheme of whoever holds no seat: it checks and does not sign.
pub(crate) fn verifier(network: &[u8], seats: Seats) -> Scheme {
    Scheme::verifier(network, seats)
}

/// The seat of a lone validator.
pub(crate) fn solo_seats(me: Identity, private: &Private) -> Seats {
    seats(vec![(me, public(private))]).expect("one pair has no duplicates")
}

/// The public half of a vote key.
pub(crate) fn public(private: &Private) -> VotePublic {
    ops::compute_public::<MinSig>(private)
}
