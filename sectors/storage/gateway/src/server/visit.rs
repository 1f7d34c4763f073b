//! One request on its way through: where it came from, what the log will say, which places it holds.

use super::desk::Pass;
use crate::access::Who;
use crate::access::log::{Entry, Proof};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// A request. Shared by everything that handles it; what it holds is given back when the last of them lets go.
pub struct Visit {
    /// The client's address.
    pub address: IpAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    /// Unix time in seconds of its arrival.
    pub time: u64,
    /// When it arrived.
    pub arrived: Instant,
    entry: Mutex<Entry>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Until it is known on whose behalf it comes.
    proving: Option<OwnedSemaphorePermit>,
    /// While it works.
    pass: Option<Pass>,
}

impl Visit {
    /// A request that arrives now.
    pub fn new(address: IpAddr, secure: bool, time: u64, entry: Entry) -> Self {
        let held = Mutex::new(Held::default());
        Self { address, secure, time, arrived: Instant::now(), entry: Mutex::new(entry), held }
    }

    /// Changes what the log will say.
    pub fn note(&self, change: impl FnOnce(&mut Entry)) {
        change(&mut crate::volume::lock(&self.entry));
    }

    /// What the log will say.
    pub fn entry(&self) -> Entry {
        crate::volume::lock(&self.entry).clone()
    }

    /// Id of the request.
    pub fn id(&self) -> String {
        crate::volume::lock(&self.entry).id.clone()
    }

    /// How it was signed, as far as one can see.
    pub fn proof(&self) -> Proof {
        crate::volume::lock(&self.entry).proof
    }

    /// Holds a place among those whose sender is not known yet.
    pub fn proving(&self, permit: OwnedSemaphorePermit) {
        crate::volume::lock(&self.held).proving = Some(permit);
    }

    /// The sender is known: it works under a pass from now on.
    pub fn proven(&self, who: Who, pass: Pass) {
        self.note(|e| e.who = Some(who));
        let mut held = crate::volume::lock(&self.held);
        held.proving = None;
        held.pass = Some(pass);
    }

    /// It will not be known any more on whose behalf it came.
    pub fn unproven(&self) {
        crate::volume::lock(&self.held).proving = None;
    }

    /// Whether its sender is known or it was let in as a stranger.
    pub fn is_proven(&self) -> bool {
        crate::volume::lock(&self.held).pass.is_some()
    }
}
