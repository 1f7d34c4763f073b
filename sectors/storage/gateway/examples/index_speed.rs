//! A large index: memory, listing through the S3 service, and recovery. Prints one line each.
//!
//! `cargo run --release -p cairn-storage-gateway --example index_speed -- 1000000`
//!
//! Objects are copies of one of 10 KiB with a checksum and a header, so that each takes what a packed small object
//! takes; operators are in memory and never wait for a disk.

use cairn_storage_gateway::gateway::{Copy, Gateway, Put};
use cairn_storage_gateway::index::Condition;
use cairn_storage_gateway::memory::World;
use cairn_storage_gateway::record::{Algorithm, Attributes, Labels};
use cairn_storage_gateway::s3::GatewayS3;
use cairn_storage_gateway::server::read_all;
use futures::StreamExt;
use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};
use s3s::service::{S3Service, S3ServiceBuilder};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests are not signed here: a client's own work would be measured.
struct Everybody;

#[async_trait::async_trait]
impl S3Access for Everybody {
    async fn check(&self, _: &mut S3AccessContext<'_>) -> S3Result<()> {
        Ok(())
    }
}

type Failure = Box<dyn std::error::Error>;

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

async fn fill(gateway: &Gateway, count: u64) -> Result<(), Failure> {
    gateway.create_bucket("bucket", 1).await?;
    let body = futures::stream::iter([Ok(bytes::Bytes::from(vec![7; 10 << 10]))]).boxed();
    let attributes = Attributes {
        headers: [("content-type".into(), "application/octet-stream".into())].into(),
        ..Attributes::default()
    };
    let put = Put {
        bucket: "bucket".into(),
        key: "source".into(),
        attributes,
        labels: Labels::default(),
        condition: Condition::default(),
        algorithms: vec![Algorithm::Crc32],
        limit: 1 << 20,
        expected: None,
        now: 1,
    };
    gateway.put_object(put, body, |_| Ok(())).await?;
    let source = gateway.index().object("bucket", "source")?;
    let copy = |i: u64| Copy {
        bucket: "bucket".into(),
        key: format!("directory-{:04}/file-{i:08}", i / 1000),
        attributes: None,
        labels: Labels::default(),
        condition: Condition::default(),
        now: 1,
    };
    let copies = futures::stream::iter(0..count).map(|i| gateway.copy_object(&source, copy(i)));
    let mut copies = copies.buffer_unordered(1024);
    while let Some(done) = copies.next().await {
        done?;
    }
    Ok(())
}

/// Lists all keys page by page as a client would, without the network; how many there were.
async fn list(service: &S3Service) -> Result<usize, Failure> {
    let (mut seen, mut token) = (0, String::new());
    loop {
        let more = if token.is_empty() { String::new() } else { format!("&continuation-token={token}") };
        let uri = format!("http://localhost/bucket?list-type=2{more}");
        let request =
            hyper::Request::builder().uri(uri).header("host", "localhost").body(s3s::Body::empty())?;
        let answer = service.call(request).await.map_err(|e| format!("{e:?}"))?;
        let body = read_all(answer.into_body()).await.map_err(|e| e.to_string())?;
        let text = std::str::from_utf8(&body)?;
        if !text.contains("ListBucketResult") {
            return Err(text.into());
        }
        seen += text.matches("<Key>").count();
        let next = text.split_once("<NextContinuationToken>").and_then(|(_, t)| t.split_once('<'));
        match next {
            Some((next, _)) => token = next.to_owned(),
            None => return Ok(seen),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let count = std::env::args().nth(1).map_or(Ok(100_000), |n| n.parse::<u64>())?;
    let world = World::new(3);
    let mut config = World::config();
    config.terms.chunks_per_slot = 1 << 30;
    config.terms.index_chunks = 1 << 30;
    config.commit = Duration::from_secs(600);
    config.recover = Duration::from_secs(600);
    let gateway = world.start(&[7; 32], config).await?.gateway;
    let begun = Instant::now();
    fill(&gateway, count).await?;
    println!("copies: {:.0} / s", count as f64 / begun.elapsed().as_secs_f64());
    let before = resident();
    let copy = gateway.index().clone();
    println!("index of {count} objects: {} MiB resident", resident().saturating_sub(before) >> 20);
    drop(copy);
    let mut service = S3ServiceBuilder::new(GatewayS3::new(Arc::clone(&gateway), "us-east-1"));
    service.set_access(Everybody);
    let service = service.build();
    let begun = Instant::now();
    let seen = list(&service).await?;
    println!("listed {seen} keys: {:.0} keys / s", seen as f64 / begun.elapsed().as_secs_f64());
    drop(service);
    gateway.stop();
    drop(gateway);
    let begun = Instant::now();
    let started = world.start(&[7; 32], config).await?;
    println!("recovered {} objects in {:.1} s", started.recovery.objects, begun.elapsed().as_secs_f64());
    println!("whole process, operators included: {} MiB resident", resident() >> 20);
    Ok(())
}
