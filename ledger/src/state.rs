//! Typed tables over hashed keys, with a layer for the block and one for the transaction.
//!
//! The ledger is synchronous. Where it needs a row that the caller has not fetched yet, it stops with
//! [`Stop::Missing`]; the caller fetches the row and runs the same transaction again. The result does not depend
//! on how often that happened.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{Refusal, decode, encode};
use std::collections::BTreeMap;

use crate::events::Event;

/// `[table: 1 byte][first 31 bytes of SHA-256(borsh(key))]`: hashed because the state store indexes by the first
/// bytes and shared prefixes would degenerate into lists.
pub type Key = [u8; 32];

/// Largest row with its key, in bytes: what the state store holds.
pub const MAX_ROW: usize = 64 * 1024;

/// Why execution stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// These rows must be fetched first.
    Missing(Vec<Key>),
    /// The request is refused; nothing changed.
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(r: Refusal) -> Self {
        Self::Refused(r)
    }
}

/// Result of everything that reads state.
pub type Run<T> = Result<T, Stop>;

/// Where rows come from.
pub trait Reader {
    /// The row under a key, or `Err` if it is not at hand yet.
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, Key>;
}

/// Rows in memory: tests, replays, exports. Absent means absent.
impl Reader for BTreeMap<Key, Vec<u8>> {
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, Key> {
        Ok(self.get(key).cloned())
    }
}

/// A table: a tag, a key type and a row type, all frozen.
pub trait Table {
    /// First byte of every key.
    const TAG: u8;
    /// Readable key; kept beside the row so that exports and indexers can show it.
    type Key: BorshSerialize + BorshDeserialize;
    /// Row.
    type Row: BorshSerialize + BorshDeserialize;
}

/// The stored key of a table row.
pub fn key_of<T: Table>(key: &T::Key) -> Key {
    let digest = cairn_types::Hash::derive("cairn/state", &[&encode(key)]);
    let mut out = digest.0;
    out.rotate_right(1);
    out[0] = T::TAG;
    out
}

/// Decodes a stored entry of a table.
pub fn open_entry<T: Table>(bytes: &[u8]) -> Option<(T::Key, T::Row)> {
    decode(bytes).ok()
}

fn open_row<T: Table>(bytes: &[u8]) -> Run<T::Row> {
    let opened = open_entry::<T>(bytes).ok_or_else(|| {
        Refusal::new(
            "state.corrupt",
            "a stored row does not decode",
            "restore the node from a verified export",
        )
    })?;
    Ok(opened.1)
}

/// Changes by key; `None` deletes.
pub type Writes = BTreeMap<Key, Option<Vec<u8>>>;

/// A view of the state with the changes of the block and of the current transaction on top.
pub struct State<'a> {
    base: &'a dyn Reader,
    block: Writes,
    tx: Writes,
    events: Vec<Event>,
    kept: usize,
}

impl<'a> State<'a> {
    /// Starts a block on top of `base`.
    pub fn new(base: &'a dyn Reader) -> Self {
        Self::resume(base, Writes::new(), Vec::new())
    }

    /// Goes on with a block of which a part ran already.
    pub fn resume(base: &'a dyn Reader, block: Writes, events: Vec<Event>) -> Self {
        let kept = events.len();
        Self { base, block, tx: Writes::new(), events, kept }
    }

    fn raw(&self, key: &Key) -> Run<Option<Vec<u8>>> {
        if let Some(v) = self.tx.get(key).or_else(|| self.block.get(key)) {
            return Ok(v.clone());
        }
        self.base.read(key).map_err(|missing| Stop::Missing(vec![missing]))
    }

    /// A row, if there is one.
    pub fn get<T: Table>(&self, key: &T::Key) -> Run<Option<T::Row>> {
        self.raw(&key_of::<T>(key))?.map(|bytes| open_row::<T>(&bytes)).transpose()
    }

    /// Rows in the order of their keys. Where some are not at hand it names all of them, so that a walk over many rows
    /// costs the caller one round and not one for each.
    pub fn get_many<T: Table>(&self, keys: &[T::Key]) -> Run<Vec<Option<T::Row>>> {
        let (mut found, mut missing) = (Vec::with_capacity(keys.len()), Vec::new());
        for key in keys {
            match self.raw(&key_of::<T>(key)) {
                Ok(bytes) if missing.is_empty() => {
                    found.push(bytes.map(|b| open_row::<T>(&b)).transpose()?);
                }
                Ok(_) => {}
                Err(Stop::Missing(keys)) => missing.extend(keys),
                Err(stop) => return Err(stop),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(Stop::Missing(missing)) }
    }

    /// A row that must exist.
    pub fn need<T: Table>(&self, key: &T::Key, refusal: Refusal) -> Run<T::Row> {
        self.get::<T>(key)?.ok_or(Stop::Refused(refusal))
    }

    /// A row, or its default.
    pub fn get_or_default<T: Table>(&self, key: &T::Key) -> Run<T::Row>
    where
        T::Row: Default,
    {
        Ok(self.get::<T>(key)?.unwrap_or_default())
    }

    /// Writes a row.
    pub fn put<T: Table>(&mut self, key: &T::Key, row: &T::Row) {
        let mut bytes = encode(key);
        bytes.extend(encode(row));
        self.tx.insert(key_of::<T>(key), Some(bytes));
    }

    /// Deletes a row.
    pub fn delete<T: Table>(&mut self, key: &T::Key) {
        self.tx.insert(key_of::<T>(key), None);
    }

    /// Records what happened.
    pub fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Refuses changes of the transaction that the state store could not hold.
    pub fn check_rows(&self) -> Run<()> {
        let largest = self.tx.values().flatten().map(Vec::len).max().unwrap_or(0);
        if largest <= MAX_ROW {
            return Ok(());
        }
        let cause = format!("a row of {largest} bytes, {MAX_ROW} are allowed");
        Err(Refusal::with("state.row", cause, "send less in one transaction").into())
    }

    /// Keeps the changes of the transaction.
    pub fn keep(&mut self) {
        // Not `append`: that rebuilds the whole map, once for each transaction.
        self.block.extend(std::mem::take(&mut self.tx));
        self.kept = self.events.len();
    }

    /// Forgets the changes of the transaction.
    pub fn forget(&mut self) {
        self.tx.clear();
        self.events.truncate(self.kept);
    }

    /// Events kept so far.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Ends the block: kept changes and events.
    pub fn finish(mut self) -> (Writes, Vec<Event>) {
        self.events.truncate(self.kept);
        (self.block, self.events)
    }
}

/// Declares tables: `name = tag, key => row`.
macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $tag:literal, $key:ty => $row:ty;)*) => {
        $(
            $(#[$doc])*
            pub struct $name;
            impl crate::state::Table for $name {
                const TAG: u8 = $tag;
                type Key = $key;
                type Row = $row;
            }
        )*
        /// Names of all tables by tag, for exports and explorers.
        pub const TABLES: &[(u8, &str)] = &[$(($tag, stringify!($name))),*];
    };
}
pub(crate) use tables;
