//! Account addresses: bech32m text (BIP-350) of the 32 bytes of an account id.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use cairn_types::AccountId;

/// Prefix of a network that did not choose its own.
pub const DEFAULT_HRP: &str = "cairn";
/// Longest text looked at.
pub const MAX_TEXT: usize = 160;

/// Why a text is not an address of this network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The network's prefix itself is unusable.
    #[error("{0:?} cannot be an address prefix; use 1 to 83 lower-case letters or digits")]
    BadPrefix(String),
    /// Far too long for an address.
    #[error("{0} characters are no address; paste the address alone")]
    TooLong(usize),
    /// Not bech32m, or with a typing error.
    #[error("not a valid address ({0}); copy it again, a character is missing, added or changed")]
    Garbled(String),
    /// Of another network.
    #[error(
        "the address begins with {got:?}, this network's with {want:?}; ask for an address of this network"
    )]
    OtherNetwork {
        /// Prefix of the text.
        got: String,
        /// Prefix of this network.
        want: String,
    },
    /// A valid text that carries something else.
    #[error("the address carries {0} bytes instead of 32; it is of another kind, ask for an account address")]
    Length(usize),
}

/// Address of an account under a network's prefix.
pub fn encode(hrp: &str, id: &AccountId) -> Result<String, AddressError> {
    let prefix = prefix(hrp)?;
    bech32::encode::<Bech32m>(prefix, &id.0).map_err(|_| AddressError::BadPrefix(hrp.to_owned()))
}

/// Reads an address of the network with prefix `hrp`. All lower or all upper case.
pub fn decode(hrp: &str, text: &str) -> Result<AccountId, AddressError> {
    let want = prefix(hrp)?;
    if text.len() > MAX_TEXT {
        return Err(AddressError::TooLong(text.len()));
    }
    let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|e| AddressError::Garbled(e.to_string()))?;
    if checked.hrp() != want {
        let got = checked.hrp().to_lowercase();
        return Err(AddressError::OtherNetwork { got, want: want.to_lowercase() });
    }
    let bytes: Vec<u8> = checked.byte_iter().collect();
    let id = <[u8; 32]>::try_from(bytes.as_slice())
        .map(AccountId)
        .map_err(|_| AddressError::Length(bytes.len()))?;
    // One text per account: the four padding bits must be zero, which the decoder does not look at.
    if encode(hrp, &id)? == text.to_ascii_lowercase() {
        Ok(id)
    } else {
        Err(AddressError::Garbled("padding bits are not zero".into()))
    }
}

fn prefix(hrp: &str) -> Result<Hrp, AddressError> {
    let fine = hrp.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    Hrp::parse(hrp).ok().filter(|_| fine).ok_or_else(|| AddressError::BadPrefix(hrp.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bech32::{ByteIterExt, Fe32, Fe32IterExt};
    use proptest::prelude::*;

    const FROZEN: &str = "cairn1qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurs3npph4";

    #[test]
    fn an_address_is_frozen() {
        let text = encode(DEFAULT_HRP, &AccountId([7; 32])).unwrap();
        assert_eq!(text, "cairn1qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurs3npph4");
        assert_eq!(decode(DEFAULT_HRP, FROZEN), Ok(AccountId([7; 32])));
        assert_eq!(decode(DEFAULT_HRP, &FROZEN.to_uppercase()), Ok(AccountId([7; 32])));
    }

    #[test]
    fn another_network_is_named() {
        let text = encode("other", &AccountId([7; 32])).unwrap();
        let error = decode(DEFAULT_HRP, &text).unwrap_err();
        assert_eq!(error, AddressError::OtherNetwork { got: "other".into(), want: "cairn".into() });
    }

    #[test]
    fn other_kinds_of_text_are_refused() {
        let bech32 = bech32::encode::<bech32::Bech32>(Hrp::parse("cairn").unwrap(), &[7; 32]).unwrap();
        assert!(matches!(decode("cairn", &bech32), Err(AddressError::Garbled(_))));
        let short = bech32::encode::<Bech32m>(Hrp::parse("cairn").unwrap(), &[7; 20]).unwrap();
        assert_eq!(decode("cairn", &short), Err(AddressError::Length(20)));
        assert_eq!(decode("cairn", &"q".repeat(200)), Err(AddressError::TooLong(200)));
        assert!(matches!(decode("cairn", ""), Err(AddressError::Garbled(_))));
        assert!(matches!(encode("Cairn", &AccountId::default()), Err(AddressError::BadPrefix(_))));
        assert!(matches!(encode("", &AccountId::default()), Err(AddressError::BadPrefix(_))));
    }

    #[test]
    fn padding_bits_must_be_zero() {
        let hrp = Hrp::parse("cairn").unwrap();
        let mut fes: Vec<Fe32> = [7u8; 32].iter().copied().bytes_to_fes().collect();
        let last = fes.pop().unwrap();
        fes.push(Fe32::try_from(last.to_u8() | 1).unwrap());
        let text: String = fes.into_iter().with_checksum::<Bech32m>(&hrp).chars().collect();
        assert!(matches!(decode("cairn", &text), Err(AddressError::Garbled(_))));
    }

    proptest! {
        #[test]
        fn one_changed_character_is_noticed(id in any::<[u8; 32]>(), at in any::<prop::sample::Index>(), c in "[a-z0-9]") {
            let text = encode("cairn", &AccountId(id)).unwrap();
            prop_assert_eq!(decode("cairn", &text), Ok(AccountId(id)));
            let mut chars: Vec<char> = text.chars().collect();
            let i = at.index(chars.len());
            let new = c.chars().next().unwrap();
            if chars[i] != new {
                chars[i] = new;
                prop_assert!(decode("cairn", &chars.into_iter().collect::<String>()).is_err());
            }
        }
    }
}
