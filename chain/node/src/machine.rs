//! What blocks mean: the ledger behind the engine's seam.

use cairn_crypto::keys::{BatchItem, verify_batch};
use cairn_engine::{Execution, FinalBlock, Header, Key, Machine, Step};
use cairn_ledger::executor::{BlockDone, BlockRun, Mode, Progress, check_stateless};
use cairn_ledger::tx::{ACCOUNT_DOMAIN, MAX_TX, Tx};
use cairn_types::{AccountId, Height, Refusal, decode_bounded, encode};
use std::sync::Arc;

use crate::shared::{Core, Executed, MAX_BODY, lock};

/// Bytes that the list of transactions adds to them.
const LIST_LENGTH: usize = 4;
/// Most transactions of a block; the smallest has more than 100 bytes.
const MAX_TXS: usize = MAX_BODY / 64;

/// The machine of a node.
pub(crate) struct Ledger(pub Arc<Core>);

struct Run {
    core: Arc<Core>,
    header: Header,
    /// Given for a block that somebody proposed.
    body: Option<Vec<u8>>,
    run: Result<BlockRun, String>,
    begun: bool,
}

impl Machine for Ledger {
    fn genesis_id(&self) -> [u8; 32] {
        self.0.facts.genesis_id
    }

    fn propose(&self, header: &Header) -> Box<dyn Execution> {
        let txs = lock(&self.0.pool).candidates(MAX_BODY - LIST_LENGTH);
        self.execution(header, None, Ok(txs))
    }

    fn process(&self, header: &Header, body: &[u8]) -> Box<dyn Execution> {
        let txs = self.open(header, body).map_err(|r| r.to_string());
        self.execution(header, Some(body.to_vec()), txs)
    }

    fn finalized(&self, block: &FinalBlock) {
        if let Err(cause) = self.0.finalize(block) {
            // The engine ends with this sentence: going on would lose what users were told.
            panic!("the node's store failed at height {}: {cause}", block.header.height);
        }
    }
}

impl Ledger {
    fn execution(
        &self,
        header: &Header,
        body: Option<Vec<u8>>,
        txs: Result<Vec<Tx>, String>,
    ) -> Box<dyn Execution> {
        let core = self.0.clone();
        let mode = if body.is_some() { Mode::Check } else { Mode::Build };
        let run = txs.and_then(|txs| Ok(block_run(&core, header, mode, txs, self.proposer(header)?)));
        Box::new(Run { core, header: header.clone(), body, run, begun: false })
    }

    fn proposer(&self, header: &Header) -> Result<AccountId, String> {
        self.0.facts.proposer(&header.proposer).ok_or_else(|| "the proposer holds no seat".to_owned())
    }

    /// Decodes a body and does phase 1 for all its transactions, account signatures in one batch.
    fn open(&self, header: &Header, body: &[u8]) -> Result<Vec<Tx>, Refusal> {
        let malformed = |cause: String| Refusal::with("block.malformed", cause, "do not vote for it");
        let txs: Vec<Tx> = decode_bounded(body, MAX_BODY).map_err(|e| malformed(e.to_string()))?;
        if txs.len() > MAX_TXS {
            return Err(malformed(format!("{} transactions", txs.len())));
        }
        let target = (self.0.facts.network, self.0.facts.fork);
        if let Some(tx) = txs.iter().find(|tx| tx.target() != target || encode(*tx).len() > MAX_TX) {
            check_stateless(tx, target.0, target.1)?;
        }
        if !signatures_hold(&txs, &header.parent)? {
            // One by one says which; both ways follow the same rule, so a batch that fails holds a wrong one.
            txs.iter().try_for_each(|tx| check_stateless(tx, target.0, target.1))?;
        }
        Ok(txs)
    }
}

fn signatures_hold(txs: &[Tx], seed: &[u8; 32]) -> Result<bool, Refusal> {
    let mut parts = Vec::new();
    for tx in txs {
        if let Tx::Account(t, signatures) = tx {
            let pairs = t
                .authority
                .resolve(signatures)
                .map_err(|e| Refusal::with("tx.signature", e.to_string(), "sign with the account's keys"))?;
            parts.push((encode(&**t), pairs));
        }
    }
    let items: Vec<BatchItem<'_>> = parts
        .iter()
        .flat_map(|(message, pairs)| {
            pairs.iter().map(|(key, sig)| (*key, ACCOUNT_DOMAIN, message.as_slice(), *sig))
        })
        .collect();
    Ok(verify_batch(&items, seed))
}

fn block_run(core: &Core, header: &Header, mode: Mode, txs: Vec<Tx>, proposer: AccountId) -> BlockRun {
    let first = (header.height == 1).then(|| core.facts.first.clone());
    BlockRun::new(
        core.sectors.clone(),
        Height(header.height),
        proposer,
        mode,
        MAX_BODY - LIST_LENGTH,
        txs,
        first,
    )
}

impl Execution for Run {
    fn step(&mut self, fetched: Vec<(Key, Option<Vec<u8>>)>) -> Step {
        let run = match &mut self.run {
            Ok(run) => run,
            Err(cause) => return Step::Refuse(cause.clone()),
        };
        if !self.begun {
            self.begun = true;
            return Step::Need(run.first_need());
        }
        run.supply(fetched);
        match run.step() {
            Progress::Need(keys) => Step::Need(keys),
            Progress::Invalid(refusal) => {
                if self.body.is_none() {
                    tracing::error!(height = self.header.height, %refusal, "no block can be built");
                }
                Step::Refuse(refusal.to_string())
            }
            Progress::Done(done) => self.finish(*done),
        }
    }
}

impl Run {
    fn finish(&mut self, done: BlockDone) -> Step {
        let body = self.body.take().unwrap_or_else(|| encode(&done.txs));
        let writes = done.writes.iter().map(|(k, v)| (*k, v.clone())).collect();
        let dropped = done
            .dropped
            .into_iter()
            .map(|(id, r)| (id, r.code.to_owned(), r.cause.into_owned(), r.remedy.to_owned()));
        let executed = Executed {
            writes: done.writes,
            receipts: done.receipts,
            events: done.events,
            dropped: dropped.collect(),
        };
        self.core.remember(&self.header, &body, executed);
        Step::Done(cairn_engine::Executed { body, writes })
    }
}
