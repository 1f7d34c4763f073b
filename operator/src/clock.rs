//! Where the network stands, for everybody in this process: one poll instead of one per device.

use cairn_client::Client;
use cairn_ledger::tables::{ChainParams, Epochs};
use cairn_sector::Seed;
use cairn_types::{Epoch, Height, NetworkId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A moment of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Network.
    pub network: NetworkId,
    /// Newest final height.
    pub height: Height,
    /// Its epoch.
    pub epoch: Epoch,
    /// First height of the epoch.
    pub start: Height,
    /// Seed of the epoch, once there.
    pub seed: Option<Seed>,
    /// Governed numbers.
    pub params: Arc<ChainParams>,
}

impl Now {
    /// Blocks since the lock of the present epoch.
    pub fn progress(&self) -> u64 {
        self.height.0.saturating_sub(self.start.0)
    }
}

/// Follows the network.
#[derive(Clone)]
pub struct Clock(watch::Receiver<Option<Now>>);

impl Clock {
    /// Starts to follow; the task ends when the last clone is gone.
    pub fn start(client: Client, every: Duration) -> Self {
        let (tx, rx) = watch::channel(None);
        tokio::spawn(async move {
            let mut params: Option<(NetworkId, Arc<ChainParams>)> = None;
            while !tx.is_closed() {
                let before = tx.borrow().clone();
                match look(&client, &mut params, before).await {
                    Ok(now) => {
                        tx.send_if_modified(|old| {
                            let changed = old.as_ref() != Some(&now);
                            *old = Some(now);
                            changed
                        });
                    }
                    Err(e) => tracing::debug!(error = %e, "clock.poll"),
                }
                tokio::time::sleep(every).await;
            }
        });
        Self(rx)
    }

    /// The last known moment.
    pub fn now(&self) -> Option<Now> {
        self.0.borrow().clone()
    }

    /// Waits for the next change. `None`: the clock has stopped.
    pub async fn next(&mut self) -> Option<Now> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(now) = self.0.borrow_and_update().clone() {
                return Some(now);
            }
        }
    }
}

async fn look(
    client: &Client,
    params: &mut Option<(NetworkId, Arc<ChainParams>)>,
    before: Option<Now>,
) -> Result<Now, cairn_client::ClientError> {
    let status = client.status().await?;
    let (network, params) = match params {
        Some(p) => p.clone(),
        None => {
            let chain = client.chain().await?;
            params.insert((chain.network, Arc::new(chain.params))).clone()
        }
    };
    let (height, epoch) = (Height(status.height), Epoch(status.epoch));
    if let Some(b) = before
        && b.epoch == epoch
        && b.seed.is_some()
    {
        return Ok(Now { height, ..b });
    }
    let row = client.get::<Epochs>(&epoch).await?;
    let (start, seed) = row.map(|r| (r.start, r.seed)).unwrap_or((height, None));
    Ok(Now { network, height, epoch, start, seed, params })
}
