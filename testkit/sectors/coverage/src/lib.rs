//! Test-kit sector "coverage": a standing duty whose evidence comes from neighbours.
//!
//! Every epoch each device sends one beacon. Devices nearby that hear it sign receipts. A beacon counts when at
//! least `min_witnesses` neighbours heard it who do not form a closed group; witnesses are paid too. Who saw whom
//! is remembered over epochs: it reveals groups that only ever see each other, and it divides pooled sales among
//! those who covered the area that was sold.
//!
//! The sector exists to keep the contract honest (standing duties, memory, pooled sales, evidence as a stream).
//! Its README says what its evidence cannot show.

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
pub use tasks::payload;
pub use types::{
    Answer, BEACON_DOMAIN, Claim, Commitment, Evidence, Grid, Offer, Order, RECEIPT_DOMAIN, Sale, Sighting,
    Sightings, beacon_bytes, memory_key, receipt_bytes,
};

use cairn_sector::{
    Admission, Demand, DisputeContext, EpochContext, EvidenceSource, Judgement, Limits, Quote, Rules, Ruling,
    Shares, SortKey, Task,
};
use cairn_types::{Credits, DeviceId, Refusal, SectorId};

/// The sector's rules.
#[derive(Clone, Copy, Debug)]
pub enum Coverage {}

impl Rules for Coverage {
    const ID: SectorId = SectorId(9001);
    const NAME: &'static str = "testkit-coverage";
    const VERSION: u16 = 1;
    const LIMITS: Limits = Limits {
        offer: 64,
        order: 0,
        commitment: 0,
        evidence: 300,
        items: 4_096,
        memory: 1_024,
        sale: 32,
        claim: 300,
        answer: 0,
    };

    type Params = Params;
    type Offer = Offer;
    type Order = Order;
    type Commitment = Commitment;
    type Evidence = Evidence;
    type Memory = Sightings;
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
    fn sale(p: &Params, sale: &Sale) -> Result<Credits, Refusal> {
        attribute::price(p, sale)
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
    fn attribute(c: &EpochContext<'_, Self>, sale: &Sale) -> Shares {
        attribute::attribute(c, sale)
    }
    fn dispute(p: &Params, c: &DisputeContext, claim: &Claim, _: Option<&Answer>) -> Result<Ruling, Refusal> {
        Ok(dispute::rule(p, c, claim))
    }
}
