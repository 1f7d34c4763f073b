//! Transactions: what accounts, devices and seats may ask for.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::authority::{Authority, Signatures};
use cairn_crypto::bls::BlsSignature;
use cairn_crypto::keys::{PublicKey, SecretKey, Signature};
use cairn_crypto::merkle::rows::RowProof;
use cairn_types::{
    AccountId, Amount, Credits, DeviceId, Epoch, Hash, Height, LeaseId, NetworkId, Refusal, SectorId,
    decode_bounded, encode,
};

use crate::settlement::{Outcome, Settlement};

/// Largest encoded transaction in bytes.
pub const MAX_TX: usize = 128 * 1024;

/// Domain of account signatures.
pub const ACCOUNT_DOMAIN: &str = "cairn/tx/account";
/// Domain of device signatures.
pub const DEVICE_DOMAIN: &str = "cairn/tx/device";
/// Domain of seat signatures.
pub const SEAT_DOMAIN: &str = "cairn/tx/seat";
/// Domain of epoch seeds.
pub const SEED_DOMAIN: &str = "cairn/seed";

/// What an account asks for. Pays fees, has a nonce.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Action {
    /// Moves CRN.
    Transfer {
        /// Receiver.
        to: AccountId,
        /// Pebbles, at least 1.
        amount: Amount,
    },
    /// Buys credits with CRN at the price of the network.
    BuyCredits {
        /// Who gets them.
        account: AccountId,
        /// How many.
        credits: Credits,
        /// Most pebbles to pay.
        max_cost: Amount,
    },
    /// Becomes an operator, or changes the text shown.
    Operator {
        /// Text of at most 256 bytes.
        info: String,
    },
    /// Registers a device with its offer and bond.
    Register {
        /// Sector.
        sector: SectorId,
        /// Hot key.
        key: PublicKey,
        /// Signature of that key over (network, operator): the key's holder agrees.
        proof: Signature,
        /// Offer in the sector's encoding.
        offer: Vec<u8>,
        /// Bond.
        bond: Amount,
    },
    /// Changes offer, hot key or rest of a device.
    Change {
        /// Device.
        device: DeviceId,
        /// New offer.
        offer: Option<Vec<u8>>,
        /// New hot key with its agreement.
        key: Option<(PublicKey, Signature)>,
        /// Rest (true) or take new duties again (false).
        rest: Option<bool>,
    },
    /// Adds to a device's bond.
    AddBond {
        /// Device.
        device: DeviceId,
        /// Pebbles.
        amount: Amount,
    },
    /// Announces the exit of a device.
    Exit {
        /// Device.
        device: DeviceId,
    },
    /// Takes the bond of a device that left.
    WithdrawBond {
        /// Device.
        device: DeviceId,
    },
    /// Drops one slot for a legal reason: no slash, but the capped cost of the rebuild is locked as with any loss.
    LegalNotice {
        /// Lease.
        lease: LeaseId,
        /// Slot.
        slot: u16,
        /// Digest of the notice.
        notice: Hash,
    },
    /// Orders a service and opens a lease.
    Order {
        /// Sector.
        sector: SectorId,
        /// Order in the sector's encoding.
        order: Vec<u8>,
        /// Key for co-signing, fresh for this lease.
        key: PublicKey,
        /// Credits put into escrow.
        escrow: Credits,
        /// Digest of material for helpers, held off chain.
        note: Hash,
    },
    /// Adds credits to an escrow; anyone may.
    Fund {
        /// Lease.
        lease: LeaseId,
        /// Credits.
        credits: Credits,
    },
    /// Ends a lease after the current epoch.
    Close {
        /// Lease.
        lease: LeaseId,
    },
    /// Replaces the co-signing key and raises the fence: writes of older machines no longer count.
    Fence {
        /// Lease.
        lease: LeaseId,
        /// New key.
        key: PublicKey,
        /// New fence, above the old one.
        fence: u64,
    },
    /// Gives unused escrow back, with the proof of what was charged.
    Refund {
        /// Lease.
        lease: LeaseId,
        /// A final settlement at or after the last epoch of service.
        epoch: Epoch,
        /// Cumulative charge in that settlement.
        charged: Credits,
        /// Position in the tree of charges.
        index: u64,
        /// Merkle path.
        proof: RowProof,
    },
    /// Draws earnings.
    Claim(ClaimProof),
    /// Buys from a sector's pooled supply.
    Buy {
        /// Sector.
        sector: SectorId,
        /// Sale in the sector's encoding.
        sale: Vec<u8>,
        /// Most credits to pay.
        max_credits: Credits,
    },
    /// Accuses a device.
    Dispute {
        /// Device.
        device: DeviceId,
        /// Lease in question.
        lease: Option<LeaseId>,
        /// Claim in the sector's encoding.
        claim: Vec<u8>,
    },
    /// Puts CRN into a sector's pool for standing duties.
    FundPool {
        /// Sector.
        sector: SectorId,
        /// Pebbles.
        amount: Amount,
    },
    /// Locks credits to a lease for ever: its escrow is filled from them; anyone may.
    Endow {
        /// Lease, without a term.
        lease: LeaseId,
        /// Credits.
        credits: Credits,
    },
}

/// Proof of cumulative earnings.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ClaimProof {
    /// Sector.
    pub sector: SectorId,
    /// Settlement's epoch.
    pub epoch: Epoch,
    /// Who earned. The money goes there whoever sends the proof.
    pub operator: AccountId,
    /// Cumulative earnings.
    pub earned: Amount,
    /// Position in the tree of claims.
    pub index: u64,
    /// Merkle path.
    pub proof: RowProof,
}

/// An account's transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AccountTx {
    /// Network.
    pub network: NetworkId,
    /// Fork.
    pub fork: u32,
    /// Who: the account is the digest of this.
    pub authority: Authority,
    /// The account's next nonce.
    pub nonce: u64,
    /// Last height at which it counts.
    pub valid_until: Height,
    /// Extra pebbles for the proposer.
    pub tip: Amount,
    /// What.
    pub action: Action,
}

/// What a device posts. Free of fees; one of each kind per epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Duty {
    /// Binds the device before the lock of `epoch`.
    Commit {
        /// The epoch whose seed is not known yet.
        epoch: Epoch,
        /// In the sector's encoding.
        commitment: Vec<u8>,
    },
    /// Digest of the answers to the tasks of `epoch`.
    Answers {
        /// The current epoch.
        epoch: Epoch,
        /// Digest.
        digest: Hash,
    },
    /// Digest of the bundle of `epoch`, after its end.
    Bundle {
        /// The epoch that ended.
        epoch: Epoch,
        /// Digest.
        hash: Hash,
        /// Size in bytes.
        size: u64,
    },
    /// Answers a dispute.
    Defend {
        /// Dispute.
        dispute: Hash,
        /// In the sector's encoding.
        answer: Vec<u8>,
    },
    /// Draws the operator's earnings.
    Claim(ClaimProof),
}

/// A device's transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DeviceTx {
    /// Network.
    pub network: NetworkId,
    /// Fork.
    pub fork: u32,
    /// Who.
    pub device: DeviceId,
    /// What.
    pub duty: Duty,
}

/// What a seat posts.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SeatDuty {
    /// The seed of the epoch: the seat's unique signature over (network, epoch, previous seed).
    Seed {
        /// Epoch.
        epoch: Epoch,
        /// Signature by the vote key.
        signature: BlsSignature,
    },
    /// Bundles that the seat holds, at most 256, ascending.
    Certificate {
        /// Epoch that ended.
        epoch: Epoch,
        /// Sector.
        sector: SectorId,
        /// Devices whose posted bundles are held.
        devices: Vec<DeviceId>,
    },
    /// Commits to a settlement.
    Vote {
        /// Epoch that ended.
        epoch: Epoch,
        /// Sector.
        sector: SectorId,
        /// Digest of (settlement id, salt, seat).
        sealed: Hash,
    },
    /// Opens the commitment.
    Reveal {
        /// Epoch.
        epoch: Epoch,
        /// The settlement.
        settlement: Box<Settlement>,
        /// Salt of the commitment.
        salt: Hash,
    },
    /// Applies the next outcomes of a final settlement, at most 64.
    Outcomes {
        /// Epoch.
        epoch: Epoch,
        /// Sector.
        sector: SectorId,
        /// Number of the first.
        from: u32,
        /// Outcomes in order.
        outcomes: Vec<Outcome>,
        /// Merkle path of this chunk.
        proof: RowProof,
    },
}

/// A seat's transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SeatTx {
    /// Network.
    pub network: NetworkId,
    /// Fork.
    pub fork: u32,
    /// Seat number.
    pub seat: u16,
    /// What.
    pub duty: SeatDuty,
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Tx {
    /// By an account.
    Account(Box<AccountTx>, Signatures),
    /// By a device.
    Device(Box<DeviceTx>, Signature),
    /// By a seat.
    Seat(Box<SeatTx>, Signature),
}

impl Tx {
    /// Decodes foreign bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        decode_bounded(bytes, MAX_TX).map_err(|e| {
            Refusal::with("tx.malformed", e.to_string(), "build the transaction with the client")
        })
    }

    /// Its id: digest of all bytes, signatures included.
    pub fn id(&self) -> Hash {
        Hash::derive("cairn/tx/id", &[&encode(self)])
    }

    /// Signs as a single-key account.
    pub fn by_account(tx: AccountTx, key: &SecretKey) -> Self {
        let signature = key.sign(ACCOUNT_DOMAIN, &encode(&tx));
        Self::Account(Box::new(tx), Signatures::single(signature))
    }

    /// Signs as a device.
    pub fn by_device(tx: DeviceTx, key: &SecretKey) -> Self {
        let signature = key.sign(DEVICE_DOMAIN, &encode(&tx));
        Self::Device(Box::new(tx), signature)
    }

    /// Signs as a seat.
    pub fn by_seat(tx: SeatTx, key: &SecretKey) -> Self {
        let signature = key.sign(SEAT_DOMAIN, &encode(&tx));
        Self::Seat(Box::new(tx), signature)
    }

    /// Network and fork that it is meant for.
    pub fn target(&self) -> (NetworkId, u32) {
        match self {
            Self::Account(t, _) => (t.network, t.fork),
            Self::Device(t, _) => (t.network, t.fork),
            Self::Seat(t, _) => (t.network, t.fork),
        }
    }
}

/// Message that a hot key signs to agree to serve an operator.
pub fn device_proof(network: &NetworkId, operator: &AccountId) -> Vec<u8> {
    encode(&(network, operator))
}

/// Domain of that agreement.
pub const DEVICE_PROOF_DOMAIN: &str = "cairn/device/agree";

/// Message of the seed of an epoch.
pub fn seed_message(network: &NetworkId, epoch: Epoch, previous: &cairn_sector::Seed) -> Vec<u8> {
    encode(&(network, epoch, previous.0))
}

/// What a seat publishes before it reveals a settlement.
pub fn seal_vote(settlement: &Hash, salt: &Hash, seat: u16) -> Hash {
    Hash::derive("cairn/vote", &[settlement.as_ref(), salt.as_ref(), &seat.to_le_bytes()])
}
