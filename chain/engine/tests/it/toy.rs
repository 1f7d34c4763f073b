//! A toy machine: a counter, a record per block that can only be found through the counter, and
//! a map of numbers.

use cairn_engine::{Executed, Execution, FinalBlock, Hash, Header, Key, Machine, Step};
use std::sync::{Arc, Mutex, mpsc::Sender};

pub const COUNTER: u8 = 1;
pub const RECORD: u8 = 2;
pub const MAP: u8 = 3;

/// A well-spread key (the multiplier is odd, so distinct numbers give distinct keys).
pub fn key(table: u8, n: u64) -> Key {
    let mut key = [0; 32];
    key[0] = table;
    key[1..9].copy_from_slice(&n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

#[derive(Default)]
pub struct Toy {
    pub genesis: u8,
    /// Pairs that wait for a block.
    pub pool: Mutex<Vec<(u64, u64)>>,
    /// Makes each block set `MAP[height] = height`.
    pub busy: bool,
    /// Height at which `finalized` panics.
    pub bomb: Option<u64>,
    pub seen: Mutex<Vec<FinalBlock>>,
    /// Makes `finalized` itself say so on stdout, before it returns.
    pub loud: bool,
    pub watcher: Option<Mutex<Sender<FinalBlock>>>,
}

impl Toy {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub fn busy() -> Arc<Self> {
        Arc::new(Self { busy: true, ..Self::default() })
    }
}

pub fn encode(pairs: &[(u64, u64)]) -> Vec<u8> {
    pairs.iter().flat_map(|(k, v)| [k.to_be_bytes(), v.to_be_bytes()].concat()).collect()
}

/// Height, digest and state root on one line.
pub fn facts(block: &FinalBlock) -> String {
    format!("{} {} {}", block.header.height, hex::encode(block.digest), hex::encode(block.state_root))
}

struct Run {
    height: u64,
    body: Vec<u8>,
    counter: Option<u64>,
}

fn number(value: &Option<Vec<u8>>) -> u64 {
    value.as_ref().map_or(0, |v| u64::from_be_bytes(v.as_slice().try_into().unwrap()))
}

impl Execution for Run {
    fn step(&mut self, fetched: Vec<(Key, Option<Vec<u8>>)>) -> Step {
        if fetched.is_empty() {
            return Step::Need(vec![key(COUNTER, 0)]);
        }
        let Some(counter) = self.counter else {
            assert_eq!(fetched[0].0, key(COUNTER, 0));
            let counter = number(&fetched[0].1);
            self.counter = Some(counter);
            // Dependent: which record is needed is known only now. Twice the same key is allowed.
            return Step::Need(vec![key(RECORD, counter), key(RECORD, counter)]);
        };
        assert_eq!(fetched[0], fetched[1]);
        if number(&fetched[0].1) + 1 != self.height || !self.body.len().is_multiple_of(16) {
            return Step::Refuse("the record is not of the parent, or the body is torn".into());
        }
        let mut writes = std::collections::BTreeMap::new();
        writes.insert(key(COUNTER, 0), Some((counter + 1).to_be_bytes().to_vec()));
        writes.insert(key(RECORD, counter + 1), Some(self.height.to_be_bytes().to_vec()));
        writes.insert(key(RECORD, counter), None);
        for pair in self.body.chunks(16) {
            let n = u64::from_be_bytes(pair[..8].try_into().unwrap());
            writes.insert(key(MAP, n), Some(pair[8..].to_vec()));
        }
        Step::Done(Executed { body: self.body.clone(), writes: writes.into_iter().collect() })
    }
}

impl Machine for Toy {
    fn genesis_id(&self) -> Hash {
        [self.genesis; 32]
    }

    fn propose(&self, header: &Header) -> Box<dyn Execution> {
        let mut pairs = self.pool.lock().unwrap().clone();
        if self.busy {
            pairs.push((header.height, header.height));
        }
        self.process(header, &encode(&pairs))
    }

    fn process(&self, header: &Header, body: &[u8]) -> Box<dyn Execution> {
        Box::new(Run { height: header.height, body: body.to_vec(), counter: None })
    }

    fn finalized(&self, block: &FinalBlock) {
        assert_ne!(Some(block.header.height), self.bomb, "the toy's bomb");
        let included: Vec<_> = block.body.chunks(16).map(<[u8]>::to_vec).collect();
        self.pool.lock().unwrap().retain(|pair| !included.contains(&encode(&[*pair])));
        if self.loud {
            println!("#{}", facts(block));
        }
        self.seen.lock().unwrap().push(block.clone());
        if let Some(watcher) = &self.watcher {
            let _ = watcher.lock().unwrap().send(block.clone());
        }
    }
}
