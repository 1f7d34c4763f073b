//! Who can be reached where: looked up by key, believed only when signed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cairn_crypto::PublicKey;
use cairn_types::NetworkId;

use crate::record::{PeerRecord, RecordError, now_ms};

/// Knows records of peers. It need not be trusted: whoever dials verifies each record against its key.
#[async_trait]
pub trait AddressBook: Send + Sync {
    /// The newest record of `key` that is known, if any. Answers within seconds; a book that cannot answer now
    /// says `None`.
    async fn lookup(&self, key: &PublicKey) -> Option<PeerRecord>;
}

/// Most records that a [`MemoryBook`] keeps.
pub const MAX_BOOK: usize = 100_000;

/// A book in memory: for tests, for one process, and as the node's own store of what devices publish.
pub struct MemoryBook {
    network: NetworkId,
    records: Mutex<BTreeMap<PublicKey, PeerRecord>>,
}

impl MemoryBook {
    /// An empty book of `network`.
    pub fn new(network: NetworkId) -> Self {
        Self { network, records: Mutex::default() }
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<PublicKey, PeerRecord>> {
        // The map is valid after every statement; a panic elsewhere does not spoil it.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record that verifies now. True if it is newer than the known one, so that a replay changes nothing.
    /// Whether the key is a registered device is for the caller to decide before.
    ///
    /// # Errors
    /// [`RecordError`]; a full book refuses new keys until expired records make room.
    pub fn insert(&self, record: PeerRecord) -> Result<bool, RecordError> {
        let now = now_ms();
        record.verify(&self.network, now)?;
        let mut records = self.records();
        let known = records.get(&record.key).map(|known| known.issued);
        if known.is_some_and(|issued| issued >= record.issued) {
            return Ok(false);
        }
        if known.is_none() && records.len() >= MAX_BOOK {
            records.retain(|_, record| record.expires > now);
            if records.len() >= MAX_BOOK {
                return Err(RecordError::Limits("the book is full"));
            }
        }
        records.insert(record.key, record);
        Ok(true)
    }

    /// Forgets a key.
    pub fn remove(&self, key: &PublicKey) {
        self.records().remove(key);
    }

    /// The record of a key, while it has not expired.
    pub fn get(&self, key: &PublicKey) -> Option<PeerRecord> {
        let now = now_ms();
        self.records().get(key).filter(|record| record.expires > now).cloned()
    }

    /// How many records are kept, expired ones included.
    pub fn len(&self) -> usize {
        self.records().len()
    }

    /// True when nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[async_trait]
impl AddressBook for MemoryBook {
    async fn lookup(&self, key: &PublicKey) -> Option<PeerRecord> {
        self.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_crypto::SecretKey;
    use std::time::Duration;

    const NETWORK: NetworkId = NetworkId([9; 32]);

    fn record(port: u16, issued: u64) -> PeerRecord {
        let addrs = [([127, 0, 0, 1], port).into()];
        PeerRecord::sign(NETWORK, &SecretKey::from_seed(&[1; 32]), [], addrs, issued, Duration::from_secs(60))
    }

    #[test]
    fn the_newest_record_wins_whatever_the_order() {
        let (book, now) = (MemoryBook::new(NETWORK), now_ms());
        let key = record(1, now).key;
        assert_eq!(book.insert(record(2, now)), Ok(true));
        assert_eq!(book.insert(record(1, now - 1)), Ok(false));
        assert_eq!(book.insert(record(3, now)), Ok(false));
        assert_eq!(book.get(&key).unwrap().addrs[0].port(), 2);
        assert_eq!(book.insert(record(4, now + 1)), Ok(true));
        assert_eq!(book.get(&key).unwrap().addrs[0].port(), 4);
        book.remove(&key);
        assert!(book.is_empty());
    }

    #[test]
    fn what_does_not_verify_is_not_kept() {
        let book = MemoryBook::new(NETWORK);
        let mut bad = record(1, now_ms());
        bad.addrs[0].set_port(7);
        assert_eq!(book.insert(bad), Err(RecordError::Signature));
        assert!(matches!(book.insert(record(1, now_ms() - 60_000)), Err(RecordError::Time(_))));
        assert!(book.is_empty());
    }
}
