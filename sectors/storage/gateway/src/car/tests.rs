use super::ask::{Ask, Format, Scope, bytes_of};
use super::dag::Block;
use super::*;
use hyper::{HeaderMap, StatusCode, header};
use std::io::Cursor;

/// The same bytes as the vectors below were made with.
fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i / 256 * 7 + i) & 255).unwrap()).collect()
}

fn leaves(bytes: &[u8], chunk: u32) -> FileEntry {
    let mut cut = Leaves::shaped(HashKind::Sha256, chunk);
    // In pieces that end anywhere.
    bytes.chunks(777).for_each(|piece| cut.push(piece, &mut |_, _| Ok(())).unwrap());
    let (leaves, size) = cut.finish(&mut |_, _| Ok(())).unwrap();
    FileEntry { path: String::new(), key: "k".into(), etag: "e".into(), size, leaves }
}

fn dag(bytes: &[u8], chunk: u32, width: u16) -> Dag {
    let manifest = Manifest::shaped("b", HashKind::Sha256, width, chunk, vec![leaves(bytes, chunk)]);
    Dag::new(&manifest.unwrap()).unwrap()
}

/// Bytes, leaf, links: root. Made with `@ipld/unixfs` (fixed chunks, balanced layout, raw leaves).
const FILES: [(usize, u32, u16, &str); 10] = [
    (0, 256, 3, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    (1, 256, 3, "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu"),
    (256, 256, 3, "bafkreicav7zotuwysixepl6umshgsz2jofmhqx55dwuhbzyrajtl7fciqa"),
    (257, 256, 3, "bafybeiegvfqsbc62qt4oqxrro732hjobxfqbk6cpjgfmtrlt4c7veipnxm"),
    (768, 256, 3, "bafybeicfza3w2wwe6qlaz42qi7cakskapothws3glfaljttqpx3oxkcrui"),
    (769, 256, 3, "bafybeighsd5aufgwn63chpx4akgcubu7lxhxhurzqtsurexmkte4ql4poi"),
    (2304, 256, 3, "bafybeid274mvn36vfo4eyekkfbhrgcp2c6frfmyhneshpe65wk6mnfjrtm"),
    (2305, 256, 3, "bafybeibhubc4qggdrs5ug7izdj4x4xqjceyha24e5sj7o7gx5o2zrlxfwq"),
    (10_000, 256, 3, "bafybeiaffspej7frknj4kb3dmmmoot5ytulqa4vtevywopiamab7c7im5u"),
    (700_000, 1024, 174, "bafybeid5m7gbtep3spatneysqo3ojsgycnoth4xzcaveetelkmjkhxhoom"),
];

#[test]
fn files_have_the_roots_of_another_implementation() {
    for (len, chunk, width, root) in FILES {
        assert_eq!(dag(&data(len), chunk, width).root_cid().to_string(), root, "{len} bytes");
    }
}

fn export(files: &[(&str, Vec<u8>)], kind: HashKind) -> (Vec<u8>, Cid) {
    let mut to = Cursor::new(Vec::new());
    let mut exporter = Exporter::new(&mut to, kind).unwrap();
    for (path, bytes) in files {
        exporter.begin(path, "");
        bytes.chunks(100_000).for_each(|piece| exporter.push(piece).unwrap());
        exporter.end().unwrap();
    }
    let (root, size) = exporter.finish().unwrap();
    assert_eq!(size, files.iter().map(|(_, b)| len64(b.len())).sum::<u64>());
    (to.into_inner(), root)
}

/// As `ipfs-car pack --no-wrap` saw it.
fn directory() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("sub/ä b.txt", b"umlaut".to_vec()),
        ("a.txt", b"hello\n".to_vec()),
        ("empty", Vec::new()),
        ("sub/zeros", vec![0; 3_000_000]),
    ]
}

fn files_of(car: &[u8]) -> Result<Vec<(String, Vec<u8>)>, CarError> {
    let mut car = CarFile::open(Cursor::new(car))?;
    let mut out = Vec::new();
    for entry in car.entries()? {
        let (mut reader, mut bytes) = (car.read(&entry), Vec::new());
        while let Some(next) = reader.next_bytes()? {
            bytes.extend(next);
        }
        assert_eq!(len64(bytes.len()), entry.size);
        out.push((entry.path, bytes));
    }
    Ok(out)
}

#[test]
fn directories_have_the_root_of_another_implementation_and_come_back() {
    let (car, root) = export(&directory(), HashKind::Sha256);
    assert_eq!(root.to_string(), "bafybeieuvbxkko5jb6xjvbhp4epryadk3qqjqq6goulsjv3xy23jh3rkpi");
    // Two of the three leaves of zeros are one block.
    assert!(car.len() < 2_100_000, "{} bytes", car.len());
    let mut want: Vec<_> = directory().into_iter().map(|(p, b)| (p.to_owned(), b)).collect();
    want.sort();
    assert!(files_of(&car).unwrap() == want);
    let (other, root) = export(&directory(), HashKind::Blake3);
    assert_eq!(root.bytes()[..4], [1, 0x70, 0x1e, 32]);
    assert!(files_of(&other).unwrap() == want);
    let (single, root) = export(&[("", vec![b'x'; 5_000_000])], HashKind::Sha256);
    assert_eq!(root.to_string(), "bafybeid6muc6f6v6oy3uu6h5s4t6jrqjhrss7nyu7yiow5bjapgk7n33xq");
    assert!(files_of(&single).unwrap() == [(String::new(), vec![b'x'; 5_000_000])]);
}

#[test]
fn known_names_are_read_and_written() {
    let empty = pb::directory_node(&[]);
    let v1 = Cid::of(Codec::DagPb, HashKind::Sha256, &empty);
    assert_eq!(v1.to_string(), "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354");
    let v0: Cid = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn".parse().unwrap();
    assert_eq!(v0.to_string(), "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn");
    assert_eq!(v0.canonical(), v1);
    let hello = Cid::of(Codec::Raw, HashKind::Sha256, b"hello world");
    assert_eq!(hello.to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    for text in [format!("f{}", hex::encode(hello.bytes())), hello.to_string().to_uppercase()] {
        assert_eq!(text.parse(), Ok(hello.clone()));
    }
    let probe: Cid = "bafkqaaa".parse().unwrap();
    assert_eq!(probe.inline(), Some(&[][..]));
    for wrong in ["", "b", "bafkqaab", "mAXASIA", "Qm", "zdj7", "bagcqcera", &"b".repeat(300)] {
        assert!(wrong.parse::<Cid>().is_err(), "{wrong:?}");
    }
}

/// The smallest file whose tree has two levels: so that every byte can be spoilt.
fn small() -> Vec<u8> {
    let mut files = directory();
    files.retain(|(path, _)| *path != "sub/zeros");
    export(&files, HashKind::Sha256).0
}

#[test]
fn no_byte_of_a_file_can_change_unnoticed() {
    let car = small();
    let good = files_of(&car).unwrap();
    for at in 0..car.len() {
        for bit in [1, 0x80] {
            let mut bad = car.clone();
            bad[at] ^= bit;
            assert!(files_of(&bad).is_err(), "byte {at}");
        }
    }
    for len in 0..car.len() {
        assert!(files_of(&car[..len]).is_err(), "cut at {len}");
    }
    assert_eq!(good.len(), 3);
}

fn car_of(root: &Cid, blocks: &[(Cid, Vec<u8>)]) -> Vec<u8> {
    let mut out = v1::header(root);
    for (cid, block) in blocks {
        out.extend(v1::section(cid, block.len()));
        out.extend(block);
    }
    out
}

fn link(cid: &Cid, name: &str, size: u64) -> pb::Link {
    pb::Link { cid: cid.clone(), name: name.into(), size }
}

fn node(block: Vec<u8>) -> (Cid, Vec<u8>) {
    (Cid::of(Codec::DagPb, HashKind::Sha256, &block), block)
}

#[test]
fn what_is_missing_forged_or_boundless_is_refused() {
    let leaf = (Cid::of(Codec::Raw, HashKind::Sha256, b"x"), b"x".to_vec());
    let dir = node(pb::directory_node(&[link(&leaf.0, "f", 1)]));
    let refusal = |car: Vec<u8>| files_of(&car).unwrap_err();
    assert_eq!(refusal(car_of(&dir.0, std::slice::from_ref(&dir))), CarError::Missing(leaf.0.clone()));
    let forged = (leaf.0.clone(), b"y".to_vec());
    assert_eq!(refusal(car_of(&dir.0, &[dir.clone(), forged])), CarError::Mismatch(leaf.0.clone()));
    for name in ["..", "a/b", ""] {
        let bad = node(pb::directory_node(&[link(&leaf.0, name, 1)]));
        assert_eq!(refusal(car_of(&bad.0, &[bad.clone(), leaf.clone()])).code(), "car.name");
    }
    let twice = node(pb::directory_node(&[link(&leaf.0, "f", 1), link(&leaf.0, "f", 1)]));
    assert_eq!(refusal(car_of(&twice.0, &[twice.clone(), leaf.clone()])).code(), "car.malformed");
    let lies = node(pb::file_node(&[(link(&leaf.0, "", 1), 2)]));
    assert_eq!(refusal(car_of(&lies.0, &[lies.clone(), leaf.clone()])).code(), "car.malformed");
    // 2^60 leaves out of sixty small blocks.
    let mut blocks = vec![leaf.clone()];
    for _ in 0..60 {
        let below = blocks.last().unwrap().0.clone();
        blocks.push(node(pb::directory_node(&[link(&below, "a", 1), link(&below, "b", 1)])));
    }
    assert_eq!(refusal(car_of(&blocks.last().unwrap().0, &blocks)).code(), "car.limit");
    // One path, too deep.
    let mut blocks = vec![leaf];
    for _ in 0..70 {
        let below = blocks.last().unwrap().0.clone();
        blocks.push(node(pb::directory_node(&[link(&below, "a", 1)])));
    }
    let code = refusal(car_of(&blocks.last().unwrap().0, &blocks)).code();
    assert!(matches!(code, "car.limit" | "car.name"), "{code}");
    let version2 = [0x0a, 0xa1, 0x67, b'v', b'e', b'r', b's', b'i', b'o', b'n', 2];
    assert_eq!(refusal(version2.to_vec()).code(), "car.limit");
}

#[test]
fn a_file_without_leaves_of_its_own_and_a_sharded_directory_are_read() {
    // As older tools write small files: the bytes lie in the node.
    let inside = node([&[0x0a, 8, 8, 2, 0x12, 2][..], b"hi", &[0x18, 2]].concat());
    assert_eq!(
        files_of(&car_of(&inside.0, std::slice::from_ref(&inside))).unwrap(),
        [(String::new(), b"hi".to_vec())]
    );
    let leaf = node([&[0x0a, 8, 8, 2, 0x12, 2][..], b"hi", &[0x18, 2]].concat());
    let shard = |links: &[pb::Link]| {
        let mut block = pb::directory_node(links);
        block.truncate(block.len() - 4);
        // Type 5, empty bitfield, hash murmur3 (0x22), fan-out 256.
        block.extend([0x0a, 9, 8, 5, 0x12, 0, 0x28, 0x22, 0x30, 0x80, 0x02]);
        node(block)
    };
    let inner = shard(&[link(&leaf.0, "0Aone", 4)]);
    let outer = shard(&[link(&inner.0, "FF", 4), link(&leaf.0, "00two", 4)]);
    let read = files_of(&car_of(&outer.0, &[outer.clone(), inner, leaf])).unwrap();
    assert_eq!(read, [("one".into(), b"hi".to_vec()), ("two".into(), b"hi".to_vec())]);
}

#[test]
fn a_manifest_keeps_its_bytes() {
    let manifest = Manifest::shaped("b", HashKind::Sha256, 3, 256, vec![leaves(&data(300), 256)]).unwrap();
    assert_eq!(hex::encode(manifest.encode()), include_str!("fixtures/manifest.hex").trim());
    assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest.clone()));
    let wrong = |change: &dyn Fn(&mut Manifest)| {
        let mut other = manifest.clone();
        change(&mut other);
        Manifest::decode(&other.encode()).unwrap_err().code()
    };
    assert_eq!(wrong(&|m| m.files[0].size = 513), "car.malformed");
    assert_eq!(wrong(&|m| m.files.clear()), "car.malformed");
    assert_eq!(wrong(&|m| m.files.push(m.files[0].clone())), "car.name");
}

#[test]
fn a_range_takes_the_blocks_that_it_needs() {
    let dag = dag(&data(2305), 256, 3);
    let leaves = |range| {
        let nodes = dag.within(dag.root(), &range);
        let leaf = |n: &usize| match &dag.nodes[*n].block {
            Block::Leaf { at, .. } => Some(at.start / 256),
            _ => None,
        };
        (nodes.len(), nodes.iter().filter_map(leaf).collect::<Vec<_>>())
    };
    assert_eq!(leaves(0..1), (4, vec![0]));
    assert_eq!(leaves(255..257), (5, vec![0, 1]));
    assert_eq!(leaves(2304..2305), (4, vec![9]));
    assert_eq!(leaves(0..2305).1.len(), 10);
    let all = dag.below(dag.root());
    assert_eq!((all[0], all.len()), (dag.root(), dag.nodes.len()));
    assert_eq!(bytes_of(-1, None, 10), Ok(Some(9..10)));
    assert_eq!(bytes_of(2, Some(-3), 10), Ok(Some(2..8)));
    assert_eq!(bytes_of(0, Some(99), 10), Ok(Some(0..10)));
    assert_eq!(bytes_of(-99, Some(0), 10), Ok(Some(0..1)));
    assert_eq!(bytes_of(5, Some(4), 10), Ok(None));
    assert_eq!(bytes_of(0, Some(-99), 10), Ok(None));
    assert_eq!(bytes_of(0, None, 0), Ok(None));
    assert!(bytes_of(10, None, 10).is_err());
}

fn ask(uri: &str, accept: Option<&str>) -> Result<Ask, StatusCode> {
    let mut headers = HeaderMap::new();
    if let Some(accept) = accept {
        headers.insert(header::ACCEPT, accept.parse().unwrap());
    }
    Ask::read(&format!("/ipfs/{uri}").parse().unwrap(), &headers).map_err(|refused| refused.0)
}

#[test]
fn requests_mean_what_the_specification_says() {
    let car = |dups| Ok(Format::Car { dups });
    let format = |uri: &str, accept| ask(uri, accept).map(|a| a.format);
    let (bad, not) = (Err(StatusCode::BAD_REQUEST), Err(StatusCode::NOT_ACCEPTABLE));
    assert_eq!(format("bafkqaaa", None), bad);
    assert_eq!(format("bafkqaaa", Some("*/*")), not);
    assert_eq!(format("bafkqaaa", Some("text/html")), not);
    assert_eq!(format("bafkqaaa", Some("application/vnd.ipld.raw")), Ok(Format::Raw));
    assert_eq!(format("bafkqaaa", Some("application/vnd.ipld.car; order=dfs;dups=y")), car(true));
    assert_eq!(format("bafkqaaa", Some("application/vnd.ipld.car; version=2")), not);
    let both = "application/vnd.ipld.raw;q=0.5, application/vnd.ipld.car;q=0.51";
    assert_eq!(format("bafkqaaa", Some(both)), car(false));
    assert_eq!(format("bafkqaaa?format=raw", Some(both)), Ok(Format::Raw), "the URL comes first");
    assert_eq!(format("bafkqaaa?format=car&car-dups=y", None), car(true));
    assert_eq!(format("bafkqaaa?format=dag-json", None), not);
    assert_eq!(format("bafkqaaa?format=car&car-version=2", None), bad);
    assert_eq!(format("bafkqaaa?format=car&dag-scope=some", None), bad);
    assert_eq!(format("bafkqaaa?format=car&entity-bytes=1", None), bad);
    assert_eq!(format("nonsense?format=car", None), bad);
    assert_eq!(format("bafkqaaa/a?format=raw", None), bad);
    let walked = ask("bafkqaaa/a%20b//c?format=car&entity-bytes=-5%3A*", None).unwrap();
    assert_eq!((walked.path, walked.scope), (vec!["a b".into(), "c".into()], Scope::Bytes(-5, None)));
}
