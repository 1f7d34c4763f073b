//! `cairn storage car` and `publish`: objects as content-addressed files, in, out and by name for everybody.

use anyhow::{Context, Result};
use bytes::Bytes;
use cairn_client::Client;
use cairn_storage_gateway::car::{
    BUCKET, CarError, CarFile, Dag, Entry, Exporter, FileEntry, HashKind, Leaves, Manifest,
};
use futures::StreamExt;
use reqwest::{Body, Method};
use serde_json::json;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use tokio_stream::wrappers::ReceiverStream;

use crate::args::{CarCommand, CarHash};
use crate::output::{Failure, Out, bytes};
use crate::s3::S3;
use crate::storage::{bucket_of, endpoint, list, split};
use crate::storage_cost::Estimate;

/// Largest object that one PUT stores: 5 GiB.
const PUT_MAX: u64 = 5 << 30;

/// An object to be exported or published.
struct Source {
    key: String,
    /// Path under the root; empty if it is the root.
    path: String,
}

fn failure(e: &CarError) -> anyhow::Error {
    let text = e.to_string();
    let (cause, remedy) = text.rsplit_once("; ").unwrap_or((&text, "see the cause"));
    Failure::new(e.code(), cause, remedy)
}

fn kind(hash: CarHash) -> HashKind {
    match hash {
        CarHash::Sha256 => HashKind::Sha256,
        CarHash::Blake3 => HashKind::Blake3,
    }
}

/// Runs `cairn storage car`.
pub async fn run(client: &Client, out: Out, command: CarCommand) -> Result<()> {
    match command {
        CarCommand::Export { from, file, hash } => {
            export(&endpoint(client).await?.0, out, &from, &file, kind(hash)).await
        }
        CarCommand::Import { file, to, dry_run } => {
            let (s3, domains) = endpoint(client).await?;
            import(&s3, out, &file, &to, dry_run.then_some(domains)).await
        }
    }
}

/// One object, or all below a prefix that ends with `/` (or a whole bucket).
async fn sources(s3: &S3, bucket: &str, key: &str) -> Result<Vec<Source>> {
    if !key.is_empty() && !key.ends_with('/') {
        s3.send(Method::HEAD, &format!("/{bucket}/{key}"), &[], None).await?;
        return Ok(vec![Source { key: key.to_owned(), path: String::new() }]);
    }
    let mut found = Vec::new();
    for (name, size) in list(s3, bucket, key).await? {
        // Some tools mark directories with an empty object.
        if !(size == 0 && name.ends_with('/')) {
            found.push(Source { path: name[key.len()..].to_owned(), key: name });
        }
    }
    if found.is_empty() {
        return Err(Failure::new(
            "storage.nothing",
            format!("there is no object below s3://{bucket}/{key}"),
            "`cairn storage ls` lists what there is; an object's name does not end with `/`",
        ));
    }
    Ok(found)
}

/// Reads an object and gives its bytes to `each`; its tag.
async fn read(
    s3: &S3,
    bucket: &str,
    key: &str,
    mut each: impl FnMut(&[u8]) -> Result<(), CarError>,
) -> Result<String> {
    let response = s3.send(Method::GET, &format!("/{bucket}/{key}"), &[], None).await?;
    let etag = response.headers().get("etag").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (etag, due) = (etag.trim_matches('"').to_owned(), response.content_length());
    let (mut stream, mut got) = (response.bytes_stream(), 0u64);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.context("the transfer broke off; run the command again")?;
        got += u64::try_from(chunk.len()).unwrap_or(0);
        each(&chunk).map_err(|e| failure(&e))?;
    }
    if due.is_some_and(|due| due != got) {
        return Err(Failure::new("storage.short", format!("{key:?} ended early"), "run the command again"));
    }
    Ok(etag)
}

async fn export(s3: &S3, out: Out, from: &str, file: &Path, kind: HashKind) -> Result<()> {
    let (bucket, key) = split(from)?;
    let list = sources(s3, bucket, key).await?;
    let to = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    let mut exporter = Exporter::new(BufWriter::with_capacity(1 << 20, to), kind).map_err(|e| failure(&e))?;
    for source in &list {
        exporter.begin(&source.path, &source.key);
        read(s3, bucket, &source.key, |bytes| exporter.push(bytes)).await?;
        exporter.end().map_err(|e| failure(&e))?;
    }
    let (root, size) = exporter.finish().map_err(|e| failure(&e))?;
    let root = root.to_string();
    out.answer(&json!({"root": root, "objects": list.len(), "bytes": size, "file": file}), || {
        format!("{root}\nwrote {} object(s), {}, to {}", list.len(), bytes(size), file.display())
    });
    Ok(())
}

/// Verifies the whole file before the first object is stored. `dry_run`: only the price, on so many domains.
async fn import(s3: &S3, out: Out, file: &Path, to: &str, dry_run: Option<u16>) -> Result<()> {
    let (bucket, prefix) = split(to)?;
    let from = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let opened = tokio::task::spawn_blocking(move || {
        let mut car = CarFile::open(from)?;
        let entries = car.entries()?;
        Ok::<_, CarError>((car, entries))
    });
    let (mut car, entries) = opened.await?.map_err(|e| failure(&e))?;
    let (root, total) = (car.root().to_string(), entries.iter().map(|e| e.size).sum::<u64>());
    if let Some(large) = entries.iter().find(|e| e.size > PUT_MAX) {
        let cause = format!("{:?} has {}; one request stores at most 5 GiB", large.path, bytes(large.size));
        return Err(Failure::new("car.limit", cause, "import it with a tool that uploads in parts"));
    }
    let told = json!({"root": root, "objects": entries.len(), "bytes": total, "blocks": car.blocks()});
    if let Some(domains) = dry_run {
        let estimate = Estimate::new(total, 1, domains);
        let mut object = told;
        object["cost"] = estimate.object();
        out.answer(&object, || {
            format!("{root}\nwould store {} object(s)\n{}", entries.len(), estimate.text())
        });
        return Ok(());
    }
    bucket_of(s3, bucket).await?;
    for entry in entries.clone() {
        let key = key(prefix, &entry, &root);
        car = store(s3, car, entry, &format!("/{bucket}/{key}")).await?;
    }
    out.answer(&told, || {
        format!("{root}\nverified and stored {} object(s), {}", entries.len(), bytes(total))
    });
    Ok(())
}

fn key(prefix: &str, entry: &Entry, root: &str) -> String {
    match (prefix.is_empty() || prefix.ends_with('/'), entry.path.is_empty()) {
        (true, true) => format!("{prefix}{root}"),
        (true, false) => format!("{prefix}{}", entry.path),
        (false, true) => prefix.to_owned(),
        (false, false) => format!("{prefix}/{}", entry.path),
    }
}

async fn store(s3: &S3, mut car: CarFile<File>, entry: Entry, path: &str) -> Result<CarFile<File>> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(2);
    let size = entry.size;
    let reading = tokio::task::spawn_blocking(move || {
        let mut reader = car.read(&entry);
        loop {
            let (next, last) = match reader.next_bytes() {
                Ok(Some(bytes)) => (Ok(Bytes::from(bytes)), false),
                Ok(None) => break,
                Err(e) => (Err(std::io::Error::other(e.to_string())), true),
            };
            if sender.blocking_send(next).is_err() || last {
                break;
            }
        }
        car
    });
    let body = Body::wrap_stream(ReceiverStream::new(receiver));
    s3.send(Method::PUT, path, &[], Some((body, size))).await?;
    Ok(reading.await?)
}

/// `cairn storage publish`.
pub async fn publish(client: &Client, out: Out, at: &str, hash: CarHash) -> Result<()> {
    let (s3, _) = endpoint(client).await?;
    let (bucket, key) = split(at)?;
    let (mut files, kind) = (Vec::new(), kind(hash));
    for source in sources(&s3, bucket, key).await? {
        let mut cut = Leaves::new(kind);
        let etag = read(&s3, bucket, &source.key, |bytes| cut.push(bytes, &mut |_, _| Ok(()))).await?;
        let (leaves, size) = cut.finish(&mut |_, _| Ok(())).map_err(|e| failure(&e))?;
        files.push(FileEntry { path: source.path, key: source.key, etag, size, leaves });
    }
    let manifest = Manifest::new(bucket, kind, files).map_err(|e| failure(&e))?;
    let root = Dag::new(&manifest).map_err(|e| failure(&e))?.root_cid().to_string();
    bucket_of(&s3, BUCKET).await?;
    let encoded = manifest.encode();
    let size = u64::try_from(encoded.len()).unwrap_or(u64::MAX);
    s3.send(Method::PUT, &format!("/{BUCKET}/{root}"), &[], Some((Body::from(encoded), size))).await?;
    let url = format!("{}/ipfs/{root}?format=car", s3.endpoint.trim_end_matches('/'));
    let objects = manifest.files.len();
    out.answer(&json!({"root": root, "objects": objects, "url": url}), || {
        format!(
            "{root}\npublished {objects} object(s): whoever knows the name can read them, at your expense\n\
             fetch     curl -o root.car '{url}'\nwithdraw  cairn storage rm s3://{BUCKET}/{root}"
        )
    });
    Ok(())
}
