//! Frozen types. Changing an encoding is a new VERSION.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::{PublicKey, SecretKey, Signature};
use cairn_sector::SortKey;
use cairn_types::{Credits, DeviceId, Epoch, Hash, NetworkId, encode};

/// Domain under which a miner signs its reveal.
pub const REVEAL_DOMAIN: &str = "cairn/arena/reveal";
/// Domain under which a validator signs its scores.
pub const SCORES_DOMAIN: &str = "cairn/arena/scores";
/// Highest score.
pub const SCORE_MAX: u16 = 10_000;

/// The part that a device plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Offer {
    /// Answers.
    Miner,
    /// Scores answers. The stake is its bond and the weight of its scores.
    Validator {
        /// Stake.
        stake: Credits,
    },
}

/// There are no leases in this sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Order;

/// A miner's commitment before the seed: [`answer_digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Commitment {
    /// The digest.
    pub digest: Hash,
}

/// What a miner committed to. Device and epoch are inside, so that another's commitment is of no use.
pub fn answer_digest(
    network: &NetworkId,
    miner: &DeviceId,
    epoch: Epoch,
    answer: &[u8],
    salt: &[u8; 32],
) -> Hash {
    let epoch = epoch.0.to_le_bytes();
    Hash::derive("cairn/arena/answer", &[network.as_ref(), miner.as_ref(), &epoch, answer, salt])
}

/// What a validator commits to: the digest of its answers, posted in the answer phase.
pub fn scores_digest(
    network: &NetworkId,
    validator: &DeviceId,
    epoch: Epoch,
    scores: &[(DeviceId, u16)],
    salt: &[u8; 32],
) -> Hash {
    let epoch = epoch.0.to_le_bytes();
    let scores = encode(scores);
    Hash::derive("cairn/arena/scores", &[network.as_ref(), validator.as_ref(), &epoch, &scores, salt])
}

/// A miner's answer, opened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MinerReveal {
    /// Who.
    pub miner: DeviceId,
    /// Epoch of the commitment.
    pub epoch: Epoch,
    /// The answer.
    pub answer: Vec<u8>,
    /// Salt of the commitment.
    pub salt: [u8; 32],
    /// Signature of the miner under [`REVEAL_DOMAIN`].
    pub signature: Signature,
}

/// A validator's scores, opened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Scores {
    /// Who.
    pub validator: DeviceId,
    /// Epoch of the scores.
    pub epoch: Epoch,
    /// Scores, ascending by miner, a miner once, each at most [`SCORE_MAX`]. A miner left out gets 0.
    pub scores: Vec<(DeviceId, u16)>,
    /// Salt of the digest.
    pub salt: [u8; 32],
    /// Signature of the validator under [`SCORES_DOMAIN`].
    pub signature: Signature,
}

/// One item of evidence.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    /// From a miner.
    Reveal(MinerReveal),
    /// From a validator.
    Scores(Scores),
}

/// Bytes of a reveal under [`REVEAL_DOMAIN`].
pub fn reveal_bytes(network: &NetworkId, r: &MinerReveal) -> Vec<u8> {
    encode(&(network, r.miner, r.epoch, &r.answer, r.salt))
}

/// Bytes of scores under [`SCORES_DOMAIN`].
pub fn scores_bytes(network: &NetworkId, s: &Scores) -> Vec<u8> {
    encode(&(network, s.validator, s.epoch, &s.scores, s.salt))
}

impl MinerReveal {
    /// Signs the reveal.
    pub fn sign(mut self, network: &NetworkId, key: &SecretKey) -> Self {
        self.signature = key.sign(REVEAL_DOMAIN, &reveal_bytes(network, &self));
        self
    }
    /// True if the miner's key signed it.
    pub fn is_signed(&self, network: &NetworkId, key: &PublicKey) -> bool {
        key.verify(REVEAL_DOMAIN, &reveal_bytes(network, self), &self.signature).is_ok()
    }
    /// The digest that it opens.
    pub fn digest(&self, network: &NetworkId) -> Hash {
        answer_digest(network, &self.miner, self.epoch, &self.answer, &self.salt)
    }
}

impl Scores {
    /// Signs the scores.
    pub fn sign(mut self, network: &NetworkId, key: &SecretKey) -> Self {
        self.signature = key.sign(SCORES_DOMAIN, &scores_bytes(network, &self));
        self
    }
    /// True if the validator's key signed it.
    pub fn is_signed(&self, network: &NetworkId, key: &PublicKey) -> bool {
        key.verify(SCORES_DOMAIN, &scores_bytes(network, self), &self.signature).is_ok()
    }
    /// The digest that it opens.
    pub fn digest(&self, network: &NetworkId) -> Hash {
        scores_digest(network, &self.validator, self.epoch, &self.scores, &self.salt)
    }
    /// True if the list has its form.
    pub fn is_in_form(&self) -> bool {
        self.scores.windows(2).all(|w| w[0].0 < w[1].0) && self.scores.iter().all(|(_, s)| *s <= SCORE_MAX)
    }
}

impl Evidence {
    /// Sorted by kind (reveals first), then device.
    pub fn sort_key(&self) -> SortKey {
        let (kind, device) = match self {
            Self::Reveal(r) => (0u8, &r.miner),
            Self::Scores(s) => (1, &s.validator),
        };
        let mut key = vec![kind];
        key.extend_from_slice(device.as_ref());
        SortKey::new(key)
    }
}

/// Memory of a validator, under its id: how far it backs each miner.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Bonds {
    /// Share of the backing, in millionths, ascending by miner; none is 0.
    pub ppm: Vec<(DeviceId, u32)>,
}

/// There are no pooled sales in this sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sale;

/// A dispute: a signed reveal that does not fit the commitment of the epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Claim {
    /// The reveal, signed by the accused.
    pub evidence: Evidence,
}

/// The accused has nothing to answer: signature and commitment speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Answer;
