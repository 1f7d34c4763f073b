//! One message on a stream: its length as u32 little endian, then its bytes.

use std::time::Duration;

use bytes::Bytes;
use iroh::endpoint::{RecvStream, SendStream, VarInt};
use tokio::time::timeout;

use crate::MAX_MESSAGE;

/// The protocol and its version, agreed on in the handshake.
pub const ALPN: &[u8] = b"cairn/1";

/// Why a stream or a connection was cut, as the other side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Cut {
    /// Whoever asked does not wait any more.
    Cancelled = 1,
    /// A message over [`MAX_MESSAGE`].
    TooLarge = 2,
    /// Not the protocol.
    Malformed = 3,
    /// More than the peer may have open at once; nothing was carried out.
    Busy = 4,
    /// Too slow.
    Slow = 5,
    /// Idle, or the endpoint closes.
    Closing = 6,
}

impl Cut {
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// Why no message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The announced length exceeds [`MAX_MESSAGE`].
    TooLarge(usize),
    /// The stream ended inside a message.
    Short,
    /// Nothing came for the time a peer may pause.
    Stalled,
    /// The stream was reset, with the other side's code if it named one.
    Reset(Option<VarInt>),
}

/// Bytes reserved before anything has arrived; a length that was merely announced reserves no more.
const FIRST_RESERVE: usize = 64 << 10;

/// Bytes that must leave within the longest pause.
const PIECE: usize = 256 << 10;

/// Sends a message without copying it and ends the stream's sending side. `pause` is the longest time for
/// [`PIECE`] to leave.
pub(crate) async fn send(stream: &mut SendStream, mut message: Bytes, pause: Duration) -> Result<(), Fault> {
    let length = u32::try_from(message.len()).map_err(|_| Fault::TooLarge(message.len()))?;
    let head = Bytes::copy_from_slice(&length.to_le_bytes());
    let mut pieces = [head, message.split_to(message.len().min(PIECE))];
    loop {
        let filled = pieces.iter_mut().filter(|piece| !piece.is_empty()).map(std::mem::take);
        let mut filled: Vec<Bytes> = filled.collect();
        let written =
            timeout(pause, stream.write_all_chunks(&mut filled)).await.map_err(|_| Fault::Stalled)?;
        written.map_err(|error| match error {
            iroh::endpoint::WriteError::Stopped(code) => Fault::Reset(Some(code)),
            _ => Fault::Reset(None),
        })?;
        if message.is_empty() {
            return stream.finish().map_err(|_| Fault::Reset(None));
        }
        pieces[1] = message.split_to(message.len().min(PIECE));
    }
}

/// Reads the announced length.
pub(crate) async fn length(stream: &mut RecvStream) -> Result<usize, Fault> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(|error| match error {
        iroh::endpoint::ReadExactError::FinishedEarly(_) => Fault::Short,
        iroh::endpoint::ReadExactError::ReadError(error) => reset(&error),
    })?;
    let length = usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE { Err(Fault::TooLarge(length)) } else { Ok(length) }
}

/// Reads the `length` bytes behind the length. `pause` is the longest time without a byte. Memory grows with what
/// arrives; the bytes are copied once, out of the packets.
pub(crate) async fn body(stream: &mut RecvStream, length: usize, pause: Duration) -> Result<Bytes, Fault> {
    let mut message = Vec::with_capacity(length.min(FIRST_RESERVE));
    while message.len() < length {
        let missing = length - message.len();
        let chunk = timeout(pause, stream.read_chunk(missing)).await.map_err(|_| Fault::Stalled)?;
        let chunk = chunk.map_err(|error| reset(&error))?.ok_or(Fault::Short)?;
        if message.capacity() - message.len() < chunk.len() {
            message.reserve_exact(missing.min(message.len().max(chunk.len())));
        }
        message.extend_from_slice(&chunk);
    }
    Ok(message.into())
}

fn reset(error: &iroh::endpoint::ReadError) -> Fault {
    match error {
        iroh::endpoint::ReadError::Reset(code) => Fault::Reset(Some(*code)),
        _ => Fault::Reset(None),
    }
}

/// Both halves of a stream; resets what is still open when dropped half way.
pub(crate) struct Streams {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    cut: Option<Cut>,
}

impl Streams {
    pub(crate) fn new((send, recv): (SendStream, RecvStream)) -> Self {
        Self { send, recv, cut: Some(Cut::Cancelled) }
    }

    /// Ends both halves with this reason.
    pub(crate) fn cut(mut self, cut: Cut) {
        self.cut = Some(cut);
    }

    /// Both halves ended as they should.
    pub(crate) fn done(mut self) {
        self.cut = None;
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        if let Some(cut) = self.cut {
            // A half that is closed already stays as it is.
            let _ = self.send.reset(cut.code());
            let _ = self.recv.stop(cut.code());
        }
    }
}
