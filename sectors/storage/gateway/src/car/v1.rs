//! CARv1: a header that names the roots, then blocks, each with its CID.

use super::{BLOCK_MAX, CarError, Cid, len64, put_varint, varint};
use std::io::Read;

/// Longest header that is read.
const HEADER_MAX: usize = 4096;
/// Longest CID in front of a block.
const CID_MAX: usize = 160;

/// The header for one root, with its length in front.
pub fn header(root: &Cid) -> Vec<u8> {
    // dag-cbor {"roots": [CID], "version": 1}; a CID is tag 42 over its bytes with a zero in front.
    let cid = root.bytes();
    let mut map = vec![0xa2, 0x65];
    map.extend(b"roots");
    map.extend([0x81, 0xd8, 0x2a]);
    let len = u8::try_from(cid.len() + 1).unwrap_or(u8::MAX);
    if len < 24 {
        map.push(0x40 | len)
    } else {
        map.extend([0x58, len])
    }
    map.push(0);
    map.extend(&cid);
    map.push(0x67);
    map.extend(b"version");
    map.push(1);
    let mut out = Vec::with_capacity(map.len() + 1);
    put_varint(len64(map.len()), &mut out);
    out.extend(map);
    out
}

/// What stands in front of a block: length of the section and CID.
pub fn section(cid: &Cid, block: usize) -> Vec<u8> {
    let (cid, mut out) = (cid.bytes(), Vec::with_capacity(48));
    put_varint(len64(cid.len().saturating_add(block)), &mut out);
    out.extend(cid);
    out
}

/// The roots in the bytes of a header (without its length).
///
/// # Errors
/// Malformed, or not of version 1.
pub fn roots(header: &[u8]) -> Result<Vec<Cid>, CarError> {
    let mut rest = header;
    let (mut roots, mut version) = (None, None);
    let entries = cbor(&mut rest, 5)?;
    for _ in 0..entries.min(3) {
        let name = cbor(&mut rest, 3)?;
        match take(&mut rest, name)? {
            b"version" => version = Some(cbor(&mut rest, 0)?),
            b"roots" => {
                let mut list = Vec::new();
                for _ in 0..cbor(&mut rest, 4)? {
                    if cbor(&mut rest, 6)? != 42 {
                        return Err(CarError::Malformed("a root in the header is no CID"));
                    }
                    let len = cbor(&mut rest, 2)?;
                    let bytes = take(&mut rest, len)?;
                    let zero = CarError::Malformed("a CID in the header lacks its zero");
                    list.push(Cid::decode(bytes.strip_prefix(&[0]).ok_or(zero)?)?);
                }
                roots = Some(list);
            }
            _ => return Err(CarError::Malformed("the header has an unknown entry")),
        }
    }
    match (version, roots) {
        (Some(1), Some(roots)) if rest.is_empty() => Ok(roots),
        (Some(2), _) => {
            Err(CarError::Limit("only version 1 of CAR is read; convert the file from version 2"))
        }
        _ => Err(CarError::Malformed("this is no header of CAR version 1")),
    }
}

/// The argument of a CBOR head of this major type.
fn cbor(bytes: &mut &[u8], major: u8) -> Result<usize, CarError> {
    let bad = || CarError::Malformed("the header is not the CBOR of a CAR file");
    let head = *take(bytes, 1)?.first().ok_or_else(bad)?;
    let value = match head & 31 {
        small @ 0..=23 => usize::from(small),
        24 => usize::from(*take(bytes, 1)?.first().ok_or_else(bad)?),
        25 => take(bytes, 2)?.iter().fold(0, |n, b| (n << 8) | usize::from(*b)),
        _ => return Err(bad()),
    };
    if head >> 5 == major { Ok(value) } else { Err(bad()) }
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], CarError> {
    let short = CarError::Malformed("the header ends early");
    let (front, rest) = bytes.split_at_checked(len).ok_or(short)?;
    *bytes = rest;
    Ok(front)
}

/// Reads the header from a stream: its roots and its length with the length in front.
///
/// # Errors
/// As [`roots`], or the stream breaks off.
pub fn read_header(from: &mut impl Read) -> Result<(Vec<Cid>, u64), CarError> {
    let none = CarError::Malformed("the file is empty");
    let (len, prefix) = read_length(from)?.ok_or(none)?;
    let mut bytes = vec![0; bounded(len, HEADER_MAX, "the header of a CAR file has at most 4 KiB")?];
    fill(from, &mut bytes)?;
    Ok((roots(&bytes)?, prefix.saturating_add(len)))
}

/// A section as it is read.
pub struct Section {
    /// Name of the block.
    pub cid: Cid,
    /// The block.
    pub block: Vec<u8>,
    /// Bytes of the section, its length included.
    pub len: u64,
}

/// Reads the next section; `None` at the end.
///
/// # Errors
/// Malformed, too long, or the stream breaks off inside of a section.
pub fn read_section(from: &mut impl Read) -> Result<Option<Section>, CarError> {
    let Some((len, prefix)) = read_length(from)? else { return Ok(None) };
    let mut bytes = vec![0; bounded(len, BLOCK_MAX + CID_MAX, "a block has at most 2 MiB")?];
    fill(from, &mut bytes)?;
    let mut rest = bytes.as_slice();
    let cid = Cid::read(&mut rest)?;
    if rest.len() > BLOCK_MAX {
        return Err(CarError::Limit("a block has at most 2 MiB"));
    }
    let block = bytes.split_off(bytes.len() - rest.len());
    Ok(Some(Section { cid, block, len: prefix.saturating_add(len) }))
}

fn bounded(len: u64, max: usize, what: &'static str) -> Result<usize, CarError> {
    usize::try_from(len).ok().filter(|l| *l <= max).ok_or(CarError::Limit(what))
}

/// A length and how many bytes it took; `None` at the end of the stream.
fn read_length(from: &mut impl Read) -> Result<Option<(u64, u64)>, CarError> {
    let mut bytes = Vec::with_capacity(9);
    loop {
        let mut one = [0];
        match from.read(&mut one) {
            Ok(0) if bytes.is_empty() => return Ok(None),
            Ok(0) => return Err(CarError::Malformed("the file ends early")),
            Ok(_) => bytes.push(one[0]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        }
        if one[0] & 0x80 == 0 || bytes.len() == 9 {
            let value = varint(&mut bytes.as_slice())?;
            return Ok(Some((value, len64(bytes.len()))));
        }
    }
}

fn fill(from: &mut impl Read, bytes: &mut [u8]) -> Result<(), CarError> {
    from.read_exact(bytes).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => CarError::Malformed("the file ends early"),
        _ => e.into(),
    })
}
