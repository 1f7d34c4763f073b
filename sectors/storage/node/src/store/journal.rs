//! The journal's records, byte by byte, and the file that they lie in.
//!
//! A record is `len u32 || check 16 || ops`, where `ops` (`len` bytes) is a borsh `Vec` of [`Op`] and `check` the first
//! 16 bytes of BLAKE3 (derive, [`DOMAIN`]) over the check before and `ops`. The first record of the file continues the
//! chain that the index names, so records of earlier rounds, torn ones and ones that were given up do not continue it:
//! they end the journal.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{decode_bounded, encode};
use std::io;

use super::as_len;
use crate::disk::Region;

const DOMAIN: &str = "cairn/storage/journal/v1";
/// Bytes in front of a record's ops.
const HEAD: usize = 20;
/// The file grows by this much at once, because a write into what is there costs a disk a tenth of one behind its end.
const STEP: u64 = 256 << 10;

/// What a record is chained by.
pub type Check = [u8; 16];

/// A row put, or removed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Op {
    /// Number of the table.
    pub table: u8,
    /// Key of the row.
    pub key: Vec<u8>,
    /// The row; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// Where a round of the journal begins; the index keeps it and takes a new one with each checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Round {
    /// Checkpoints so far.
    pub number: u64,
    /// What the first record is chained to.
    pub chain: Check,
}

impl Round {
    /// The round after this one; no record of another round continues it.
    pub fn next(&self) -> Self {
        let number = self.number.wrapping_add(1);
        Self { number, chain: check(&self.chain, &number.to_le_bytes()) }
    }
}

fn check(chain: &Check, ops: &[u8]) -> Check {
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    hasher.update(chain).update(ops);
    let mut out = Check::default();
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Appends the record of encoded ops to `out`; what the next one is chained to.
pub fn frame(chain: &Check, ops: &[u8], out: &mut Vec<u8>) -> Check {
    let check = check(chain, ops);
    // More than a region holds never gets here.
    let len = u32::try_from(ops.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&check);
    out.extend_from_slice(ops);
    check
}

/// The first record of `bytes`, if it continues the chain: its ops, its check and the bytes behind it.
pub fn next<'a>(chain: &Check, bytes: &'a [u8]) -> Option<(Vec<Op>, Check, &'a [u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (len, told) = head.split_at_checked(4)?;
    let len = usize::try_from(u32::from_le_bytes(len.try_into().ok()?)).ok()?;
    let (ops, rest) = rest.split_at_checked(len)?;
    let check = check(chain, ops);
    if len == 0 || told != check {
        return None;
    }
    Some((decode_bounded(ops, len).ok()?, check, rest))
}

/// The file, and where the next record goes.
pub struct Tape {
    region: Box<dyn Region>,
    /// Round of the records in it.
    round: Round,
    chain: Check,
    at: u64,
    /// Bytes of the file.
    len: u64,
    /// Most bytes of the file.
    limit: u64,
}

impl Tape {
    /// Reads the records of a round, in order; they are durable when this returns.
    ///
    /// # Errors
    /// The disk.
    pub fn open(
        region: Box<dyn Region>,
        round: Round,
        limit: u64,
        mut apply: impl FnMut(Vec<Op>),
    ) -> io::Result<Self> {
        let bytes = region.read()?;
        let (mut chain, mut rest) = (round.chain, bytes.as_slice());
        while let Some((ops, check, behind)) = next(&chain, rest) {
            apply(ops);
            (chain, rest) = (check, behind);
        }
        let at = as_len(bytes.len() - rest.len());
        if at > 0 {
            // A process that was killed may have left records that only the system's cache holds.
            region.sync()?;
        }
        Ok(Self { region, round, chain, at, len: as_len(bytes.len()), limit })
    }

    /// The round that is being written.
    pub const fn round(&self) -> Round {
        self.round
    }

    /// Takes no record of earlier rounds for one of this.
    pub fn begin(&mut self, round: Round) {
        (self.round, self.chain, self.at) = (round, round.chain, 0);
    }

    /// Makes records durable with one write and one sync; false if they do not fit. After an error the next call
    /// writes over what may be there.
    ///
    /// # Errors
    /// The disk.
    pub fn append(&mut self, records: &[Vec<u8>]) -> io::Result<bool> {
        let size: u64 = records.iter().map(|r| as_len(r.len().saturating_add(HEAD))).sum();
        let end = self.at.saturating_add(size);
        if end > self.limit {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        let chain = records.iter().fold(self.chain, |chain, ops| frame(&chain, ops, &mut bytes));
        if end > self.len {
            let grown = end.next_multiple_of(STEP).min(self.limit.max(end));
            bytes.resize(usize::try_from(grown.saturating_sub(self.at)).unwrap_or(bytes.len()), 0);
        }
        self.region.write_at(self.at, &bytes)?;
        self.region.sync()?;
        self.len = self.len.max(self.at.saturating_add(as_len(bytes.len())));
        (self.at, self.chain) = (end, chain);
        Ok(true)
    }
}

/// Bytes of a record's ops.
pub fn ops(ops: &Vec<Op>) -> Vec<u8> {
    encode(ops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn op(n: u8) -> Op {
        Op { table: n, key: vec![n; 3], value: n.is_multiple_of(2).then(|| vec![n; 5]) }
    }

    /// The frozen bytes of docs/reference/storage-formats.md, "Journal of an operator".
    #[test]
    fn the_bytes_are_frozen() {
        let round = Round { number: 0, chain: [0; 16] }.next();
        let mut out = Vec::new();
        frame(&round.chain, &ops(&vec![op(1), op(2)]), &mut out);
        assert_eq!((hex::encode(round.chain), hex::encode(out)), (FROZEN.0.into(), FROZEN.1.into()));
    }
    const FROZEN: (&str, &str) = (
        "37de1cc76b68a9d7098075f4112e9358",
        "1f000000b68bad9ae7b918323c5648f0787a5434\
         02000000010300000001010100020300000002020201050000000202020202",
    );

    proptest! {
        #[test]
        fn what_was_written_is_read_up_to_the_first_damage(
            counts in proptest::collection::vec(1u8..9, 1..8), flip in any::<proptest::sample::Index>(),
        ) {
            let (mut bytes, mut chain, mut ends) = (Vec::new(), [7; 16], Vec::new());
            for n in &counts {
                chain = frame(&chain, &ops(&(0..*n).map(op).collect()), &mut bytes);
                ends.push(bytes.len());
            }
            let hit = flip.index(bytes.len());
            bytes[hit] ^= 1;
            let (mut chain, mut rest, mut read) = ([7; 16], bytes.as_slice(), 0);
            while let Some((ops, check, behind)) = next(&chain, rest) {
                prop_assert_eq!(ops.len(), usize::from(counts[read]));
                (chain, rest, read) = (check, behind, read + 1);
            }
            prop_assert_eq!(read, ends.iter().filter(|end| **end <= hit).count());
        }

        #[test]
        fn any_bytes_are_a_record_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = next(&[0; 16], &bytes);
        }
    }

    #[test]
    fn a_round_is_not_continued_by_another() {
        let first = Round::default();
        let mut bytes = Vec::new();
        frame(&first.chain, &ops(&vec![op(1)]), &mut bytes);
        assert!(next(&first.chain, &bytes).is_some());
        assert!(next(&first.next().chain, &bytes).is_none());
    }
}
