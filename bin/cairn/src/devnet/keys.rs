//! Keys of a devnet: a function of its seed, the same on every run, **worthless**.

use cairn_crypto::authority::Authority;
use cairn_crypto::bls::BlsSecret;
use cairn_crypto::hash::sha256;
use cairn_crypto::keys::SecretKey;
use cairn_crypto::phrase::Phrase;
use cairn_types::AccountId;
use zeroize::Zeroizing;

/// Label under which a recovery phrase gives the root of all storage keys.
pub const STORAGE_ROOT: &str = "cairn/storage/root/0";

/// All keys of a devnet.
#[derive(Clone)]
pub struct Keys {
    seed: String,
}

impl Keys {
    /// Keys of a seed.
    pub fn new(seed: &str) -> Self {
        Self { seed: seed.to_owned() }
    }

    /// 32 bytes for a name.
    pub fn bytes(&self, name: &str) -> [u8; 32] {
        sha256("cairn/devnet/worthless", &[self.seed.as_bytes(), name.as_bytes()]).0
    }

    /// Signing key for a name.
    pub fn secret(&self, name: &str) -> SecretKey {
        SecretKey::from_seed(&self.bytes(name))
    }

    /// Account for a name.
    pub fn account(&self, name: &str) -> AccountId {
        Authority::Single(self.secret(name).public()).account_id()
    }

    /// Key of seeds.
    pub fn vote(&self) -> BlsSecret {
        BlsSecret::from_seed(&self.bytes("seat/vote"))
    }

    /// Name of an operator, from 1.
    pub fn operator(i: u16) -> String {
        format!("op-{i}")
    }

    /// Name of an operator's device key.
    pub fn device(i: u16) -> String {
        format!("op-{i}/device")
    }

    /// S3 key id and secret.
    pub fn s3(&self) -> (String, String) {
        let id = hex::encode(self.bytes("s3/id")).to_uppercase();
        (format!("CAIRN{}", &id[..15]), hex::encode(self.bytes("s3/secret"))[..40].to_owned())
    }

    /// The customer's recovery phrase.
    pub fn phrase(&self) -> String {
        self.recovery().words().to_string()
    }

    /// Root of the customer's storage keys.
    pub fn storage_root(&self) -> Zeroizing<[u8; 32]> {
        self.recovery().derive32(STORAGE_ROOT)
    }

    fn recovery(&self) -> Phrase {
        Phrase::from_entropy(&self.bytes("customer/phrase"))
    }
}
