//! Who may act for an account: one key, or several with a threshold.

use borsh::io::{Error, ErrorKind, Read};
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{AccountId, encode};

use crate::keys::{PublicKey, Signature, SignatureError};

/// Most keys of a multisig.
pub const MAX_KEYS: usize = 16;

/// Why an authority or its signatures were not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Too few or too many keys, out of order, or a threshold that cannot be met.
    #[error(
        "the multisig needs 1 to 16 keys, sorted without repetition, and a threshold from 1 to their number; sort the keys and check the threshold"
    )]
    Malformed,
    /// A key that is no point or that anybody can sign for.
    #[error("key {index}: {cause}")]
    Key {
        /// Number of the key, 0-based.
        index: u8,
        /// What is wrong with it.
        cause: SignatureError,
    },
    /// Indices out of range or not strictly increasing.
    #[error(
        "signatures must name existing keys in strictly increasing order; sort them and sign once per key"
    )]
    Order,
    /// Fewer signatures than the threshold.
    #[error("{got} of {want} needed signatures; collect the missing ones")]
    TooFew {
        /// Signatures given.
        got: usize,
        /// The threshold.
        want: usize,
    },
    /// A listed signature is not valid.
    #[error("signature of key {index}: {cause}")]
    Signature {
        /// Number of the key, 0-based.
        index: u8,
        /// What is wrong with it.
        cause: SignatureError,
    },
}

/// Who may act for an account. The account's id is its digest, so that the keys need not be on chain beforehand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub enum Authority {
    /// One key.
    Single(PublicKey),
    /// At least `threshold` of `keys`.
    Multisig {
        /// Signatures needed, 1 to the number of keys.
        threshold: u8,
        /// Sorted, without repetition, 1 to 16.
        keys: Vec<PublicKey>,
    },
}

impl BorshDeserialize for Authority {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        match u8::deserialize_reader(reader)? {
            0 => Ok(Self::Single(PublicKey::deserialize_reader(reader)?)),
            1 => Ok(Self::Multisig { threshold: u8::deserialize_reader(reader)?, keys: read_short(reader)? }),
            tag => Err(Error::new(ErrorKind::InvalidData, format!("authority of unknown kind {tag}"))),
        }
    }
}

/// Signatures with the number of the key that made each, strictly increasing; at most 16.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize)]
pub struct Signatures(pub Vec<(u8, Signature)>);

impl Signatures {
    /// The one signature of a single key.
    pub fn single(signature: Signature) -> Self {
        Self(vec![(0, signature)])
    }
}

impl BorshDeserialize for Signatures {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        Ok(Self(read_short(reader)?))
    }
}

impl Authority {
    /// The account: `H("cairn/account/v1", borsh(authority))`.
    pub fn account_id(&self) -> AccountId {
        AccountId::derive("cairn/account/v1", &[&encode(self)])
    }

    /// Refuses a malformed multisig and keys that are no point or of small order. Call it where an authority enters
    /// the state.
    pub fn check(&self) -> Result<(), AuthorityError> {
        self.check_shape()?;
        for (index, key) in (0u8..).zip(self.keys()) {
            key.check().map_err(|cause| AuthorityError::Key { index, cause })?;
        }
        Ok(())
    }

    /// Every listed signature must be valid, in strictly increasing order of keys, and reach the threshold.
    pub fn verify(
        &self,
        domain: &str,
        message: &[u8],
        signatures: &Signatures,
    ) -> Result<(), AuthorityError> {
        let pairs = self.resolve(signatures)?;
        for ((index, _), (key, signature)) in signatures.0.iter().zip(pairs) {
            key.verify(domain, message, &signature)
                .map_err(|cause| AuthorityError::Signature { index: *index, cause })?;
        }
        Ok(())
    }

    /// The checks of [`Self::verify`] without cryptography: the (key, signature) pairs that remain to be verified, for
    /// a batch.
    pub fn resolve(&self, signatures: &Signatures) -> Result<Vec<(PublicKey, Signature)>, AuthorityError> {
        self.check_shape()?;
        let list = &signatures.0;
        if !list.windows(2).all(|w| w[0].0 < w[1].0) {
            return Err(AuthorityError::Order);
        }
        let find = |(index, signature): &(u8, Signature)| {
            self.keys().get(usize::from(*index)).map(|k| (*k, *signature)).ok_or(AuthorityError::Order)
        };
        let pairs = list.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let want = self.threshold();
        if pairs.len() < want {
            return Err(AuthorityError::TooFew { got: pairs.len(), want });
        }
        Ok(pairs)
    }

    /// All keys, in order.
    pub fn keys(&self) -> &[PublicKey] {
        match self {
            Self::Single(key) => std::slice::from_ref(key),
            Self::Multisig { keys, .. } => keys,
        }
    }

    /// Signatures needed.
    pub fn threshold(&self) -> usize {
        match self {
            Self::Single(_) => 1,
            Self::Multisig { threshold, .. } => usize::from(*threshold),
        }
    }

    fn check_shape(&self) -> Result<(), AuthorityError> {
        let keys = self.keys();
        let sorted = keys.windows(2).all(|w| w[0] < w[1]);
        let met = (1..=keys.len()).contains(&self.threshold());
        if keys.len() <= MAX_KEYS && sorted && met { Ok(()) } else { Err(AuthorityError::Malformed) }
    }
}

/// Reads a list of at most [`MAX_KEYS`] items.
fn read_short<T: BorshDeserialize, R: Read>(reader: &mut R) -> borsh::io::Result<Vec<T>> {
    let len = u32::deserialize_reader(reader)?;
    match usize::try_from(len) {
        Ok(n) if n <= MAX_KEYS => (0..n).map(|_| T::deserialize_reader(reader)).collect(),
        _ => Err(Error::new(ErrorKind::InvalidData, format!("{len} entries, at most {MAX_KEYS}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn signers(n: u8) -> Vec<SecretKey> {
        let mut keys: Vec<_> = (1..=n).map(|i| SecretKey::from_seed(&[i; 32])).collect();
        keys.sort_by_key(SecretKey::public);
        keys
    }

    fn multisig(threshold: u8, signers: &[SecretKey]) -> Authority {
        Authority::Multisig { threshold, keys: signers.iter().map(SecretKey::public).collect() }
    }

    fn sign(signers: &[SecretKey], which: &[u8]) -> Signatures {
        Signatures(which.iter().map(|i| (*i, signers[usize::from(*i)].sign("d", b"m"))).collect())
    }

    #[test]
    fn encodings_and_ids_are_frozen() {
        let s = signers(2);
        let single = Authority::Single(s[0].public());
        let multi = multisig(2, &s);
        assert_eq!(
            hex::encode(encode(&single)),
            "008139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"
        );
        assert_eq!(
            single.account_id().to_string(),
            "cd58cfa2275d97d2b6aff4559d7b595ddd9f66cd88e003cdc4e31bc8888d1ae9"
        );
        assert_eq!(
            multi.account_id().to_string(),
            "f7a1d9661fdcea761fc3f275d36870bafc8878a2a00344cb73533038dc566139"
        );
        assert_eq!(
            Hash::derive("t", &[&encode(&sign(&s, &[0, 1]))]).to_string(),
            "5b5871bfc89ecc0113c128a967c0732cb0346c790fa3271cfa1544a219ab2b37"
        );
        for a in [single, multi] {
            assert_eq!(borsh::from_slice::<Authority>(&encode(&a)).unwrap(), a);
        }
    }
    use cairn_types::Hash;

    #[test]
    fn a_threshold_of_signatures_is_enough_and_fewer_are_not() {
        let s = signers(3);
        let a = multisig(2, &s);
        a.check().unwrap();
        for which in [&[0, 1][..], &[0, 2], &[1, 2], &[0, 1, 2]] {
            assert_eq!(a.verify("d", b"m", &sign(&s, which)), Ok(()), "{which:?}");
        }
        assert_eq!(a.verify("d", b"m", &sign(&s, &[1])), Err(AuthorityError::TooFew { got: 1, want: 2 }));
        assert_eq!(a.verify("d", b"m", &sign(&s, &[])), Err(AuthorityError::TooFew { got: 0, want: 2 }));
    }

    #[test]
    fn repeated_unsorted_or_unknown_signers_are_refused() {
        let s = signers(3);
        let a = multisig(2, &s);
        for which in [&[1, 1][..], &[2, 0]] {
            assert_eq!(a.verify("d", b"m", &sign(&s, which)), Err(AuthorityError::Order), "{which:?}");
        }
        let mut sigs = sign(&s, &[0, 1]);
        sigs.0[1].0 = 3;
        assert_eq!(a.verify("d", b"m", &sigs), Err(AuthorityError::Order));
    }

    #[test]
    fn one_wrong_signature_over_the_threshold_spoils_all() {
        let s = signers(3);
        let mut sigs = sign(&s, &[0, 1, 2]);
        sigs.0[2].1.0[0] ^= 1;
        let error = multisig(2, &s).verify("d", b"m", &sigs);
        assert!(matches!(error, Err(AuthorityError::Signature { index: 2, .. })), "{error:?}");
    }

    #[test]
    fn malformed_multisigs_are_refused() {
        let s = signers(3);
        let mut unsorted: Vec<_> = s.iter().map(SecretKey::public).collect();
        unsorted.swap(0, 1);
        let many: Vec<_> = (0..17u8).map(|i| PublicKey([i; 32])).collect();
        for (threshold, keys) in
            [(0, vec![s[0].public()]), (2, vec![s[0].public()]), (1, vec![]), (1, unsorted), (1, many)]
        {
            let a = Authority::Multisig { threshold, keys };
            assert_eq!(a.check(), Err(AuthorityError::Malformed));
            assert_eq!(a.verify("d", b"m", &Signatures::default()), Err(AuthorityError::Malformed));
        }
    }

    #[test]
    fn a_key_that_anybody_can_sign_for_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let weak = Authority::Single(PublicKey(identity));
        assert!(matches!(weak.check(), Err(AuthorityError::Key { cause: SignatureError::WeakKey, .. })));
    }
}
