//! Ids: 32-byte hashes with a type each, so that a lease is never taken for a device.

use borsh::{BorshDeserialize, BorshSerialize};
use sha2::{Digest, Sha256};
use std::fmt;

macro_rules! id32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Reads 64 hexadecimal digits.
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut out = [0; 32];
                hex::decode_to_slice(text, &mut out).ok()?;
                Some(Self(out))
            }
            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
            /// SHA-256 over the length-framed parts, under a domain label that no other id uses.
            pub fn derive(domain: &str, parts: &[&[u8]]) -> Self {
                Self(derive32(domain, parts))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &hex::encode(&self.0[..6]))
            }
        }
        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

/// `SHA-256(len(domain) || domain || for each part: len(part) || part)`, lengths as u64 little endian.
/// Length framing makes the encoding injective: no two lists of parts share a pre-image.
fn derive32(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut h = Sha256::new();
    for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
        h.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        h.update(part);
    }
    h.finalize().into()
}

id32!(
    /// A 32-byte digest (SHA-256, or BLAKE3 for bulk content).
    Hash
);
id32!(
    /// An account: digest of its authority (one key or a multisig). Shown as a bech32m address.
    AccountId
);
id32!(
    /// A device: digest of its operator and a sequence number. Its hot key may be replaced, the id stays.
    DeviceId
);
id32!(
    /// An offer: digest of its device and a sequence number.
    OfferId
);
id32!(
    /// An order: digest of the customer and the transaction nonce.
    OrderId
);
id32!(
    /// A lease: equals the bytes of the order that it fills.
    LeaseId
);
id32!(
    /// A network: digest of its genesis without the fork number. Leases, receipts and claims carry it.
    NetworkId
);

/// What a row was earned by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum DutyId {
    /// One slot of a lease.
    Lease {
        /// The lease.
        lease: LeaseId,
        /// Slot number, 0-based.
        slot: u16,
    },
    /// A standing duty of a device (coverage, weather).
    Standing {
        /// The device.
        device: DeviceId,
    },
}

/// A sector's number, fixed for ever once a network admitted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SectorId(pub u16);

/// A cell of the H3 grid, by its 64-bit index; the resolution is the sector's. Zero is no cell.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Cell(pub u64);

impl fmt::Display for SectorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivation_frames_its_parts() {
        assert_ne!(Hash::derive("d", &[b"ab", b"c"]), Hash::derive("d", &[b"a", b"bc"]));
        assert_ne!(Hash::derive("d", &[b"ab"]), Hash::derive("e", &[b"ab"]));
    }

    #[test]
    fn derivation_is_frozen() {
        assert_eq!(
            Hash::derive("cairn/test", &[b"one", b"two"]).to_string(),
            "8c8e0fbd99e8bfda84be20c43d338bd5e786e7cbe03fafa99d970fa664d91e50"
        );
    }

    #[test]
    fn hex_round_trip() {
        let h = Hash::derive("x", &[]);
        assert_eq!(Hash::from_hex(&h.to_string()), Some(h));
        assert_eq!(Hash::from_hex("00"), None);
    }
}
