//! Domain-separated hashing.

use cairn_types::Hash;

/// SHA-256 over the length-framed parts under `domain`: the framing of [`cairn_types::Hash::derive`],
/// so that ids and digests share one rule. Use it for what a foreign verifier may have to read.
pub fn sha256(domain: &str, parts: &[&[u8]]) -> Hash {
    Hash::derive(domain, parts)
}

/// BLAKE3 in key-derivation mode: `domain` is the context, every part is framed by its length as u64
/// little endian. No output of one domain, nor of plain BLAKE3, is an output of another.
pub fn blake3_derive(domain: &str, parts: &[&[u8]]) -> Hash {
    let mut h = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        h.update(&frame_len(part.len()));
        h.update(part);
    }
    Hash(*h.finalize().as_bytes())
}

/// Length as it is framed everywhere in this crate: u64 little endian.
pub(crate) fn frame_len(len: usize) -> [u8; 8] {
    u64::try_from(len).expect("no supported machine addresses more than 2^64 bytes").to_le_bytes()
}

/// `len(domain) || domain || message`: what is signed, so that no signature of one kind is valid as another.
pub(crate) fn framed_message(domain: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + domain.len() + message.len());
    out.extend_from_slice(&frame_len(domain.len()));
    out.extend_from_slice(domain.as_bytes());
    out.extend_from_slice(message);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blake3_derivation_frames_its_parts_and_is_frozen() {
        assert_ne!(blake3_derive("d", &[b"ab", b"c"]), blake3_derive("d", &[b"a", b"bc"]));
        assert_ne!(blake3_derive("d", &[b"ab"]), blake3_derive("e", &[b"ab"]));
        assert_eq!(
            blake3_derive("cairn/test", &[b"one", b"two"]).to_string(),
            "f5cca5486444d4f6cb2d6241fa9431b398af98590f298f4231833e610851ade2"
        );
    }

    #[test]
    fn sha256_is_the_derivation_of_ids() {
        assert_eq!(sha256("cairn/test", &[b"one"]), Hash::derive("cairn/test", &[b"one"]));
    }
}
