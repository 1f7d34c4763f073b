//! Runs transactions and blocks: stateless check, check against state, execution.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_sector::Sectors;
use cairn_types::{AccountId, Amount, Hash, Height, NetworkId, Refusal, encode};
use std::collections::BTreeMap;

use crate::bank::{Pot, chain, pay};
use crate::epoch::begin_block;
use crate::events::Event;
use crate::state::{Key, Reader, Run, State, Stop, Writes, key_of};
use crate::tables::{Accounts, Chain, Devices, Money, SeatRow, Seats};
use crate::tx::{
    ACCOUNT_DOMAIN, AccountTx, Action, DEVICE_DOMAIN, DeviceTx, Duty, MAX_TX, SEAT_DOMAIN, SeatDuty, SeatTx,
    Tx,
};
use crate::{bank, claims, dispute, evidence, invariants, market, outcomes, registry, settlement, slots};

/// What became of a transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// Transaction.
    pub tx: Hash,
    /// Pebbles burned.
    pub fee: Amount,
    /// `None` if done; otherwise (code, cause, remedy): nothing but fee and nonce changed.
    pub refused: Option<(String, String, String)>,
    /// Events of the block from this one (index) on ...
    pub from: u32,
    /// ... and before this one belong to the transaction.
    pub until: u32,
}

/// Phase 1: what can be said of a transaction without any state. Verifies account signatures.
pub fn check_stateless(tx: &Tx, network: NetworkId, fork: u32) -> Result<(), Refusal> {
    if tx.target() != (network, fork) {
        return Err(Refusal::new(
            "tx.network",
            "the transaction is for another network or fork",
            "sign it for this one",
        ));
    }
    if encode(tx).len() > MAX_TX {
        return Err(Refusal::new("tx.size", "the transaction is too large", "split it"));
    }
    match tx {
        Tx::Account(t, signatures) => t
            .authority
            .verify(ACCOUNT_DOMAIN, &encode(&**t), signatures)
            .map_err(|e| Refusal::with("tx.signature", e.to_string(), "sign with the account's keys")),
        // Keys of devices and seats are in the state; execution verifies them.
        Tx::Device(..) | Tx::Seat(..) => Ok(()),
    }
}

/// Fee of an account transaction.
pub fn fee_of(params: &crate::tables::ChainParams, tx: &Tx) -> Amount {
    let size = u128::try_from(encode(tx).len()).unwrap_or(u128::MAX);
    Amount(params.base_fee.0.saturating_add(params.byte_fee.0.saturating_mul(size)))
}

/// Phase 2: can the transaction be part of the next block at all? Cheap: reads the account, or the key of the
/// device or seat and what it posted.
pub fn check_state(s: &State<'_>, tx: &Tx) -> Run<()> {
    let c = chain(s)?;
    if tx.target() != (c.network, c.fork) {
        return Err(Refusal::new(
            "tx.network",
            "the transaction is for another network or fork",
            "sign it for this one",
        )
        .into());
    }
    match tx {
        Tx::Account(t, _) => check_account(s, t, fee_of(&c.params, tx)),
        Tx::Device(t, signature) => {
            let row = s.need::<Devices>(&t.device, registry::unknown_device())?;
            row.key.verify(DEVICE_DOMAIN, &encode(&**t), signature).map_err(|_| bad_signature())?;
            evidence::check(s, t.device, &t.duty)
        }
        Tx::Seat(t, signature) => {
            seat(s, t)?.key.verify(SEAT_DOMAIN, &encode(&**t), signature).map_err(|_| bad_signature())?;
            evidence::check_seat(s, t.seat, &t.duty)
        }
    }
}

fn bad_signature() -> Refusal {
    Refusal::new(
        "tx.signature",
        "the signature does not fit the sender's key",
        "sign with the key that is registered",
    )
}

fn seat(s: &State<'_>, t: &SeatTx) -> Run<SeatRow> {
    s.need::<Seats>(&t.seat, Refusal::new("seat.unknown", "no such seat", "use a seat of the present set"))
}

fn check_account(s: &State<'_>, t: &AccountTx, fee: Amount) -> Run<()> {
    let c = chain(s)?;
    let account = s.get_or_default::<Accounts>(&t.authority.account_id())?;
    if t.nonce != account.nonce {
        return Err(Refusal::with(
            "tx.nonce",
            format!("nonce {} where {} is next", t.nonce, account.nonce),
            "read the account and sign again",
        )
        .into());
    }
    if t.valid_until < c.height {
        return Err(Refusal::with(
            "tx.expired",
            format!("valid until height {}", t.valid_until),
            "sign again",
        )
        .into());
    }
    let cost = fee.saturating_add(t.tip);
    if account.balance < cost {
        return Err(Refusal::with(
            "tx.fee",
            format!("the balance of {} does not cover the fee of {cost}", account.balance),
            "add CRN to the account",
        )
        .into());
    }
    Ok(())
}

/// Phase 3: executes a transaction that passed phases 1 and 2, as part of a block. Keeps or forgets its changes;
/// where a row is missing, everything is forgotten and the transaction runs again from its start.
fn execute(s: &mut State<'_>, sectors: &Sectors, tx: &Tx, proposer: AccountId) -> Run<Receipt> {
    let from = u32::try_from(s.kept()).unwrap_or(u32::MAX);
    let mut fee = take_fee(s, tx, proposer)?;
    let done = match tx {
        Tx::Account(t, _) => act(s, sectors, t),
        Tx::Device(t, _) => post(s, sectors, t),
        Tx::Seat(t, _) => govern(s, sectors, t),
    }
    .and_then(|()| s.check_rows());
    let refused = match done {
        Ok(()) => None,
        // Devices and seats pay nothing, so a block has no room for what they ask in vain.
        Err(Stop::Refused(r)) if !matches!(tx, Tx::Account(..)) => return Err(r.into()),
        Err(Stop::Refused(r)) => {
            s.forget();
            fee = take_fee(s, tx, proposer)?;
            Some((r.code.to_owned(), r.cause.into_owned(), r.remedy.to_owned()))
        }
        Err(stop) => return Err(stop),
    };
    invariants::identities(&bank::money(s)?)?;
    s.keep();
    let until = u32::try_from(s.kept()).unwrap_or(u32::MAX);
    Ok(Receipt { tx: tx.id(), fee, refused, from, until })
}

/// Fees are kept even if the action is refused, so that refusals cannot be had for free. What devices and seats post
/// is free, and no part of a block unless it succeeds.
fn take_fee(s: &mut State<'_>, tx: &Tx, proposer: AccountId) -> Run<Amount> {
    match tx {
        Tx::Account(t, _) => charge(s, t, fee_of(&chain(s)?.params, tx), proposer),
        // Devices and seats post a bounded number of times an epoch, backed by bonds.
        Tx::Device(..) | Tx::Seat(..) => Ok(Amount::ZERO),
    }
}

/// Takes fee, tip and nonce.
fn charge(s: &mut State<'_>, t: &AccountTx, fee: Amount, proposer: AccountId) -> Run<Amount> {
    let who = t.authority.account_id();
    pay(s, Pot::Account(who), Pot::Burned, fee)?;
    pay(s, Pot::Account(who), Pot::Account(proposer), t.tip)?;
    let mut row = s.get_or_default::<Accounts>(&who)?;
    row.nonce = row.nonce.checked_add(1).ok_or_else(|| {
        Refusal::new("tx.nonce", "the account used up its nonces", "move the funds to another account")
    })?;
    s.put::<Accounts>(&who, &row);
    Ok(fee)
}

fn act(s: &mut State<'_>, sectors: &Sectors, t: &AccountTx) -> Run<()> {
    let who = t.authority.account_id();
    match t.action.clone() {
        Action::Transfer { to, amount } => transfer(s, who, to, amount),
        Action::BuyCredits { account, credits, max_cost } => {
            let cost = bank::buy_credits(s, who, account, credits, max_cost)?;
            s.emit(Event::CreditsBought { by: who, account, credits, cost });
            Ok(())
        }
        Action::Operator { info } => registry::operator(s, who, info),
        Action::Register { sector, key, proof, offer, bond } => {
            registry::register(s, sectors, who, sector, key, &proof, offer, bond).map(|_| ())
        }
        Action::Change { device, offer, key, rest } => {
            registry::change(s, sectors, who, device, offer, key, rest)
        }
        Action::AddBond { device, amount } => registry::add_bond(s, who, device, amount),
        Action::Exit { device } => registry::exit(s, who, device).map(|_| ()),
        Action::WithdrawBond { device } => registry::withdraw_bond(s, who, device),
        Action::LegalNotice { lease, slot, notice } => {
            slots::legal_notice(s, sectors, who, lease, slot, notice)
        }
        Action::Order { sector, order, key, escrow, note } => {
            market::order(s, sectors, who, t.nonce, sector, order, key, escrow, note).map(|_| ())
        }
        Action::Fund { lease, credits } => market::fund(s, who, lease, credits),
        Action::Endow { lease, credits } => crate::endowment::endow(s, who, lease, credits),
        Action::Close { lease } => market::close(s, who, lease),
        Action::Fence { lease, key, fence } => market::fence(s, who, lease, key, fence),
        Action::Refund { lease, epoch, charged, index, proof } => {
            claims::refund(s, who, lease, epoch, charged, index, &proof).map(|_| ())
        }
        Action::Claim(proof) => claims::claim(s, &proof).map(|_| ()),
        Action::Buy { sector, sale, max_credits } => {
            crate::sales::buy(s, sectors, who, t.nonce, sector, sale, max_credits)
        }
        Action::Dispute { device, lease, claim } => {
            dispute::open(s, sectors, who, device, lease, claim).map(|_| ())
        }
        Action::FundPool { sector, amount } => pay(s, Pot::Account(who), Pot::Pool(sector), amount),
    }
}

fn transfer(s: &mut State<'_>, from: AccountId, to: AccountId, amount: Amount) -> Run<()> {
    if amount.is_zero() {
        return Err(Refusal::new("transfer.zero", "nothing to transfer", "name an amount above zero").into());
    }
    pay(s, Pot::Account(from), Pot::Account(to), amount)?;
    s.emit(Event::Transferred { from, to, amount });
    Ok(())
}

fn post(s: &mut State<'_>, sectors: &Sectors, t: &DeviceTx) -> Run<()> {
    match &t.duty {
        Duty::Commit { epoch, commitment } => {
            evidence::commit(s, sectors, t.device, *epoch, commitment.clone())
        }
        Duty::Answers { epoch, digest } => evidence::answers(s, t.device, *epoch, *digest),
        Duty::Bundle { epoch, hash, size } => evidence::bundle(s, t.device, *epoch, *hash, *size),
        Duty::Defend { dispute, answer } => dispute::defend(s, sectors, t.device, *dispute, answer),
        Duty::Claim(proof) => {
            let row = s.need::<Devices>(&t.device, registry::unknown_device())?;
            if row.operator != proof.operator {
                return Err(Refusal::new(
                    "claim.foreign",
                    "a device draws for its own operator only",
                    "name it",
                )
                .into());
            }
            claims::claim(s, proof).map(|_| ())
        }
    }
}

fn govern(s: &mut State<'_>, sectors: &Sectors, t: &SeatTx) -> Run<()> {
    match &t.duty {
        SeatDuty::Seed { epoch, signature } => evidence::seed(s, &seat(s, t)?, *epoch, signature),
        SeatDuty::Certificate { epoch, sector, devices } => {
            evidence::certificate(s, *epoch, *sector, devices)
        }
        SeatDuty::Vote { epoch, sector, sealed } => settlement::vote(s, t.seat, *epoch, *sector, *sealed),
        SeatDuty::Reveal { epoch, settlement, salt } => {
            settlement::reveal(s, t.seat, *epoch, (**settlement).clone(), salt)
        }
        SeatDuty::Outcomes { epoch, sector, from, outcomes, proof } => {
            outcomes::outcomes(s, sectors, *epoch, *sector, *from, outcomes, proof)
        }
    }
}

/// Rows that a transaction reads for certain; fetching them ahead saves round trips.
pub fn hints(tx: &Tx) -> Vec<Key> {
    let mut out = vec![key_of::<Chain>(&()), key_of::<Money>(&())];
    match tx {
        Tx::Account(t, _) => {
            out.push(key_of::<Accounts>(&t.authority.account_id()));
            if let Action::Transfer { to, .. } = &t.action {
                out.push(key_of::<Accounts>(to));
            }
        }
        Tx::Device(t, _) => out.push(key_of::<Devices>(&t.device)),
        Tx::Seat(t, _) => out.push(key_of::<Seats>(&t.seat)),
    }
    out
}

/// What to do with a transaction that phases 1 and 2 refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Leave it out (a proposer chooses).
    Build,
    /// The whole block is invalid (a validator checks).
    Check,
}

/// Most work in one block, in units of a transfer.
pub const BLOCK_WEIGHT: u64 = 16_384;

/// Work of a transaction in units of a transfer: what searches the market may read `scan_limit` offers.
pub fn weight_of(tx: &Tx, params: &crate::tables::ChainParams) -> u64 {
    let search = 1 + u64::from(params.scan_limit) / 8;
    let searches = match tx {
        Tx::Account(t, _) => match &t.action {
            Action::Order { .. } | Action::LegalNotice { .. } => 1,
            _ => 0,
        },
        Tx::Seat(t, _) => match &t.duty {
            SeatDuty::Outcomes { outcomes, .. } => u64::try_from(outcomes.len()).unwrap_or(u64::MAX),
            _ => 0,
        },
        Tx::Device(..) => 0,
    };
    searches.saturating_mul(search).saturating_add(1)
}

/// A block in execution. Synchronous and resumable: [`BlockRun::step`] names rows that it misses,
/// [`BlockRun::supply`] brings them.
pub struct BlockRun {
    sectors: Sectors,
    height: Height,
    proposer: AccountId,
    mode: Mode,
    /// Most bytes of transactions that a proposer puts into the block.
    limit: usize,
    txs: Vec<Tx>,
    next: usize,
    begun: bool,
    size: usize,
    weight: u64,
    rows: Rows,
    writes: Writes,
    events: Vec<Event>,
    receipts: Vec<Receipt>,
    kept: Vec<Tx>,
    dropped: Vec<(Hash, Refusal)>,
}

/// Fetched rows; `None` = known to be absent.
#[derive(Default)]
struct Rows(BTreeMap<Key, Option<Vec<u8>>>);

impl Reader for Rows {
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, Key> {
        self.0.get(key).cloned().ok_or(*key)
    }
}

/// Result of a step.
pub enum Progress {
    /// Fetch these rows and go on.
    Need(Vec<Key>),
    /// The block is executed.
    Done(Box<BlockDone>),
    /// The block is invalid.
    Invalid(Refusal),
}

/// An executed block.
pub struct BlockDone {
    /// Transactions in the block.
    pub txs: Vec<Tx>,
    /// Left out by a proposer, with the reason.
    pub dropped: Vec<(Hash, Refusal)>,
    /// Changes of state.
    pub writes: Writes,
    /// A receipt for each transaction.
    pub receipts: Vec<Receipt>,
    /// Events; those before the first receipt's `from` belong to the start of the block.
    pub events: Vec<Event>,
}

impl BlockRun {
    /// The block at `height` of its fork with these transactions, for which the caller has done phase 1.
    pub fn new(
        sectors: Sectors,
        height: Height,
        proposer: AccountId,
        mode: Mode,
        limit: usize,
        txs: Vec<Tx>,
        genesis: Option<Writes>,
    ) -> Self {
        Self {
            sectors,
            height,
            proposer,
            mode,
            limit,
            txs,
            next: 0,
            begun: false,
            size: 0,
            weight: 0,
            rows: Rows::default(),
            // The first block carries the genesis rows, below everything that it does itself.
            writes: genesis.unwrap_or_default(),
            events: Vec::new(),
            receipts: Vec::new(),
            kept: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// Rows that the block will read for certain.
    pub fn first_need(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.txs.iter().flat_map(hints).collect();
        keys.push(key_of::<Chain>(&()));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Brings rows.
    pub fn supply(&mut self, fetched: impl IntoIterator<Item = (Key, Option<Vec<u8>>)>) {
        self.rows.0.extend(fetched);
    }

    /// Runs until a row is missing or the block is done.
    pub fn step(&mut self) -> Progress {
        let sectors = self.sectors.clone();
        let rows = std::mem::take(&mut self.rows);
        let mut s = State::resume(&rows, std::mem::take(&mut self.writes), std::mem::take(&mut self.events));
        let outcome = self.run(&mut s, &sectors);
        s.forget();
        (self.writes, self.events) = s.finish();
        self.rows = rows;
        match outcome {
            Ok(()) => Progress::Done(Box::new(BlockDone {
                txs: std::mem::take(&mut self.kept),
                dropped: std::mem::take(&mut self.dropped),
                writes: std::mem::take(&mut self.writes),
                receipts: std::mem::take(&mut self.receipts),
                events: std::mem::take(&mut self.events),
            })),
            Err(Stop::Missing(keys)) => Progress::Need(keys),
            Err(Stop::Refused(r)) => Progress::Invalid(r),
        }
    }

    fn run(&mut self, s: &mut State<'_>, sectors: &Sectors) -> Run<()> {
        if !self.begun {
            begin_block(s, sectors, self.height)?;
            invariants::identities(&bank::money(s)?)?;
            s.keep();
            self.begun = true;
        }
        while let Some(tx) = self.txs.get(self.next) {
            let size = encode(tx).len() + 4;
            if self.mode == Mode::Build && self.size + size > self.limit {
                break;
            }
            let weight = self.weight.saturating_add(weight_of(tx, &chain(s)?.params));
            if weight > BLOCK_WEIGHT {
                if self.mode == Mode::Build {
                    break;
                }
                return Err(Refusal::new(
                    "block.weight",
                    "the block holds too much work",
                    "build a smaller one",
                )
                .into());
            }
            match check_state(s, tx) {
                Ok(()) => {}
                Err(Stop::Refused(r)) if self.mode == Mode::Build => {
                    s.forget();
                    self.dropped.push((tx.id(), r));
                    self.next += 1;
                    continue;
                }
                Err(stop) => return Err(stop),
            }
            match execute(s, sectors, tx, self.proposer) {
                Ok(receipt) => self.receipts.push(receipt),
                Err(Stop::Refused(r)) if self.mode == Mode::Build => {
                    s.forget();
                    self.dropped.push((tx.id(), r));
                    self.next += 1;
                    continue;
                }
                Err(stop) => return Err(stop),
            }
            self.kept.push(tx.clone());
            (self.size, self.weight) = (self.size + size, weight);
            self.next += 1;
        }
        Ok(())
    }
}
