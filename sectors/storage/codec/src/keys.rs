//! Keys, all derived from one 32-byte root secret by HKDF-SHA256 (RFC 5869).
//!
//! ```text
//! root ─┬─ content ── per segment (salt = segment id) ── stream key
//!       ├─ index       encrypts the gateway's index log
//!       ├─ names       keyed hashing of bucket and object names
//!       └─ repair ─── per lease (salt = lease id) ── per (segment, slot, device) ── pad key
//! ```
//!
//! A repair agent gets a [`LeaseRepairKey`]; from it no content key can be computed. Losing a lease's repair
//! key to an operator only removes the pad (operators could then share fragments), never the encryption.

use crate::segment::SegmentId;
use cairn_types::{DeviceId, LeaseId};
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroize;

macro_rules! secret32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the 32 secret bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
            /// The secret bytes; never log or store them in the clear.
            pub const fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }
        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    };
}

secret32!(
    /// Root of all segment keys. Held by the customer's gateway only.
    ContentKey
);
secret32!(
    /// Encrypts the gateway's index log.
    IndexKey
);
secret32!(
    /// Keys the hashing of bucket and object names.
    NamesKey
);
secret32!(
    /// Root of all lease repair keys. Held by the customer's gateway only.
    RepairKey
);
secret32!(
    /// Encrypts exactly one segment. Using it for two different plaintexts would reuse nonces.
    SegmentKey
);
secret32!(
    /// Derives every pad of one lease. Handed to the lease's repair agents.
    LeaseRepairKey
);
secret32!(
    /// Pads one fragment for one device.
    PadKey
);

const CONTENT: &[u8] = b"cairn/storage/content/1";
const INDEX: &[u8] = b"cairn/storage/index/1";
const REPAIR: &[u8] = b"cairn/storage/repair/1";
const NAMES: &[u8] = b"cairn/storage/names/1";
const SEGMENT: &[u8] = b"cairn/storage/segment/1";
const LEASE: &[u8] = b"cairn/storage/lease-repair/1";
const PAD: &[u8] = b"cairn/storage/pad/1";

/// HKDF-SHA256 with a 32-byte output; `info` is the concatenation of the parts (all but the label have
/// fixed lengths, so no two lists of parts collide).
fn derive(salt: Option<&[u8]>, secret: &[u8; 32], info: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(salt, secret)
        .expand_multi_info(info, &mut out)
        .expect("32 bytes are below the HKDF limit of 255 * 32");
    out
}

/// The four keys of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageKeys {
    /// Root of all segment keys.
    pub content: ContentKey,
    /// Encrypts the index log.
    pub index: IndexKey,
    /// Root of all lease repair keys.
    pub repair: RepairKey,
    /// Keys the hashing of names.
    pub names: NamesKey,
}

impl StorageKeys {
    /// Derives the four keys from the root secret (which comes from the recovery phrase).
    pub fn from_root(root: &[u8; 32]) -> Self {
        Self {
            content: ContentKey(derive(None, root, &[CONTENT])),
            index: IndexKey(derive(None, root, &[INDEX])),
            repair: RepairKey(derive(None, root, &[REPAIR])),
            names: NamesKey(derive(None, root, &[NAMES])),
        }
    }
}

impl ContentKey {
    /// The key of one segment. Segment ids are 32 fresh random bytes and never reused.
    pub fn segment(&self, id: &SegmentId) -> SegmentKey {
        SegmentKey(derive(Some(&id.0), &self.0, &[SEGMENT]))
    }
}

impl RepairKey {
    /// The key that the repair agents of one lease hold.
    pub fn lease(&self, lease: &LeaseId) -> LeaseRepairKey {
        LeaseRepairKey(derive(Some(lease.as_bytes()), &self.0, &[LEASE]))
    }
}

impl LeaseRepairKey {
    /// The pad key of one fragment on one device.
    pub fn pad(&self, id: &SegmentId, slot: u16, device: &DeviceId) -> PadKey {
        PadKey(derive(None, &self.0, &[PAD, &id.0, &slot.to_le_bytes(), device.as_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> StorageKeys {
        StorageKeys::from_root(&[7; 32])
    }

    #[test]
    fn derived_keys_are_frozen() {
        // Computed by an independent HKDF (Python's hmac and hashlib).
        let k = keys();
        let lease = k.repair.lease(&LeaseId([2; 32]));
        let got = [
            hex::encode(k.content.expose()),
            hex::encode(k.index.expose()),
            hex::encode(k.repair.expose()),
            hex::encode(k.names.expose()),
            hex::encode(k.content.segment(&SegmentId([1; 32])).expose()),
            hex::encode(lease.expose()),
            hex::encode(lease.pad(&SegmentId([1; 32]), 258, &DeviceId([3; 32])).expose()),
        ];
        assert_eq!(
            got,
            [
                "87a61cf2ef832a61344200f8cb9113a00578223bcc3928a990de98b7131a0dc4",
                "77165f7b72802ed01003886d5b66ba66135e7eea89d82e675cca0beca17fadd5",
                "21c6ed6bd933d8a525de31616402f66b08fa74dc96bc2195a4ec0485e1dd7f94",
                "b8959bb70cee39b468344bc09d8624e94c5ba6a8d75f9a534a3eabb76492ef2d",
                "7b39c0dda6f215eafd426849f29cc21d7612d0b0ddcedd256f6b5895b29ffda8",
                "e13b67b2d84f12466bd7811e54220a078f09fa4290e9ef97060aa01a82ad6469",
                "fd9a56c0aa758a7eb20f159acbfa74240935ddcf14ab6d52d6df35e4c058d2e5",
            ]
        );
    }

    #[test]
    fn every_input_of_a_pad_key_matters() {
        let lease = keys().repair.lease(&LeaseId([2; 32]));
        let base = lease.pad(&SegmentId([1; 32]), 1, &DeviceId([3; 32]));
        assert_ne!(base, lease.pad(&SegmentId([9; 32]), 1, &DeviceId([3; 32])));
        assert_ne!(base, lease.pad(&SegmentId([1; 32]), 2, &DeviceId([3; 32])));
        assert_ne!(base, lease.pad(&SegmentId([1; 32]), 1, &DeviceId([4; 32])));
        let other = keys().repair.lease(&LeaseId([5; 32]));
        assert_ne!(base, other.pad(&SegmentId([1; 32]), 1, &DeviceId([3; 32])));
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", keys());
        assert!(text.contains("ContentKey(redacted)"));
        assert!(!text.contains(&hex::encode(&keys().content.expose()[..4])));
        assert!(!text.contains(&format!("{:?}", &keys().content.expose()[..4])));
    }
}
