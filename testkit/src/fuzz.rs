//! Entry points for decoders of foreign bytes, and a small driver that needs no special compiler.
//!
//! The driver mutates a corpus with a seed; it does not look at coverage. What it finds, it reports as hex.

use cairn_sector::{AnyRules, DeviceEntry, LeaseEntry, Row, SaleEntry, Sectors, Task};
use cairn_types::{DutyId, decode_bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dice::Dice;

/// Longest input in bytes that the driver makes.
const INPUT_MAX: usize = 4_096;

/// The entry points of the cryptography room.
pub use cairn_crypto::fuzz::{TARGETS as CRYPTO_TARGETS, Target};

/// Entry points with their names. A target must return for any bytes; a panic is a finding.
pub const TARGETS: &[Target] = &[
    ("base.device_entry", |b| drop(decode_bounded::<DeviceEntry>(b, INPUT_MAX))),
    ("base.lease_entry", |b| drop(decode_bounded::<LeaseEntry>(b, INPUT_MAX))),
    ("base.sale_entry", |b| drop(decode_bounded::<SaleEntry>(b, INPUT_MAX))),
    ("base.row", |b| drop(decode_bounded::<Row>(b, INPUT_MAX))),
    ("base.task", |b| drop(decode_bounded::<Task>(b, INPUT_MAX))),
    ("base.duty", |b| drop(decode_bounded::<DutyId>(b, INPUT_MAX))),
];

/// An entry point that carries values with it.
pub type Run = Box<dyn Fn(&[u8]) + Send + Sync>;

/// An entry point with a name of its own, such as the rules of a sector.
pub struct SectorTarget {
    /// `sector.version.door`.
    pub name: String,
    /// The entry point.
    pub run: Run,
}

type Door = fn(&dyn AnyRules, &[u8], &[u8]);

const DOORS: &[(&str, Door)] = &[
    ("check", |r, _, b| drop(r.check(b))),
    ("admit", |r, p, b| drop(r.admit(p, b))),
    ("demand", |r, p, b| drop(r.demand(p, b))),
    ("sale", |r, p, b| drop(r.sale(p, b))),
    ("commitment", |r, _, b| drop(r.check_commitment(b))),
    ("evidence", |r, _, b| drop(r.sort_key(&cairn_types::DeviceId::default(), b))),
    ("quote", |r, p, b| {
        let (offer, order) = b.split_at(b.len() / 2);
        drop(r.quote(p, offer, order));
    }),
];

/// The doors of every sector of a registry. `params` are the encoded parameters of each, in the registry's order.
pub fn sector_targets(sectors: &Sectors, params: &[Vec<u8>]) -> Vec<SectorTarget> {
    let mut targets = Vec::new();
    for (rules, params) in sectors.iter().zip(params) {
        for (door, run) in DOORS {
            let (rules, params): (Arc<dyn AnyRules>, _) = (rules.clone(), params.clone());
            targets.push(SectorTarget {
                name: format!("{}.v{}.{door}", rules.name(), rules.version()),
                run: Box::new(move |b| run(&*rules, &params, b)),
            });
        }
    }
    targets
}

/// How long to drive a target.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    /// This many inputs.
    Iterations(u64),
    /// As many inputs as fit in this time. Only for campaigns; a test of the suite counts inputs.
    Time(Duration),
}

impl Budget {
    /// `CAIRN_FUZZ_SECONDS` for each target if it is set, else `iterations`.
    pub fn from_env(iterations: u64) -> Self {
        let seconds = std::env::var("CAIRN_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok());
        seconds.map_or(Self::Iterations(iterations), |s| Self::Time(Duration::from_secs(s)))
    }
}

/// An input on which a target panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// Text of the panic.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "panic \"{}\" on input {}", self.message, hex::encode(&self.input))
    }
}

/// Feeds a target with the corpus, then with mutations of it, and returns the number of inputs.
pub fn drive(target: &dyn Fn(&[u8]), budget: Budget, seed: u64, corpus: &[Vec<u8>]) -> Result<u64, Finding> {
    let mut dice = Dice::new(seed);
    let started = Instant::now();
    let mut done = 0u64;
    loop {
        let over = match budget {
            Budget::Iterations(n) => done >= n,
            Budget::Time(limit) => done > 0 && done.is_multiple_of(64) && started.elapsed() >= limit,
        };
        if over {
            return Ok(done);
        }
        let input = next_input(done, corpus, &mut dice);
        guarded(|| target(&input)).map_err(|message| Finding { input: input.clone(), message })?;
        done += 1;
    }
}

fn next_input(done: u64, corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    if let Some(first) = usize::try_from(done).ok().and_then(|n| corpus.get(n)) {
        return first.clone();
    }
    match dice.pick(corpus).cloned() {
        Some(valid) if dice.chance(800_000) => mutate(&valid, corpus, dice, INPUT_MAX),
        _ => {
            let len = dice.below(256);
            dice.bytes(len)
        }
    }
}

/// Runs `f` and returns the text of its panic, if it panics.
pub fn guarded(f: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|cause| {
        let text = cause.downcast_ref::<&str>().map(|s| (*s).to_owned());
        text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown".into())
    })
}

/// One to four random changes: bits, bytes, lengths, cuts, repeats, splices with another input.
pub fn mutate(input: &[u8], corpus: &[Vec<u8>], dice: &mut Dice, max_len: usize) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=dice.below(4) {
        change(&mut out, corpus, dice);
    }
    out.truncate(max_len);
    out
}

fn change(out: &mut Vec<u8>, corpus: &[Vec<u8>], dice: &mut Dice) {
    const EDGES: [u8; 7] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF, 0x20];
    let at = dice.below(out.len().max(1));
    match dice.below(7) {
        0 => {
            if let Some(b) = out.get_mut(at) {
                *b ^= 1 << dice.below(8);
            }
        }
        1 => {
            if let Some(b) = out.get_mut(at) {
                *b = dice.pick(&EDGES).copied().unwrap_or(0);
            }
        }
        2 => {
            // Lengths, counts and integers: whole words of ones, zeros or small numbers.
            let word = *dice.pick(&[0u64, 1, 2, 0x7FFF_FFFF, 0xFFFF_FFFF, u64::MAX, 1 << 63]).unwrap_or(&0);
            for (b, w) in out.iter_mut().skip(at).zip(word.to_le_bytes()) {
                *b = w;
            }
        }
        3 => out.truncate(at),
        4 => {
            let len = dice.below(16);
            let new = dice.bytes(len);
            out.splice(at.min(out.len())..at.min(out.len()), new);
        }
        5 => {
            let end = (at + dice.below(64)).min(out.len());
            let part = out.get(at..end).unwrap_or_default().to_vec();
            out.extend(part);
        }
        _ => {
            let other = dice.pick(corpus).cloned().unwrap_or_default();
            out.truncate(at);
            out.extend(other.into_iter().skip(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_panic_is_found_and_reported_with_its_input() {
        let planted = |b: &[u8]| assert!(b.len() < 4 || b[3] < 0x80, "planted");
        let found = drive(&planted, Budget::Iterations(5_000), 1, &[vec![0; 8]]).unwrap_err();
        assert!(found.input[3] >= 0x80);
        assert!(found.to_string().contains(&hex::encode(&found.input)));
        assert!(found.message.contains("planted"));
    }

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        use std::sync::Mutex;
        let run = |seed| {
            let seen = Mutex::new(Vec::new());
            let note = |b: &[u8]| seen.lock().unwrap().push(b.to_vec());
            drive(&note, Budget::Iterations(200), seed, &[vec![1, 2, 3]]).unwrap();
            seen.into_inner().unwrap()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
