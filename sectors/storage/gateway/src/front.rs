//! A gateway with its S3 endpoint, as the contract of sectors wants it.

use crate::gateway::Gateway;
use crate::server::ServerHandle;
use async_trait::async_trait;
use cairn_sector::{Finding, Level, Rules};
use cairn_storage_rules::{Escrow, Storage};
use cairn_types::SectorId;
use std::sync::Arc;

/// Full epochs that an escrow should cover; with less a customer should look after it.
const COVERED: u64 = 6;

/// A running gateway and its server.
pub struct Front {
    gateway: Arc<Gateway>,
    server: ServerHandle,
}

impl Front {
    /// Of a gateway and the server that serves it.
    pub const fn new(gateway: Arc<Gateway>, server: ServerHandle) -> Self {
        Self { gateway, server }
    }
    /// The gateway.
    pub const fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }
}

#[async_trait]
impl cairn_sector::Gateway for Front {
    fn sector(&self) -> SectorId {
        Storage::ID
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    async fn checks(&self) -> Vec<Finding> {
        examine(&self.gateway).await
    }

    async fn stop(self: Box<Self>) {
        self.server.shutdown().await;
        self.gateway.stop();
    }
}

/// Findings about a gateway: who writes, what is not where it belongs, what is paid.
pub async fn examine(gateway: &Gateway) -> Vec<Finding> {
    let health = gateway.health();
    let mut out = Vec::new();
    if health.fenced {
        out.push(Finding::new(
            Level::Bad,
            "storage.fence",
            "a newer gateway took over: this one only reads",
            "stop it, or recover here to take over again",
        ));
    }
    let (level, remedy) = match health.incomplete {
        0 => (Level::Good, ""),
        _ => (Level::Warning, "nothing: they are rebuilt as soon as their operators answer"),
    };
    let cause =
        format!("{} segments stored, {} fragments not where they belong", health.segments, health.incomplete);
    out.push(Finding::new(level, "storage.segments", cause, remedy));
    if !health.slow.is_empty() {
        let cause = format!("{} operators did not answer the last time", health.slow.len());
        out.push(Finding::new(
            Level::Warning,
            "storage.operators",
            cause,
            "nothing: others serve meanwhile, and silent ones are replaced",
        ));
    }
    match gateway.escrows().await {
        Ok(escrows) => out.extend(escrows.iter().map(paid)),
        Err(e) => out.push(Finding::new(
            Level::Bad,
            "storage.chain",
            format!("what is paid is unknown: {e}"),
            "look whether the node is up",
        )),
    }
    out
}

fn paid(escrow: &Escrow) -> Finding {
    let (level, remedy) = match escrow.epochs() {
        _ if escrow.is_empty() => (Level::Bad, "buy credits for this account; without them the lease ends"),
        few if few < COVERED => (Level::Warning, "buy credits for this account"),
        _ => (Level::Good, ""),
    };
    let cause = format!(
        "lease {} has {} credits left, enough for {} full epochs",
        escrow.lease,
        escrow.left.0,
        escrow.epochs()
    );
    Finding::new(level, "storage.escrow", cause, remedy)
}
