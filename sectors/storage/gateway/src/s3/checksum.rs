//! Checksums of multipart uploads: what was announced, what the parts make together, what the client expects.

use super::convert::{algorithm, algorithm_name, checksum_fields, refusal};
use crate::digest::Digester;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::index::UploadState;
use crate::record::{Algorithm, Checksum, Object, Part, Upload};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use futures::StreamExt;
use s3s::dto::{ChecksumAlgorithm, ChecksumType, CompleteMultipartUploadInput};
use s3s::{S3Result, s3_error};

/// Under this name an upload remembers, among its headers, that its checksum is one of the whole object.
pub const TYPE: &str = "x-amz-checksum-type";

/// The algorithm that an upload announces, and whether the checksum is one of the whole object instead of one of the
/// parts' checksums.
pub fn announced(
    name: Option<&ChecksumAlgorithm>,
    kind: Option<&ChecksumType>,
) -> S3Result<Option<(Algorithm, bool)>> {
    let Some(name) = name else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(s3_error!(InvalidRequest, "a checksum type needs a checksum algorithm")),
        };
    };
    let Some(chosen) = algorithm(name.as_str()) else {
        return Err(s3_error!(InvalidRequest, "the checksum algorithm is not known here"));
    };
    let full = kind.map(|k| k.as_str() == ChecksumType::FULL_OBJECT);
    match (chosen, full) {
        (Algorithm::Sha1 | Algorithm::Sha256, Some(true)) => {
            Err(s3_error!(InvalidRequest, "SHA checksums of parts cannot be joined; use COMPOSITE or a CRC"))
        }
        (Algorithm::Crc64Nvme, Some(false)) => {
            Err(s3_error!(InvalidRequest, "CRC64NVME is always a checksum of the whole; use FULL_OBJECT"))
        }
        (chosen, full) => Ok(Some((chosen, full.unwrap_or(chosen == Algorithm::Crc64Nvme)))),
    }
}

fn full(upload: &Upload, algorithm: Algorithm) -> bool {
    let said = upload.attributes.headers.get(TYPE).map(String::as_str);
    algorithm == Algorithm::Crc64Nvme || said == Some(ChecksumType::FULL_OBJECT)
}

/// The checksum of a part as bytes.
fn value(part: &Part, algorithm: Algorithm) -> Option<Vec<u8>> {
    let found = part.checksums.iter().find(|c| c.algorithm == algorithm)?;
    BASE64_STANDARD.decode(&found.value).ok()
}

/// A CRC, its bytes and its width.
fn crc(algorithm: Algorithm) -> Option<(CrcAlgorithm, usize)> {
    match algorithm {
        Algorithm::Crc32 => Some((CrcAlgorithm::Crc32IsoHdlc, 4)),
        Algorithm::Crc32c => Some((CrcAlgorithm::Crc32Iscsi, 4)),
        Algorithm::Crc64Nvme => Some((CrcAlgorithm::Crc64Nvme, 8)),
        Algorithm::Sha1 | Algorithm::Sha256 => None,
    }
}

/// The CRC of all parts joined, from those of the parts.
fn joined(algorithm: Algorithm, parts: &[&Part]) -> Option<String> {
    let (kind, width) = crc(algorithm)?;
    let mut sum = None;
    for part in parts {
        let bytes = value(part, algorithm).filter(|b| b.len() == width)?;
        let next = bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        sum = Some(sum.map_or(next, |before| checksum_combine(kind, before, next, part.size)));
    }
    let bytes = sum?.to_be_bytes();
    Some(BASE64_STANDARD.encode(bytes.get(bytes.len().checked_sub(width)?..)?))
}

/// The checksum of the parts' checksums.
fn composite(algorithm: Algorithm, parts: &[&Part]) -> Option<String> {
    let mut all = Digester::new(&[algorithm]);
    for part in parts {
        all.update(&value(part, algorithm)?);
    }
    let made = all.finish().checksums.into_iter().next()?;
    Some(format!("{}-{}", made.value, parts.len()))
}

/// The checksum of the object that these parts become, where the upload announced an algorithm.
pub fn of_parts(state: &UploadState, numbers: &[(u16, [u8; 16])]) -> Vec<Checksum> {
    let Some(algorithm) = state.upload.algorithm else { return Vec::new() };
    let parts: Option<Vec<&Part>> = numbers.iter().map(|(n, _)| state.parts.get(n)).collect();
    let whole = full(&state.upload, algorithm);
    let made = parts.and_then(|p| if whole { joined(algorithm, &p) } else { composite(algorithm, &p) });
    made.map(|value| Checksum { algorithm, value, composite: !whole }).into_iter().collect()
}

/// Compares what a client says of the whole with what the parts make; what cannot be compared is refused.
pub fn verify(i: &CompleteMultipartUploadInput, made: &[Checksum]) -> S3Result<()> {
    let given = [
        (Algorithm::Crc32, &i.checksum_crc32),
        (Algorithm::Crc32c, &i.checksum_crc32c),
        (Algorithm::Crc64Nvme, &i.checksum_crc64nvme),
        (Algorithm::Sha1, &i.checksum_sha1),
        (Algorithm::Sha256, &i.checksum_sha256),
    ];
    for (algorithm, value) in given {
        let (Some(value), name) = (value, algorithm_name(algorithm)) else { continue };
        let Some(known) = made.iter().find(|c| c.algorithm == algorithm) else {
            return Err(s3_error!(
                InvalidRequest,
                "{name} of the whole cannot be checked: announce it when the upload is created"
            ));
        };
        // Clients write a composite one with or without the number of parts.
        let bare = known.value.split_once('-').map(|(bare, _)| bare).filter(|_| known.composite);
        if known.value != *value && bare != Some(value.as_str()) {
            return Err(refusal(GatewayError::BadDigest(name)));
        }
    }
    let composite = made.iter().any(|c| c.composite);
    let said = i.checksum_type.as_ref().map(|t| t.as_str() == ChecksumType::COMPOSITE);
    if !made.is_empty() && said.is_some_and(|said| said != composite) {
        return Err(s3_error!(InvalidRequest, "the checksum type is not that of the upload's creation"));
    }
    Ok(())
}

/// What is true of an object's checksums, if it has any.
pub fn kind(checksums: &[Checksum]) -> Option<ChecksumType> {
    let composite = checksums.first()?.composite;
    let kind = if composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
    Some(ChecksumType::from_static(kind))
}

/// What the checksum of an upload's object will be, if it announced one.
pub fn of_upload(upload: &Upload) -> Option<ChecksumType> {
    let kind =
        if full(upload, upload.algorithm?) { ChecksumType::FULL_OBJECT } else { ChecksumType::COMPOSITE };
    Some(ChecksumType::from_static(kind))
}

/// The algorithms of an object's checksums, as listings name them.
pub fn names(checksums: &[Checksum]) -> Option<Vec<ChecksumAlgorithm>> {
    let name = |c: &Checksum| ChecksumAlgorithm::from_static(algorithm_name(c.algorithm));
    let names: Vec<_> = checksums.iter().map(name).collect();
    (!names.is_empty()).then_some(names)
}

/// The checksum of a whole stored object by another algorithm: from what is known, or by reading it.
///
/// # Errors
/// It cannot be read.
pub async fn again(
    g: &std::sync::Arc<Gateway>,
    object: &Object,
    wanted: Algorithm,
) -> Result<Vec<Checksum>, GatewayError> {
    if let Some(known) = object.checksums.iter().find(|c| c.algorithm == wanted && !c.composite) {
        return Ok(vec![known.clone()]);
    }
    let mut body = g.reread_object(object, 0..object.size)?;
    let mut digester = Digester::new(&[wanted]);
    while let Some(chunk) = body.next().await {
        digester.update(&chunk.map_err(|e| GatewayError::Body(e.to_string()))?);
    }
    Ok(digester.finish().checksums)
}

/// True if what a client says of a part does not fit what was stored.
pub fn contradicts(given: [&Option<String>; 5], part: &Part) -> bool {
    let stored = checksum_fields(&part.checksums);
    given.iter().zip(&stored).any(|(g, s)| g.is_some() && s.is_some() && *g != s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Placement;

    fn part(body: &[u8], algorithm: Algorithm) -> Part {
        let mut digester = Digester::new(&[algorithm]);
        digester.update(body);
        let digests = digester.finish();
        let size = u64::try_from(body.len()).unwrap();
        let placement = Placement::Runs(Vec::new());
        Part { size, md5: digests.md5, modified: 1, checksums: digests.checksums, placement }
    }

    #[test]
    fn the_crc_of_the_whole_comes_from_those_of_the_parts() {
        let body: Vec<u8> = (0..1000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let whole = part(&body, algorithm).checksums[0].value.clone();
            for cuts in [vec![1000], vec![1, 1000], vec![0, 300, 300, 999, 1000]] {
                let starts = std::iter::once(0).chain(cuts.iter().copied());
                let parts: Vec<Part> =
                    starts.zip(&cuts).map(|(from, to)| part(&body[from..*to], algorithm)).collect();
                let parts: Vec<&Part> = parts.iter().collect();
                assert_eq!(joined(algorithm, &parts).as_ref(), Some(&whole), "{algorithm:?} {cuts:?}");
            }
        }
        assert_eq!(joined(Algorithm::Sha256, &[&part(&body, Algorithm::Sha256)]), None);
    }

    #[test]
    fn an_algorithm_and_a_type_that_do_not_fit_are_refused() {
        let ask = |name: &'static str, kind: Option<&'static str>| {
            let kind = kind.map(ChecksumType::from_static);
            announced(Some(&ChecksumAlgorithm::from_static(name)), kind.as_ref()).ok().flatten()
        };
        let (full, parts) = (Some(ChecksumType::FULL_OBJECT), Some(ChecksumType::COMPOSITE));
        assert_eq!(ask("CRC32", None), Some((Algorithm::Crc32, false)));
        assert_eq!(ask("CRC32C", full), Some((Algorithm::Crc32c, true)));
        assert_eq!(ask("CRC64NVME", None), Some((Algorithm::Crc64Nvme, true)));
        assert_eq!(ask("SHA256", parts), Some((Algorithm::Sha256, false)));
        assert_eq!([ask("SHA256", full), ask("CRC64NVME", parts), ask("CRC7", None)], [None; 3]);
        assert!(announced(None, Some(&ChecksumType::from_static(ChecksumType::FULL_OBJECT))).is_err());
    }
}
