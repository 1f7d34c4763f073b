//! Random sequences of writes, deletions, labels and settings against a model that keeps every version in a list and
//! knows nothing of how the index does it.

use super::super::lifecycle::{Due, due};
use super::*;
use std::collections::BTreeMap;

/// Seconds between operations: a day takes ten of them.
const TICK: u64 = 10;
const DAY: u64 = 100;
const KEYS: [&str; 4] = ["a", "a/1", "a/2", "b"];

#[derive(Clone, Debug)]
enum Op {
    Put(usize, u32),
    Delete(usize),
    /// The nth version from the newest, whether governance is bypassed.
    DeleteVersion(usize, usize, bool),
    Hold(usize, usize, bool),
    /// Mode, for so many ticks, bypass.
    Retain(usize, usize, LockMode, u64, bool),
    Versioning(Versioning),
    Expire,
    Snapshot,
}

fn op() -> impl Strategy<Value = Op> {
    let (key, nth) = (0..KEYS.len(), 0usize..4);
    let mode = prop_oneof![Just(LockMode::Governance), Just(LockMode::Compliance)];
    prop_oneof![
        5 => (key.clone(), 1u32..50).prop_map(|(k, n)| Op::Put(k, n)),
        3 => key.clone().prop_map(Op::Delete),
        4 => (key.clone(), nth.clone(), any::<bool>()).prop_map(|(k, n, b)| Op::DeleteVersion(k, n, b)),
        1 => (key.clone(), nth.clone(), any::<bool>()).prop_map(|(k, n, b)| Op::Hold(k, n, b)),
        1 => (key, nth, mode, 1u64..30, any::<bool>())
            .prop_map(|(k, n, m, t, b)| Op::Retain(k, n, m, t, b)),
        2 => prop_oneof![Just(Versioning::Enabled), Just(Versioning::Suspended)].prop_map(Op::Versioning),
        1 => Just(Op::Expire),
        1 => Just(Op::Snapshot),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    /// `None`: the null version.
    name: Option<u64>,
    written: u64,
    /// Size; `None`: a marker.
    size: Option<u32>,
    hold: bool,
    retention: Option<(LockMode, u64)>,
}

impl Kept {
    fn locked(&self, now: u64, bypass: bool) -> bool {
        let active =
            |(mode, until): &(LockMode, u64)| *until > now && !(bypass && *mode == LockMode::Governance);
        self.hold || self.retention.as_ref().is_some_and(active)
    }
}

/// Newest first.
#[derive(Default)]
struct Model {
    keys: BTreeMap<&'static str, Vec<Kept>>,
    versioning: Versioning,
    lock: bool,
}

impl Model {
    fn write(&mut self, key: &'static str, id: u64, now: u64, size: Option<u32>) {
        let all = self.keys.entry(key).or_default();
        let named = self.versioning == Versioning::Enabled;
        if !named {
            all.retain(|v| v.name.is_some());
        }
        if size.is_some() || self.versioning != Versioning::Never {
            let name = named.then_some(id);
            all.insert(0, Kept { name, written: now, size, hold: false, retention: None });
        }
        self.tidy();
    }
    fn tidy(&mut self) {
        self.keys.retain(|_, all| !all.is_empty());
    }
    fn nth(&self, key: &str, nth: usize) -> Option<&Kept> {
        self.keys.get(key)?.get(nth)
    }
}

/// Index and model beside each other.
struct Pair {
    index: Index,
    model: Model,
    now: u64,
    last: VersionId,
}

impl Pair {
    fn new(lock: bool) -> Self {
        let mut settings = Vec::new();
        if lock {
            settings =
                vec![Setting::Versioning(Versioning::Enabled), Setting::ObjectLock(ObjectLock::default())];
        }
        let mut index = Index::default();
        index.apply(Mutation::CreateBucket { name: "b".into(), created: 1, settings });
        // Every object refers to this segment: what it counts must be what all versions have together.
        index.apply(stored(1, 100_000));
        index.apply(put_at("keeps-the-segment", 1, VersionId(1)));
        let versioning = if lock { Versioning::Enabled } else { Versioning::Never };
        let model = Model { versioning, lock, ..Model::default() };
        Self { index, model, now: 1000, last: VersionId(1) }
    }

    fn change(&mut self, mut mutation: Mutation, bypass: bool) -> Option<Applied> {
        self.last = mutation.number(self.last);
        let condition = Condition { bypass, ..Condition::at(self.now) };
        self.index.check(&mutation, &condition).ok()?;
        Some(self.index.apply(mutation))
    }

    fn name(kept: &Kept) -> VersionId {
        kept.name.map_or(VersionId::NULL, VersionId)
    }

    fn step(&mut self, op: &Op) {
        self.now += TICK;
        let now = self.now;
        match *op {
            Op::Put(k, size) => {
                let made = self.change(put_at(KEYS[k], size, VersionId::at(now)), false).unwrap();
                let Mutation::PutObject { .. } = put_at("x", 1, self.last) else { unreachable!() };
                self.model.write(KEYS[k], self.last.0, now, Some(size));
                let named = (self.model.versioning != Versioning::Never)
                    .then(|| Self::name(&self.model.keys[KEYS[k]][0]));
                assert_eq!(made, Applied { version: named, marker: false });
            }
            Op::Delete(k) => {
                let (bucket, key) = ("b".to_owned(), KEYS[k].to_owned());
                let version = VersionId::at(now);
                let made = self.change(Mutation::DeleteObject { bucket, key, version }, false).unwrap();
                self.model.write(KEYS[k], self.last.0, now, None);
                assert_eq!(made.marker, self.model.versioning != Versioning::Never);
            }
            Op::DeleteVersion(k, nth, bypass) => {
                let Some(kept) = self.model.nth(KEYS[k], nth).cloned() else { return };
                let made = self.change(remove(KEYS[k], Self::name(&kept)), bypass);
                assert_eq!(made.is_none(), kept.locked(now, bypass), "{kept:?} at {now}");
                if let Some(made) = made {
                    assert_eq!(made.marker, kept.size.is_none());
                    self.model.keys.get_mut(KEYS[k]).unwrap().remove(nth);
                    self.model.tidy();
                }
            }
            Op::Hold(k, nth, hold) => self.label(k, nth, Label::Hold(hold), false, |_| true),
            Op::Retain(k, nth, mode, ticks, bypass) => {
                let until = now + ticks * TICK;
                let label = Label::Retention(Some(Retention { mode, until }));
                self.label(k, nth, label, bypass, |kept| match kept.retention {
                    Some((old, end)) if end > now => {
                        (old == mode && until >= end) || (bypass && old == LockMode::Governance)
                    }
                    _ => true,
                });
            }
            Op::Versioning(to) => {
                let setting = Setting::Versioning(to);
                let done = self.change(Mutation::SetBucket { name: "b".into(), setting }, false);
                assert_eq!(done.is_none(), self.model.lock && to == Versioning::Suspended);
                if done.is_some() {
                    self.model.versioning = to;
                }
            }
            Op::Expire => self.expire(),
            Op::Snapshot => {
                let mut again = Index::default();
                for mutation in self.index.snapshot() {
                    again.apply(mutation);
                }
                assert_eq!(format!("{again:?}"), format!("{:?}", self.index));
                self.index = again;
            }
        }
    }

    fn label(&mut self, k: usize, nth: usize, label: Label, bypass: bool, allowed: impl Fn(&Kept) -> bool) {
        let Some(kept) = self.model.nth(KEYS[k], nth).cloned() else { return };
        let (bucket, key, version) = ("b".to_owned(), KEYS[k].to_owned(), Some(Self::name(&kept)));
        let done = self.change(Mutation::SetLabel { bucket, key, version, label: label.clone() }, bypass);
        let fits = self.model.lock && kept.size.is_some() && allowed(&kept);
        assert_eq!(done.is_some(), fits, "{label:?} for {kept:?} at {}", self.now);
        if fits {
            let kept = &mut self.model.keys.get_mut(KEYS[k]).unwrap()[nth];
            match label {
                Label::Hold(hold) => kept.hold = hold,
                Label::Retention(r) => kept.retention = r.map(|r| (r.mode, r.until)),
                _ => {}
            }
        }
    }

    /// Applies what is due by these rules: current ones under `a/` after two days, others a day after they were
    /// succeeded but for the newest of them, and markers with nothing behind them.
    fn expire(&mut self) {
        let settings = BucketSettings { lifecycle: rules(), ..BucketSettings::default() };
        let days = |from: u64, n: u64| (from + n * DAY).div_ceil(DAY) * DAY;
        for key in KEYS {
            let versions: Vec<Version> = {
                let found = self.index.bucket("b").unwrap().scan(std::ops::Bound::Included(key.as_bytes()));
                found.take(1).find(|(k, _)| *k == key.as_bytes()).map(|(_, v)| v).unwrap_or_default()
            };
            let asked = due(&settings, key, &versions, self.now, DAY);
            let all = self.model.keys.get(key).cloned().unwrap_or_default();
            let mut expected = Vec::new();
            if let Some(first) = all.first() {
                if first.size.is_some() && key.starts_with("a/") && days(first.written, 2) <= self.now {
                    expected.push(Due::Delete(versions[0].id));
                }
                if first.size.is_none() && all.len() == 1 {
                    expected.push(Due::Remove(Self::name(first)));
                }
            }
            for nth in 2..all.len() {
                if days(all[nth - 1].written, 1) <= self.now {
                    expected.push(Due::Remove(Self::name(&all[nth])));
                }
            }
            assert_eq!(asked, expected, "{key} at {} of {all:?}", self.now);
            self.follow(key, asked);
        }
    }

    fn follow(&mut self, key: &'static str, asked: Vec<Due>) {
        for due in asked {
            match due {
                Due::Delete(_) => {
                    let (bucket, version) = ("b".to_owned(), VersionId::at(self.now));
                    let mutation = Mutation::DeleteObject { bucket, key: key.into(), version };
                    self.change(mutation, false).unwrap();
                    self.model.write(key, self.last.0, self.now, None);
                }
                Due::Remove(name) => {
                    let done = self.change(remove(key, name), false).is_some();
                    let all = self.model.keys.get_mut(key).unwrap();
                    let at = all.iter().position(|v| Self::name(v) == name).unwrap();
                    assert_eq!(done, !all[at].locked(self.now, false));
                    if done {
                        all.remove(at);
                        self.model.tidy();
                    }
                }
            }
        }
    }

    fn compare(&self, max: usize, delimiter: &str) {
        let bucket = self.index.bucket("b").unwrap();
        let everything: u64 = self.model.keys.values().flatten().filter_map(|v| v.size).map(u64::from).sum();
        assert_eq!(self.index.segment(&SegmentId([1; 32])).unwrap().live, everything + 1);
        let seen = pages(bucket, max, delimiter);
        let mut expected = Vec::new();
        for (key, all) in &self.model.keys {
            if let Some((common, _)) = key.split_once('/').filter(|_| !delimiter.is_empty()) {
                let common = (format!("{common}/"), None, None, false);
                if expected.last() != Some(&common) {
                    expected.push(common);
                }
                continue;
            }
            for (nth, v) in all.iter().enumerate() {
                expected.push(((*key).to_owned(), Some(Self::name(v)), v.size, nth == 0));
            }
        }
        assert_eq!(seen, expected);
        for (key, all) in &self.model.keys {
            let current = self.index.object("b", key).ok().map(|o| o.size);
            assert_eq!(current, all[0].size.map(u64::from));
        }
        assert_eq!(bucket.keys(), self.model.keys.len() + 1);
    }
}

type Row = (String, Option<VersionId>, Option<u32>, bool);

/// All versions, page by page.
fn pages(bucket: &Bucket, max: usize, delimiter: &str) -> Vec<Row> {
    let mut query = ListQuery { max, delimiter: delimiter.into(), ..ListQuery::default() };
    let mut out: Vec<Row> = Vec::new();
    loop {
        let page = bucket.list_versions(&query);
        assert!(page.versions.len() + page.prefixes.len() <= max);
        let mut rows: Vec<Row> = page.prefixes.into_iter().map(|p| (p, None, None, false)).collect();
        rows.extend(page.versions.into_iter().map(|l| {
            let size = l.version.object.as_ref().map(|o| u32::try_from(o.size).unwrap());
            (l.key, Some(l.version.name()), size, l.latest)
        }));
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        out.extend(rows.into_iter().filter(|r| r.0 != "keeps-the-segment"));
        match page.next {
            Some(next) => query.resume = next,
            None => return out,
        }
    }
}

fn put_at(key: &str, size: u32, version: VersionId) -> Mutation {
    let object = Object { modified: version.seconds(), labels: Labels::default(), ..object(1, size) };
    Mutation::PutObject { bucket: "b".into(), key: key.into(), object, version }
}

fn remove(key: &str, version: VersionId) -> Mutation {
    Mutation::DeleteVersion { bucket: "b".into(), key: key.into(), version }
}

fn rules() -> Vec<Rule> {
    let rule = |id: &str, prefix: &str| Rule {
        id: id.into(),
        enabled: true,
        filter: Filter { prefix: prefix.into(), ..Filter::default() },
        form: FilterForm::One,
        expire: None,
        noncurrent: None,
        abort: None,
    };
    vec![
        Rule { expire: Some(Expire::Days(2)), ..rule("current", "a/") },
        Rule { noncurrent: Some(Noncurrent { days: 1, keep: 1 }), ..rule("older", "") },
        Rule { expire: Some(Expire::Markers), ..rule("markers", "") },
        Rule { enabled: false, expire: Some(Expire::Date(0)), ..rule("off", "") },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_index_does_what_a_list_of_versions_does(
        lock in any::<bool>(),
        ops in proptest::collection::vec(op(), 1..60),
        max in 1usize..6,
    ) {
        let mut pair = Pair::new(lock);
        for op in &ops {
            pair.step(op);
            pair.compare(max, "");
        }
        pair.compare(max, "/");
    }
}
