//! Digests of a body as it passes.

use crate::record::{Algorithm, Checksum};
use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;

/// MD5 always, the other algorithms on demand.
pub struct Digester {
    md5: Md5,
    others: ChecksumHasher,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// MD5 of the body.
    pub md5: [u8; 16],
    /// The others, by algorithm.
    pub checksums: Vec<Checksum>,
}

impl Digester {
    /// For these algorithms besides MD5.
    pub fn new(algorithms: &[Algorithm]) -> Self {
        let mut others = ChecksumHasher::default();
        for algorithm in algorithms {
            match algorithm {
                Algorithm::Crc32 => others.crc32 = Some(s3s::crypto::Crc32::new()),
                Algorithm::Crc32c => others.crc32c = Some(s3s::crypto::Crc32c::new()),
                Algorithm::Crc64Nvme => others.crc64nvme = Some(s3s::crypto::Crc64Nvme::new()),
                Algorithm::Sha1 => others.sha1 = Some(s3s::crypto::Sha1::new()),
                Algorithm::Sha256 => others.sha256 = Some(s3s::crypto::Sha256::new()),
            }
        }
        Self { md5: Md5::new(), others }
    }

    /// Takes bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.others.update(bytes);
    }

    /// The digests.
    pub fn finish(self) -> Digests {
        let c = self.others.finalize();
        let all = [
            (Algorithm::Crc32, c.checksum_crc32),
            (Algorithm::Crc32c, c.checksum_crc32c),
            (Algorithm::Crc64Nvme, c.checksum_crc64nvme),
            (Algorithm::Sha1, c.checksum_sha1),
            (Algorithm::Sha256, c.checksum_sha256),
        ];
        let checksum = |(algorithm, value): (Algorithm, Option<String>)| {
            value.map(|value| Checksum { algorithm, value, composite: false })
        };
        Digests { md5: self.md5.finalize().into(), checksums: all.into_iter().filter_map(checksum).collect() }
    }
}
