//! Test-kit sector "arena": miners compete, validators judge them, the whole arena is judged at once.
//!
//! Miners commit to an answer before the seed and reveal it after. Validators commit to their scores in the answer
//! phase and reveal them too. The result is the stake-weighted median of the scores, above which nobody's score
//! counts; validators are paid for having backed winners early, by bonds that are remembered from epoch to epoch.
//!
//! The sector exists to keep the contract honest (commitments, answers, whole-arena judging, memory). Its README
//! says what its evidence cannot show.

mod admit;
mod attribute;
pub mod cheats;
mod dispute;
mod judge;
mod params;
mod quote;
mod tasks;
mod types;

pub use params::Params;
pub use types::{
    Answer, Bonds, Claim, Commitment, Evidence, MinerReveal, Offer, Order, REVEAL_DOMAIN, SCORE_MAX,
    SCORES_DOMAIN, Sale, Scores, answer_digest, reveal_bytes, scores_bytes, scores_digest,
};

use cairn_sector::{
    Admission, Demand, DisputeContext, EpochContext, EvidenceSource, Judgement, Limits, Quote, Rules, Ruling,
    Shares, SortKey, Task,
};
use cairn_types::{Credits, DeviceId, Refusal, SectorId};

/// The sector's rules.
#[derive(Clone, Copy, Debug)]
pub enum Arena {}

impl Rules for Arena {
    const ID: SectorId = SectorId(9002);
    const NAME: &'static str = "testkit-arena";
    const VERSION: u16 = 1;
    const LIMITS: Limits = Limits {
        offer: 16,
        order: 0,
        commitment: 32,
        // 256 scores of 34 bytes, or an answer of 4,096 bytes, and what surrounds them.
        evidence: 9_216,
        items: 16,
        // 256 bonds of 36 bytes.
        memory: 9_728,
        sale: 0,
        claim: 9_216,
        answer: 0,
    };

    type Params = Params;
    type Offer = Offer;
    type Order = Order;
    type Commitment = Commitment;
    type Evidence = Evidence;
    type Memory = Bonds;
    type Sale = Sale;
    type Claim = Claim;
    type Answer = Answer;

    fn check(p: &Params) -> Result<(), Refusal> {
        params::check(p)
    }
    fn admit(p: &Params, offer: &Offer) -> Result<Admission, Refusal> {
        admit::admit(p, offer)
    }
    fn demand(_: &Params, _: &Order) -> Result<Demand, Refusal> {
        Err(quote::no_leases())
    }
    fn quote(_: &Params, _: &Offer, _: &Order) -> Result<Quote, Refusal> {
        Err(quote::no_leases())
    }
    fn sale(_: &Params, _: &Sale) -> Result<Credits, Refusal> {
        Err(quote::no_sales())
    }
    fn tasks(c: &EpochContext<'_, Self>, whom: Option<&DeviceId>) -> Vec<Task> {
        tasks::tasks(c, whom)
    }
    fn sort_key(_: &DeviceId, e: &Evidence) -> SortKey {
        e.sort_key()
    }
    fn judge(c: &EpochContext<'_, Self>, evidence: &dyn EvidenceSource<Self>) -> Judgement<Self> {
        judge::judge(c, evidence)
    }
    fn attribute(_: &EpochContext<'_, Self>, _: &Sale) -> Shares {
        attribute::nobody()
    }
    fn dispute(p: &Params, c: &DisputeContext, claim: &Claim, _: Option<&Answer>) -> Result<Ruling, Refusal> {
        Ok(dispute::rule(p, c, claim))
    }
}
