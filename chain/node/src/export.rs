//! The file of an exported state: a head that says what it is, then the state.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_ledger::genesis::Export;
use cairn_types::{Hash, Height, NetworkId, Refusal, decode_bounded, encode};

/// First bytes of the file.
pub const MAGIC: [u8; 12] = *b"cairn-state\n";
/// Version that this program writes, and the only one that it reads.
pub const VERSION: u16 = 1;
/// Largest file in bytes: what a node and a client take into memory.
pub const EXPORT_LIMIT: usize = 1 << 30;

/// What stands before the state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Head {
    network: NetworkId,
    fork: u32,
    height: Height,
    /// Bytes of the state.
    length: u64,
    digest: Hash,
}

/// Bytes of magic, version and head.
const HEAD: usize = 12 + 2 + 32 + 4 + 8 + 8 + 32;

/// An exported state with where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFile {
    /// Network.
    pub network: NetworkId,
    /// Fork that was exported; an import begins the next one.
    pub fork: u32,
    /// The state.
    pub export: Export,
}

/// The state does not fit.
pub(crate) fn too_large() -> Refusal {
    let cause = format!("the state has more than {EXPORT_LIMIT} bytes");
    Refusal::with("export.size", cause, "let validators sync from block to block instead")
}

fn malformed(cause: impl Into<String>) -> Refusal {
    Refusal::with("export.malformed", cause, "name a file that `cairn export state` wrote")
}

impl StateFile {
    /// The bytes of the file.
    ///
    /// # Errors
    ///
    /// `export.size` above [`EXPORT_LIMIT`].
    pub fn encode(&self) -> Result<Vec<u8>, Refusal> {
        let body = encode(&self.export);
        if body.len() > EXPORT_LIMIT - HEAD {
            return Err(too_large());
        }
        let head = Head {
            network: self.network,
            fork: self.fork,
            height: self.export.height,
            length: u64::try_from(body.len()).unwrap_or(u64::MAX),
            digest: self.export.digest(),
        };
        let mut out = Vec::with_capacity(HEAD + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&encode(&head));
        out.extend_from_slice(&body);
        Ok(out)
    }

    /// Reads the bytes of a file: whole, of this version, and what its digest says. Whether the digest is the one to
    /// trust is for the reader to compare.
    ///
    /// # Errors
    ///
    /// `export.malformed`, `export.version`, `export.truncated`, `export.digest`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let Some(rest) = bytes.strip_prefix(&MAGIC) else {
            return Err(malformed("the file is not an exported state"));
        };
        let Some((version, rest)) = rest.split_first_chunk::<2>() else {
            return Err(truncated(HEAD, bytes.len()));
        };
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            let cause = format!("the file has version {version} of the format, this program reads {VERSION}");
            return Err(Refusal::with(
                "export.version",
                cause,
                "import it with the version of cairn that wrote it",
            ));
        }
        let Some((head, body)) = rest.split_at_checked(HEAD - 14) else {
            return Err(truncated(HEAD, bytes.len()));
        };
        let head: Head = decode_bounded(head, HEAD).map_err(|e| malformed(e.to_string()))?;
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        if body.len() < length {
            return Err(truncated(length.saturating_add(HEAD), bytes.len()));
        }
        if body.len() > length {
            return Err(malformed(format!("{} bytes follow the state", body.len() - length)));
        }
        let export: Export = decode_bounded(body, EXPORT_LIMIT).map_err(|e| malformed(e.to_string()))?;
        if export.digest() != head.digest || export.height != head.height {
            let cause = "the state is not the one that the head of the file names";
            return Err(Refusal::new(
                "export.digest",
                cause,
                "the file was damaged or altered; export again",
            ));
        }
        Ok(Self { network: head.network, fork: head.fork, export })
    }
}

fn truncated(wanted: usize, found: usize) -> Refusal {
    let cause = format!("the file ends after {found} of {wanted} bytes");
    Refusal::with("export.truncated", cause, "copy or export it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> StateFile {
        let rows = vec![([1; 32], vec![1, 2, 3]), ([2; 32], vec![])];
        let export = Export { version: 1, height: Height(9), rows, contents: Vec::new() };
        StateFile { network: NetworkId([7; 32]), fork: 2, export }
    }

    #[test]
    fn the_bytes_are_frozen_and_come_back() {
        let bytes = file().encode().unwrap();
        assert_eq!(StateFile::decode(&bytes).unwrap(), file());
        let head = [
            b"cairn-state\n".to_vec(),
            vec![1, 0],
            vec![7; 32],
            vec![2, 0, 0, 0],
            vec![9, 0, 0, 0, 0, 0, 0, 0],
            vec![93, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(bytes[..66], head.concat());
        assert_eq!(bytes.len(), HEAD + 93);
    }

    #[test]
    fn what_is_not_such_a_file_is_refused_with_the_reason() {
        let bytes = file().encode().unwrap();
        let code = |bytes: &[u8]| StateFile::decode(bytes).unwrap_err().code;
        assert_eq!(code(b""), "export.malformed");
        assert_eq!(code(b"PK\x03\x04 something else"), "export.malformed");
        for cut in [13, 20, HEAD, bytes.len() - 1] {
            assert_eq!(code(&bytes[..cut]), "export.truncated", "{cut}");
        }
        assert_eq!(code(&[bytes.clone(), vec![0]].concat()), "export.malformed");
        let mut future = bytes.clone();
        future[12] = 2;
        assert_eq!(code(&future), "export.version");
        for at in HEAD..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(["export.malformed", "export.digest"].contains(&code(&altered)), "byte {at}");
        }
        let mut vast = bytes;
        vast[58..66].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(code(&vast), "export.truncated");
    }
}
