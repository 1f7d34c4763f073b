//! Devices and seats that post.

use crate::{Client, ClientError, Included};
use bytes::Bytes;
use cairn_crypto::SecretKey;
use cairn_ledger::tx::{DeviceTx, Duty, SeatDuty, SeatTx, Tx};
use cairn_types::{AccountId, DeviceId, Epoch, Hash, NetworkId, SectorId};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Network and fork; asked for once.
#[derive(Debug, Default)]
struct Target(OnceCell<(NetworkId, u32)>);

impl Target {
    async fn get(&self, client: &Client) -> Result<(NetworkId, u32), ClientError> {
        let ask = || async {
            let chain = client.chain().await?;
            Ok((chain.network, chain.fork))
        };
        self.0.get_or_try_init(ask).await.copied()
    }
}

/// A device with its hot key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Device(Arc<DeviceInner>);

#[derive(Debug)]
struct DeviceInner {
    client: Client,
    id: DeviceId,
    secret: SecretKey,
    target: Target,
}

impl Device {
    /// A registered device.
    pub fn new(client: Client, id: DeviceId, secret: SecretKey) -> Self {
        Self(Arc::new(DeviceInner { client, id, secret, target: Target::default() }))
    }

    /// Its id.
    pub fn id(&self) -> DeviceId {
        self.0.id
    }

    /// The client in use.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Its hot key.
    pub fn secret(&self) -> &SecretKey {
        &self.0.secret
    }

    /// Posts a duty and waits until it is final.
    ///
    /// # Errors
    ///
    /// The refusal, and errors of transport.
    pub async fn post(&self, duty: Duty) -> Result<Included, ClientError> {
        let (network, fork) = self.0.target.get(&self.0.client).await?;
        let tx = DeviceTx { network, fork, device: self.0.id, duty };
        self.0.client.submit_and_wait(&Tx::by_device(tx, &self.0.secret)).await
    }

    /// Binds the device before the lock of `epoch`.
    ///
    /// # Errors
    ///
    /// As [`Device::post`].
    pub async fn commit(&self, epoch: Epoch, commitment: Vec<u8>) -> Result<Included, ClientError> {
        self.post(Duty::Commit { epoch, commitment }).await
    }

    /// Posts the digest of the answers to the tasks of `epoch`.
    ///
    /// # Errors
    ///
    /// As [`Device::post`].
    pub async fn answers(&self, epoch: Epoch, digest: Hash) -> Result<Included, ClientError> {
        self.post(Duty::Answers { epoch, digest }).await
    }

    /// Uploads a bundle, then posts its digest and size.
    ///
    /// # Errors
    ///
    /// As [`Device::post`].
    pub async fn bundle(&self, epoch: Epoch, bytes: impl Into<Bytes>) -> Result<Included, ClientError> {
        let bytes = bytes.into();
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let hash = self.0.client.upload_bundle(bytes).await?;
        self.post(Duty::Bundle { epoch, hash, size }).await
    }

    /// Answers a dispute.
    ///
    /// # Errors
    ///
    /// As [`Device::post`].
    pub async fn defend(&self, dispute: Hash, answer: Vec<u8>) -> Result<Included, ClientError> {
        self.post(Duty::Defend { dispute, answer }).await
    }

    /// Draws what the operator may draw from a sector. `None`: nothing was settled for it yet.
    ///
    /// # Errors
    ///
    /// As [`Device::post`].
    pub async fn claim(
        &self,
        sector: SectorId,
        operator: &AccountId,
    ) -> Result<Option<Included>, ClientError> {
        match self.0.client.claim_proof(sector, operator).await? {
            Some(proof) => self.post(Duty::Claim(proof)).await.map(Some),
            None => Ok(None),
        }
    }
}

/// A validator seat with its message key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Seat(Arc<SeatInner>);

#[derive(Debug)]
struct SeatInner {
    client: Client,
    number: u16,
    secret: SecretKey,
    target: Target,
}

impl Seat {
    /// A seat of the present set.
    pub fn new(client: Client, number: u16, secret: SecretKey) -> Self {
        Self(Arc::new(SeatInner { client, number, secret, target: Target::default() }))
    }

    /// Posts a seat's message and waits until it is final.
    ///
    /// # Errors
    ///
    /// The refusal, and errors of transport.
    pub async fn post(&self, duty: SeatDuty) -> Result<Included, ClientError> {
        let (network, fork) = self.0.target.get(&self.0.client).await?;
        let tx = SeatTx { network, fork, seat: self.0.number, duty };
        self.0.client.submit_and_wait(&Tx::by_seat(tx, &self.0.secret)).await
    }
}
