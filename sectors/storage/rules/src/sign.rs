//! Signing and checking, one domain for each kind of statement, so that no signature passes as another.

use cairn_crypto::keys::{PublicKey, SecretKey, Signature, SignatureError};
use cairn_types::{DeviceId, encode};

use crate::types::{Ask, CoSigned, Receipt, Repaired, Revision, SignedReceipt, Signer};

/// The customer (the lease's key) agrees to a revision.
pub const REVISION: &str = "cairn/storage/revision/v1";
/// A repair agent (its device key) vouches for a revision in the customer's place.
pub const REPAIR: &str = "cairn/storage/repair/v1";
/// The device says that it holds a revision.
pub const ACCEPT: &str = "cairn/storage/accept/v1";
/// The customer (the lease's key) agrees to a receipt.
pub const RECEIPT: &str = "cairn/storage/receipt/v1";
/// Customer or second agent read a rebuilt slot back and found it right.
pub const CONFIRM: &str = "cairn/storage/confirm/v1";

/// A drawn auditor asks for chunks (its device key).
pub const AUDIT: &str = "cairn/storage/audit/v1";

impl Ask {
    /// Signed by the auditor.
    pub fn sign(&self, auditor_key: &SecretKey) -> Signature {
        auditor_key.sign(AUDIT, &encode(self))
    }
    /// Checks the auditor's signature.
    pub fn check(&self, auditor_key: &PublicKey, signature: &Signature) -> Result<(), SignatureError> {
        auditor_key.verify(AUDIT, &encode(self), signature)
    }
}

impl Revision {
    /// The customer's side, to be sent to the device.
    pub fn sign_as_customer(self, lease_key: &SecretKey) -> CoSigned {
        let signature = lease_key.sign(REVISION, &encode(&self));
        CoSigned { revision: self, signer: Signer::Customer, signature, device: None }
    }
    /// A repair agent's side, to be sent to the device.
    pub fn sign_as_agent(self, agent: DeviceId, agent_key: &SecretKey) -> CoSigned {
        let signature = agent_key.sign(REPAIR, &encode(&self));
        CoSigned { revision: self, signer: Signer::Agent(agent), signature, device: None }
    }
}

impl CoSigned {
    /// Adds the device's signature.
    pub fn accept(mut self, device_key: &SecretKey) -> Self {
        self.device = Some(device_key.sign(ACCEPT, &encode(&self.revision)));
        self
    }
    /// Checks the signature that stands for the customer: with the lease's key, or with that of the agent.
    pub fn check_signer(&self, key: &PublicKey) -> Result<(), SignatureError> {
        let domain = match self.signer {
            Signer::Customer => REVISION,
            Signer::Agent(_) => REPAIR,
        };
        key.verify(domain, &encode(&self.revision), &self.signature)
    }
    /// True if the device signed.
    pub fn accepted_by(&self, device_key: &PublicKey) -> bool {
        self.device.is_some_and(|s| device_key.verify(ACCEPT, &encode(&self.revision), &s).is_ok())
    }
}

impl Receipt {
    /// Signed by the customer.
    pub fn sign(self, lease_key: &SecretKey) -> SignedReceipt {
        SignedReceipt { receipt: self, customer: lease_key.sign(RECEIPT, &encode(&self)) }
    }
}

impl SignedReceipt {
    /// Checks the customer's signature.
    pub fn check(&self, lease_key: &PublicKey) -> Result<(), SignatureError> {
        lease_key.verify(RECEIPT, &encode(&self.receipt), &self.customer)
    }
}

/// What a confirmation signs: the revision's digest and the agent that is paid.
fn confirmation(revision: &Revision, agent: &DeviceId) -> Vec<u8> {
    encode(&(revision.digest(), *agent))
}

/// Confirms that `agent` rebuilt `revision` truthfully; with the lease's key or the other agent's device key.
pub fn confirm(revision: &Revision, agent: &DeviceId, key: &SecretKey) -> Signature {
    key.sign(CONFIRM, &confirmation(revision, agent))
}

impl Repaired {
    /// True if both the agent's and the confirmer's signatures fit.
    pub fn signed(&self, agent: &PublicKey, confirmer: &PublicKey) -> bool {
        agent.verify(REPAIR, &encode(&self.revision), &self.signature).is_ok()
            && confirmer
                .verify(CONFIRM, &confirmation(&self.revision, &self.agent), &self.confirmation)
                .is_ok()
    }
}
