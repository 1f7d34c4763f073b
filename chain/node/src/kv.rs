//! One ordered map on disk, written in batches that are whole or absent after a crash.

use redb::{Database, ReadableDatabase, TableDefinition};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("cairn-node-1");
/// Bytes of the page cache.
const CACHE: usize = 64 * 1024 * 1024;

/// Key spaces: the first byte of every key.
pub(crate) mod space {
    /// Facts about the store itself.
    pub const META: u8 = 0;
    /// Height: events of a block.
    pub const BLOCK: u8 = 1;
    /// Transaction: height and number in the block.
    pub const RECEIPT: u8 = 2;
    /// State key: row of the registry.
    pub const MIRROR: u8 = 3;
    /// Device: sector; outlives the device.
    pub const DEVICE: u8 = 4;
    /// Epoch and device: what was posted.
    pub const POSTING: u8 = 5;
    /// Epoch and sector: registry at the lock.
    pub const SNAPSHOT: u8 = 6;
    /// Epoch, device and hash: size of a bundle held.
    pub const BUNDLE: u8 = 7;
    /// Epoch and sector: settlement voted for, with the salt.
    pub const PENDING: u8 = 8;
    /// Sector and epoch: final settlement.
    pub const SETTLED: u8 = 9;
    /// Sector and key: memory.
    pub const MEMORY: u8 = 10;
    /// Sector and key: tally.
    pub const TALLY: u8 = 11;
    /// Sector: the settlement after which memory and tally are.
    pub const PROMOTED: u8 = 12;
}

/// A key of parts in a space.
pub(crate) fn key(space: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![space];
    parts.iter().for_each(|p| out.extend_from_slice(p));
    out
}

/// Changes that happen together.
#[derive(Default)]
pub(crate) struct Batch(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Batch {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.push((key, Some(value)));
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.0.push((key, None));
    }
}

/// The map. Closing makes every later call an error.
pub(crate) struct Kv(RwLock<Option<Arc<Database>>>);

/// What the disk said.
pub(crate) type KvResult<T> = Result<T, String>;

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

impl Kv {
    pub(crate) fn open(path: &Path) -> KvResult<Self> {
        let db = Database::builder().set_cache_size(CACHE).create(path).map_err(text)?;
        let tx = db.begin_write().map_err(text)?;
        tx.open_table(TABLE).map_err(text)?;
        tx.commit().map_err(text)?;
        Ok(Self(RwLock::new(Some(Arc::new(db)))))
    }

    pub(crate) fn close(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn db(&self) -> KvResult<Arc<Database>> {
        let db = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        db.ok_or_else(|| "the node is shut down".to_owned())
    }

    pub(crate) fn get(&self, key: &[u8]) -> KvResult<Option<Vec<u8>>> {
        let tx = self.db()?.begin_read().map_err(text)?;
        let table = tx.open_table(TABLE).map_err(text)?;
        let value = table.get(key).map_err(text)?;
        Ok(value.map(|v| v.value().to_vec()))
    }

    /// Pairs under a prefix from `from` on (a whole key), ascending, at most `limit`.
    pub(crate) fn scan_from(
        &self,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> KvResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let tx = self.db()?.begin_read().map_err(text)?;
        let table = tx.open_table(TABLE).map_err(text)?;
        let mut out = Vec::new();
        for pair in table.range(from..).map_err(text)? {
            let (k, v) = pair.map_err(text)?;
            if !k.value().starts_with(prefix) || out.len() >= limit {
                break;
            }
            out.push((k.value().to_vec(), v.value().to_vec()));
        }
        Ok(out)
    }

    /// All pairs under a prefix, ascending.
    pub(crate) fn scan(&self, prefix: &[u8]) -> KvResult<Vec<(Vec<u8>, Vec<u8>)>> {
        self.scan_from(prefix, prefix, usize::MAX)
    }

    /// Writes a batch; durable when this returns.
    pub(crate) fn commit(&self, batch: Batch) -> KvResult<()> {
        let tx = self.db()?.begin_write().map_err(text)?;
        {
            let mut table = tx.open_table(TABLE).map_err(text)?;
            for (key, value) in batch.0 {
                match value {
                    Some(v) => table.insert(key.as_slice(), v.as_slice()).map(|_| ()).map_err(text)?,
                    None => table.remove(key.as_slice()).map(|_| ()).map_err(text)?,
                }
            }
        }
        tx.commit().map_err(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_do_not_run_into_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let kv = Kv::open(&dir.path().join("kv")).unwrap();
        let mut b = Batch::default();
        for (k, v) in [(vec![1, 1], 1u8), (vec![1, 2], 2), (vec![2], 3), (vec![1], 4)] {
            b.put(k, vec![v]);
        }
        kv.commit(b).unwrap();
        let values = |p: &[u8]| kv.scan(p).unwrap().into_iter().map(|x| x.1[0]).collect::<Vec<_>>();
        assert_eq!((values(&[1]), values(&[2]), values(&[3])), (vec![4, 1, 2], vec![3], vec![]));
        assert_eq!(kv.scan_from(&[1], &[1, 2], 9).unwrap().len(), 1);
        kv.close();
        assert!(kv.get(&[1]).is_err());
    }
}
