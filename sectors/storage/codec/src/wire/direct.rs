//! The long messages without copies: a fragment is copied once into the message that carries it, and read where it
//! lies in the message that arrived. The bytes are those of the borsh encoding.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use cairn_crypto::keys::{SecretKey, Signature};
use cairn_storage_rules::types::Fragment;
use cairn_types::{DecodeError, encode};
use std::io::{Read, Result as IoResult, Write};

use super::{
    Body, Grant, Head, MAX_MESSAGE, REQUEST, Reply, Request, Signed, VERSION, WireError, check_reply, limit,
    signed_bytes, unversioned,
};
use crate::segment::SegmentId;

/// Variant number of [`Request::Signed`].
const SIGNED: u8 = 1;
/// Variant number of [`Body::Put`].
const PUT: u8 = 0;
/// What `Ok(Reply::Bytes(_))` begins with, behind the version.
const OK_BYTES: [u8; 2] = [1, 3];
/// [`PUT_HEAD`] as it is written.
const PUT_HEAD_LEN: u32 = 85;
/// Bytes of a message besides the body, rounded up.
const AROUND: usize = 1024;

/// Bytes of a [`Body::Put`] in front of the fragment's: variant, segment, fragment, offset, length.
const PUT_HEAD: usize = 1 + 32 + 40 + 8 + 4;
/// Bytes of a customer's [`Body::Put`] message in front of the fragment's bytes.
pub const PUT_FRONT: usize = 2 + 127 + 4 + PUT_HEAD;
/// Bytes of it behind them.
pub const PUT_BACK: usize = 1 + 64;

/// The part of a body that the signature covers.
pub(super) fn covered(body: &[u8]) -> &[u8] {
    match body.first() {
        Some(&PUT) => body.get(..PUT_HEAD).unwrap_or(body),
        _ => body,
    }
}

/// What a customer's message says around the `len` bytes of a whole fragment, [`PUT_FRONT`] and [`PUT_BACK`] bytes, so
/// that the message can be made where the fragment lies.
pub fn put_around(
    head: Head,
    segment: &SegmentId,
    fragment: &Fragment,
    len: u32,
    key: &SecretKey,
) -> (Vec<u8>, Vec<u8>) {
    let body = encode(&(PUT, *segment, *fragment, 0u64, len));
    let front = encode(&(VERSION, SIGNED, head, len.saturating_add(PUT_HEAD_LEN)));
    let signature = key.sign(REQUEST, &signed_bytes(&head, &body));
    ([front, body].concat(), encode(&(None::<Grant>, signature)))
}

/// Bytes as borsh writes a `Vec<u8>`.
pub(super) fn write<W: Write>(bytes: &Bytes, w: &mut W) -> IoResult<()> {
    bytes.as_ref().serialize(w)
}

/// Bytes as borsh reads a `Vec<u8>`.
pub(super) fn read<R: Read>(r: &mut R) -> IoResult<Bytes> {
    Vec::<u8>::deserialize_reader(r).map(Bytes::from)
}

fn malformed(e: &std::io::Error) -> DecodeError {
    DecodeError::Malformed(e.to_string())
}

/// A value in front of `rest`, which is moved behind it.
fn take<T: BorshDeserialize>(rest: &mut &[u8]) -> Result<T, DecodeError> {
    T::deserialize(rest).map_err(|e| malformed(&e))
}

/// Announced bytes in front of `rest`, as a part of `whole`, of which `rest` is the end.
fn take_bytes(whole: &Bytes, rest: &mut &[u8]) -> Result<Bytes, DecodeError> {
    let announced: u32 = take(rest)?;
    let len = usize::try_from(announced).unwrap_or(usize::MAX);
    let from = whole.len().saturating_sub(rest.len());
    let short = || DecodeError::Malformed(format!("{announced} bytes announced, {} there", rest.len()));
    let (_, behind) = rest.split_at_checked(len).ok_or_else(short)?;
    *rest = behind;
    Ok(whole.slice(from..from.saturating_add(len)))
}

fn end(rest: &[u8]) -> Result<(), DecodeError> {
    match rest.len() {
        0 => Ok(()),
        left => Err(DecodeError::Malformed(format!("{left} bytes too many"))),
    }
}

/// Bytes of the message that carries a body, or a little more; exact for nothing but what is long.
pub fn message_len(body: &Body) -> usize {
    let payload = if let Body::Put { bytes, .. } = body { bytes.len() } else { 0 };
    payload.saturating_add(AROUND)
}

/// The message of [`Signed::new`] with one copy of the body, in a buffer that may have been used before.
pub fn encode_signed(
    mut out: Vec<u8>,
    head: Head,
    body: &Body,
    grant: Option<Grant>,
    key: &SecretKey,
) -> Vec<u8> {
    out.clear();
    out.reserve(message_len(body));
    out.extend_from_slice(&[VERSION, SIGNED]);
    let mut put = |value: &dyn Fn(&mut Vec<u8>) -> IoResult<()>| {
        value(&mut out).expect("writing to memory cannot fail");
        out.len()
    };
    let length_at = put(&|w| head.serialize(w));
    let start = put(&|w| 0u32.serialize(w));
    let stop = put(&|w| body.serialize(w));
    // A body that is too long for its length field is far over MAX_MESSAGE: no transport carries it.
    let length = u32::try_from(stop.saturating_sub(start)).unwrap_or(u32::MAX).to_le_bytes();
    out[length_at..start].copy_from_slice(&length);
    let signature = key.sign(REQUEST, &signed_bytes(&head, &out[start..stop]));
    (grant, signature).serialize(&mut out).expect("writing to memory cannot fail");
    out
}

/// Reads a request; the body is read by [`Signed::body`] once its signature is checked. Body and fragment stay where
/// they are in `message`.
///
/// # Errors
/// Malformed, another version, or over [`MAX_MESSAGE`].
pub fn decode_request(message: &Bytes) -> Result<Request, DecodeError> {
    limit(message.len(), MAX_MESSAGE)?;
    let Some(mut rest) = message.strip_prefix(&[VERSION, SIGNED]) else { return unversioned(message) };
    let head: Head = take(&mut rest)?;
    let body = take_bytes(message, &mut rest)?;
    let (grant, signature): (Option<Grant>, Signature) = take(&mut rest)?;
    end(rest)?;
    Ok(Request::Signed(Box::new(Signed { head, body, grant, signature })))
}

/// The body if it is a [`Body::Put`]; its bytes stay where they are.
pub(super) fn put_body(body: &Bytes) -> Option<Result<Body, DecodeError>> {
    let mut rest = body.strip_prefix(&[PUT])?;
    let read = |rest: &mut &[u8]| {
        let (segment, fragment, offset): (SegmentId, Fragment, u64) = take(rest)?;
        let bytes = take_bytes(body, rest)?;
        end(rest)?;
        Ok(Body::Put { segment, fragment, offset, bytes })
    };
    Some(limit(body.len(), MAX_MESSAGE).and_then(|()| read(&mut rest)))
}

/// Reads an answer; bytes of a fragment stay where they are in `message`.
///
/// # Errors
/// Malformed, another version, or over [`MAX_MESSAGE`].
pub fn decode_reply(message: &Bytes) -> Result<Result<Reply, WireError>, DecodeError> {
    limit(message.len(), MAX_MESSAGE)?;
    if let Some(mut rest) = message.strip_prefix(&[VERSION]).and_then(|m| m.strip_prefix(&OK_BYTES)) {
        let bytes = take_bytes(message, &mut rest)?;
        end(rest)?;
        return Ok(Ok(Reply::Bytes(bytes)));
    }
    let reply = unversioned(message)?;
    check_reply(&reply)?;
    Ok(reply)
}
