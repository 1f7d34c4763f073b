//! The seam between the engine and the ledger: plain bytes, no engine type.

/// Key of a state entry: `[table: 1 byte][31 bytes of hash]`.
///
/// The index keeps only the first 8 bytes, so the bytes after the table must be spread evenly
/// (a hash); keys that share a readable prefix make blocks 20 to 30 times slower.
pub type Key = [u8; 32];

/// A 32-byte SHA-256 digest (block digest or state root).
pub type Hash = [u8; 32];

/// Largest value of one state entry, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;

/// What is known of a block before its body is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Height; the genesis block has height 0 and is never executed.
    pub height: u64,
    /// Milliseconds since the Unix epoch, strictly greater than the parent's. Chosen by the
    /// proposer and checked against the parent only: use heights for deadlines.
    pub timestamp_ms: u64,
    /// Digest of the parent block.
    pub parent: Hash,
    /// Ed25519 identity of the validator that proposed the block.
    pub proposer: [u8; 32],
}

/// A block that the validators have made final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalBlock {
    /// Header of the block.
    pub header: Header,
    /// Digest of the whole block; what certificates sign.
    pub digest: Hash,
    /// Body as the machine chose it.
    pub body: Vec<u8>,
    /// Root of the authenticated state after this block.
    pub state_root: Hash,
}

/// The replicated state machine.
///
/// Executions are pure functions of (header, body, state), apart from [`Machine::propose`], which
/// may read a transaction pool. They may run concurrently and be dropped half-way.
pub trait Machine: Send + Sync + 'static {
    /// Bound into the genesis block: networks with other rules or allocations cannot share blocks.
    fn genesis_id(&self) -> Hash;

    /// Starts to build a block; the execution chooses the body.
    ///
    /// [`Step::Refuse`] skips this validator's turn.
    fn propose(&self, header: &Header) -> Box<dyn Execution>;

    /// Starts to execute a given block, proposed by anybody or already final.
    fn process(&self, header: &Header, body: &[u8]) -> Box<dyn Execution>;

    /// Observes a final block, in order of height, after its state became readable.
    ///
    /// The block is durable when this is called, so users may be told. After a crash the last
    /// blocks may be observed again: make it idempotent by height. No other block is handled
    /// meanwhile, so keep it short. A panic ends the engine.
    fn finalized(&self, block: &FinalBlock);
}

/// A resumable execution that asks for the state which it misses.
///
/// The engine calls [`Execution::step`] with nothing first, and then with the answers to the last
/// [`Step::Need`], in the order of the question.
pub trait Execution: Send {
    /// Continues with the state that was asked for (`None`: no such entry).
    fn step(&mut self, fetched: Vec<(Key, Option<Vec<u8>>)>) -> Step;
}

/// What an execution wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These entries, please.
    Need(Vec<Key>),
    /// Finished.
    Done(Executed),
    /// The block is invalid (never because of local conditions: all nodes must agree).
    Refuse(String),
}

/// The outcome of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The body; ignored when the body was given.
    pub body: Vec<u8>,
    /// New values (`None` deletes), strictly ascending by key.
    pub writes: Vec<(Key, Option<Vec<u8>>)>,
}
