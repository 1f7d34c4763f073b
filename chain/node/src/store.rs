//! What a node keeps beside the engine: receipts and events, the registry mirror with its snapshots, postings,
//! bundles, sector memory and tallies, votes, settlements, packs.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_audit::Posting;
use cairn_crypto::merkle::rows::RowProof;
use cairn_ledger::events::Event;
use cairn_ledger::executor::Receipt;
use cairn_ledger::genesis::Contents;
use cairn_ledger::registry::device_entry;
use cairn_ledger::settle::{Line, Settled, outcome_chunks};
use cairn_ledger::settlement::{Outcome, Settlement};
use cairn_ledger::state::{Key, Table, Writes, open_entry};
use cairn_ledger::tables::{Devices, Leases, PostingRow, Postings, Sales};
use cairn_sector::{DeviceEntry, LeaseEntry, SaleEntry};
use cairn_types::{DeviceId, Epoch, Hash, Height, SectorId, decode, encode};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::BlockEvents;
use crate::files;
use crate::kv::{Batch, Kv, KvResult, key, space};

/// The registry of one sector as a lock froze it.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Snapshot {
    pub devices: Vec<DeviceEntry>,
    pub leases: Vec<LeaseEntry>,
    pub sales: Vec<SaleEntry>,
}

/// A made settlement with the salt of its vote.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Pending {
    pub settled: Settled,
    pub salt: Hash,
}

/// A final settlement.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Final {
    pub settlement: Settlement,
    pub lines: Vec<Line>,
    pub outcomes: Vec<Outcome>,
}

impl Final {
    /// Outcomes in transaction-sized chunks with their Merkle paths: (number of the first, outcomes, path).
    pub(crate) fn chunks(&self) -> Vec<(u32, Vec<Outcome>, RowProof)> {
        outcome_chunks(&self.outcomes)
    }
}

/// Facts fixed when the directory was made.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Base {
    pub fork: u32,
    pub origin: u64,
    pub import: Option<Hash>,
}

/// The store.
pub(crate) struct Store {
    kv: Kv,
    dir: PathBuf,
}

fn open<T: BorshDeserialize>(bytes: &[u8]) -> KvResult<T> {
    decode(bytes).map_err(|e| format!("a stored value does not decode: {e}"))
}

fn es(epoch: Epoch, sector: SectorId) -> [u8; 10] {
    let mut out = [0; 10];
    out[..8].copy_from_slice(&epoch.0.to_be_bytes());
    out[8..].copy_from_slice(&sector.0.to_be_bytes());
    out
}

/// Does the registry mirror keep rows under this state key?
fn mirrored(k: &Key) -> bool {
    [Devices::TAG, Leases::TAG, Sales::TAG].contains(&k[0])
}

/// Stored pairs with the first `skip` bytes of their keys cut off.
fn strip(pairs: Vec<(Vec<u8>, Vec<u8>)>, skip: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs.into_iter().map(|(mut k, v)| (k.split_off(skip.min(k.len())), v)).collect()
}

impl Store {
    pub(crate) fn open(dir: &Path) -> KvResult<Self> {
        files::make_dirs(dir).map_err(|e| e.to_string())?;
        Ok(Self { kv: Kv::open(&dir.join("node.redb"))?, dir: dir.to_owned() })
    }

    pub(crate) fn close(&self) {
        self.kv.close();
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    // Facts about the store.

    pub(crate) fn base(&self) -> KvResult<Option<Base>> {
        self.kv.get(&key(space::META, &[b"base"]))?.map(|v| open(&v)).transpose()
    }

    /// Makes a store for a new chain: an imported state brings registry, memory and tallies along.
    pub(crate) fn create(
        &self,
        base: &Base,
        rows: &Writes,
        contents: &[Contents],
        latest: &[(SectorId, Epoch, Hash)],
    ) -> KvResult<()> {
        let mut b = Batch::default();
        b.put(key(space::META, &[b"base"]), encode(base));
        b.put(key(space::META, &[b"applied"]), encode(&base.origin));
        self.mirror(&mut b, rows)?;
        for c in contents {
            let id = c.sector.0.to_be_bytes();
            c.memory.iter().for_each(|(k, v)| b.put(key(space::MEMORY, &[&id, k]), v.clone()));
            c.tally.iter().for_each(|(k, v)| b.put(key(space::TALLY, &[&id, k]), v.clone()));
        }
        for (sector, epoch, id) in latest {
            b.put(key(space::PROMOTED, &[&sector.0.to_be_bytes()]), encode(&(epoch, id)));
        }
        self.kv.commit(b)
    }

    /// Height up to which final blocks are taken in.
    pub(crate) fn applied(&self) -> KvResult<Height> {
        let bytes = self.kv.get(&key(space::META, &[b"applied"]))?;
        bytes.map(|v| open(&v)).transpose().map(Option::unwrap_or_default)
    }

    // Blocks.

    /// Takes in a final block in one step. `starts`: the sectors whose lock this block is.
    pub(crate) fn apply(&self, events: &BlockEvents, writes: &Writes, starts: &[SectorId]) -> KvResult<()> {
        let mut b = Batch::default();
        for sector in starts {
            // The lock came before anything else in this block: the mirror still shows what it froze.
            let snapshot = self.registry(*sector)?;
            b.put(key(space::SNAPSHOT, &[&es(events.epoch, *sector)]), encode(&snapshot));
        }
        self.mirror(&mut b, writes)?;
        let height = events.height.0.to_be_bytes();
        b.put(key(space::BLOCK, &[&height]), encode(events));
        for (i, receipt) in (0u32..).zip(&events.receipts) {
            b.put(key(space::RECEIPT, &[receipt.tx.as_ref()]), encode(&(events.height, i)));
        }
        b.put(key(space::META, &[b"applied"]), encode(&events.height));
        self.kv.commit(b)
    }

    fn mirror(&self, b: &mut Batch, writes: &Writes) -> KvResult<()> {
        for (k, value) in writes {
            if mirrored(k) {
                let at = key(space::MIRROR, &[k]);
                match value {
                    Some(v) => b.put(at, v.clone()),
                    None => b.delete(at),
                }
            }
            let Some(v) = value else { continue };
            if k[0] == Devices::TAG {
                let (id, row) = open_entry::<Devices>(v).ok_or("a device row does not decode")?;
                b.put(key(space::DEVICE, &[id.as_ref()]), encode(&row.sector));
            }
            if k[0] == Postings::TAG {
                let ((epoch, device), row) =
                    open_entry::<Postings>(v).ok_or("a posting row does not decode")?;
                b.put(key(space::POSTING, &[&epoch.0.to_be_bytes(), device.as_ref()]), encode(&row));
            }
        }
        Ok(())
    }

    /// Puts the registry mirror anew, after blocks were missed: rows read from the state while blocks went on, and
    /// the writes of those blocks on top.
    pub(crate) fn resync(&self, rows: &[(Key, Vec<u8>)], later: &[Writes]) -> KvResult<()> {
        let mut b = Batch::default();
        for (k, _) in self.kv.scan(&[space::MIRROR])? {
            b.delete(k);
        }
        let found: Writes = rows.iter().map(|(k, v)| (*k, Some(v.clone()))).collect();
        self.mirror(&mut b, &found)?;
        for writes in later {
            self.mirror(&mut b, writes)?;
        }
        self.kv.commit(b)
    }

    fn rows<T: Table>(&self) -> KvResult<Vec<(T::Key, T::Row)>> {
        let pairs = self.kv.scan(&[space::MIRROR, T::TAG])?;
        pairs
            .iter()
            .map(|(_, v)| open_entry::<T>(v).ok_or_else(|| "a mirrored row does not decode".to_owned()))
            .collect()
    }

    /// The registry of a sector as the newest block left it.
    pub(crate) fn registry(&self, sector: SectorId) -> KvResult<Snapshot> {
        let mut out = Snapshot {
            devices: self
                .rows::<Devices>()?
                .iter()
                .filter(|(_, r)| r.sector == sector)
                .map(|(id, r)| device_entry(id, r))
                .collect(),
            // A refunded lease left the registry; its row stays for the record.
            leases: self
                .rows::<Leases>()?
                .into_iter()
                .filter(|(_, r)| r.entry.sector == sector && r.refunded.is_none())
                .map(|(_, r)| r.entry)
                .collect(),
            sales: self
                .rows::<Sales>()?
                .into_iter()
                .filter(|((s, _), _)| *s == sector)
                .map(|(_, sale)| sale)
                .collect(),
        };
        out.devices.sort_by_key(|e| e.id);
        out.leases.sort_by_key(|e| e.id);
        out.sales.sort_by_key(|e| e.id);
        Ok(out)
    }

    pub(crate) fn snapshot(&self, epoch: Epoch, sector: SectorId) -> KvResult<Option<Snapshot>> {
        self.kv.get(&key(space::SNAPSHOT, &[&es(epoch, sector)]))?.map(|v| open(&v)).transpose()
    }

    pub(crate) fn receipt(&self, id: &Hash) -> KvResult<Option<(Height, Receipt, Vec<Event>)>> {
        let Some(at) = self.kv.get(&key(space::RECEIPT, &[id.as_ref()]))? else { return Ok(None) };
        let (height, index): (Height, u32) = open(&at)?;
        let Some(block) = self.kv.get(&key(space::BLOCK, &[&height.0.to_be_bytes()]))? else {
            return Ok(None);
        };
        let block: BlockEvents = open(&block)?;
        let place = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let Some(receipt) = block.receipts.get(place(index)) else { return Ok(None) };
        let events = block.events.get(place(receipt.from)..place(receipt.until)).unwrap_or_default().to_vec();
        Ok(Some((height, receipt.clone(), events)))
    }

    pub(crate) fn history(&self, from: Height, limit: usize) -> KvResult<Vec<Arc<BlockEvents>>> {
        let found =
            self.kv.scan_from(&[space::BLOCK], &key(space::BLOCK, &[&from.0.to_be_bytes()]), limit)?;
        found.iter().map(|(_, v)| open(v).map(Arc::new)).collect()
    }

    // Evidence.

    pub(crate) fn posting(&self, epoch: Epoch, device: &DeviceId) -> KvResult<Option<PostingRow>> {
        let at = key(space::POSTING, &[&epoch.0.to_be_bytes(), device.as_ref()]);
        self.kv.get(&at)?.map(|v| open(&v)).transpose()
    }

    /// What the devices of a sector posted for an epoch, ascending by device.
    pub(crate) fn postings(&self, epoch: Epoch, sector: SectorId) -> KvResult<Vec<(DeviceId, PostingRow)>> {
        let mut out = Vec::new();
        for (k, v) in strip(self.kv.scan(&key(space::POSTING, &[&epoch.0.to_be_bytes()]))?, 9) {
            let device: DeviceId = open(&k)?;
            let own = self.kv.get(&key(space::DEVICE, &[device.as_ref()]))?;
            if own.is_some_and(|x| x == encode(&sector)) {
                out.push((device, open(&v)?));
            }
        }
        Ok(out)
    }

    /// Postings as a settlement takes them.
    pub(crate) fn settled_postings(&self, epoch: Epoch, sector: SectorId) -> KvResult<Vec<Posting>> {
        let all = self.postings(epoch, sector)?.into_iter().map(|(device, row)| Posting {
            device,
            bundle: row.bundle.filter(|_| row.certified).map(|b| b.0),
            commitment: row.commitment,
            answers: row.answers,
        });
        Ok(all.filter(|p| p.commitment.is_some() || p.answers.is_some() || p.bundle.is_some()).collect())
    }

    fn bundle_path(&self, epoch: Epoch, hash: &Hash) -> PathBuf {
        self.dir.join("bundles").join(epoch.to_string()).join(hash.to_string())
    }

    /// Bundles held of a device and epoch: (hash, size).
    pub(crate) fn bundles(&self, epoch: Epoch, device: &DeviceId) -> KvResult<Vec<(Hash, u64)>> {
        let found = self.kv.scan(&key(space::BUNDLE, &[&epoch.0.to_be_bytes(), device.as_ref()]))?;
        strip(found, 41).iter().map(|(k, v)| Ok((open(k)?, open(v)?))).collect()
    }

    /// Keeps a bundle; durable when this returns.
    pub(crate) fn put_bundle(
        &self,
        epoch: Epoch,
        device: &DeviceId,
        hash: &Hash,
        bytes: &[u8],
    ) -> KvResult<()> {
        files::write(&self.bundle_path(epoch, hash), bytes).map_err(|e| e.to_string())?;
        let mut b = Batch::default();
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        b.put(key(space::BUNDLE, &[&epoch.0.to_be_bytes(), device.as_ref(), hash.as_ref()]), encode(&size));
        self.kv.commit(b)
    }

    pub(crate) fn bundle(&self, epoch: Epoch, hash: &Hash) -> KvResult<Option<Vec<u8>>> {
        files::read(&self.bundle_path(epoch, hash)).map_err(|e| e.to_string())
    }

    // Settlements.

    /// Memory and tally of a sector after the promoted settlement.
    pub(crate) fn contents(&self, sector: SectorId) -> KvResult<Contents> {
        let id = sector.0.to_be_bytes();
        Ok(Contents {
            sector,
            memory: strip(self.kv.scan(&key(space::MEMORY, &[&id]))?, 3),
            tally: strip(self.kv.scan(&key(space::TALLY, &[&id]))?, 3),
        })
    }

    /// The settlement after which memory and tally are.
    pub(crate) fn promoted(&self, sector: SectorId) -> KvResult<Option<(Epoch, Hash)>> {
        self.kv.get(&key(space::PROMOTED, &[&sector.0.to_be_bytes()]))?.map(|v| open(&v)).transpose()
    }

    pub(crate) fn pending(&self, epoch: Epoch, sector: SectorId) -> KvResult<Option<Pending>> {
        self.kv.get(&key(space::PENDING, &[&es(epoch, sector)]))?.map(|v| open(&v)).transpose()
    }

    pub(crate) fn put_pending(&self, epoch: Epoch, sector: SectorId, p: &Pending) -> KvResult<()> {
        let mut b = Batch::default();
        b.put(key(space::PENDING, &[&es(epoch, sector)]), encode(p));
        self.kv.commit(b)
    }

    pub(crate) fn pack_path(&self, sector: SectorId, epoch: Epoch) -> PathBuf {
        self.dir.join("packs").join(format!("{sector}-{epoch}.pack"))
    }

    /// Makes a settlement that is final on chain the base of the next, in one step.
    pub(crate) fn promote(&self, settled: &Settled) -> KvResult<()> {
        let s = &settled.settlement;
        let mut b = Batch::default();
        let id = s.sector.0.to_be_bytes();
        for (what, changes) in [(space::MEMORY, &settled.memory), (space::TALLY, &settled.tally)] {
            for (k, value) in changes {
                match value {
                    Some(v) => b.put(key(what, &[&id, k]), v.clone()),
                    None => b.delete(key(what, &[&id, k])),
                }
            }
        }
        let record =
            Final { settlement: s.clone(), lines: settled.lines.clone(), outcomes: settled.outcomes.clone() };
        b.put(key(space::SETTLED, &[&id, &s.epoch.0.to_be_bytes()]), encode(&record));
        b.put(key(space::PROMOTED, &[&id]), encode(&(s.epoch, s.id())));
        b.delete(key(space::PENDING, &[&es(s.epoch, s.sector)]));
        self.kv.commit(b)
    }

    pub(crate) fn settlement(&self, sector: SectorId, epoch: Epoch) -> KvResult<Option<Final>> {
        let at = key(space::SETTLED, &[&sector.0.to_be_bytes(), &epoch.0.to_be_bytes()]);
        self.kv.get(&at)?.map(|v| open(&v)).transpose()
    }

    /// Forgets working material of epochs before `epoch`: postings, snapshots, votes, bundles.
    pub(crate) fn prune(&self, epoch: Epoch) -> KvResult<()> {
        let mut b = Batch::default();
        for what in [space::POSTING, space::SNAPSHOT, space::PENDING, space::BUNDLE] {
            let end = key(what, &[&epoch.0.to_be_bytes()]);
            for (k, _) in self.kv.scan(&[what])?.into_iter().take_while(|(k, _)| *k < end) {
                b.delete(k);
            }
        }
        self.kv.commit(b)?;
        files::prune_numbered(&self.dir.join("bundles"), epoch.0).map_err(|e| e.to_string())
    }
}
