//! A device's evidence of one epoch.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::keys::{PublicKey, SecretKey, Signature};
use cairn_ledger::evidence::BUNDLE_LIMIT;
use cairn_sector::AnyRules;
use cairn_types::{DeviceId, Epoch, Hash, NetworkId, Refusal, SectorId, decode_bounded, encode};

/// Domain of bundle signatures, and of the hash that a device posts.
pub const BUNDLE_DOMAIN: &str = "cairn/bundle";

/// Evidence of one device and epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Bundle {
    /// Network.
    pub network: NetworkId,
    /// Sector of the device.
    pub sector: SectorId,
    /// Epoch.
    pub epoch: Epoch,
    /// Who submits.
    pub device: DeviceId,
    /// Items in the sector's encoding; their order carries nothing.
    pub items: Vec<Vec<u8>>,
}

/// A bundle as it travels and is stored.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedBundle {
    /// The bundle.
    pub bundle: Bundle,
    /// By the device's key, domain [`BUNDLE_DOMAIN`], over the encoded bundle.
    pub signature: Signature,
}

/// Hash of an encoded signed bundle: what `Duty::Bundle` posts and certificates cover.
pub fn bundle_hash(bytes: &[u8]) -> Hash {
    Hash::derive(BUNDLE_DOMAIN, &[bytes])
}

impl Bundle {
    /// Signs with the device's key.
    pub fn sign(self, key: &SecretKey) -> SignedBundle {
        let signature = key.sign(BUNDLE_DOMAIN, &encode(&self));
        SignedBundle { bundle: self, signature }
    }

    /// Refuses more or larger items than the sector allows, and items that are no evidence of the sector.
    pub fn check(&self, rules: &dyn AnyRules) -> Result<(), Refusal> {
        let limits = rules.limits();
        if self.sector != rules.id() {
            return Err(Refusal::new(
                "bundle.sector",
                "the bundle is of another sector",
                "send it to its own sector",
            ));
        }
        if self.items.len() > limits.items {
            return Err(Refusal::with(
                "bundle.items",
                format!("{} items, {} are allowed", self.items.len(), limits.items),
                "leave the rest for the next epoch",
            ));
        }
        for item in &self.items {
            if item.len() > limits.evidence {
                return Err(Refusal::with(
                    "bundle.item",
                    format!("an item has {} bytes, {} are allowed", item.len(), limits.evidence),
                    "split the item",
                ));
            }
            rules.sort_key(&self.device, item)?;
        }
        Ok(())
    }
}

impl SignedBundle {
    /// Decodes foreign bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let limit = usize::try_from(BUNDLE_LIMIT).unwrap_or(usize::MAX);
        decode_bounded(bytes, limit).map_err(|e| {
            Refusal::with("bundle.malformed", e.to_string(), "encode it as docs/reference/formats.md says")
        })
    }

    /// The bytes to upload.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// What `Duty::Bundle` posts.
    pub fn hash(&self) -> Hash {
        bundle_hash(&self.encode())
    }

    /// Refuses a signature that is not by `key`.
    pub fn check_signature(&self, key: &PublicKey) -> Result<(), Refusal> {
        key.verify(BUNDLE_DOMAIN, &encode(&self.bundle), &self.signature).map_err(|e| {
            Refusal::with(
                "bundle.signature",
                e.to_string(),
                "sign with the key that is registered for the device",
            )
        })
    }
}
