//! Verification by bytes, for clients that trust a set of seats and nothing else.
//!
//! No clock, no I/O. Every function takes foreign bytes and never panics on them.

use crate::{
    block::{Block, D, Identity, MAX_BODY_CEILING},
    keys::{Scheme, Seats, VotePublic, seats},
    machine::{FinalBlock, Hash, Key},
    proof,
};
use commonware_codec::{Copying, Decode as _, DecodeExt as _};
use commonware_consensus::simplex::types::Finalization;
use commonware_cryptography::{Digestible as _, certificate::Verifier as _};
use commonware_parallel::Sequential;

/// Most seats of a set.
pub const MAX_SEATS: usize = 1024;
/// Largest certificate in bytes that is looked at: a bitmap, a signature, small change.
const MAX_CERTIFICATE: usize = 1024;

/// Why something was not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LightError {
    /// A seat's key is not a valid key, appears twice, or there are none or too many.
    #[error("the set of seats is not usable: {0}; get it again from a source you trust")]
    Seats(String),
    /// Bytes that are no block.
    #[error("the bytes are not a block: {0}; ask another node")]
    Block(String),
    /// Bytes that are no certificate of this set.
    #[error(
        "the bytes are not a certificate of these seats: {0}; ask another node, or update the set of seats"
    )]
    Certificate(String),
    /// A certificate for something else.
    #[error("the certificate is for another block; ask another node")]
    OtherBlock,
    /// A certificate of another epoch of seats.
    #[error(
        "the certificate is of epoch {found} of seats, these are the seats of epoch {wanted}; follow the seats from block to block"
    )]
    OtherEpoch {
        /// Epoch of the certificate.
        found: u64,
        /// Epoch of the set.
        wanted: u64,
    },
    /// Signatures that do not hold.
    #[error(
        "the certificate is not signed by more than two thirds of these seats; do not trust the node that sent it"
    )]
    Signature,
    /// A proof that does not hold.
    #[error("the proof does not show this value under this state root; do not trust the node that sent it")]
    Proof,
}

/// The seats that may sign, with the network that their votes are bound to.
#[derive(Clone, Debug)]
pub struct SeatSet {
    scheme: Scheme,
    /// The only epoch of seats whose certificates are believed.
    epoch: u64,
}

impl SeatSet {
    /// Builds the set of epoch zero, which is the only one where seats do not change: see [`SeatSet::of_epoch`].
    ///
    /// # Errors
    ///
    /// [`LightError::Seats`].
    pub fn new<V: AsRef<[u8]>>(network: &[u8], members: &[([u8; 32], V)]) -> Result<Self, LightError> {
        Self::of_epoch(network, 0, members)
    }

    /// Builds the set of an epoch of seats from (ed25519 identity, BLS vote key) pairs, in any order.
    ///
    /// The set certifies blocks of this epoch and no others: seats that have left could sign anything for later
    /// ones, with nothing left to lose.
    ///
    /// The caller vouches that each vote key's possession was proved
    /// ([`crate::verify_possession`]); without it a set can be forged by its last member.
    ///
    /// # Errors
    ///
    /// [`LightError::Seats`].
    pub fn of_epoch<V: AsRef<[u8]>>(
        network: &[u8],
        epoch: u64,
        members: &[([u8; 32], V)],
    ) -> Result<Self, LightError> {
        if members.is_empty() || members.len() > MAX_SEATS {
            return Err(LightError::Seats(format!("{} seats, 1 to {MAX_SEATS} are allowed", members.len())));
        }
        let mut keys = Vec::with_capacity(members.len());
        for (index, (identity, vote)) in members.iter().enumerate() {
            let bad = |what: &str| LightError::Seats(format!("the {what} of seat {index} is not a key"));
            let identity = Identity::decode(Copying(identity)).map_err(|_| bad("identity"))?;
            let vote = VotePublic::decode(Copying(vote.as_ref())).map_err(|_| bad("vote key"))?;
            keys.push((identity, vote));
        }
        let seats: Seats = seats(keys).ok_or_else(|| LightError::Seats("a key appears twice".to_owned()))?;
        Ok(Self { scheme: Scheme::verifier(network, seats), epoch })
    }
}

/// Decodes a block without believing it.
///
/// # Errors
///
/// [`LightError::Block`].
pub fn decode_block(bytes: &[u8]) -> Result<FinalBlock, LightError> {
    let block = block(bytes)?;
    Ok(block.to_final(block.digest()))
}

fn block(bytes: &[u8]) -> Result<Block, LightError> {
    Block::decode_cfg(Copying(bytes), &MAX_BODY_CEILING).map_err(|cause| LightError::Block(cause.to_string()))
}

/// Checks that more than two thirds of the seats made this block final.
///
/// # Errors
///
/// [`LightError::Block`], and as [`verify_digest`].
pub fn verify_certificate(
    seats: &SeatSet,
    block_bytes: &[u8],
    certificate: &[u8],
) -> Result<FinalBlock, LightError> {
    let block = block(block_bytes)?;
    let digest = block.digest();
    verify_digest(seats, digest.0, certificate)?;
    Ok(block.to_final(digest))
}

/// Checks that more than two thirds of the seats made the block with this digest final.
///
/// # Errors
///
/// [`LightError::Certificate`], [`LightError::OtherBlock`], [`LightError::OtherEpoch`] or [`LightError::Signature`].
pub fn verify_digest(seats: &SeatSet, digest: Hash, certificate: &[u8]) -> Result<(), LightError> {
    if certificate.len() > MAX_CERTIFICATE {
        return Err(LightError::Certificate(format!(
            "{} bytes, at most {MAX_CERTIFICATE} are read",
            certificate.len()
        )));
    }
    let limits = seats.scheme.certificate_codec_config();
    let finalization = Finalization::<Scheme, D>::decode_cfg(Copying(certificate), &limits)
        .map_err(|cause| LightError::Certificate(cause.to_string()))?;
    if finalization.proposal.payload.0 != digest {
        return Err(LightError::OtherBlock);
    }
    let found = finalization.proposal.round.epoch().get();
    if found != seats.epoch {
        return Err(LightError::OtherEpoch { found, wanted: seats.epoch });
    }
    // One aggregate is checked without blinding: the generator is required by the trait only.
    if !finalization.verify(&mut rand::rng(), &seats.scheme, &Sequential) {
        return Err(LightError::Signature);
    }
    Ok(())
}

/// Checks that a key has this value, or none, under a state root.
///
/// # Errors
///
/// [`LightError::Proof`], for malformed proofs too.
pub fn verify_proof(
    key: Key,
    value: Option<&[u8]>,
    proof: &[u8],
    state_root: Hash,
) -> Result<(), LightError> {
    if proof::verify(key, value, proof, state_root) { Ok(()) } else { Err(LightError::Proof) }
}
