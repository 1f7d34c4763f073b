//! The trustless gateway over a whole gateway: what is published is reachable, verified, and nothing else is.

use crate::support::*;
use cairn_storage_gateway::car::{
    BUCKET, CarFile, Codec, Dag, FileEntry, HashKind, IpfsRoute, Leaves, Manifest, fuzz,
};
use cairn_storage_gateway::gateway::Gateway;
use cairn_storage_gateway::server::read_all;
use cairn_testkit::fuzz::{Budget, drive};
use hyper::{HeaderMap, StatusCode, header};
use std::io::Cursor;
use std::sync::Arc;

fn entry(g: &Gateway, key: &str, path: &str, data: &[u8]) -> FileEntry {
    let mut cut = Leaves::new(HashKind::Sha256);
    cut.push(data, &mut |_, _| Ok(())).unwrap();
    let (leaves, size) = cut.finish(&mut |_, _| Ok(())).unwrap();
    let etag = g.index().object("b", key).unwrap().etag.to_string();
    FileEntry { path: path.into(), key: key.into(), etag, size, leaves }
}

/// Publishes as the command line does: an object of the bucket, named after its root.
async fn publish(g: &Gateway, files: Vec<FileEntry>) -> String {
    let manifest = Manifest::new("b", HashKind::Sha256, files).unwrap();
    let root = Dag::new(&manifest).unwrap().root_cid().to_string();
    let mut put = request(&root);
    put.bucket = BUCKET.into();
    g.put_object(put, body(&manifest.encode()), |_| Ok(())).await.unwrap();
    root
}

struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn fetch(route: &IpfsRoute, path: &str, accept: Option<&str>) -> Seen {
    let mut headers = HeaderMap::new();
    if let Some(accept) = accept {
        headers.insert(header::ACCEPT, accept.parse().unwrap());
    }
    let answer = route.answer(&format!("/ipfs/{path}").parse().unwrap(), &headers, false).await;
    let (status, headers) = (answer.status.unwrap(), answer.headers);
    // A body that breaks off is shorter than its blocks say, which reading it as a CAR shows.
    let body = read_all(answer.output).await.map(|b| b.to_vec()).unwrap_or_default();
    Seen { status, headers, body }
}

fn files(car: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut car = CarFile::open(Cursor::new(car)).unwrap();
    let entries = car.entries().unwrap();
    let read = |entry| {
        let (mut reader, mut bytes) = (car.read(entry), Vec::new());
        while let Some(next) = reader.next_bytes().unwrap() {
            bytes.extend(next);
        }
        (entry.path.clone(), bytes)
    };
    entries.iter().map(read).collect()
}

fn text(seen: &Seen, name: &str) -> String {
    seen.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn town() -> (cairn_storage_gateway::memory::World, Arc<Gateway>, IpfsRoute, Vec<u8>) {
    let (world, g) = started(16).await;
    g.create_bucket(BUCKET, 1).await.unwrap();
    let route = IpfsRoute::new(g.clone());
    let large = bytes(3_500_000, 5);
    put(&g, "large", &large).await.unwrap();
    (world, g, route, large)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_object_is_fetched_whole_in_blocks_and_in_parts() {
    let (_world, g, route, large) = town().await;
    let file = entry(&g, "large", "", &large);
    let leaf = cairn_storage_gateway::car::Cid::new(Codec::Raw, HashKind::Sha256, file.leaves[1]).to_string();
    assert_eq!(fetch(&route, &format!("{leaf}?format=raw"), None).await.status, StatusCode::NOT_FOUND);
    let root = publish(&g, vec![file]).await;

    let car = fetch(&route, &format!("{root}?format=car"), None).await;
    assert_eq!(car.status, StatusCode::OK);
    assert!(files(&car.body) == [(String::new(), large.clone())]);
    assert_eq!(text(&car, "content-type"), "application/vnd.ipld.car; version=1; order=dfs; dups=n");
    assert_eq!(text(&car, "x-content-type-options"), "nosniff");
    assert_eq!(text(&car, "x-ipfs-path"), format!("/ipfs/{root}"));
    assert_eq!(text(&car, "cache-control"), "public, max-age=29030400, immutable");
    assert_eq!(text(&car, "content-disposition"), format!("attachment; filename=\"{root}.car\""));

    let raw = fetch(&route, &leaf, Some("application/vnd.ipld.raw")).await;
    assert!(raw.body == large[1 << 20..2 << 20]);
    assert_eq!(text(&raw, "etag"), format!("\"{leaf}.raw\""));
    assert_eq!(text(&raw, "content-location"), format!("/ipfs/{leaf}?format=raw"));

    let part = fetch(&route, &format!("{root}?format=car&entity-bytes=2097152:2097152"), None).await;
    let mut read = CarFile::open(Cursor::new(&part.body)).unwrap();
    assert_eq!(read.blocks(), 2, "the root and one leaf");
    assert_eq!(read.entries().unwrap_err().code(), "car.missing");
    assert_ne!(text(&part, "etag"), text(&car, "etag"));
    let block = fetch(&route, &format!("{root}?format=car&dag-scope=block"), None).await;
    assert_eq!(CarFile::open(Cursor::new(block.body)).unwrap().blocks(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_walked_by_path() {
    let (_world, g, route, large) = town().await;
    put(&g, "small", b"a few bytes").await.unwrap();
    let list = [
        ("small", "d/e/small", &b"a few bytes"[..]),
        ("small", "again", b"a few bytes"),
        ("large", "large", &large),
    ];
    let root = publish(&g, list.iter().map(|(k, p, d)| entry(&g, k, p, d)).collect()).await;
    let car = fetch(&route, &format!("{root}?format=car"), None).await;
    let names: Vec<String> = files(&car.body).into_iter().map(|f| f.0).collect();
    assert_eq!(names, ["again", "d/e/small", "large"]);
    let twice = fetch(&route, &format!("{root}?format=car&car-dups=y"), None).await;
    assert!(twice.body.len() > car.body.len());
    let path = fetch(&route, &format!("{root}/d/e/small?format=car"), None).await;
    let walked = CarFile::open(Cursor::new(&path.body)).unwrap();
    assert_eq!((walked.blocks(), text(&path, "x-ipfs-roots").split(',').count()), (4, 4));
    assert!(files(&path.body) == [(String::new(), b"a few bytes".to_vec())]);
    assert_eq!(fetch(&route, &format!("{root}/d/f?format=car"), None).await.status, StatusCode::NOT_FOUND);
    let listing = fetch(&route, &format!("{root}?format=car&dag-scope=entity"), None).await;
    assert_eq!(CarFile::open(Cursor::new(listing.body)).unwrap().blocks(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_is_gone_and_what_is_withdrawn_unknown() {
    let (_world, g, route, large) = town().await;
    let file = entry(&g, "large", "", &large);
    let leaf = cairn_storage_gateway::car::Cid::new(Codec::Raw, HashKind::Sha256, file.leaves[1]).to_string();
    let root = publish(&g, vec![file]).await;
    let status = async |path: String| fetch(&route, &path, None).await.status;
    assert_eq!(status(format!("{leaf}?format=raw")).await, StatusCode::OK);
    let mut other = large.clone();
    other[1 << 20] ^= 1;
    put(&g, "large", &other).await.unwrap();
    assert_eq!(status(format!("{leaf}?format=raw")).await, StatusCode::GONE);
    assert_eq!(status(format!("{root}?format=car")).await, StatusCode::GONE);
    g.delete_object("b", "large").await.unwrap();
    assert_eq!(status(format!("{root}?format=car")).await, StatusCode::GONE);
    put(&g, "large", &large).await.unwrap();
    assert_eq!(
        status(format!("{root}?format=car")).await,
        StatusCode::OK,
        "the same bytes have the same tag"
    );
    g.delete_object(BUCKET, &root).await.unwrap();
    assert_eq!(status(format!("{root}?format=car")).await, StatusCode::NOT_FOUND);
    assert_eq!(status(format!("{leaf}?format=raw")).await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_vouches_for_nothing() {
    let (_world, g, route, large) = town().await;
    let mut file = entry(&g, "large", "", &large);
    file.leaves[0] = [7; 32];
    let root = publish(&g, vec![file.clone()]).await;
    let leaf = cairn_storage_gateway::car::Cid::new(Codec::Raw, HashKind::Sha256, [7; 32]);
    assert_eq!(fetch(&route, &format!("{leaf}?format=raw"), None).await.status, StatusCode::GONE);
    let car = fetch(&route, &format!("{root}?format=car"), None).await;
    assert!(CarFile::open(Cursor::new(car.body)).is_err(), "it breaks off at the block that is none");
    // Under a name that is not its root, or no manifest at all, it is no publication.
    let manifest = Manifest::new("b", HashKind::Sha256, vec![file]).unwrap().encode();
    let other = leaf.to_string();
    for bytes in [manifest.as_slice(), b"nonsense"] {
        let mut put = request(&other);
        put.bucket = BUCKET.into();
        g.put_object(put, body(bytes), |_| Ok(())).await.unwrap();
        assert_eq!(fetch(&route, &format!("{other}?format=car"), None).await.status, StatusCode::GONE);
        assert_eq!(
            fetch(&route, &format!("{root}?format=car&dag-scope=block"), None).await.status,
            StatusCode::OK
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_answers_and_conditions_hold() {
    let (_world, g, route, large) = town().await;
    for format in ["raw", "car"] {
        let probe = fetch(&route, &format!("bafkqaaa?format={format}"), None).await;
        assert_eq!((probe.status, probe.body.is_empty()), (StatusCode::OK, format == "raw"));
    }
    let root = publish(&g, vec![entry(&g, "large", "", &large)]).await;
    let uri = format!("/ipfs/{root}?format=car").parse().unwrap();
    let etag = text(&fetch(&route, &format!("{root}?format=car"), None).await, "etag");
    let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, etag.parse().unwrap())]);
    assert_eq!(route.answer(&uri, &headers, false).await.status, Some(StatusCode::NOT_MODIFIED));
    let head = route.answer(&uri, &HeaderMap::new(), true).await;
    assert!(read_all(head.output).await.unwrap().is_empty());
    let cached = HeaderMap::from_iter([(header::CACHE_CONTROL, "only-if-cached".parse().unwrap())]);
    let absent =
        "/ipfs/bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354?format=car".parse().unwrap();
    assert_eq!(route.answer(&absent, &cached, false).await.status, Some(StatusCode::PRECONDITION_FAILED));
    assert_eq!(route.answer(&absent, &HeaderMap::new(), false).await.status, Some(StatusCode::NOT_FOUND));
}

#[test]
fn decoders_of_content_addressing_survive_any_bytes() {
    let mut to = Cursor::new(Vec::new());
    let mut exporter = cairn_storage_gateway::car::Exporter::new(&mut to, HashKind::Sha256).unwrap();
    for path in ["a", "b/c"] {
        exporter.begin(path, path);
        exporter.push(path.as_bytes()).unwrap();
    }
    exporter.end().unwrap();
    let (root, _) = exporter.finish().unwrap();
    let car = to.into_inner();
    let file =
        FileEntry { path: String::new(), key: "k".into(), etag: "e".into(), size: 1, leaves: vec![[1; 32]] };
    let manifest = Manifest::new("b", HashKind::Blake3, vec![file]).unwrap().encode();
    let request = b"bafkqaaa/a?format=car&entity-bytes=-1:*\napplication/vnd.ipld.car;q=0.5;dups=y".to_vec();
    let node = car[car.len() - 60..].to_vec();
    let corpus = [car, manifest, root.bytes(), root.to_string().into_bytes(), request, node];
    for target in [fuzz::car_file, fuzz::cid, fuzz::node, fuzz::manifest, fuzz::request] {
        drive(&target, Budget::from_env(3000), 4, &corpus).unwrap();
    }
}
