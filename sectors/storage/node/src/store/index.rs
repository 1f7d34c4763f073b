//! The index: rows of borsh values by table and key.
//!
//! A change is durable once its record is in the journal; one sync serves all changes that arrived while the one before
//! was on its way. The rows of the journal are kept in memory in front of the database and go into it together, in one
//! transaction, when the journal is full. Whoever opens the index reads the journal again.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_storage_codec::wire::code;
use cairn_types::{Refusal, decode, encode};
use redb::{Database, ReadableDatabase, TableDefinition, WriteTransaction};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::journal::{Op, Round, Tape, ops};
use super::{StoreError, locked};
use crate::disk::Disk;

/// A table by its number in the journal and its name in the database.
#[derive(Clone, Copy)]
pub struct Table(u8, &'static str);

impl Table {
    const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.1)
    }
}

/// Rows of slots.
pub const SLOTS: Table = Table(0, "slots");
/// Fragments of slots by position.
pub const HELD: Table = Table(1, "held");
/// Logs.
pub const LOG: Table = Table(2, "log");
/// Notes.
pub const NOTES: Table = Table(3, "notes");
/// Fragment lists of revisions that open epochs need and that no longer stand.
pub const OLD: Table = Table(4, "old");
/// Removed fragments that open epochs need.
pub const GARBAGE: Table = Table(5, "garbage");
/// Commitments of open epochs.
pub const FROZEN: Table = Table(6, "frozen");
/// Answers of open epochs.
pub const ANSWERS: Table = Table(7, "answers");
/// What settlements know.
pub const SUBMITTED: Table = Table(8, "submitted");
/// Repairs to be handed in.
pub const REPAIRS: Table = Table(9, "repairs");
/// Bytes of small fragments.
pub const SMALL: Table = Table(10, "small");
/// Small fragments that are staged.
pub const STAGED: Table = Table(11, "staged");
/// What this device saw as an auditor in open epochs.
pub const REPORTS: Table = Table(12, "reports");
const ALL: [Table; 13] =
    [SLOTS, HELD, LOG, NOTES, OLD, GARBAGE, FROZEN, ANSWERS, SUBMITTED, REPAIRS, SMALL, STAGED, REPORTS];
/// Where the journal begins; written by checkpoints only.
const META: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("meta");
const ROUND: &[u8] = b"journal";

/// A failure of the index as a refusal.
fn broken(e: impl Into<redb::Error>) -> StoreError {
    match e.into() {
        redb::Error::Io(e) => super::io(&e),
        other => Refusal::with(
            code::DISK,
            format!("the index failed: {other}"),
            "look at the disk, then restart the node",
        ),
    }
}

fn closed() -> StoreError {
    Refusal::new(
        code::DISK,
        "the index failed and could not be opened again",
        "look at the disk, then restart the node",
    )
}

/// Rows that are in the journal and not yet in the database, by table; `None` = removed.
type Rows = Vec<BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

/// What readers see: the rows in memory, then the database.
struct View {
    rows: Rows,
    /// None after a failure from which it could not be opened again.
    db: Option<Database>,
}

/// Changes that become durable together.
#[derive(Default)]
struct Batch(OnceLock<Result<(), StoreError>>);

/// What stood in memory under a table's key before a change.
type Before = (usize, Vec<u8>, Option<Option<Vec<u8>>>);

/// Changes that readers see and that are not in the journal yet.
#[derive(Default)]
struct Queue {
    batch: Arc<Batch>,
    records: Vec<Vec<u8>>,
    undo: Vec<Before>,
}

/// The index. Locks are taken in the order tape, turn, queue, view.
pub struct Index {
    disk: Arc<dyn Disk>,
    tape: Mutex<Tape>,
    /// Changes are made one after the other.
    turn: Mutex<()>,
    queue: Mutex<Queue>,
    view: RwLock<View>,
}

/// One atomic change of the index; nothing is kept unless [`Index::write`] returns `Ok`. What it reads is what stood
/// before it.
pub struct Change<'a> {
    index: &'a Index,
    ops: RefCell<Vec<Op>>,
}

impl Index {
    /// Opens the index with a journal of at most `limit` bytes.
    pub fn open(disk: Arc<dyn Disk>, limit: u64) -> Result<Self, StoreError> {
        let db = disk.open_index().map_err(broken)?;
        let region = disk.open_region(Path::new("journal")).map_err(|e| super::io(&e))?;
        let round = match round_of(&db)? {
            Some(round) => round,
            None => {
                // Whatever journal lies beside a new index is not its own.
                let none = region.write_at(0, &[0; 32]).and_then(|()| region.sync());
                none.map_err(|e| super::io(&e))?;
                create(&db)?
            }
        };
        let mut rows: Rows = ALL.iter().map(|_| BTreeMap::new()).collect();
        let tape = Tape::open(region, round, limit, |ops| {
            for op in ops {
                if let Some(table) = rows.get_mut(usize::from(op.table)) {
                    table.insert(op.key, op.value);
                }
            }
        });
        Ok(Self {
            disk,
            tape: Mutex::new(tape.map_err(|e| super::io(&e))?),
            turn: Mutex::default(),
            queue: Mutex::default(),
            view: RwLock::new(View { rows, db: Some(db) }),
        })
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        // Every critical section leaves the view valid at each step that can panic.
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the changes of `f` together; they are durable when this returns. Changes do not overlap.
    pub fn write<T>(&self, f: impl FnOnce(&Change<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let (out, batch) = {
            let _turn = locked(&self.turn);
            let change = Change { index: self, ops: RefCell::default() };
            let out = f(&change)?;
            let ops = change.ops.into_inner();
            if ops.is_empty() {
                return Ok(out);
            }
            (out, self.queue(ops))
        };
        self.flush(&batch).map(|()| out)
    }

    /// Shows a change to readers and queues it for the journal.
    fn queue(&self, changes: Vec<Op>) -> Arc<Batch> {
        let mut queue = locked(&self.queue);
        queue.records.push(ops(&changes));
        let mut view = self.view_mut();
        for Op { table, key, value } in changes {
            let table = usize::from(table);
            if let Some(rows) = view.rows.get_mut(table) {
                let before = rows.insert(key.clone(), value);
                queue.undo.push((table, key, before));
            }
        }
        Arc::clone(&queue.batch)
    }

    /// Returns once the batch is durable or given up. Whoever comes first does it for all that are queued.
    fn flush(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut tape = locked(&self.tape);
        if let Some(done) = batch.0.get() {
            return done.clone();
        }
        let queued = std::mem::take(&mut *locked(&self.queue));
        let done = match tape.append(&queued.records) {
            Ok(true) => Ok(()),
            Ok(false) => self.checkpoint(&mut tape),
            Err(e) => Err(super::io(&e)),
        };
        self.settle(queued, &done);
        done
    }

    /// Says what became of changes; those that failed are taken back, and those made upon them.
    fn settle(&self, queued: Queue, done: &Result<(), StoreError>) {
        if let Err(e) = done {
            let _turn = locked(&self.turn);
            let later = std::mem::take(&mut *locked(&self.queue));
            let mut view = self.view_mut();
            for (table, key, before) in queued.undo.into_iter().chain(later.undo).rev() {
                match before {
                    Some(before) => view.rows[table].insert(key, before),
                    None => view.rows[table].remove(&key),
                };
            }
            let _ = later.batch.0.set(Err(e.clone()));
        }
        let _ = queued.batch.0.set(done.clone());
    }

    /// Brings the rows in memory into the database and begins the journal anew.
    fn checkpoint(&self, tape: &mut Tape) -> Result<(), StoreError> {
        let _turn = locked(&self.turn);
        let next = tape.round().next();
        let written = {
            let view = self.view();
            view.db.as_ref().ok_or_else(closed).and_then(|db| save(db, &view.rows, next))
        };
        if let Err(e) = written {
            // What failed may have become durable all the same; only the database knows.
            let mut view = self.view_mut();
            view.db = None;
            let db = self.disk.open_index().map_err(broken)?;
            let round = round_of(&db)?;
            if round == Some(tape.round()) {
                view.db = Some(db);
                return Err(e);
            }
            if round != Some(next) {
                return Err(closed());
            }
            view.db = Some(db);
        }
        self.view_mut().rows.iter_mut().for_each(BTreeMap::clear);
        tape.begin(next);
        // What was queued meanwhile was among the rows: it is durable, and must not be taken back any more.
        let _ = std::mem::take(&mut *locked(&self.queue)).batch.0.set(Ok(()));
        Ok(())
    }

    /// The bytes of a row.
    pub fn bytes(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let view = self.view();
        if let Some(row) = view.rows[usize::from(table.0)].get(key) {
            return Ok(row.clone());
        }
        let tx = view.db.as_ref().ok_or_else(closed)?.begin_read().map_err(broken)?;
        let table = tx.open_table(table.definition()).map_err(broken)?;
        Ok(table.get(key).map_err(broken)?.map(|row| row.value().to_vec()))
    }

    /// A row.
    pub fn get<V: BorshDeserialize>(&self, table: Table, key: &[u8]) -> Result<Option<V>, StoreError> {
        self.bytes(table, key)?.map(|row| read(&row)).transpose()
    }

    /// The rows from `from` on, in the order of their keys, while `f` says so.
    fn walk(
        &self,
        table: Table,
        from: &[u8],
        mut f: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let view = self.view();
        let tx = view.db.as_ref().ok_or_else(closed)?.begin_read().map_err(broken)?;
        let stored = tx.open_table(table.definition()).map_err(broken)?;
        let mut stored = stored.range(from..).map_err(broken)?;
        let start = (Bound::Included(from), Bound::Unbounded);
        let mut rows = view.rows[usize::from(table.0)].range::<[u8], _>(start).peekable();
        let mut old = stored.next().transpose().map_err(broken)?;
        loop {
            // What is in memory hides what is in the database under the same key.
            let newer = match (rows.peek(), &old) {
                (None, None) => return Ok(()),
                (None, Some(_)) => false,
                (Some(_), None) => true,
                (Some((key, _)), Some((of_old, _))) => key.as_slice() <= of_old.value(),
            };
            let go_on = if let Some((key, row)) = rows.next_if(|_| newer) {
                if old.as_ref().is_some_and(|(of_old, _)| of_old.value() == key.as_slice()) {
                    old = stored.next().transpose().map_err(broken)?;
                }
                match row {
                    Some(row) => f(key, row)?,
                    None => true,
                }
            } else {
                let Some((key, row)) = &old else { return Ok(()) };
                let go_on = f(key.value(), row.value())?;
                old = stored.next().transpose().map_err(broken)?;
                go_on
            };
            if !go_on {
                return Ok(());
            }
        }
    }

    /// Rows whose key starts with `prefix`, from `from` on, while `f` says so.
    pub fn scan<V: BorshDeserialize>(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        mut f: impl FnMut(&[u8], V) -> bool,
    ) -> Result<(), StoreError> {
        self.walk(table, from, |key, row| Ok(key.starts_with(prefix) && f(key, read(row)?)))
    }

    /// All rows under a prefix.
    pub fn all<V: BorshDeserialize>(
        &self,
        table: Table,
        prefix: &[u8],
    ) -> Result<Vec<(Vec<u8>, V)>, StoreError> {
        let mut out = Vec::new();
        self.scan(table, prefix, prefix, |k, v| {
            out.push((k.to_vec(), v));
            true
        })?;
        Ok(out)
    }
}

/// Where the journal begins; `None` in a database that was just made.
fn round_of(db: &Database) -> Result<Option<Round>, StoreError> {
    let tx = db.begin_read().map_err(broken)?;
    let table = match tx.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        other => other.map_err(broken)?,
    };
    let row = table.get(ROUND).map_err(broken)?;
    row.map(|row| read(row.value())).transpose()
}

fn create(db: &Database) -> Result<Round, StoreError> {
    let tx = db.begin_write().map_err(broken)?;
    for table in ALL {
        tx.open_table(table.definition()).map_err(broken)?;
    }
    begin(&tx, Round::default())?;
    tx.commit().map_err(broken)?;
    Ok(Round::default())
}

fn begin(tx: &WriteTransaction, round: Round) -> Result<(), StoreError> {
    let mut table = tx.open_table(META).map_err(broken)?;
    table.insert(ROUND, encode(&round).as_slice()).map_err(broken)?;
    Ok(())
}

/// Writes rows into the database, and that the journal begins anew behind them.
fn save(db: &Database, rows: &Rows, round: Round) -> Result<(), StoreError> {
    let tx = db.begin_write().map_err(broken)?;
    for (table, rows) in ALL.iter().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
        let mut table = tx.open_table(table.definition()).map_err(broken)?;
        for (key, row) in rows {
            match row {
                Some(row) => table.insert(key.as_slice(), row.as_slice()).map_err(broken)?,
                None => table.remove(key.as_slice()).map_err(broken)?,
            };
        }
    }
    begin(&tx, round)?;
    tx.commit().map_err(broken)
}

fn read<V: BorshDeserialize>(bytes: &[u8]) -> Result<V, StoreError> {
    decode(bytes).map_err(|e| {
        Refusal::with(
            code::DAMAGED,
            format!("a row of the index does not decode: {e}"),
            "restore the index or start anew",
        )
    })
}

impl Change<'_> {
    fn push(&self, table: Table, key: &[u8], value: Option<Vec<u8>>) {
        self.ops.borrow_mut().push(Op { table: table.0, key: key.to_vec(), value });
    }
    pub fn put<V: BorshSerialize + ?Sized>(&self, table: Table, key: &[u8], value: &V) {
        self.push(table, key, Some(encode(value)));
    }
    /// A row that is bytes.
    pub fn put_bytes(&self, table: Table, key: &[u8], bytes: &[u8]) {
        self.push(table, key, Some(bytes.to_vec()));
    }
    pub fn remove(&self, table: Table, key: &[u8]) {
        self.push(table, key, None);
    }
    /// Removes the rows from key `from` to before key `to`; none if they are in the wrong order.
    pub fn remove_range(&self, table: Table, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        self.index.walk(table, from, |key, _| {
            let within = key < to;
            if within {
                self.remove(table, key);
            }
            Ok(within)
        })
    }
    /// Removes all rows under a prefix whose key `keep` does not keep.
    pub fn retain(
        &self,
        table: Table,
        prefix: &[u8],
        keep: impl Fn(&[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.index.walk(table, prefix, |key, _| {
            let within = key.starts_with(prefix);
            if within && !keep(key) {
                self.remove(table, key);
            }
            Ok(within)
        })
    }
}
