use super::*;

mod model;

use crate::access::key::{Place, Scope};
use crate::record::*;
use cairn_storage_codec::Profile;
use cairn_types::{Hash, encode};
use proptest::prelude::*;

pub(super) fn meta(id: u8, len: u64) -> SegmentMeta {
    let profile = Profile::new(1, 2).unwrap();
    SegmentMeta::new(SegmentId([id; 32]), LeaseId([2; 32]), profile, len, vec![Hash([id; 32]); 2]).unwrap()
}

fn stored(id: u8, len: u64) -> Mutation {
    let root = Some(SlotRoot { generation: 0, root: Hash([9; 32]) });
    Mutation::AddSegment(Stored { meta: meta(id, len), roots: vec![root, None] })
}

fn object(segment: u8, len: u32) -> Object {
    Object {
        size: len.into(),
        etag: Etag { md5: [3; 16], parts: 0 },
        modified: 7,
        attributes: Attributes {
            headers: [("content-type".into(), "text/plain".into())].into(),
            user: [("oven".into(), "stone".into())].into(),
        },
        labels: Labels { hold: true, acl: Some(CannedAcl::PublicRead), ..Labels::default() },
        checksums: vec![Checksum {
            algorithm: crate::record::Algorithm::Crc32,
            value: "AAAAAA==".into(),
            composite: false,
        }],
        part_sizes: Vec::new(),
        part_checksums: Vec::new(),
        placement: Placement::Runs(vec![Run { segment: SegmentId([segment; 32]), offset: 4, len }]),
    }
}

fn put(key: &str, object: Object) -> Mutation {
    Mutation::PutObject { bucket: "b".into(), key: key.into(), object, version: VersionId(1) }
}

fn bucket() -> Mutation {
    Mutation::CreateBucket { name: "b".into(), created: 1, settings: Vec::new() }
}

fn index(mutations: impl IntoIterator<Item = Mutation>) -> Index {
    let mut index = Index::default();
    for mutation in mutations {
        index.apply(mutation);
    }
    index
}

fn access_key() -> Mutation {
    let place = Place { bucket: "b".into(), prefix: "p".into() };
    let scope = Scope { groups: 3, places: vec![place], quota: Some(9) };
    let key =
        AccessKey { name: "n".into(), secret: "s".into(), scope: Some(scope), created: 1, expires: Some(2) };
    Mutation::PutAccessKey { id: "a".into(), key }
}

fn label(label: Label) -> Mutation {
    Mutation::SetLabel { bucket: "b".into(), key: "a".into(), version: None, label }
}

/// One of each, in an order in which a bucket takes them.
fn settings() -> Vec<Setting> {
    let rule = Rule {
        id: "r".into(),
        enabled: true,
        filter: Filter { prefix: "p".into(), tags: Tags::new(), over: Some(1), under: None },
        form: FilterForm::And,
        expire: Some(Expire::Days(1)),
        noncurrent: Some(Noncurrent { days: 2, keep: 3 }),
        abort: Some(4),
    };
    vec![
        Setting::Versioning(Versioning::Enabled),
        Setting::ObjectLock(ObjectLock { default: Some((LockMode::Governance, Span::Years(1))) }),
        Setting::Lifecycle(vec![rule]),
        Setting::Tags([("k".into(), "v".into())].into()),
        Setting::Policy(Some("{}".into())),
        Setting::Cors(Some("c".into())),
        Setting::Acl(CannedAcl::PublicRead),
        Setting::Ownership(Some(Ownership::Preferred)),
        Setting::PublicAccess(Some(PublicAccess { block_acls: true, ..PublicAccess::default() })),
        Setting::Logging(Some(Logging { bucket: "l".into(), prefix: "p".into() })),
    ]
}

#[test]
fn what_a_bucket_is_set_to_survives_a_snapshot() {
    let mut index = index([bucket()]);
    for setting in settings() {
        index.apply(Mutation::SetBucket { name: "b".into(), setting });
    }
    let set = index.bucket("b").unwrap().settings.clone();
    assert_eq!(set.list(), settings());
    let mut again = Index::default();
    for mutation in index.snapshot() {
        again.apply(mutation);
    }
    assert_eq!(again.bucket("b").unwrap().settings, set);
}

#[test]
fn object_lock_comes_after_versioning_and_keeps_it_on() {
    let mut index = index([bucket()]);
    let set = |setting| Mutation::SetBucket { name: "b".into(), setting };
    let refused = |index: &Index, setting| {
        matches!(index.check(&set(setting), &Condition::default()), Err(GatewayError::BucketState(_)))
    };
    let (lock, suspend) =
        (Setting::ObjectLock(ObjectLock::default()), Setting::Versioning(Versioning::Suspended));
    assert!(refused(&index, lock.clone()) && !refused(&index, suspend.clone()));
    index.apply(set(Setting::Versioning(Versioning::Enabled)));
    assert!(refused(&index, Setting::Versioning(Versioning::Never)));
    index.apply(set(lock));
    index.apply(set(suspend.clone()));
    assert!(refused(&index, suspend));
    assert_eq!(index.bucket("b").unwrap().settings.versioning, Versioning::Enabled);
}

#[test]
fn a_label_changes_alone() {
    let mut index = index([bucket(), stored(1, 100), put("a", object(1, 10))]);
    index.apply(label(Label::Tags([("k".into(), "v".into())].into())));
    index.apply(label(Label::Hold(false)));
    let labels = index.object("b", "a").unwrap().labels.clone();
    let tags: Tags = [("k".into(), "v".into())].into();
    assert_eq!(labels, Labels { tags, hold: false, ..object(1, 1).labels });
}

#[test]
fn record_formats_are_frozen() {
    let upload = Upload {
        bucket: "b".into(),
        key: "k".into(),
        started: 5,
        attributes: Attributes::default(),
        labels: Labels::default(),
        algorithm: Some(crate::record::Algorithm::Sha256),
    };
    let part = Part {
        size: 1,
        md5: [1; 16],
        modified: 2,
        checksums: Vec::new(),
        placement: Placement::Inline(vec![7]),
    };
    let all = Body::Mutations(
        vec![
            bucket(),
            Mutation::DeleteBucket { name: "b".into() },
            stored(1, 100),
            Mutation::SetRoot { segment: SegmentId([1; 32]), slot: 1, root: None },
            put("k", object(1, 10)),
            Mutation::DeleteObject { bucket: "b".into(), key: "k".into(), version: VersionId(2) },
            Mutation::DeleteVersion { bucket: "b".into(), key: "k".into(), version: VersionId::NULL },
            Mutation::PutVersion {
                bucket: "b".into(),
                key: "k".into(),
                version: Version { id: VersionId(3), null: true, object: None },
            },
            Mutation::Numbered { last: VersionId(4) },
            Mutation::CreateUpload { id: [1; 16], upload },
            Mutation::PutPart { id: [1; 16], number: 3, part },
            Mutation::CompleteUpload {
                id: [1; 16],
                parts: vec![(3, [1; 16])],
                modified: 9,
                checksums: Vec::new(),
                version: VersionId(5),
            },
            Mutation::AbortUpload { id: [1; 16] },
            access_key(),
            Mutation::DeleteAccessKey { id: "a".into() },
            label(Label::Tags([("a".into(), "b".into())].into())),
            label(Label::Retention(Some(Retention { mode: LockMode::Compliance, until: 3 }))),
        ]
        .into_iter()
        .chain(settings().into_iter().map(|setting| Mutation::SetBucket { name: "b".into(), setting }))
        .collect(),
    );
    let bytes = encode(&all);
    assert_eq!(
        hex::encode(blake3::hash(&bytes).as_bytes()),
        "6657512e6bdc8610f7bcc9ba09e3b88daaa9c9abac48a4242de08f1cfaeeb160"
    );
    assert_eq!(cairn_types::decode::<Body>(&bytes).unwrap(), all);
    let piece = Body::Snapshot { piece: 1, pieces: 2, bytes: vec![5, 6] };
    assert_eq!(hex::encode(encode(&piece)), "010100000002000000020000000506");
    assert_eq!(
        hex::encode(encode(&put("k", object(1, 10)))),
        concat!(
            "050100000062010000006b0a000000000000000303030303030303030303030303030300000000070000000000000001",
            "0000000c000000636f6e74656e742d747970650a000000746578742f706c61696e01000000040000006f76656e050000",
            "0073746f6e6500000000000101010100000000080000004141414141413d3d0000000000000000000101000000010101",
            "0101010101010101010101010101010101010101010101010101010101040000000a0000000100000000000000",
        )
    );
}

#[test]
fn a_segment_dies_with_the_last_thing_that_refers_to_it() {
    let mut index = index([bucket(), stored(1, 100), put("a", object(1, 10)), put("copy", object(1, 10))]);
    assert_eq!(index.segment(&SegmentId([1; 32])).unwrap().live, 20);
    assert_eq!(index.incomplete().collect::<Vec<_>>(), [(SegmentId([1; 32]), 1)]);
    index.apply(Mutation::DeleteObject { bucket: "b".into(), key: "a".into(), version: VersionId(2) });
    assert!(index.take_dead().is_empty());
    index.apply(stored(2, 100));
    index.apply(put("copy", object(2, 10)));
    assert_eq!(index.take_dead().iter().map(|m| *m.id()).collect::<Vec<_>>(), [SegmentId([1; 32])]);
    assert_eq!(index.incomplete().count(), 1);
}

#[test]
fn overwriting_an_object_with_its_own_segment_keeps_the_segment() {
    let mut index = index([bucket(), stored(1, 100), put("a", object(1, 10)), put("a", object(1, 10))]);
    assert!(index.take_dead().is_empty());
    assert_eq!(index.segment(&SegmentId([1; 32])).unwrap().live, 10);
}

#[test]
fn a_snapshot_rebuilds_the_index() {
    let upload = Upload {
        bucket: "b".into(),
        key: "u".into(),
        started: 5,
        attributes: Attributes::default(),
        labels: Labels::default(),
        algorithm: None,
    };
    let part = Part {
        size: 6 << 20,
        md5: [1; 16],
        modified: 2,
        checksums: Vec::new(),
        placement: object(1, 30).placement,
    };
    let before = index([
        bucket(),
        stored(1, 100),
        put("a", object(1, 10)),
        Mutation::CreateUpload { id: [1; 16], upload },
        Mutation::PutPart { id: [1; 16], number: 1, part },
        access_key(),
    ]);
    let after = index(before.snapshot());
    assert_eq!(format!("{after:?}"), format!("{before:?}"));
}

#[test]
fn conditions_hold_or_refuse() {
    let index = index([bucket(), stored(1, 100), put("a", object(1, 10))]);
    let tag = object(1, 10).etag.to_string();
    let check = |key: &str, if_match: Option<&str>, if_none_match: Option<&str>| {
        let condition = Condition {
            if_match: if_match.map(Into::into),
            if_none_match: if_none_match.map(Into::into),
            ..Condition::default()
        };
        let object = Object { labels: Labels::default(), ..object(1, 1) };
        index.check(&put(key, object), &condition)
    };
    assert_eq!(check("a", Some(&tag), None), Ok(()));
    assert_eq!(check("a", Some("other"), None), Err(GatewayError::PreconditionFailed));
    assert_eq!(check("new", Some(&tag), None), Err(GatewayError::NoSuchKey("new".into())));
    assert_eq!(check("a", None, Some("*")), Err(GatewayError::PreconditionFailed));
    assert_eq!(check("new", None, Some("*")), Ok(()));
}

#[test]
fn a_put_that_names_an_unknown_segment_has_no_effect() {
    let index = index([bucket(), put("a", object(1, 10))]);
    assert!(index.object("b", "a").is_err());
}

fn listing(index: &Index, query: &ListQuery) -> (Vec<String>, usize) {
    let (mut seen, mut pages, mut query) = (Vec::new(), 0, query.clone());
    loop {
        let page = index.bucket("b").unwrap().list(&query);
        pages += 1;
        assert!(page.objects.len() + page.prefixes.len() <= query.max);
        seen.extend(page.objects.into_iter().map(|(k, _)| k).chain(page.prefixes));
        match page.next {
            Some(next) => query.resume = next,
            None => return (seen, pages),
        }
    }
}

proptest! {
    #[test]
    fn pages_join_to_what_a_plain_filter_gives(
        keys in proptest::collection::btree_set("[ab/\u{10FFFF}é]{1,6}", 0..30),
        prefix in "[ab/]{0,2}",
        delimiter in "(/|b/)?",
        max in 1usize..5,
    ) {
        let empty = Object { placement: Placement::Inline(Vec::new()), ..object(1, 0) };
        let puts = keys.iter().map(|k| put(k, empty.clone()));
        let index = index(std::iter::once(bucket()).chain(puts));
        let mut expected = BTreeSet::new();
        for key in keys.iter().filter(|k| k.starts_with(&prefix)) {
            let at = if delimiter.is_empty() { None } else { key[prefix.len()..].find(&delimiter) };
            expected.insert(at.map_or(key.clone(), |at| key[..prefix.len() + at + delimiter.len()].to_owned()));
        }
        let query = ListQuery { prefix, delimiter, resume: Resume::Start, max };
        let (mut seen, pages) = listing(&index, &query);
        seen.sort();
        prop_assert_eq!(pages, expected.len().div_ceil(max).max(1));
        prop_assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn random_bytes_are_no_body_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = cairn_types::decode_bounded::<Body>(&bytes, 1 << 20);
        let _ = crate::seal::open(&cairn_storage_codec::keys::IndexKey::from_bytes([1; 32]), 0, &bytes);
    }
}
