//! Who works how much at once and how often: a share for each key and each stranger, so that none takes all.

use crate::access::throttle::{Meters, Rate, client};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shares of the work.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Requests at once of all; more are answered `SlowDown`.
    pub requests: usize,
    /// Requests at once of one key.
    pub key: usize,
    /// How often one key may ask.
    pub key_rate: Rate,
    /// Requests at once of all who do not sign.
    pub strangers: usize,
    /// Requests at once of one client (an IPv4 address, an IPv6 /64) that does not sign.
    pub client: usize,
    /// How often one such client may ask.
    pub client_rate: Rate,
    /// Requests at once whose signature is being looked at. They need no memory and no network; more wait.
    pub proving: usize,
    /// How long a request waits for that.
    pub patience: Duration,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            requests: 256,
            key: 192,
            key_rate: Rate { per_second: 20_000, burst: 40_000 },
            strangers: 64,
            client: 16,
            client_rate: Rate { per_second: 200, burst: 400 },
            proving: 32,
            patience: Duration::from_secs(10),
        }
    }
}

/// Parties that are counted apart at most.
const PARTIES: usize = 10_000;
/// After how many seconds who found no place should come again.
const AGAIN: u64 = 1;

/// On whose account a request goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The holder of a key, by its id.
    Key(String),
    /// A client that does not sign.
    Client(IpAddr),
}

impl Party {
    /// A client that does not sign.
    pub fn stranger(address: IpAddr) -> Self {
        Self::Client(client(address))
    }
}

/// Where places are given out.
pub struct Desk {
    shares: Shares,
    start: Instant,
    working: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    proving: Arc<Semaphore>,
    counts: Mutex<Counts>,
}

struct Counts {
    keys: Meters<Party>,
    clients: Meters<Party>,
    busy: BTreeMap<Party, usize>,
}

/// A place; given back when dropped.
pub struct Pass {
    desk: Arc<Desk>,
    party: Party,
    _working: OwnedSemaphorePermit,
    _stranger: Option<OwnedSemaphorePermit>,
}

/// No place: come again after so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later(pub u64);

impl Desk {
    /// With these shares.
    pub fn new(shares: Shares) -> Arc<Self> {
        let counts = Counts {
            keys: Meters::new(shares.key_rate, PARTIES),
            clients: Meters::new(shares.client_rate, PARTIES),
            busy: BTreeMap::new(),
        };
        Arc::new(Self {
            shares,
            start: Instant::now(),
            working: Arc::new(Semaphore::new(shares.requests)),
            strangers: Arc::new(Semaphore::new(shares.strangers)),
            proving: Arc::new(Semaphore::new(shares.proving)),
            counts: Mutex::new(counts),
        })
    }

    /// A place among those whose signature is looked at, in the order of arrival.
    ///
    /// # Errors
    /// There was none in time.
    pub async fn prove(&self) -> Result<OwnedSemaphorePermit, Later> {
        let place = Arc::clone(&self.proving).acquire_owned();
        match tokio::time::timeout(self.shares.patience, place).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Later(AGAIN)),
        }
    }

    /// A place to work for a party.
    ///
    /// # Errors
    /// It asks too often, has too much under way, or all places are taken.
    pub fn admit(self: &Arc<Self>, party: Party) -> Result<Pass, Later> {
        let stranger = matches!(party, Party::Client(_));
        let none = |_| Later(AGAIN);
        let counts = &mut *crate::volume::lock(&self.counts);
        let meters = if stranger { &mut counts.clients } else { &mut counts.keys };
        let wait = |w: Duration| Later(w.as_secs().saturating_add(1));
        meters.take(&party, self.start.elapsed()).map_err(wait)?;
        let most = if stranger { self.shares.client } else { self.shares.key };
        let busy = counts.busy.get(&party).copied().unwrap_or(0);
        if busy >= most {
            return Err(Later(AGAIN));
        }
        let outside = stranger.then(|| Arc::clone(&self.strangers).try_acquire_owned());
        let outside = outside.transpose().map_err(none)?;
        let working = Arc::clone(&self.working).try_acquire_owned().map_err(none)?;
        counts.busy.insert(party.clone(), busy + 1);
        Ok(Pass { desk: Arc::clone(self), party, _working: working, _stranger: outside })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = crate::volume::lock(&self.desk.counts);
        if let Some(busy) = counts.busy.get_mut(&self.party) {
            *busy = busy.saturating_sub(1);
            if *busy == 0 {
                counts.busy.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> Arc<Desk> {
        let rate = Rate { per_second: 1, burst: 100 };
        Desk::new(Shares {
            requests: 6,
            key: 4,
            key_rate: rate,
            strangers: 3,
            client: 2,
            client_rate: rate,
            ..Shares::default()
        })
    }

    fn key(name: &str) -> Party {
        Party::Key(name.into())
    }

    fn stranger(n: u8) -> Party {
        Party::stranger([192, 0, 2, n].into())
    }

    #[test]
    fn no_key_takes_all_places() {
        let desk = desk();
        let mine: Vec<_> = (0..4).map(|_| desk.admit(key("a")).map_err(|e| e.0).ok().unwrap()).collect();
        assert!(desk.admit(key("a")).is_err());
        let other = desk.admit(key("b")).ok().unwrap();
        drop((mine, other));
        assert!(desk.admit(key("a")).is_ok());
        assert!(crate::volume::lock(&desk.counts).busy.is_empty(), "nothing is remembered of who left");
    }

    #[test]
    fn strangers_leave_room_for_keys() {
        let desk = desk();
        let mut all = vec![desk.admit(stranger(1)).ok().unwrap(), desk.admit(stranger(1)).ok().unwrap()];
        assert!(desk.admit(stranger(1)).is_err(), "two of one client");
        all.push(desk.admit(stranger(2)).ok().unwrap());
        assert!(desk.admit(stranger(3)).is_err(), "three of all");
        for _ in 0..3 {
            all.push(desk.admit(key("a")).ok().unwrap());
        }
        assert!(desk.admit(key("b")).is_err(), "six places");
    }

    #[test]
    fn who_asks_too_often_hears_when_to_come_again() {
        let rate = Rate { per_second: 1, burst: 2 };
        let desk = Desk::new(Shares { key_rate: rate, ..Shares::default() });
        let first: Vec<_> = (0..2).map(|_| desk.admit(key("a")).is_ok()).collect();
        assert_eq!(first, [true, true]);
        assert!(matches!(desk.admit(key("a")), Err(Later(1 | 2))));
    }
}
