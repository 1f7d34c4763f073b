//! The typed contract that sector authors implement.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{Credits, DeviceId, Refusal, SectorId};

use crate::{
    Admission, Audit, Demand, DeviceEntry, DisputeContext, EpochContext, EvidenceSource, Judgement, Quote,
    Ruling, Seed, Shares, SortKey, Task,
};

/// A value with a frozen borsh encoding.
pub trait Wire: BorshSerialize + BorshDeserialize + Clone + Send + Sync + 'static {}
impl<T: BorshSerialize + BorshDeserialize + Clone + Send + Sync + 'static> Wire for T {}

/// The most bytes (and items) that the core accepts on behalf of a sector, before the sector sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an offer.
    pub offer: usize,
    /// Bytes of an order.
    pub order: usize,
    /// Bytes of a commitment.
    pub commitment: usize,
    /// Bytes of one evidence item.
    pub evidence: usize,
    /// Items in one bundle.
    pub items: usize,
    /// Bytes of one memory value.
    pub memory: usize,
    /// Bytes of a sale.
    pub sale: usize,
    /// Bytes of a dispute's claim.
    pub claim: usize,
    /// Bytes of a dispute's answer.
    pub answer: usize,
}

/// The rules of a sector: pure, integer, deterministic.
///
/// Every associated type crosses a process boundary and is frozen by a fixture.
pub trait Rules: Sized + Send + Sync + 'static {
    /// Number of the sector, fixed for ever.
    const ID: SectorId;
    /// Short lower-case name.
    const NAME: &'static str;
    /// Version of the rules. Old versions stay linked while packs judged by them are retained.
    const VERSION: u16;
    /// Size limits.
    const LIMITS: Limits;

    /// Governed numbers.
    type Params: Wire;
    /// What a device offers.
    type Offer: Wire;
    /// What a customer wants.
    type Order: Wire;
    /// What a device binds itself to before the seed (a storage root, result roots).
    type Commitment: Wire;
    /// One item of evidence.
    type Evidence: Wire;
    /// One value of the sector's memory between epochs.
    type Memory: Wire;
    /// A pooled sale (a data package that many devices supplied).
    type Sale: Wire;
    /// The claim of a dispute.
    type Claim: Wire;
    /// The answer to a dispute.
    type Answer: Wire;

    /// Are the governed numbers inside their bounds?
    fn check(params: &Self::Params) -> Result<(), Refusal>;

    /// May this offer enter the market, with what capacity, bond and failure domains?
    fn admit(params: &Self::Params, offer: &Self::Offer) -> Result<Admission, Refusal>;

    /// What does the order need: slots, spread, capacity, time?
    fn demand(params: &Self::Params, order: &Self::Order) -> Result<Demand, Refusal>;

    /// At what rates would this offer serve this order? Refuses where it cannot serve it at all.
    fn quote(params: &Self::Params, offer: &Self::Offer, order: &Self::Order) -> Result<Quote, Refusal>;

    /// Price of a pooled sale. Sectors without pooled sales refuse.
    fn sale(params: &Self::Params, sale: &Self::Sale) -> Result<Credits, Refusal>;

    /// Challenges of the epoch, for one device or, with `None`, for everybody; in a fixed order.
    fn tasks(c: &EpochContext<'_, Self>, whom: Option<&DeviceId>) -> Vec<Task>;

    /// Who audits whom in the epoch of `seed`, ascending. `devices`: the registry at the lock with its commitments,
    /// ascending by id; nothing else counts, so that everybody draws the same as soon as the seed is known. O(devices).
    /// Sectors without audits draw nobody.
    fn audits(_: &Self::Params, _: &Seed, _: &[DeviceEntry]) -> Vec<Audit> {
        Vec::new()
    }

    /// Order in which [`Rules::judge`] wants to meet evidence. At most [`SortKey::MAX`] bytes.
    fn sort_key(from: &DeviceId, evidence: &Self::Evidence) -> SortKey;

    /// Turns the evidence of an epoch into rows and a change of memory.
    ///
    /// Must not depend on the order of submission, only on the order of [`Rules::sort_key`] (ties: by submitter,
    /// then bytes). Bad evidence earns nothing; only what no honest worker can emit is a [`crate::Fault`].
    fn judge(c: &EpochContext<'_, Self>, evidence: &dyn EvidenceSource<Self>) -> Judgement<Self>;

    /// Who supplied a pooled sale, by weight.
    fn attribute(c: &EpochContext<'_, Self>, sale: &Self::Sale) -> Shares;

    /// Rules on a dispute, on chain: bounded work. `answer` is `None` when the deadline passed in silence.
    fn dispute(
        params: &Self::Params,
        context: &DisputeContext,
        claim: &Self::Claim,
        answer: Option<&Self::Answer>,
    ) -> Result<Ruling, Refusal>;
}
