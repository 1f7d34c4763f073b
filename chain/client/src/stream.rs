//! Events as they happen, and the epochs among them.

use crate::http::STREAM_SILENCE;
use crate::wire::{EventJson, open};
use crate::{Client, ClientError};
use cairn_ledger::events::Event;
use cairn_ledger::tables::{ChainParams, EpochRow, Epochs};
use cairn_sector::Seed;
use cairn_types::{Epoch, Height, Price};
use futures::Stream;
use futures::stream::BoxStream;
use reqwest::{Method, Response};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Longest line of a stream in bytes.
const LINE_LIMIT: usize = 256 << 10;
/// Shortest and longest pause before connecting again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// An event with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventAt {
    /// Height of the block.
    pub height: Height,
    /// Number within the block, from 0.
    pub index: u32,
    /// What happened.
    pub event: Event,
}

impl EventAt {
    pub(crate) fn read(json: &EventJson) -> Result<Self, ClientError> {
        Ok(Self { height: Height(json.height), index: json.index, event: open(&json.borsh)? })
    }
}

/// Events in order, each once. Ends only with an error that is not about the connection (a node that speaks another
/// format); a node that is gone is waited for.
pub struct EventStream(BoxStream<'static, Result<EventAt, ClientError>>);

impl EventStream {
    pub(crate) fn new(client: Client, from: Height) -> Self {
        let reader = Reader::new(client, from);
        Self(Box::pin(futures::stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(event) => Some((Ok(event), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        })))
    }
}

impl Stream for EventStream {
    type Item = Result<EventAt, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// Reads the stream, connects again where it stopped.
struct Reader {
    client: Client,
    /// Height and number of the next event wanted.
    next: (u64, u32),
    open: Option<Response>,
    buffer: Vec<u8>,
    ready: VecDeque<EventAt>,
    pause: Duration,
}

impl Reader {
    fn new(client: Client, from: Height) -> Self {
        Self {
            client,
            next: (from.0, 0),
            open: None,
            buffer: Vec::new(),
            ready: VecDeque::new(),
            pause: PAUSE.0,
        }
    }

    async fn next(&mut self) -> Result<EventAt, ClientError> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                let at = (event.height.0, event.index);
                if at >= self.next {
                    self.next = (at.0, at.1.saturating_add(1));
                    return Ok(event);
                }
            }
            match self.fill().await {
                Ok(()) => self.pause = PAUSE.0,
                Err(e) if e.is_unreachable() => {
                    self.open = None;
                    self.buffer.clear();
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(PAUSE.1);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads until at least one more chunk is worked in.
    async fn fill(&mut self) -> Result<(), ClientError> {
        if self.open.is_none() {
            let path = format!("/v1/events?from={}", self.next.0);
            self.open = Some(self.client.http().open(self.client.http().request(Method::GET, &path)).await?);
            self.buffer.clear();
        }
        let Some(response) = self.open.as_mut() else { return Ok(()) };
        let silent = |_| ClientError::unreachable("the event stream fell silent");
        let chunk = tokio::time::timeout(STREAM_SILENCE, response.chunk()).await.map_err(silent)?;
        let Some(chunk) = chunk.map_err(ClientError::unreachable)? else {
            return Err(ClientError::unreachable("the event stream ended"));
        };
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            if self.buffer.len() + part.len() > LINE_LIMIT {
                return Err(ClientError::garbled(format!("a line of the stream exceeds {LINE_LIMIT} bytes")));
            }
            self.buffer.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.buffer);
                self.line(&line)?;
            }
        }
        Ok(())
    }

    /// One line of the stream: only data lines matter, one JSON object each.
    fn line(&mut self, line: &[u8]) -> Result<(), ClientError> {
        let Some(data) = line.strip_prefix(b"data:") else { return Ok(()) };
        let json: EventJson = serde_json::from_slice(data).map_err(ClientError::garbled)?;
        self.ready.push_back(EventAt::read(&json)?);
        Ok(())
    }
}

/// An epoch that began, or whose seed became known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochTick {
    /// Epoch.
    pub epoch: Epoch,
    /// First height: the lock.
    pub start: Height,
    /// Last height for digests of answers.
    pub answer_until: Height,
    /// First height of the next epoch, from which bundles count.
    pub end: Height,
    /// Last height for digests of bundles.
    pub cut_until: Height,
    /// Last height for certificates, first for votes.
    pub certify_until: Height,
    /// Last height for votes; then the epoch is void.
    pub vote_until: Height,
    /// Price frozen at the lock.
    pub price: Price,
    /// Seed, when known.
    pub seed: Option<Seed>,
    /// Seed of the epoch before.
    pub previous: Seed,
}

impl EpochTick {
    /// The heights of an epoch.
    pub fn new(epoch: Epoch, row: &EpochRow, params: &ChainParams) -> Self {
        let end = row.start.plus(params.epoch_blocks);
        Self {
            epoch,
            start: row.start,
            answer_until: row.start.plus(params.answer_blocks),
            end,
            cut_until: end.plus(params.cut_blocks),
            certify_until: end.plus(params.certify_blocks),
            vote_until: end.plus(params.vote_blocks),
            price: row.price,
            seed: row.seed,
            previous: row.previous,
        }
    }
}

/// Epochs as they begin and get their seeds: the present one first, then a tick at each lock and at each seed.
pub struct EpochTicks(BoxStream<'static, Result<EpochTick, ClientError>>);

impl Stream for EpochTicks {
    type Item = Result<EpochTick, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// Where the watch stands.
enum Watch {
    Begin(Client),
    Follow(Client, Box<Reader>),
    End,
}

impl Client {
    /// Follows the epochs. Ends like [`EventStream`].
    pub fn watch_epochs(&self) -> EpochTicks {
        EpochTicks(Box::pin(futures::stream::unfold(Watch::Begin(self.clone()), |watch| async move {
            match watch {
                Watch::Begin(client) => match begin(&client).await {
                    Ok((tick, reader)) => Some((Ok(tick), Watch::Follow(client, Box::new(reader)))),
                    Err(e) => Some((Err(e), Watch::End)),
                },
                Watch::Follow(client, mut reader) => match follow(&client, &mut reader).await {
                    Ok(tick) => Some((Ok(tick), Watch::Follow(client, reader))),
                    Err(e) => Some((Err(e), Watch::End)),
                },
                Watch::End => None,
            }
        })))
    }

    /// An epoch that has begun.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn epoch(&self, epoch: Epoch) -> Result<Option<EpochTick>, ClientError> {
        let params = self.chain().await?.params;
        Ok(self.get::<Epochs>(&epoch).await?.map(|row| EpochTick::new(epoch, &row, &params)))
    }
}

/// The present epoch, once there is one; events are followed from the block after the one it was read at.
async fn begin(client: &Client) -> Result<(EpochTick, Reader), ClientError> {
    let mut pause = PAUSE.0;
    loop {
        match present(client).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(e) if e.is_unreachable() => {}
            Err(e) => return Err(e),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

async fn present(client: &Client) -> Result<Option<(EpochTick, Reader)>, ClientError> {
    let Some(chain) = client.get::<cairn_ledger::tables::Chain>(&()).await? else { return Ok(None) };
    let Some(row) = client.get::<Epochs>(&chain.epoch).await? else { return Ok(None) };
    // The row may be newer than the chain row; then the same tick comes twice, and none is missed.
    let reader = Reader::new(client.clone(), chain.height.plus(1));
    Ok(Some((EpochTick::new(chain.epoch, &row, &chain.params), reader)))
}

async fn follow(client: &Client, reader: &mut Reader) -> Result<EpochTick, ClientError> {
    loop {
        let (Event::EpochLocked { epoch } | Event::Seeded { epoch }) = reader.next().await?.event else {
            continue;
        };
        let mut pause = PAUSE.0;
        loop {
            match client.epoch(epoch).await {
                Ok(Some(tick)) => return Ok(tick),
                Ok(None) => break,
                Err(e) if e.is_unreachable() => tokio::time::sleep(pause).await,
                Err(e) => return Err(e),
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}
