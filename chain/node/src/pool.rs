//! Transactions that wait for a block. Everything is bounded: count, bytes, and count by sender.

use cairn_ledger::tx::Tx;
use cairn_types::{AccountId, Amount, DeviceId, Hash, Refusal, encode};
use std::collections::{BTreeMap, BTreeSet};

/// Most transactions.
pub(crate) const MAX_COUNT: usize = 10_000;
/// Most bytes.
pub(crate) const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Most transactions of one account.
pub(crate) const PER_ACCOUNT: usize = 64;
/// Most transactions of one device: a posting of each kind, a defence or two.
pub(crate) const PER_DEVICE: usize = 8;
/// Most transactions of one seat.
pub(crate) const PER_SEAT: usize = 256;

/// Who pays, or is bound by, a transaction. The order is that of a block: seats, devices, accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sender {
    Seat(u16),
    Device(DeviceId),
    Account(AccountId),
}

impl Sender {
    pub(crate) fn of(tx: &Tx) -> Self {
        match tx {
            Tx::Account(t, _) => Self::Account(t.authority.account_id()),
            Tx::Device(t, _) => Self::Device(t.device),
            Tx::Seat(t, _) => Self::Seat(t.seat),
        }
    }

    fn limit(&self) -> usize {
        match self {
            Self::Seat(_) => PER_SEAT,
            Self::Device(_) => PER_DEVICE,
            Self::Account(_) => PER_ACCOUNT,
        }
    }

    /// Class in a block; within it the order of arrival.
    fn class(&self) -> u8 {
        match self {
            Self::Seat(_) => 0,
            Self::Device(_) => 1,
            Self::Account(_) => 2,
        }
    }
}

struct Entry {
    tx: Tx,
    id: Hash,
    sender: Sender,
    size: usize,
    cost: Amount,
}

/// Class in a block, and number of arrival.
type Place = (u8, u64);

/// The pool.
#[derive(Default)]
pub(crate) struct Pool {
    entries: BTreeMap<Place, Entry>,
    places: BTreeMap<Hash, Place>,
    /// What waits of each sender: with thousands waiting, nobody looks through all of them for one sender's.
    senders: BTreeMap<Sender, BTreeSet<Place>>,
    bytes: usize,
    arrivals: u64,
}

fn full(cause: String) -> Refusal {
    Refusal::with("pool.full", cause, "wait for the next block and send it again")
}

impl Pool {
    /// Transactions waiting.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, id: &Hash) -> bool {
        self.places.contains_key(id)
    }

    /// Next free nonce of an account above the state's, and what its waiting transactions cost.
    pub(crate) fn pending(&self, account: &AccountId, nonce: u64) -> (u64, Amount) {
        let (mut next, mut cost) = (nonce, Amount::ZERO);
        for entry in self.of(account) {
            let Tx::Account(t, _) = &entry.tx else { continue };
            if t.nonce >= nonce {
                next = next.max(t.nonce.saturating_add(1));
                cost = cost.saturating_add(entry.cost);
            }
        }
        (next, cost)
    }

    fn of(&self, account: &AccountId) -> impl Iterator<Item = &Entry> {
        let places = self.senders.get(&Sender::Account(*account)).into_iter().flatten();
        places.filter_map(|place| self.entries.get(place))
    }

    /// Takes a transaction in. `cost`: fee and tip.
    pub(crate) fn insert(&mut self, tx: Tx, cost: Amount) -> Result<Hash, Refusal> {
        let (id, size, sender) = (tx.id(), encode(&tx).len(), Sender::of(&tx));
        if self.contains(&id) {
            return Err(Refusal::new("pool.known", "the transaction waits already", "wait for its receipt"));
        }
        let held = self.senders.get(&sender).map_or(0, BTreeSet::len);
        if held >= sender.limit() {
            return Err(full(format!("{held} transactions of this sender wait already")));
        }
        // What keeps the network going has room of its own.
        let room = if sender.class() == 2 { MAX_COUNT } else { MAX_COUNT * 2 };
        if self.entries.len() >= room || self.bytes + size > MAX_BYTES {
            return Err(full(format!("{} transactions with {} bytes wait", self.entries.len(), self.bytes)));
        }
        let place = (sender.class(), self.arrivals);
        self.arrivals += 1;
        self.bytes += size;
        self.senders.entry(sender).or_default().insert(place);
        self.places.insert(id, place);
        self.entries.insert(place, Entry { tx, id, sender, size, cost });
        Ok(id)
    }

    /// Removes a transaction; true if it was there.
    pub(crate) fn remove(&mut self, id: &Hash) -> bool {
        let Some(place) = self.places.remove(id) else { return false };
        let Some(entry) = self.entries.remove(&place) else { return false };
        self.bytes -= entry.size;
        if let Some(places) = self.senders.get_mut(&entry.sender) {
            places.remove(&place);
            if places.is_empty() {
                self.senders.remove(&entry.sender);
            }
        }
        true
    }

    /// Candidates for a block of at most `limit` bytes, in order.
    pub(crate) fn candidates(&self, limit: usize) -> Vec<Tx> {
        let mut left = limit;
        let mut out = Vec::new();
        for entry in self.entries.values() {
            let Some(rest) = left.checked_sub(entry.size + 4) else { break };
            left = rest;
            out.push(entry.tx.clone());
        }
        out
    }

    /// Ids of transactions that wait, with their nonce, of an account.
    pub(crate) fn stale(&self, account: &AccountId, nonce: u64) -> Vec<Hash> {
        let old = |e: &&Entry| matches!(&e.tx, Tx::Account(t, _) if t.nonce < nonce);
        self.of(account).filter(old).map(|e| e.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_crypto::authority::{Authority, Signatures};
    use cairn_crypto::keys::{SecretKey, Signature};
    use cairn_ledger::tx::{AccountTx, Action, DeviceTx, Duty, SeatDuty, SeatTx};
    use cairn_types::{Epoch, Height, NetworkId, SectorId};

    fn account(who: u8, nonce: u64) -> Tx {
        let tx = AccountTx {
            network: NetworkId::default(),
            fork: 0,
            authority: Authority::Single(SecretKey::from_seed(&[who; 32]).public()),
            nonce,
            valid_until: Height(9),
            tip: Amount(1),
            action: Action::Operator { info: String::new() },
        };
        Tx::Account(Box::new(tx), Signatures::default())
    }

    fn device(who: u8, n: u64) -> Tx {
        let duty = Duty::Bundle { epoch: Epoch(n), hash: Hash::default(), size: 0 };
        let tx = DeviceTx { network: NetworkId::default(), fork: 0, device: DeviceId([who; 32]), duty };
        Tx::Device(Box::new(tx), Signature([0; 64]))
    }

    fn seat() -> Tx {
        let duty = SeatDuty::Certificate { epoch: Epoch(0), sector: SectorId(1), devices: vec![] };
        Tx::Seat(
            Box::new(SeatTx { network: NetworkId::default(), fork: 0, seat: 0, duty }),
            Signature([0; 64]),
        )
    }

    #[test]
    fn seats_come_first_then_devices_then_accounts_as_they_arrived() {
        let mut p = Pool::default();
        for tx in [account(1, 1), device(1, 1), account(1, 0), seat(), device(2, 2)] {
            p.insert(tx, Amount(1)).unwrap();
        }
        assert_eq!(p.candidates(1 << 20), [seat(), device(1, 1), device(2, 2), account(1, 1), account(1, 0)]);
        let two = encode(&seat()).len() + encode(&device(1, 1)).len() + 8;
        assert_eq!(p.candidates(two).len(), 2);
    }

    #[test]
    fn a_sender_is_limited_and_gets_its_room_back() {
        let mut p = Pool::default();
        for n in 0..PER_ACCOUNT {
            p.insert(account(1, u64::try_from(n).unwrap()), Amount(1)).unwrap();
        }
        assert_eq!(p.insert(account(1, 99), Amount(1)).unwrap_err().code, "pool.full");
        p.insert(account(2, 0), Amount(1)).unwrap();
        assert!(p.remove(&account(1, 0).id()));
        assert!(!p.remove(&account(1, 0).id()));
        p.insert(account(1, 99), Amount(1)).unwrap();
        for n in 0..PER_DEVICE {
            p.insert(device(1, u64::try_from(n).unwrap()), Amount::ZERO).unwrap();
        }
        assert_eq!(p.insert(device(1, 99), Amount::ZERO).unwrap_err().code, "pool.full");
    }

    #[test]
    fn the_same_transaction_waits_once() {
        let mut p = Pool::default();
        p.insert(account(1, 0), Amount(1)).unwrap();
        assert_eq!(p.insert(account(1, 0), Amount(1)).unwrap_err().code, "pool.known");
    }

    #[test]
    fn the_whole_pool_is_limited_but_seats_still_get_in() {
        let mut p = Pool::default();
        for i in 0..MAX_COUNT {
            let who = u8::try_from(i / PER_ACCOUNT).unwrap();
            p.insert(account(who, u64::try_from(i % PER_ACCOUNT).unwrap()), Amount(1)).unwrap();
        }
        assert_eq!(p.insert(account(250, 0), Amount(1)).unwrap_err().code, "pool.full");
        p.insert(seat(), Amount::ZERO).unwrap();
    }

    #[test]
    fn pending_counts_nonces_and_costs_above_the_state() {
        let mut p = Pool::default();
        let who = SecretKey::from_seed(&[1; 32]).public();
        let id = Authority::Single(who).account_id();
        assert_eq!(p.pending(&id, 4), (4, Amount::ZERO));
        for n in [3, 4, 5] {
            p.insert(account(1, n), Amount(10)).unwrap();
        }
        assert_eq!(p.pending(&id, 4), (6, Amount(20)));
        assert_eq!(p.stale(&id, 4), [account(1, 3).id()]);
    }
}
