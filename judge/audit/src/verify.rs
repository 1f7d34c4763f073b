//! Redoes a settlement and says what differs first.

use cairn_ledger::genesis::digest_contents;
use cairn_ledger::settle::{Line, Settled};
use cairn_ledger::settlement::Settlement;
use cairn_sector::Sectors;
use cairn_types::{Amount, Credits, Epoch, Hash, NetworkId, Refusal, SectorId};

use crate::inputs::Inputs;
use crate::pack::{Pack, entries, mark};

/// A settlement that came out the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Network.
    pub network: NetworkId,
    /// Sector.
    pub sector: SectorId,
    /// Epoch.
    pub epoch: Epoch,
    /// Rules version.
    pub version: u16,
    /// The trusted id.
    pub settlement: Hash,
    /// Judged rows.
    pub rows: u64,
    /// Certified bundles.
    pub bundles: usize,
    /// Devices at the lock.
    pub devices: usize,
    /// Leases at the lock.
    pub leases: usize,
    /// Charged to escrows.
    pub charged: Credits,
    /// Earned from customers.
    pub earned: Amount,
    /// Earned from the pool.
    pub pool_paid: Amount,
    /// Outcomes.
    pub outcomes: u32,
}

/// What differs first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// No pack at all.
    #[error("the file is no evidence pack: {0}; download it again")]
    Malformed(String),
    /// A settlement that nobody vouched for.
    #[error(
        "the pack's settlement is {found}, not the trusted {trusted}; compare the id with a source that you trust"
    )]
    NotTrusted {
        /// In the pack.
        found: Hash,
        /// Asked for.
        trusted: Hash,
    },
    /// A fact beside the record.
    #[error(
        "{what}: the pack's inputs differ from the settlement; the pack was altered, get it from another holder"
    )]
    Fact {
        /// Which.
        what: &'static str,
    },
    /// A named entry.
    #[error("{what} differs from what was judged; the pack was altered, get it from another holder")]
    Entry {
        /// Which.
        what: String,
    },
    /// A list as a whole.
    #[error(
        "{what}: digest {found} of the pack's content, {settled} in the settlement; entries were added, left out or altered"
    )]
    Root {
        /// Which list.
        what: &'static str,
        /// Of the content.
        found: Hash,
        /// In the settlement.
        settled: Hash,
    },
    /// Evidence that is not the certified one, or rules that this program lacks.
    #[error("{0}")]
    Inputs(Refusal),
    /// A row.
    #[error("row {index}: {text}")]
    Row {
        /// Number, from 0.
        index: usize,
        /// Payee, duty, and both values of the field that differs.
        text: String,
    },
    /// A result of the settlement.
    #[error(
        "{what}: {settled} in the settlement, {recomputed} recomputed; the seats signed another result than the rules give"
    )]
    Outcome {
        /// Which.
        what: &'static str,
        /// In the settlement.
        settled: String,
        /// Recomputed.
        recomputed: String,
    },
}

/// Recomputes a pack against the settlement id that the caller trusts.
pub fn verify(bytes: &[u8], trust: &Hash, sectors: &Sectors) -> Result<Report, Finding> {
    let pack = Pack::decode(bytes).map_err(|e| Finding::Malformed(e.to_string()))?;
    verify_pack(&pack, trust, sectors)
}

/// As [`verify`], for a decoded pack.
pub fn verify_pack(pack: &Pack, trust: &Hash, sectors: &Sectors) -> Result<Report, Finding> {
    let (x, s) = (&pack.inputs, &pack.settlement);
    if s.id() != *trust {
        return Err(Finding::NotTrusted { found: s.id(), trusted: *trust });
    }
    facts(x, s)?;
    let named = marks(pack);
    order(x)?;
    // A wrong root is told by the entry that is wrong, where that can be known.
    roots(x, s).map_err(|root| named.clone().err().unwrap_or(root))?;
    named?;
    x.open_bundles().map_err(Finding::Inputs)?;
    let settled = x.settle(sectors).map_err(Finding::Inputs)?;
    lines(&pack.lines, &settled.lines)?;
    results(s, &settled)?;
    Ok(Report {
        network: s.network,
        sector: s.sector,
        epoch: s.epoch,
        version: s.version,
        settlement: s.id(),
        rows: s.rows.1,
        bundles: x.bundles.len(),
        devices: x.devices.len(),
        leases: x.leases.len(),
        charged: s.charged,
        earned: s.earned,
        pool_paid: s.pool_paid,
        outcomes: s.outcomes.1,
    })
}

fn facts(x: &Inputs, s: &Settlement) -> Result<(), Finding> {
    let all = [
        ("network", x.network == s.network),
        ("sector", x.sector == s.sector),
        ("epoch", x.epoch == s.epoch),
        ("seed", x.seed == s.seed),
        ("price", x.price == s.price),
        ("rules version", x.terms.version == s.version),
        ("terms", x.terms.root() == s.terms_root),
    ];
    all.into_iter().find(|(_, same)| !same).map_or(Ok(()), |(what, _)| Err(Finding::Fact { what }))
}

fn marks(pack: &Pack) -> Result<(), Finding> {
    let mut marks = pack.marks.iter();
    for (what, bytes) in entries(&pack.inputs) {
        if marks.next() != Some(&mark(&bytes)) {
            return Err(Finding::Entry { what });
        }
    }
    match marks.next() {
        Some(_) => Err(Finding::Entry { what: "the list of marks".into() }),
        None => Ok(()),
    }
}

/// One order for everybody, nothing twice: digests of sets do not see order, and count to 65,536 only.
fn order(x: &Inputs) -> Result<(), Finding> {
    fn ascends<T, K: Ord>(list: &[T], key: impl Fn(&T) -> K) -> bool {
        list.windows(2).all(|w| key(&w[0]) < key(&w[1]))
    }
    let all = [
        ("order of devices", ascends(&x.devices, |e| e.id)),
        ("order of leases", ascends(&x.leases, |e| e.id)),
        ("order of sales", ascends(&x.sales, |e| e.id)),
        ("order of postings", ascends(&x.postings, |e| e.device)),
        (
            "empty postings",
            x.postings.iter().all(|p| p.commitment.is_some() || p.answers.is_some() || p.bundle.is_some()),
        ),
        ("order of memory", ascends(&x.memory, |e| e.0.clone())),
        ("order of the tally", ascends(&x.tally, |e| e.0.clone())),
    ];
    all.into_iter().find(|(_, fine)| !fine).map_or(Ok(()), |(what, _)| Err(Finding::Fact { what }))
}

fn roots(x: &Inputs, s: &Settlement) -> Result<(), Finding> {
    let r = x.roots();
    let all = [
        ("registry", r.registry, s.registry_root),
        ("commitments", r.commitments, s.commitments_root),
        ("answers", r.answers, s.answers_root),
        ("certified bundles", r.evidence, s.evidence_root),
        ("memory", digest_contents("memory", &x.memory).digest(), s.memory.0),
        ("tally", digest_contents("tally", &x.tally).digest(), s.tally.0),
    ];
    let wrong = all.into_iter().find(|(_, found, settled)| found != settled);
    wrong.map_or(Ok(()), |(what, found, settled)| Err(Finding::Root { what, found, settled }))
}

fn lines(pack: &[Line], redone: &[Line]) -> Result<(), Finding> {
    for (index, (a, b)) in pack.iter().zip(redone).enumerate() {
        if a != b {
            return Err(Finding::Row { index, text: difference(a, b) });
        }
    }
    if pack.len() == redone.len() {
        return Ok(());
    }
    let text = format!("{} rows in the pack, {} recomputed", pack.len(), redone.len());
    Err(Finding::Row { index: pack.len().min(redone.len()), text })
}

fn difference(a: &Line, b: &Line) -> String {
    let who = format!("payee {}, duty {}", b.row.payee, duty(b));
    let pairs = [
        ("payee", a.row.payee.to_string(), b.row.payee.to_string()),
        ("duty", duty(a), duty(b)),
        ("units", format!("{:?}", a.row.units.0), format!("{:?}", b.row.units.0)),
        ("source", format!("{:?}", a.row.source), format!("{:?}", b.row.source)),
        ("fault", format!("{:?}", a.row.fault), format!("{:?}", b.row.fault)),
        ("next", format!("{:?}", a.row.next), format!("{:?}", b.row.next)),
        ("note", a.row.note.to_string(), b.row.note.to_string()),
        ("operator", a.operator.to_string(), b.operator.to_string()),
        ("charged", a.charged.to_string(), b.charged.to_string()),
        ("unpaid", a.unpaid.to_string(), b.unpaid.to_string()),
        ("granted", a.granted.to_string(), b.granted.to_string()),
    ];
    match pairs.into_iter().find(|(_, x, y)| x != y) {
        Some((what, x, y)) => format!("{who}: {what} {x} in the pack, {y} recomputed"),
        None => who,
    }
}

fn duty(line: &Line) -> String {
    match line.row.duty {
        Some(cairn_types::DutyId::Lease { lease, slot }) => format!("lease {lease} slot {slot}"),
        Some(cairn_types::DutyId::Standing { device }) => format!("standing {device}"),
        None => "none".to_owned(),
    }
}

fn results(s: &Settlement, redone: &Settled) -> Result<(), Finding> {
    let r = &redone.settlement;
    let all = [
        ("root of rows", format!("{:?}", s.rows), format!("{:?}", r.rows)),
        ("charged", s.charged.to_string(), r.charged.to_string()),
        ("sales", s.sales.to_string(), r.sales.to_string()),
        ("earned", s.earned.to_string(), r.earned.to_string()),
        ("paid from the pool", s.pool_paid.to_string(), r.pool_paid.to_string()),
        ("root of claims", format!("{:?}", s.claims), format!("{:?}", r.claims)),
        ("root of charges", format!("{:?}", s.charges), format!("{:?}", r.charges)),
        ("outcomes", format!("{:?}", s.outcomes), format!("{:?}", r.outcomes)),
        ("memory after", s.memory.1.to_string(), r.memory.1.to_string()),
        ("tally after", s.tally.1.to_string(), r.tally.1.to_string()),
        ("settlement", s.id().to_string(), r.id().to_string()),
    ];
    let wrong = all.into_iter().find(|(_, a, b)| a != b);
    wrong.map_or(Ok(()), |(what, settled, recomputed)| Err(Finding::Outcome { what, settled, recomputed }))
}
