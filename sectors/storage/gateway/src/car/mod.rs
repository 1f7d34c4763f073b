//! Content addressing: objects as UnixFS files and directories, in and out as CAR, served by CID to anybody who checks.
//!
//! | module | what for |
//! |---|---|
//! | `cid`, `pb`, `v1` | the formats: CIDs, dag-pb with UnixFS, CARv1 |
//! | `manifest`, `dag` | which leaves an object has, and the tree above them |
//! | `export`, `import` | a CAR file from bytes, verified bytes from a CAR file |
//! | `publish`, `ask`, `http` | the trustless gateway over what is published |
//!
//! A publication is an ordinary object in the bucket [`BUCKET`]: named after its root, with a [`Manifest`] as its bytes.
//! So it is encrypted, replicated, recovered, listed and withdrawn like every other object, and access rules hold for it.
//! Bytes are always checked against the CID before they leave: a manifest can name an object, never vouch for it.
//!
//! Sources: multiformats (CID, multihash, multibase), IPLD dag-pb and CARv1 specifications, UnixFS specification, IPFS
//! Trustless Gateway specification (2026-03-05).

mod ask;
mod cid;
mod dag;
mod export;
pub mod fuzz;
mod http;
mod import;
mod manifest;
mod pb;
mod publish;
#[cfg(test)]
mod tests;
mod v1;

pub use cid::{Cid, Codec, HashKind};
pub use dag::{Dag, Node};
pub use export::{Exporter, Leaves};
pub use http::IpfsRoute;
pub use import::{CarFile, Entry, FileReader};
pub use manifest::{FileEntry, Manifest};

/// The bucket whose objects are publications.
pub const BUCKET: &str = "cairn-ipfs";
/// Bytes of a leaf that we make: 1 MiB.
pub const CHUNK: u32 = 1 << 20;
/// Links of a node that we make (`ipfs-car` and the 2025 profile of UnixFS: 1024; older defaults: 174).
pub const WIDTH: u16 = 1024;
/// Longest block that is read or served: 2 MiB, which others exchange too, and what a dag-pb frame adds.
pub const BLOCK_MAX: usize = (2 << 20) + 4096;
/// Most leaves of a publication or export of one root: 128 GiB of large files.
pub const LEAVES_MAX: usize = 1 << 17;
/// Most blocks of a CAR file that is imported: 1 TiB of 1 MiB leaves.
pub const BLOCKS_MAX: usize = 1 << 20;
/// Deepest nesting of directories and of nodes above one leaf.
pub const DEPTH_MAX: usize = 64;

/// Why something is no CAR, DAG or CID that we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarError {
    /// Not a CID that we read.
    #[error("{0}; write a CID as bafy..., bafk... or Qm...")]
    Cid(&'static str),
    /// A hash function that we do not compute.
    #[error("hash function 0x{0:x} is unknown here; use sha2-256 (0x12) or blake3 (0x1e)")]
    Hash(u64),
    /// A codec other than raw and dag-pb.
    #[error("codec 0x{0:x} is unknown here; only raw leaves and dag-pb with UnixFS become objects")]
    Codec(u64),
    /// The bytes of a block are not what its CID says.
    #[error("the bytes of block {0} do not have its hash; the file is damaged or forged, fetch it again")]
    Mismatch(Cid),
    /// A block that is linked to is not in the file.
    #[error("block {0} is linked to and not in the file; export the whole DAG again")]
    Missing(Cid),
    /// Not well-formed.
    #[error("malformed: {0}; make the file anew")]
    Malformed(&'static str),
    /// Over a limit.
    #[error("over the limit: {0}")]
    Limit(&'static str),
    /// Something of UnixFS that has no counterpart in S3.
    #[error("UnixFS {0} cannot become an object; leave it out of the DAG")]
    Unsupported(&'static str),
    /// A name that cannot be a key.
    #[error("{0:?} cannot be part of a key; rename it in the DAG")]
    Name(String),
    /// Reading or writing failed.
    #[error("{0}; check the file and the free space")]
    Io(String),
}

impl CarError {
    /// Stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Cid(_) => "car.cid",
            Self::Hash(_) => "car.hash",
            Self::Codec(_) => "car.codec",
            Self::Mismatch(_) => "car.mismatch",
            Self::Missing(_) => "car.missing",
            Self::Malformed(_) => "car.malformed",
            Self::Limit(_) => "car.limit",
            Self::Unsupported(_) => "car.unsupported",
            Self::Name(_) => "car.name",
            Self::Io(_) => "car.io",
        }
    }
}

impl From<std::io::Error> for CarError {
    fn from(e: std::io::Error) -> Self {
        Self::Io(e.to_string())
    }
}

/// An unsigned varint as multiformats write it: at most nine bytes, the shortest form.
fn varint(bytes: &mut &[u8]) -> Result<u64, CarError> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            if *byte == 0 && i > 0 {
                return Err(CarError::Malformed("a number is not in its shortest form"));
            }
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    Err(CarError::Malformed("a number does not end"))
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

fn len64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
