//! Reads, and transactions that are signed already.

use crate::http::{Http, OCTETS, absent};
use crate::wire::{
    Accepted, Announced, BlockAnswer, Boxed, ChargeAnswer, GenesisFacts, HistoryPage, JoinAnswer, KeyOwner,
    LeaseList, Market, ProvenRow, Status, Uploaded, octets, open,
};
use crate::{ClientError, EventAt, EventStream};
use borsh::BorshDeserialize;
use bytes::Bytes;
use cairn_crypto::PublicKey;
use cairn_crypto::merkle::rows::RowProof;
use cairn_engine::StoredBlock;
use cairn_ledger::events::Event;
use cairn_ledger::executor::Receipt;
use cairn_ledger::settle::Line;
use cairn_ledger::settlement::Settlement;
use cairn_ledger::state::{Key, Table, key_of, open_entry};
use cairn_ledger::tables::{AccountRow, Accounts, Chain, ChainRow, LeaseRow, Leases, SeatRow};
use cairn_ledger::tx::{ClaimProof, Tx};
use cairn_types::{AccountId, Credits, DeviceId, Epoch, Hash, Height, LeaseId, SectorId, encode};
use reqwest::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Largest bundle in bytes.
pub const BUNDLE_LIMIT: usize = 256 << 20;
/// Largest pack in bytes that the client takes into memory.
pub const PACK_LIMIT: usize = 1 << 30;
/// Largest genesis file in bytes.
pub const GENESIS_LIMIT: usize = 64 << 20;
/// Longest time for a bundle or pack to travel.
const UPLOAD: Duration = Duration::from_secs(120);
/// How often a transaction that was accepted is asked for: each time the node waits for up to 10 s.
const WAITS: u32 = 6;
/// How long a node may be starting.
const STARTING: Duration = Duration::from_secs(20);
/// Pause before a node that is starting is asked again; it waits by itself as well.
const RETRY: Duration = Duration::from_millis(200);

/// A client of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: Http,
    /// Highest verified height.
    seen: AtomicU64,
}

/// A final transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// Height of its block.
    pub height: Height,
    /// What became of it.
    pub receipt: Receipt,
    /// Its events, in order.
    pub events: Vec<Event>,
}

impl Included {
    /// The refusal in the receipt as an error: fee and nonce were taken, nothing else changed.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub fn done(self) -> Result<Self, ClientError> {
        match &self.receipt.refused {
            None => Ok(self),
            Some(refusal) => Err(refusal.clone().into()),
        }
    }
}

impl Client {
    /// A client of the node at a URL such as `http://127.0.0.1:7070`. Connects when first used.
    ///
    /// # Errors
    ///
    /// `client.url` for anything but HTTP and HTTPS. Use HTTPS, or a tunnel, for nodes on other machines.
    pub fn new(url: impl Into<String>) -> Result<Self, ClientError> {
        Self::with_urls(vec![url.into()])
    }

    /// A client with up to sixteen nodes to choose from. It stays with one until that does not answer, and goes on with
    /// the next; reads and transactions are repeated there by themselves.
    ///
    /// # Errors
    ///
    /// As [`Client::new`].
    pub fn with_urls(urls: Vec<String>) -> Result<Self, ClientError> {
        Ok(Self(Arc::new(Inner { http: Http::new(urls)?, seen: AtomicU64::new(0) })))
    }

    /// The URL in use, without a slash at the end.
    pub fn url(&self) -> &str {
        self.http().url()
    }

    pub(crate) fn http(&self) -> &Http {
        &self.0.http
    }

    /// A node that goes back in time is not believed.
    pub(crate) fn note_height(&self, height: Height) -> Result<(), ClientError> {
        self.check_height(height)?;
        self.0.seen.fetch_max(height.0, Ordering::Relaxed);
        Ok(())
    }

    /// Refuses what is older than a verified answer.
    fn check_height(&self, height: Height) -> Result<(), ClientError> {
        let seen = self.0.seen.load(Ordering::Relaxed);
        if height.0 < seen {
            let cause = format!("the answer is of height {height}, height {seen} was seen before");
            return Err(ClientError::new(ClientError::STALE, cause, "ask again, or ask another node"));
        }
        Ok(())
    }

    /// A read; while the node is starting, again and again for at most [`STARTING`].
    async fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let asked = Instant::now();
        loop {
            let ask = || self.http().json(self.http().request(Method::GET, path));
            match self.http().anywhere(ask).await {
                Err(e) if e.is_starting() && asked.elapsed() < STARTING => tokio::time::sleep(RETRY).await,
                answer => return answer,
            }
        }
    }

    async fn find<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        code: &str,
    ) -> Result<Option<T>, ClientError> {
        absent(self.read(path).await, &[code])
    }

    async fn find_borsh<T: BorshDeserialize>(
        &self,
        path: &str,
        code: &str,
    ) -> Result<Option<T>, ClientError> {
        let found: Option<Boxed> = self.find(path, code).await?;
        found.map(|boxed| open(&boxed.borsh)).transpose()
    }

    /// How the node is doing.
    ///
    /// # Errors
    ///
    /// Errors of transport, as for every function here.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.read("/v1/status").await
    }

    /// What the node says of its network.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn genesis(&self) -> Result<GenesisFacts, ClientError> {
        self.read("/v1/genesis").await
    }

    /// The seats as the node names them: for tests and devnets, where the node is one's own.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn seats(&self) -> Result<Vec<SeatRow>, ClientError> {
        self.genesis().await?.seats.iter().map(|seat| open(&seat.borsh)).collect()
    }

    /// The chain's row: network, fork, height, epoch, governed numbers, price.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn chain(&self) -> Result<ChainRow, ClientError> {
        let row = self.get::<Chain>(&()).await?;
        row.ok_or_else(|| ClientError::garbled("the node has no chain row"))
    }

    /// An account; one that was never used is empty.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn account(&self, id: &AccountId) -> Result<AccountRow, ClientError> {
        Ok(self.get::<Accounts>(id).await?.unwrap_or_default())
    }

    /// A lease.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn lease(&self, id: &LeaseId) -> Result<Option<LeaseRow>, ClientError> {
        self.get::<Leases>(id).await
    }

    /// A row of any table. The node's word: unverified.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Row>, ClientError> {
        let answer: ValueAnswer =
            self.read(&format!("/v1/state/{}?proof=false", hex::encode(key_of::<T>(key)))).await?;
        answer.value.map(|value| row::<T>(key, &octets(&value)?)).transpose()
    }

    pub(crate) async fn proven(&self, key: Key) -> Result<ProvenRow, ClientError> {
        self.read(&format!("/v1/state/{}", hex::encode(key))).await
    }

    /// A final block with its certificate, decoded but not verified.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn block(&self, height: Height) -> Result<Option<StoredBlock>, ClientError> {
        let found: Option<BlockAnswer> =
            self.find(&format!("/v1/blocks/{}", height.0), "block.unknown").await?;
        let Some(answer) = found else { return Ok(None) };
        let bytes = octets(&answer.block)?;
        let block = cairn_engine::light::decode_block(&bytes).map_err(ClientError::garbled)?;
        Ok(Some(StoredBlock {
            block,
            bytes,
            certificate: answer.certificate.as_deref().map(octets).transpose()?,
        }))
    }

    async fn post(&self, tx: &Tx, query: &str) -> Result<Accepted, ClientError> {
        let path = format!("/v1/transactions{query}");
        let body = Bytes::from(encode(tx));
        // The same bytes may be handed in twice: they count once.
        let ask = || {
            let request = self.http().request(Method::POST, &path).header("content-type", OCTETS);
            self.http().json(request.body(body.clone()))
        };
        self.http().anywhere(ask).await
    }

    /// Hands a transaction in and does not wait: the id, once the node's pool has it.
    ///
    /// # Errors
    ///
    /// The refusal, and errors of transport (then the outcome is unknown: ask for the id).
    pub async fn submit(&self, tx: &Tx) -> Result<Hash, ClientError> {
        let accepted = self.post(tx, "").await?;
        Hash::from_hex(&accepted.id)
            .ok_or_else(|| ClientError::garbled("the id is not 64 hexadecimal digits"))
    }

    /// Hands a transaction in and waits until it is final. A refusal in the receipt is an error too: see
    /// [`Included::done`].
    ///
    /// # Errors
    ///
    /// The refusal; `client.unknown-outcome` when it is not final within a minute; errors of transport.
    pub async fn submit_and_wait(&self, tx: &Tx) -> Result<Included, ClientError> {
        let accepted = self.post(tx, "?wait=true").await?;
        match included(&accepted)? {
            Some(included) => included.done(),
            None => self.wait(&tx.id()).await?.done(),
        }
    }

    /// Waits up to a minute until a transaction is final.
    ///
    /// # Errors
    ///
    /// `client.unknown-outcome` after that; errors of transport.
    pub async fn wait(&self, id: &Hash) -> Result<Included, ClientError> {
        for _ in 0..WAITS {
            let path = format!("/v1/transactions/{id}?wait=true");
            let found: Option<Accepted> = self.find(&path, "tx.unknown").await?;
            if let Some(included) = found.as_ref().map(included).transpose()?.flatten() {
                return Ok(included);
            }
            // A node that does not wait must not be asked in a busy loop.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let cause = format!("transaction {id} was accepted and is not final yet");
        Err(ClientError::new(
            ClientError::UNKNOWN_OUTCOME,
            cause,
            "ask for the transaction again before repeating it",
        ))
    }

    /// What a transaction would do in the next block. Nothing is changed.
    ///
    /// # Errors
    ///
    /// The refusal (of any phase), and errors of transport.
    pub async fn dry_run(&self, tx: &Tx) -> Result<Receipt, ClientError> {
        let answer = self.post(tx, "?dry_run=true").await?;
        let receipt =
            answer.receipt_borsh.ok_or_else(|| ClientError::garbled("a dry run without receipt"))?;
        let receipt: Receipt = open(&receipt)?;
        match receipt.refused.clone() {
            None => Ok(receipt),
            Some(refusal) => Err(refusal.into()),
        }
    }

    /// A final transaction, if the node still knows it.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn transaction(&self, id: &Hash) -> Result<Option<Included>, ClientError> {
        let found: Option<Accepted> = self.find(&format!("/v1/transactions/{id}"), "tx.unknown").await?;
        Ok(found.as_ref().map(included).transpose()?.flatten())
    }

    /// Events from a height on, past and future; connects again by itself.
    pub fn events(&self, from: Height) -> EventStream {
        EventStream::new(self.clone(), from)
    }

    /// Past events of at most `limit` blocks from a height on, and the height to go on from.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn history(&self, from: Height, limit: u32) -> Result<(Vec<EventAt>, Height), ClientError> {
        let page: HistoryPage = self.read(&format!("/v1/history?from={}&limit={limit}", from.0)).await?;
        let events = page.events.iter().map(EventAt::read).collect::<Result<_, _>>()?;
        Ok((events, Height(page.next)))
    }

    /// Leases that a customer opened, ended ones included, in order of opening. Complete up to the node's height when
    /// it was asked: a node that has just started is asked again until it knows. The node's word: unverified.
    ///
    /// # Errors
    ///
    /// `node.starting` when it does not know within twenty seconds; `client.stale` when the list is older than what was
    /// verified before; errors of transport.
    pub async fn leases_of(&self, customer: &AccountId) -> Result<Vec<LeaseId>, ClientError> {
        let list: LeaseList = self.read(&format!("/v1/accounts/{customer}/leases")).await?;
        self.check_height(Height(list.height))?;
        let parse =
            |text: &String| LeaseId::from_hex(text).ok_or_else(|| ClientError::garbled("not a lease id"));
        list.leases.iter().map(parse).collect()
    }

    /// Uploads the bytes of a bundle; the digest that the device posts.
    ///
    /// # Errors
    ///
    /// The refusal, and errors of transport.
    pub async fn upload_bundle(&self, bytes: impl Into<Bytes>) -> Result<Hash, ClientError> {
        let request = self.http().request(Method::POST, "/v1/bundles");
        let request = request.header("content-type", OCTETS).body(bytes.into());
        let answer: Uploaded = self.http().json_within(request, UPLOAD).await?;
        Hash::from_hex(&answer.hash)
            .ok_or_else(|| ClientError::garbled("the digest is not 64 hexadecimal digits"))
    }

    async fn find_bytes(&self, path: &str, code: &str, limit: usize) -> Result<Option<Bytes>, ClientError> {
        let ask = || self.http().bytes_within(self.http().request(Method::GET, path), limit, UPLOAD);
        absent(self.http().anywhere(ask).await, &[code])
    }

    /// The bundle of a device, once the cut has passed.
    ///
    /// # Errors
    ///
    /// The refusal before the cut, and errors of transport.
    pub async fn bundle(&self, epoch: Epoch, device: &DeviceId) -> Result<Option<Bytes>, ClientError> {
        self.find_bytes(&format!("/v1/bundles/{}/{device}", epoch.0), "bundle.unknown", BUNDLE_LIMIT).await
    }

    /// Everything needed to redo a settlement.
    ///
    /// # Errors
    ///
    /// The refusal while it does not exist, and errors of transport.
    pub async fn pack(&self, sector: SectorId, epoch: Epoch) -> Result<Bytes, ClientError> {
        let request = self.http().request(Method::GET, &format!("/v1/packs/{sector}/{}", epoch.0));
        self.http().bytes_within(request, PACK_LIMIT, UPLOAD).await
    }

    /// A settlement with what each row was worth.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn settlement(
        &self,
        sector: SectorId,
        epoch: Epoch,
    ) -> Result<Option<(Settlement, Vec<Line>)>, ClientError> {
        self.find_borsh(&format!("/v1/settlements/{sector}/{}", epoch.0), "settlement.unknown").await
    }

    /// What an operator may draw from a sector, with the proof. `None`: nothing was settled for it yet.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn claim_proof(
        &self,
        sector: SectorId,
        operator: &AccountId,
    ) -> Result<Option<ClaimProof>, ClientError> {
        self.find_borsh(&format!("/v1/claims/{sector}/{operator}"), "claim.unknown").await
    }

    /// What a lease was charged so far, with the proof: (epoch, credits, position, proof).
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn charge_proof(
        &self,
        sector: SectorId,
        lease: &LeaseId,
    ) -> Result<Option<(Epoch, Credits, u64, RowProof)>, ClientError> {
        let path = format!("/v1/charges/{sector}/{lease}");
        let found: Option<ChargeAnswer> = self.find(&path, "charge.unknown").await?;
        let Some(answer) = found else { return Ok(None) };
        let charged: u64 = answer.charged_micro_usd.parse().map_err(ClientError::garbled)?;
        Ok(Some((Epoch(answer.epoch), Credits(charged), answer.index, open(&answer.proof_borsh)?)))
    }

    /// Announces where a device can be reached: a signed record of the data plane. False: one as new was there.
    ///
    /// # Errors
    ///
    /// The refusal (a record that does not verify, a key that is no device's), and errors of transport.
    pub async fn announce(&self, record: impl Into<Bytes>) -> Result<bool, ClientError> {
        let record = record.into();
        let ask = || {
            let request = self.http().request(Method::PUT, "/v1/peers").header("content-type", OCTETS);
            self.http().json::<Announced>(request.body(record.clone()))
        };
        Ok(self.http().anywhere(ask).await?.newest)
    }

    /// The newest record of a key that the node knows. Not verified here: whoever dials does that.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn peer(&self, key: &PublicKey) -> Result<Option<Vec<u8>>, ClientError> {
        let found: Option<Boxed> =
            self.find(&format!("/v1/peers/{}", hex::encode(key.0)), "peer.unknown").await?;
        found.map(|record| octets(&record.borsh)).transpose()
    }

    /// Whose a key is: `device` or `customer`. `None`: of neither.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn role_of(&self, key: &PublicKey) -> Result<Option<String>, ClientError> {
        let found: Option<KeyOwner> =
            self.find(&format!("/v1/keys/{}", hex::encode(key.0)), "key.unknown").await?;
        Ok(found.map(|owner| owner.role))
    }

    /// What is on offer in a sector.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn market(&self, sector: SectorId) -> Result<Market, ClientError> {
        self.read(&format!("/v1/market/{sector}")).await
    }

    /// The genesis file, in borsh. The node's word until its digest is compared with the network id.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn genesis_file(&self) -> Result<Bytes, ClientError> {
        let ask = || self.http().bytes(self.http().request(Method::GET, "/v1/genesis/file"), GENESIS_LIMIT);
        self.http().anywhere(ask).await
    }

    /// The join link that the node hands out, if it does.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn join_link(&self) -> Result<Option<String>, ClientError> {
        let found: Option<JoinAnswer> = self.find("/v1/join", "join.unknown").await?;
        Ok(found.map(|answer| answer.link))
    }

    /// A device's part in the retrieval audits of an epoch: whom it audits, who audits it. `None`: not drawn yet.
    /// Believed as the node says it: who was not drawn is not heard by the judge.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn audits(
        &self,
        sector: SectorId,
        epoch: Epoch,
        device: &DeviceId,
    ) -> Result<Option<(Vec<DeviceId>, Vec<DeviceId>)>, ClientError> {
        self.find_borsh(&format!("/v1/audits/{sector}/{}/{device}", epoch.0), "audits.unknown").await
    }

    /// Prometheus text.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let text = self.http().bytes(self.http().request(Method::GET, "/metrics"), 4 << 20).await?;
        String::from_utf8(text.to_vec()).map_err(ClientError::garbled)
    }

    /// A command to a devnet: `crash`, `restart`, `cheat` or `warp`, with its JSON arguments.
    ///
    /// # Errors
    ///
    /// The refusal; `api.path` from a node that is no devnet.
    pub async fn devnet(
        &self,
        command: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, ClientError> {
        let request = self.http().request(Method::POST, &format!("/v1/devnet/{command}"));
        let request = request.header("content-type", "application/json").body(body.to_string());
        self.http().json(request).await
    }
}

/// A value without proof.
#[derive(serde::Deserialize)]
struct ValueAnswer {
    value: Option<String>,
}

/// Decodes a stored entry and checks that it is the row of this key.
pub(crate) fn row<T: Table>(key: &T::Key, bytes: &[u8]) -> Result<T::Row, ClientError> {
    let (stored, row) = open_entry::<T>(bytes)
        .ok_or_else(|| ClientError::garbled("a row does not decode; the node runs another version"))?;
    if encode(&stored) != encode(key) {
        return Err(ClientError::garbled("the node sent the row of another key"));
    }
    Ok(row)
}

fn included(answer: &Accepted) -> Result<Option<Included>, ClientError> {
    let (Some(height), Some(receipt)) = (answer.height, &answer.receipt_borsh) else { return Ok(None) };
    let events = answer.events.iter().map(|event| open(&event.borsh)).collect::<Result<_, _>>()?;
    Ok(Some(Included { height: Height(height), receipt: open(receipt)?, events }))
}
