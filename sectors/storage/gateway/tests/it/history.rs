//! Many writers with conditions on one key, and a check of what they heard against the order of the versions.
//!
//! Where versions are kept and none is removed, the list of versions is the history: it says in which order the writes
//! took effect, so every answer can be judged by it.

#![allow(clippy::unwrap_used)] // Helpers of tests, which may fail loudly.

use crate::support::*;
use cairn_storage_gateway::error::GatewayError;
use cairn_storage_gateway::gateway::{Gateway, PutPart};
use cairn_storage_gateway::index::{Condition, ListQuery};
use cairn_storage_gateway::record::{Attributes, Etag, Labels, Setting, Upload, VersionId, Versioning};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A small generator, so that a seed gives the same requests on every machine.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What a request demanded of what was there.
#[derive(Clone, Debug, PartialEq)]
enum Demand {
    Nothing,
    Absent,
    Tag(String),
}

impl Demand {
    fn condition(&self) -> Condition {
        match self {
            Self::Nothing => Condition::at(1),
            Self::Absent => Condition { if_none_match: Some("*".into()), ..Condition::at(1) },
            Self::Tag(tag) => Condition { if_match: Some(tag.clone()), ..Condition::at(1) },
        }
    }
    fn holds(&self, there: Option<&String>) -> bool {
        match self {
            Self::Nothing => true,
            Self::Absent => there.is_none(),
            Self::Tag(tag) => there == Some(tag),
        }
    }
}

/// One request: when it was sent and answered, and what became of it.
#[derive(Debug)]
struct Event {
    from: u64,
    to: u64,
    demand: Demand,
    /// The version made; `None`: the demand did not hold.
    made: Option<VersionId>,
}

fn outcome(result: Result<Option<VersionId>, GatewayError>) -> Option<VersionId> {
    match result {
        Ok(made) => Some(made.expect("versions are kept")),
        Err(GatewayError::PreconditionFailed | GatewayError::NoSuchKey(_)) => None,
        Err(e) => panic!("{e}"),
    }
}

/// Completes and aborts an upload at once: one of both wins.
async fn race(
    g: &Gateway,
    key: &str,
    data: &[u8],
    condition: Condition,
) -> Result<Option<VersionId>, GatewayError> {
    let upload = Upload {
        bucket: "b".into(),
        key: key.into(),
        started: 1,
        attributes: Attributes::default(),
        labels: Labels::default(),
        algorithm: None,
    };
    let id = g.create_upload(upload).await?;
    let part = PutPart {
        bucket: "b".into(),
        key: key.into(),
        id,
        number: 1,
        algorithms: Vec::new(),
        limit: 1 << 20,
        expected: None,
        copied: false,
        now: 1,
    };
    let done = g.put_part(part, body(data), |_| Ok(())).await?;
    let complete = g.complete_upload(("b", key, id), vec![(1, done.md5)], Vec::new(), condition, 1);
    let (completed, aborted) = tokio::join!(complete, g.abort_upload("b", key, id));
    match completed {
        Ok(made) => {
            assert_eq!(aborted, Err(GatewayError::NoSuchUpload));
            Ok(made.version)
        }
        Err(GatewayError::NoSuchUpload) => {
            assert_eq!(aborted, Ok(()));
            // As if it had never been asked.
            Err(GatewayError::NoSuchUpload)
        }
        Err(e) => Err(e),
    }
}

async fn writer(g: Arc<Gateway>, clock: Arc<AtomicU64>, seed: u64) -> Vec<Event> {
    let (mut random, mut events) = (Seeded(seed), Vec::new());
    for step in 0..30u64 {
        let seen = g.index().object("b", "k").ok().map(|o| o.etag.to_string());
        let demand = match (random.below(4), seen) {
            (0, _) => Demand::Nothing,
            (1, _) | (_, None) => Demand::Absent,
            (_, Some(tag)) => Demand::Tag(tag),
        };
        let data = bytes(100, u32::try_from(seed * 1000 + step).unwrap());
        let (kind, condition) = (random.below(4), demand.condition());
        let from = clock.fetch_add(1, Ordering::SeqCst);
        let result = match kind {
            0 => g.delete_object_if("b", "k", condition).await.map(|a| a.version),
            1 => race(&g, "k", &data, condition).await,
            _ => {
                let mut put = request("k");
                put.condition = condition;
                g.put_object(put, body(&data), |_| Ok(())).await.map(|d| d.version)
            }
        };
        let to = clock.fetch_add(1, Ordering::SeqCst);
        if result != Err(GatewayError::NoSuchUpload) {
            events.push(Event { from, to, demand, made: outcome(result) });
        }
        if random.below(3) == 0 {
            tokio::task::yield_now().await;
        }
    }
    events
}

/// Versions in order, with the tag that a reader saw from then on.
fn order(g: &Gateway) -> Vec<(VersionId, Option<String>)> {
    let index = g.index();
    let query = ListQuery { max: 10_000, ..ListQuery::default() };
    let page = index.bucket("b").unwrap().list_versions(&query);
    assert!(page.next.is_none());
    let tag = |etag: &Etag| etag.to_string();
    let rows = page.versions.into_iter().filter(|l| l.key == "k");
    let mut rows: Vec<_> = rows.map(|l| (l.version.id, l.version.object.map(|o| tag(&o.etag)))).collect();
    rows.reverse();
    rows
}

fn judge(events: &[Event], order: &[(VersionId, Option<String>)]) {
    let place = |id: VersionId| order.iter().position(|(o, _)| *o == id).expect("what was answered is there");
    let before = |at: usize| at.checked_sub(1).and_then(|b| order[b].1.as_ref());
    let made: Vec<_> = events.iter().filter_map(|e| e.made.map(|id| (e, place(id)))).collect();
    assert_eq!(made.len(), order.len(), "each version has one request that made it");
    for (event, at) in &made {
        assert!(event.demand.holds(before(*at)), "{event:?} at {at}");
        for (other, its) in &made {
            assert!(event.to >= other.from || at < its, "{event:?} was answered before {other:?} began");
        }
    }
    for event in events.iter().filter(|e| e.made.is_none()) {
        // The demand failed at some moment between question and answer.
        let first = made.iter().filter(|(e, _)| e.to < event.from).map(|(_, at)| at + 1).max().unwrap_or(0);
        let last = made.iter().filter(|(e, _)| e.from < event.to).map(|(_, at)| at + 1).max().unwrap_or(0);
        let failed = (first..=last.max(first)).any(|at| !event.demand.holds(before(at)));
        assert!(failed, "{event:?} was refused though its demand held all the time");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_many_writers_hear_fits_one_order() {
    for seed in 0..4 {
        let (_world, g) = started(4).await;
        g.set_bucket("b", Setting::Versioning(Versioning::Enabled)).await.unwrap();
        let clock = Arc::new(AtomicU64::new(0));
        let writers =
            (0..6).map(|i| tokio::spawn(writer(Arc::clone(&g), Arc::clone(&clock), seed * 100 + i)));
        let mut events = Vec::new();
        for done in futures::future::join_all(writers).await {
            events.extend(done.unwrap());
        }
        let order = order(&g);
        assert!(order.len() > 20, "seed {seed}: only {} writes took effect", order.len());
        assert!(events.iter().any(|e| e.made.is_none()), "seed {seed}: nobody was refused");
        judge(&events, &order);
        assert!(order.windows(2).all(|w| w[0].0 < w[1].0));
    }
}

#[test]
#[should_panic(expected = "was refused though")]
fn the_judge_sees_a_refusal_without_cause() {
    let refused = Event { from: 0, to: 1, demand: Demand::Absent, made: None };
    judge(&[refused], &[]);
}

#[test]
#[should_panic(expected = "at 1")]
fn the_judge_sees_a_write_that_should_have_been_refused() {
    let made = |from, id| Event { from, to: from + 1, demand: Demand::Absent, made: Some(VersionId(id)) };
    let order = [(VersionId(1), Some("a".to_owned())), (VersionId(2), Some("b".to_owned()))];
    judge(&[made(0, 1), made(2, 2)], &order);
}
