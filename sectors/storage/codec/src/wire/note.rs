//! Keys for repair agents: notes that lie on the lease's slots, sealed to the agents' devices.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::hash::blake3_derive;
use cairn_crypto::keys::{PublicKey, SecretKey, Signature, SignatureError};
use cairn_crypto::sealed::{self, BoxPublic, BoxSecret, SealError, SealedBox};
use cairn_types::{DecodeError, DeviceId, LeaseId, NetworkId, decode_bounded, encode};

use super::Hello;
use crate::keys::LeaseRepairKey;

/// Most bytes of a note: 64 KiB.
pub const MAX_NOTE: usize = 64 << 10;
/// Purpose of the boxes in a note.
const BOX: &str = "cairn/storage/note/v1";
/// Signature domain of box keys.
const BOX_KEY: &str = "cairn/storage/box-key/v1";
/// Signature domain of grants.
const GRANT: &str = "cairn/storage/grant/v1";

/// One sealed [`NoteSecret`] for each helper.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Note {
    /// Device and box, together at most [`MAX_NOTE`] bytes.
    pub boxes: Vec<(DeviceId, SealedBox)>,
}

/// What an agent needs to rebuild fragments of a lease.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NoteSecret {
    /// The data lease.
    pub lease: LeaseId,
    /// Its repair key ([`LeaseRepairKey`]).
    pub repair_key: [u8; 32],
    /// The lease on whose slots the index log lies.
    pub index: LeaseId,
    /// Leave to read that log.
    pub grant: Grant,
}

/// "This device may read the log of this lease", signed with the lease's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Grant {
    /// The network.
    pub network: NetworkId,
    /// The index lease.
    pub lease: LeaseId,
    /// Who may read.
    pub device: DeviceId,
    /// Signature over the three, by the index lease's key.
    pub signature: Signature,
}

impl Grant {
    /// Signs a grant.
    pub fn new(network: NetworkId, lease: LeaseId, device: DeviceId, lease_key: &SecretKey) -> Self {
        let signature = lease_key.sign(GRANT, &encode(&(network, lease, device)));
        Self { network, lease, device, signature }
    }
    /// Checks the signature.
    ///
    /// # Errors
    /// It does not fit.
    pub fn check(&self, lease_key: &PublicKey) -> Result<(), SignatureError> {
        lease_key.verify(GRANT, &encode(&(self.network, self.lease, self.device)), &self.signature)
    }
}

impl NoteSecret {
    /// The repair key.
    pub fn key(&self) -> LeaseRepairKey {
        LeaseRepairKey::from_bytes(self.repair_key)
    }
}

impl Note {
    /// Adds a box for `device`, whose box key is `to`. `randomness` is 32 fresh random bytes.
    ///
    /// # Errors
    /// The box key is weak.
    pub fn add(
        &mut self,
        device: DeviceId,
        to: &BoxPublic,
        secret: &NoteSecret,
        randomness: &[u8; 32],
    ) -> Result<(), SealError> {
        let sealed = sealed::seal(to, BOX, &encode(secret), randomness)?;
        self.boxes.retain(|(d, _)| *d != device);
        self.boxes.push((device, sealed));
        Ok(())
    }

    /// Opens the box for `device`; `None` if there is none, or it does not open.
    pub fn open(&self, device: &DeviceId, secret: &BoxSecret) -> Option<NoteSecret> {
        let (_, sealed) = self.boxes.iter().find(|(d, _)| d == device)?;
        decode_bounded(&secret.open(BOX, sealed).ok()?, MAX_NOTE).ok()
    }

    pub(super) fn check_limits(&self) -> Result<(), DecodeError> {
        super::limit(encode(self).len(), MAX_NOTE)
    }
}

/// The box key of a device: derived from its device key's seed under a label of its own.
pub fn box_secret(device_key: &SecretKey) -> BoxSecret {
    let seed = device_key.seed();
    BoxSecret::from_seed(&blake3_derive("cairn/storage/box-secret/v1", &[seed.as_slice()]).0)
}

/// A device says where boxes for it go.
pub fn sign_box_key(network: NetworkId, device: DeviceId, device_key: &SecretKey) -> Hello {
    let box_key = box_secret(device_key).public();
    let signature = device_key.sign(BOX_KEY, &encode(&(network, device, box_key)));
    Hello { network, device, box_key, signature }
}

/// Checks what a device said, with its key on the chain.
///
/// # Errors
/// The signature does not fit.
pub fn check_box_key(hello: &Hello, device_key: &PublicKey) -> Result<(), SignatureError> {
    device_key.verify(BOX_KEY, &encode(&(hello.network, hello.device, hello.box_key)), &hello.signature)
}
