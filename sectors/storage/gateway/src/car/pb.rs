//! dag-pb nodes and the UnixFS message in them: just the protobuf that these two need.

use super::{BLOCK_MAX, CarError, Cid, len64, put_varint, varint};

/// Most links of a node that is read.
pub const LINKS_MAX: usize = 1 << 15;

/// A link of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// To what.
    pub cid: Cid,
    /// Name in a directory; empty in a file.
    pub name: String,
    /// Bytes of all blocks below, with their frames; a hint.
    pub size: u64,
}

/// What a UnixFS node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, or a part of one.
    File,
    /// A directory.
    Directory,
    /// A directory over several nodes; names have a prefix of as many hex digits as its fan-out needs.
    Shard {
        /// Length of the prefix.
        prefix: usize,
    },
}

/// A dag-pb node with its UnixFS message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Bytes of the file that lie in the node itself.
    pub data: Vec<u8>,
    /// Bytes of the file in and below it.
    pub size: u64,
    /// Bytes of the file below each link.
    pub blocks: Vec<u64>,
    /// Links.
    pub links: Vec<Link>,
}

/// The block of a file's inner node: `children` are link and bytes of the file below it.
pub fn file_node(children: &[(Link, u64)]) -> Vec<u8> {
    let size = children.iter().fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
    let mut unixfs = vec![0x08, 2, 0x18];
    put_varint(size, &mut unixfs);
    for (_, size) in children {
        unixfs.push(0x20);
        put_varint(*size, &mut unixfs);
    }
    node(children.iter().map(|(link, _)| link), &unixfs)
}

/// The block of a directory. Links must be sorted by the bytes of their names.
pub fn directory_node(links: &[Link]) -> Vec<u8> {
    node(links.iter(), &[0x08, 1])
}

fn node<'a>(links: impl Iterator<Item = &'a Link>, unixfs: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for link in links {
        let mut inner = Vec::with_capacity(64);
        field(0x0a, &link.cid.bytes(), &mut inner);
        field(0x12, link.name.as_bytes(), &mut inner);
        inner.push(0x18);
        put_varint(link.size, &mut inner);
        field(0x12, &inner, &mut out);
    }
    field(0x0a, unixfs, &mut out);
    out
}

fn field(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_varint(len64(bytes.len()), out);
    out.extend(bytes);
}

/// A field of a protobuf message.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn next<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Value<'a>), CarError> {
    let tag = varint(bytes)?;
    match tag & 7 {
        0 => Ok((tag >> 3, Value::Number(varint(bytes)?))),
        2 => {
            let len = usize::try_from(varint(bytes)?).unwrap_or(usize::MAX);
            let short = CarError::Malformed("a field of a node ends early");
            let (field, rest) = bytes.split_at_checked(len).ok_or(short)?;
            *bytes = rest;
            Ok((tag >> 3, Value::Bytes(field)))
        }
        _ => Err(CarError::Malformed("a node has a field of unknown type")),
    }
}

/// Decodes a dag-pb block with UnixFS in it.
///
/// # Errors
/// Too long, malformed, or of a UnixFS type that has no counterpart in S3.
pub fn decode(mut bytes: &[u8]) -> Result<Node, CarError> {
    if bytes.len() > BLOCK_MAX {
        return Err(CarError::Limit("a block has at most 2 MiB"));
    }
    let (mut links, mut unixfs) = (Vec::new(), None);
    while !bytes.is_empty() {
        match next(&mut bytes)? {
            (2, Value::Bytes(_)) if unixfs.is_some() => {
                return Err(CarError::Malformed("a link follows the data of a node"));
            }
            (2, Value::Bytes(inner)) => links.push(link(inner)?),
            (1, Value::Bytes(data)) if unixfs.is_none() => unixfs = Some(data),
            _ => return Err(CarError::Malformed("a node has an unknown field")),
        }
        if links.len() > LINKS_MAX {
            return Err(CarError::Limit("a node has at most 32768 links"));
        }
    }
    message(unixfs.ok_or(CarError::Unsupported("without data"))?, links)
}

fn link(mut bytes: &[u8]) -> Result<Link, CarError> {
    let (mut cid, mut name, mut size) = (None, String::new(), 0);
    while !bytes.is_empty() {
        match next(&mut bytes)? {
            (1, Value::Bytes(b)) if cid.is_none() => cid = Some(Cid::decode(b)?),
            (2, Value::Bytes(b)) => {
                let text = std::str::from_utf8(b);
                name = text.map_err(|_| CarError::Malformed("a name is not UTF-8"))?.to_owned();
            }
            (3, Value::Number(n)) => size = n,
            _ => return Err(CarError::Malformed("a link has an unknown field")),
        }
    }
    Ok(Link { cid: cid.ok_or(CarError::Malformed("a link names no block"))?, name, size })
}

fn message(mut bytes: &[u8], links: Vec<Link>) -> Result<Node, CarError> {
    let (mut of, mut data, mut size, mut blocks, mut fanout) = (None, Vec::new(), None, Vec::new(), 256u64);
    while !bytes.is_empty() {
        match next(&mut bytes)? {
            (1, Value::Number(n)) => of = Some(n),
            (2, Value::Bytes(b)) => data = b.to_vec(),
            (3, Value::Number(n)) => size = Some(n),
            (4, Value::Number(n)) => blocks.push(n),
            (6, Value::Number(n)) => fanout = n,
            // Hash of a shard, mode, time of change: nothing that we need.
            (5 | 7, Value::Number(_)) | (8, Value::Bytes(_)) => {}
            _ => return Err(CarError::Malformed("UnixFS with an unknown field")),
        }
    }
    let kind = match of {
        Some(0 | 2) => Kind::File,
        Some(1) => Kind::Directory,
        Some(5) if fanout.is_power_of_two() && (2..=1024).contains(&fanout) => {
            Kind::Shard { prefix: format!("{:X}", fanout - 1).len() }
        }
        Some(5) => return Err(CarError::Malformed("a shard has a fan-out that is none")),
        Some(4) => return Err(CarError::Unsupported("symbolic links")),
        _ => return Err(CarError::Unsupported("of an unknown type")),
    };
    if kind == Kind::File && blocks.len() != links.len() {
        return Err(CarError::Malformed("a file's node has not one size for each link"));
    }
    let below = blocks.iter().fold(len64(data.len()), |sum, size| sum.saturating_add(*size));
    if kind == Kind::File && size.is_some_and(|s| s != below) {
        return Err(CarError::Malformed("a file's sizes do not add up"));
    }
    Ok(Node { kind, data, size: below, blocks, links })
}
