//! Typed access to the index database.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_storage_codec::wire::code;
use cairn_types::{Refusal, decode, encode};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::StoreError;

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Rows of slots.
pub const SLOTS: Table = TableDefinition::new("slots");
/// Fragments of slots by position.
pub const HELD: Table = TableDefinition::new("held");
/// Logs.
pub const LOG: Table = TableDefinition::new("log");
/// Notes.
pub const NOTES: Table = TableDefinition::new("notes");
/// Fragment lists of revisions that open epochs need and that no longer stand.
pub const OLD: Table = TableDefinition::new("old");
/// Removed fragments that open epochs need.
pub const GARBAGE: Table = TableDefinition::new("garbage");
/// Commitments of open epochs.
pub const FROZEN: Table = TableDefinition::new("frozen");
/// Answers of open epochs.
pub const ANSWERS: Table = TableDefinition::new("answers");
/// What this device saw as an auditor in open epochs.
pub const REPORTS: Table = TableDefinition::new("reports");
/// What settlements know.
pub const SUBMITTED: Table = TableDefinition::new("submitted");
/// Repairs to be handed in.
pub const REPAIRS: Table = TableDefinition::new("repairs");
const ALL: [Table; 11] =
    [SLOTS, HELD, LOG, NOTES, OLD, GARBAGE, FROZEN, ANSWERS, REPORTS, SUBMITTED, REPAIRS];

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

/// The index.
pub struct Index(Database);

/// One atomic change of the index; nothing is kept unless [`Index::write`] returns `Ok`.
pub struct Change<'a>(&'a WriteTransaction);

impl Index {
    pub fn open(db: Result<Database, redb::DatabaseError>) -> Result<Self, StoreError> {
        let index = Self(db.map_err(broken)?);
        index.write(|tx| {
            for table in ALL {
                tx.0.open_table(table).map_err(broken)?;
            }
            Ok(())
        })?;
        Ok(index)
    }

    /// Runs `f` in one transaction that is durable when this returns.
    pub fn write<T>(&self, f: impl FnOnce(&Change<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let tx = self.0.begin_write().map_err(broken)?;
        let out = f(&Change(&tx))?;
        tx.commit().map_err(broken)?;
        Ok(out)
    }

    pub fn get<V: BorshDeserialize>(&self, table: Table, key: &[u8]) -> Result<Option<V>, StoreError> {
        let tx = self.0.begin_read().map_err(broken)?;
        let table = tx.open_table(table).map_err(broken)?;
        let row = table.get(key).map_err(broken)?;
        row.map(|v| read(v.value())).transpose()
    }

    /// Rows whose key starts with `prefix`, from `from` on, while `f` says so.
    pub fn scan<V: BorshDeserialize>(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        mut f: impl FnMut(&[u8], V) -> bool,
    ) -> Result<(), StoreError> {
        let tx = self.0.begin_read().map_err(broken)?;
        let table = tx.open_table(table).map_err(broken)?;
        for row in table.range(from..).map_err(broken)? {
            let (key, value) = row.map_err(broken)?;
            if !key.value().starts_with(prefix) || !f(key.value(), read(value.value())?) {
                break;
            }
        }
        Ok(())
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
    pub fn put<V: BorshSerialize + ?Sized>(
        &self,
        table: Table,
        key: &[u8],
        value: &V,
    ) -> Result<(), StoreError> {
        let mut table = self.0.open_table(table).map_err(broken)?;
        table.insert(key, encode(value).as_slice()).map_err(broken)?;
        Ok(())
    }
    pub fn remove(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let mut table = self.0.open_table(table).map_err(broken)?;
        table.remove(key).map_err(broken)?;
        Ok(())
    }
    /// Removes the rows from key `from` to before key `to`; none if they are in the wrong order.
    pub fn remove_range(&self, table: Table, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let mut table = self.0.open_table(table).map_err(broken)?;
        table.retain_in(from..to, |_, _| false).map_err(broken)
    }
    /// Removes all rows under a prefix whose key `keep` does not keep.
    pub fn retain(
        &self,
        table: Table,
        prefix: &[u8],
        keep: impl Fn(&[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let mut table = self.0.open_table(table).map_err(broken)?;
        let mut gone = Vec::new();
        for row in table.range(prefix..).map_err(broken)? {
            let (key, _) = row.map_err(broken)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            if !keep(key.value()) {
                gone.push(key.value().to_vec());
            }
        }
        for key in gone {
            table.remove(key.as_slice()).map_err(broken)?;
        }
        Ok(())
    }
}
