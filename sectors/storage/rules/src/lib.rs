//! Rules of the storage sector: what is promised, proven, paid and punished, as pure functions.
//!
//! A customer and a device co-sign [`types::Revision`]s of what a slot holds. Before each epoch's seed the device
//! commits to one sum tree over all its revisions; the seed draws chunks ([`tasks`]); the device answers with chunks and
//! paths ([`prove`]); [`judge`] turns that into rows. Nothing here knows a clock, a disk or a balance.

pub mod admit;
mod attribute;
pub mod audit;
pub mod cheats;
mod dispute;
mod escrow;
pub mod fuzz;
pub mod judge;
pub mod params;
pub mod prove;
pub mod quote;
pub mod sign;
pub mod tasks;
pub mod types;

use cairn_sector::{
    Admission, Audit, Demand, DeviceEntry, DisputeContext, EpochContext, EvidenceSource, Judgement, Limits,
    Quote, Rules, Ruling, Seed, Shares, SortKey, Task,
};
use cairn_types::{Credits, DeviceId, Refusal, SectorId};

pub use escrow::Escrow;
use types::{Claim, Commitment, Defence, Evidence, Memory, Offer, Order, Params};

/// The storage sector.
#[derive(Clone, Copy, Debug)]
pub struct Storage;

/// Size limits; see [`Limits`].
pub const LIMITS: Limits = Limits {
    offer: 512,
    order: 128,
    commitment: 64,
    evidence: 16 << 10,
    items: 1 << 18,
    memory: 512,
    sale: 0,
    claim: 1 << 10,
    answer: 16 << 10,
};

impl Rules for Storage {
    const ID: SectorId = SectorId(1);
    const NAME: &'static str = "storage";
    const VERSION: u16 = 1;
    const LIMITS: Limits = LIMITS;

    type Params = Params;
    type Offer = Offer;
    type Order = Order;
    type Commitment = Commitment;
    type Evidence = Evidence;
    type Memory = Memory;
    type Sale = ();
    type Claim = Claim;
    type Answer = Defence;

    fn check(params: &Params) -> Result<(), Refusal> {
        params::check(params)
    }
    fn admit(params: &Params, offer: &Offer) -> Result<Admission, Refusal> {
        admit::admit(params, offer)
    }
    fn demand(params: &Params, order: &Order) -> Result<Demand, Refusal> {
        quote::demand(params, order)
    }
    fn quote(params: &Params, offer: &Offer, order: &Order) -> Result<Quote, Refusal> {
        quote::quote(params, offer, order)
    }
    fn sale(_: &Params, (): &()) -> Result<Credits, Refusal> {
        attribute::sale()
    }
    fn tasks(c: &EpochContext<'_, Self>, whom: Option<&DeviceId>) -> Vec<Task> {
        tasks::tasks(c, whom)
    }
    fn audits(params: &Params, seed: &Seed, devices: &[DeviceEntry]) -> Vec<Audit> {
        audit::audits(params, seed, devices)
    }
    fn sort_key(from: &DeviceId, evidence: &Evidence) -> SortKey {
        judge::sort_key(from, evidence)
    }
    fn judge(c: &EpochContext<'_, Self>, evidence: &dyn EvidenceSource<Self>) -> Judgement<Self> {
        judge::judge(c, evidence)
    }
    fn attribute(_: &EpochContext<'_, Self>, (): &()) -> Shares {
        attribute::attribute()
    }
    fn dispute(
        params: &Params,
        context: &DisputeContext,
        claim: &Claim,
        answer: Option<&Defence>,
    ) -> Result<Ruling, Refusal> {
        dispute::dispute(params, context, claim, answer)
    }
}
