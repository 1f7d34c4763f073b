//! Entry points for fuzzing: any bytes must come back as a value or an error, never as a panic.

use super::{CarFile, Cid, Manifest, ask, pb};
use std::io::Cursor;

/// Reads a CAR file, walks it and reads all its files.
pub fn car_file(data: &[u8]) {
    let Ok(mut car) = CarFile::open(Cursor::new(data)) else { return };
    for entry in car.entries().unwrap_or_default() {
        let (mut reader, mut read) = (car.read(&entry), 0u64);
        while let Ok(Some(bytes)) = reader.next_bytes() {
            read = read.saturating_add(super::len64(bytes.len()));
        }
        assert_eq!(read, entry.size, "what was walked can be read, and has the size that was said");
    }
}

/// Decodes a CID from bytes and from text; what is accepted must encode to the same.
pub fn cid(data: &[u8]) {
    if let Ok(cid) = Cid::decode(data) {
        assert_eq!(cid.bytes(), data, "an accepted encoding is canonical");
        assert_eq!(cid.to_string().parse(), Ok(cid), "text says the same");
    }
    if let Ok(Ok(cid)) = std::str::from_utf8(data).map(str::parse::<Cid>) {
        let _ = cid.to_string();
    }
}

/// Decodes a block of UnixFS.
pub fn node(data: &[u8]) {
    let _ = pb::decode(data);
}

/// Decodes a manifest and builds its tree.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        assert_eq!(manifest.encode(), data, "an accepted encoding is canonical");
        let _ = super::Dag::new(&manifest);
    }
}

/// Reads a request: the path and query in the first line, the Accept header in the second.
pub fn request(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (uri, accept) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(uri) = format!("/ipfs/{uri}").parse() else { return };
    let mut headers = hyper::HeaderMap::new();
    if let Ok(accept) = accept.parse() {
        headers.insert(hyper::header::ACCEPT, accept);
    }
    if let Ok(ask) = ask::Ask::read(&uri, &headers) {
        let _ = (ask.media(), ask.etag(&ask.cid));
    }
    let _ = ask::bytes_of(-1, Some(i64::MIN), 7);
}
