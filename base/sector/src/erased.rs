//! The erased contract: bytes in, rows out. One blanket implementation serves all sectors.

use cairn_types::{Credits, DecodeError, DeviceId, Refusal, SectorId, decode_bounded, encode};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::{
    Admission, Audit, Demand, DeviceEntry, DisputeContext, EpochContext, EvidenceItem, EvidenceSource,
    Limits, MemoryChange, Quote, RawContext, RawEvidence, Row, Rules, Ruling, Seed, Shares, SortKey, Task,
    Weight,
};

/// Largest encoded parameters in bytes.
const PARAMS_LIMIT: usize = 1 << 16;

/// A judgement as the core stores it: rows, weights and memory sorted, a device and a key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawJudgement {
    /// Rows, ascending.
    pub rows: Vec<Row>,
    /// Changed price weights, ascending by device; of two for one device the lower.
    pub weights: Vec<Weight>,
    /// Memory changes, ascending by key.
    pub memory: Vec<MemoryChange<Vec<u8>>>,
}

/// The contract over bytes. See [`Rules`] for the meaning of each function.
#[allow(missing_docs)]
pub trait AnyRules: Send + Sync {
    fn id(&self) -> SectorId;
    fn name(&self) -> &'static str;
    fn version(&self) -> u16;
    fn limits(&self) -> Limits;
    fn check(&self, params: &[u8]) -> Result<(), Refusal>;
    fn admit(&self, params: &[u8], offer: &[u8]) -> Result<Admission, Refusal>;
    fn demand(&self, params: &[u8], order: &[u8]) -> Result<Demand, Refusal>;
    fn quote(&self, params: &[u8], offer: &[u8], order: &[u8]) -> Result<Quote, Refusal>;
    fn sale(&self, params: &[u8], sale: &[u8]) -> Result<Credits, Refusal>;
    /// Refuses bytes that are no commitment of the sector.
    fn check_commitment(&self, bytes: &[u8]) -> Result<(), Refusal>;
    /// Sort key of an item; refuses bytes that are no evidence of the sector.
    fn sort_key(&self, from: &DeviceId, item: &[u8]) -> Result<SortKey, Refusal>;
    fn tasks(&self, c: &RawContext<'_>, whom: Option<&DeviceId>) -> Result<Vec<Task>, Refusal>;
    fn audits(&self, params: &[u8], seed: &Seed, devices: &[DeviceEntry]) -> Result<Vec<Audit>, Refusal>;
    fn judge(&self, c: &RawContext<'_>, evidence: &dyn RawEvidence) -> Result<RawJudgement, Refusal>;
    fn attribute(&self, c: &RawContext<'_>, sale: &[u8]) -> Result<Shares, Refusal>;
    fn dispute(
        &self,
        params: &[u8],
        context: &DisputeContext,
        claim: &[u8],
        answer: Option<&[u8]>,
    ) -> Result<Ruling, Refusal>;
}

/// The bridge from [`Rules`] to [`AnyRules`].
pub struct Erased<R>(PhantomData<fn() -> R>);

impl<R> Default for Erased<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn refuse(what: &'static str) -> impl Fn(DecodeError) -> Refusal {
    move |e| {
        Refusal::with(
            "sector.malformed",
            format!("{what}: {e}"),
            "encode it as docs/reference/formats.md says",
        )
    }
}

fn params<R: Rules>(bytes: &[u8]) -> Result<R::Params, Refusal> {
    decode_bounded(bytes, PARAMS_LIMIT).map_err(refuse("parameters"))
}

struct Typed<'a>(&'a dyn RawEvidence);

impl<R: Rules> EvidenceSource<R> for Typed<'_> {
    fn scan(
        &self,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Box<dyn Iterator<Item = EvidenceItem<R::Evidence>> + '_> {
        Box::new(self.0.scan(from, until).filter_map(|item| {
            let evidence = decode_bounded(&item.evidence, R::LIMITS.evidence).ok()?;
            Some(EvidenceItem { key: item.key, from: item.from, evidence })
        }))
    }
}

impl<R: Rules> AnyRules for Erased<R> {
    fn id(&self) -> SectorId {
        R::ID
    }
    fn name(&self) -> &'static str {
        R::NAME
    }
    fn version(&self) -> u16 {
        R::VERSION
    }
    fn limits(&self) -> Limits {
        R::LIMITS
    }
    fn check(&self, p: &[u8]) -> Result<(), Refusal> {
        R::check(&params::<R>(p)?)
    }
    fn admit(&self, p: &[u8], offer: &[u8]) -> Result<Admission, Refusal> {
        R::admit(&params::<R>(p)?, &decode_bounded(offer, R::LIMITS.offer).map_err(refuse("offer"))?)
    }
    fn demand(&self, p: &[u8], order: &[u8]) -> Result<Demand, Refusal> {
        R::demand(&params::<R>(p)?, &decode_bounded(order, R::LIMITS.order).map_err(refuse("order"))?)
    }
    fn quote(&self, p: &[u8], offer: &[u8], order: &[u8]) -> Result<Quote, Refusal> {
        let offer = decode_bounded(offer, R::LIMITS.offer).map_err(refuse("offer"))?;
        let order = decode_bounded(order, R::LIMITS.order).map_err(refuse("order"))?;
        R::quote(&params::<R>(p)?, &offer, &order)
    }
    fn sale(&self, p: &[u8], sale: &[u8]) -> Result<Credits, Refusal> {
        R::sale(&params::<R>(p)?, &decode_bounded(sale, R::LIMITS.sale).map_err(refuse("sale"))?)
    }
    fn check_commitment(&self, bytes: &[u8]) -> Result<(), Refusal> {
        decode_bounded::<R::Commitment>(bytes, R::LIMITS.commitment).map(|_| ()).map_err(refuse("commitment"))
    }
    fn sort_key(&self, from: &DeviceId, item: &[u8]) -> Result<SortKey, Refusal> {
        let evidence = decode_bounded(item, R::LIMITS.evidence).map_err(refuse("evidence"))?;
        Ok(R::sort_key(from, &evidence))
    }
    fn tasks(&self, c: &RawContext<'_>, whom: Option<&DeviceId>) -> Result<Vec<Task>, Refusal> {
        let c = EpochContext::<R>::new(c).map_err(refuse("parameters"))?;
        Ok(R::tasks(&c, whom))
    }
    fn audits(&self, p: &[u8], seed: &Seed, devices: &[DeviceEntry]) -> Result<Vec<Audit>, Refusal> {
        Ok(R::audits(&params::<R>(p)?, seed, devices))
    }
    fn judge(&self, c: &RawContext<'_>, evidence: &dyn RawEvidence) -> Result<RawJudgement, Refusal> {
        let c = EpochContext::<R>::new(c).map_err(refuse("parameters"))?;
        let judged = R::judge(&c, &Typed(evidence));
        let mut rows = judged.rows;
        rows.sort_unstable();
        let mut weights = judged.weights;
        weights.sort_unstable();
        weights.dedup_by_key(|w| w.device);
        let mut memory: Vec<_> = judged.memory.into_iter().map(|(k, v)| (k, v.map(|v| encode(&v)))).collect();
        memory.sort_unstable();
        // A key named twice would make the result depend on the order of changes: the later one by bytes wins
        // for everybody alike, so that a slip in a sector stays deterministic.
        memory.reverse();
        memory.dedup_by(|a, b| a.0 == b.0);
        memory.reverse();
        Ok(RawJudgement { rows, weights, memory })
    }
    fn attribute(&self, c: &RawContext<'_>, sale: &[u8]) -> Result<Shares, Refusal> {
        let c = EpochContext::<R>::new(c).map_err(refuse("parameters"))?;
        let sale = decode_bounded(sale, R::LIMITS.sale).map_err(refuse("sale"))?;
        Ok(R::attribute(&c, &sale))
    }
    fn dispute(
        &self,
        p: &[u8],
        context: &DisputeContext,
        claim: &[u8],
        answer: Option<&[u8]>,
    ) -> Result<Ruling, Refusal> {
        let claim = decode_bounded(claim, R::LIMITS.claim).map_err(refuse("claim"))?;
        let answer =
            answer.map(|a| decode_bounded(a, R::LIMITS.answer).map_err(refuse("answer"))).transpose()?;
        R::dispute(&params::<R>(p)?, context, &claim, answer.as_ref())
    }
}

/// The sectors that this program can judge, every retained version of each.
#[derive(Clone, Default)]
pub struct Sectors(BTreeMap<(SectorId, u16), Arc<dyn AnyRules>>);

impl Sectors {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a sector's rules.
    pub fn with<R: Rules>(mut self) -> Self {
        self.0.insert((R::ID, R::VERSION), Arc::new(Erased::<R>::default()));
        self
    }
    /// The rules of a sector in a version.
    pub fn get(&self, id: SectorId, version: u16) -> Result<&Arc<dyn AnyRules>, Refusal> {
        self.0.get(&(id, version)).ok_or_else(|| {
            Refusal::with(
                "sector.unknown",
                format!("this program has no rules for sector {id} version {version}"),
                "use a sector that the network admitted, or a program version that carries its rules",
            )
        })
    }
    /// All of them, by id and version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn AnyRules>> {
        self.0.values()
    }
}
