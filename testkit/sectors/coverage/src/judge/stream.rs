//! Walks memory and evidence side by side. Both ascend by (cell, device), so each place is met once and only the
//! receipts of one beacon are held, already reduced to what counts.

use cairn_sector::EvidenceItem;
use std::cmp::Ordering;
use std::iter::Peekable;

use crate::{Evidence, Sightings, memory_key};

/// What the walk needs to know of an item.
pub trait Placed {
    /// Cell and beaconer, as in the memory.
    fn place(&self) -> Vec<u8>;
}

impl Placed for EvidenceItem<Evidence> {
    fn place(&self) -> Vec<u8> {
        memory_key(self.evidence.cell, &self.evidence.beaconer)
    }
}

/// One device at one place.
pub struct Place<W> {
    /// Key of the memory.
    pub key: Vec<u8>,
    /// What the memory knows.
    pub memory: Option<Sightings>,
    /// What was accepted of this epoch's receipts.
    pub receipts: Vec<W>,
}

/// The walk. Holds one undigested item at a time (the one that shows the end of a beacon's receipts).
pub struct Join<M: Iterator, E: Iterator, F> {
    memory: Peekable<M>,
    evidence: Peekable<E>,
    reduce: F,
}

impl<M, E, T, W, F> Join<M, E, F>
where
    M: Iterator<Item = (Vec<u8>, Sightings)>,
    E: Iterator<Item = T>,
    T: Placed,
    F: FnMut(&T) -> Option<W>,
{
    /// Joins; `reduce` turns an item into what is kept of it, or drops it.
    pub fn new(memory: M, evidence: E, reduce: F) -> Self {
        Self { memory: memory.peekable(), evidence: evidence.peekable(), reduce }
    }

    fn receipts_of(&mut self, key: &[u8]) -> Vec<W> {
        let mut kept = Vec::new();
        while let Some(item) = self.evidence.next_if(|item| item.place() == key) {
            kept.extend((self.reduce)(&item));
        }
        kept
    }
}

impl<M, E, T, W, F> Iterator for Join<M, E, F>
where
    M: Iterator<Item = (Vec<u8>, Sightings)>,
    E: Iterator<Item = T>,
    T: Placed,
    F: FnMut(&T) -> Option<W>,
{
    type Item = Place<W>;

    fn next(&mut self) -> Option<Place<W>> {
        let next_item = self.evidence.peek().map(Placed::place);
        let order = match (self.memory.peek(), &next_item) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some(place)) => key.cmp(place),
        };
        let remembered = if order.is_le() { self.memory.next() } else { None };
        let (key, memory) = match remembered {
            Some((key, sightings)) => (key, Some(sightings)),
            None => (next_item.unwrap_or_default(), None),
        };
        let receipts = if order.is_ge() { self.receipts_of(&key) } else { Vec::new() };
        Some(Place { key, memory, receipts })
    }
}
