//! Bounded borsh: every decode of foreign bytes states the most bytes it accepts and refuses what is left over.

use borsh::{BorshDeserialize, BorshSerialize};

/// Why bytes were not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than the format allows.
    #[error("{got} bytes exceed the limit of {limit}; send a smaller message")]
    TooLarge {
        /// Bytes received.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not a canonical encoding of the type.
    #[error("malformed bytes ({0}); encode with the format of docs/reference/formats.md")]
    Malformed(String),
}

/// Canonical bytes of a value.
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    // A Vec never fails to grow short of memory exhaustion, and our types have no failing serialiser.
    borsh::to_vec(value).expect("writing to memory cannot fail")
}

/// Decodes trusted bytes (our own store), refusing left-over bytes.
pub fn decode<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, DecodeError> {
    borsh::from_slice(bytes).map_err(|e| DecodeError::Malformed(e.to_string()))
}

/// Decodes foreign bytes of at most `limit` bytes. Memory used is O(`limit`): borsh grows
/// collections as input arrives, never by a length that was merely announced.
pub fn decode_bounded<T: BorshDeserialize>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { got: bytes.len(), limit });
    }
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_over_bytes_are_refused() {
        let mut bytes = encode(&7u32);
        assert_eq!(decode::<u32>(&bytes), Ok(7));
        bytes.push(0);
        assert!(matches!(decode::<u32>(&bytes), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn an_announced_length_does_not_allocate() {
        let huge = u32::MAX.to_le_bytes();
        assert!(decode_bounded::<Vec<u64>>(&huge, 64).is_err());
    }

    #[test]
    fn the_limit_comes_before_decoding() {
        assert_eq!(decode_bounded::<Vec<u8>>(&[0; 9], 8), Err(DecodeError::TooLarge { got: 9, limit: 8 }));
    }
}
