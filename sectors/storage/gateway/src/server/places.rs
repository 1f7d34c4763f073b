//! Connections at once: when there are too many, those that do nothing make room.

use crate::access::throttle::client;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// All connections.
pub struct Places {
    most: usize,
    /// Most of one client.
    each: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    seats: BTreeMap<u64, Seat>,
}

struct Seat {
    client: IpAddr,
    /// Rises with time: when it was last busy, or came.
    since: u64,
    /// Requests under way.
    busy: usize,
    /// A request of it was let in.
    proven: bool,
    leave: Arc<Notify>,
}

/// A place of a connection; given back when dropped.
pub struct Place {
    places: Arc<Places>,
    id: u64,
    leave: Arc<Notify>,
}

/// A request of a connection; while it lives, the connection is not asked to leave.
pub struct Busy {
    places: Arc<Places>,
    id: u64,
}

impl Places {
    /// For `most` connections, of which one client has at most `each`.
    pub fn new(most: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { most, each, table: Mutex::new(Table::default()) })
    }

    /// A place for a connection from an address. If there is none, an idle connection is asked to leave: first those
    /// whose requests were never let in, of them those of whoever has most, of those the one that is idle longest.
    /// `None`: nobody is idle.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let client = client(address);
        let table = &mut *crate::volume::lock(&self.table);
        let own = table.seats.values().filter(|s| s.client == client).count();
        if own >= self.each {
            table.dismiss(Some(client))?;
        } else if table.seats.len() >= self.most {
            table.dismiss(None)?;
        }
        let id = table.tick();
        let leave = Arc::new(Notify::new());
        let seat = Seat { client, since: id, busy: 0, proven: false, leave: Arc::clone(&leave) };
        table.seats.insert(id, seat);
        Some(Place { places: Arc::clone(self), id, leave })
    }

    /// Connections now.
    #[cfg(test)]
    fn len(&self) -> usize {
        crate::volume::lock(&self.table).seats.len()
    }
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }

    fn dismiss(&mut self, only: Option<IpAddr>) -> Option<()> {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        // Whoever was let in before does not count as one of a crowd for it.
        let strange = self.seats.values().filter(|s| !s.proven);
        strange.for_each(|s| *counts.entry(s.client).or_default() += 1);
        let idle = self.seats.iter().filter(|(_, s)| s.busy == 0 && only.is_none_or(|c| c == s.client));
        let rank = |s: &Seat| (s.proven, usize::MAX - counts.get(&s.client).copied().unwrap_or(0), s.since);
        let (id, _) = idle.min_by_key(|(_, s)| rank(s))?;
        let id = *id;
        let seat = self.seats.remove(&id)?;
        seat.leave.notify_one();
        Some(())
    }
}

impl Place {
    /// Returns when the connection has to leave.
    pub async fn dismissed(&self) {
        self.leave.notified().await;
    }

    /// A request begins.
    pub fn begin(&self) -> Busy {
        if let Some(seat) = crate::volume::lock(&self.places.table).seats.get_mut(&self.id) {
            seat.busy += 1;
        }
        Busy { places: Arc::clone(&self.places), id: self.id }
    }
}

impl Busy {
    /// The request was let in.
    pub fn proven(&self) {
        if let Some(seat) = crate::volume::lock(&self.places.table).seats.get_mut(&self.id) {
            seat.proven = true;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let table = &mut *crate::volume::lock(&self.places.table);
        let now = table.tick();
        if let Some(seat) = table.seats.get_mut(&self.id) {
            seat.busy = seat.busy.saturating_sub(1);
            seat.since = now;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        crate::volume::lock(&self.places.table).seats.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn ip(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn left(place: &Place) -> bool {
        place.dismissed().now_or_never().is_some()
    }

    #[test]
    fn the_idle_of_whoever_has_most_make_room() {
        let places = Places::new(4, 10);
        let good = places.enter(ip(1)).unwrap();
        let flood: Vec<_> = (0..3).map(|_| places.enter(ip(2)).unwrap()).collect();
        let more = places.enter(ip(3)).unwrap();
        assert!(left(&flood[0]) && !left(&flood[1]) && !left(&good));
        assert_eq!(places.len(), 4);
        drop(more);
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn who_was_let_in_stays_longest_and_who_is_busy_stays() {
        let places = Places::new(2, 10);
        let good = places.enter(ip(1)).unwrap();
        let request = good.begin();
        request.proven();
        drop(request);
        let bad = places.enter(ip(1)).unwrap();
        let next = places.enter(ip(1)).unwrap();
        assert!(left(&bad) && !left(&good));
        let (_a, _b) = (next.begin(), good.begin());
        assert!(places.enter(ip(4)).is_none(), "nobody is idle");
    }

    #[test]
    fn old_acquaintances_do_not_make_a_newcomer_one_of_a_crowd() {
        let places = Places::new(6, 10);
        let known: Vec<_> = (0..3).map(|_| places.enter(ip(1)).unwrap()).collect();
        known.iter().for_each(|p| p.begin().proven());
        let newcomer = places.enter(ip(1)).unwrap();
        let flood: Vec<_> = (0..2).map(|_| places.enter(ip(2)).unwrap()).collect();
        let _more = places.enter(ip(3)).unwrap();
        assert!(left(&flood[0]) && !left(&newcomer) && !left(&known[0]));
    }

    #[test]
    fn one_client_has_its_share() {
        let places = Places::new(10, 2);
        let own: Vec<_> = (0..3).map(|_| places.enter(ip(1)).unwrap()).collect();
        assert!(left(&own[0]) && !left(&own[1]));
        assert_eq!(places.len(), 2);
        assert!(places.enter(ip(2)).is_some());
    }
}
