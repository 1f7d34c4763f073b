//! `cairn storage`: files in and out through S3, their price, their recovery.

mod key;

use anyhow::{Context, Result};
use cairn_client::Client;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Body, Method};
use serde_json::json;
use std::path::Path;
use tokio::io::AsyncWriteExt;

use crate::args::{StorageCommand, parse_size};
use crate::output::{Failure, Out, bytes, table};
use crate::s3::{S3, tag, tags};
use crate::storage_cost::{DELETE, Estimate};

/// Runs a storage command.
pub async fn run(client: &Client, out: Out, command: StorageCommand) -> Result<()> {
    match command {
        StorageCommand::Cost { size, months } => {
            let size = parse_size(&size)
                .map_err(|e| Failure::new("storage.size", e, "write a number with a unit"))?;
            let domains = endpoint(client).await.map(|e| e.1).unwrap_or(16);
            Estimate::new(size, u64::from(months), domains).tell(out)
        }
        StorageCommand::Put { file, to, dry_run } => {
            let (s3, domains) = endpoint(client).await?;
            let size =
                std::fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
            if dry_run {
                return Estimate::new(size, 1, domains).tell(out);
            }
            put(&s3, out, &file, &to, size).await
        }
        StorageCommand::Get { from, file } => get(&endpoint(client).await?.0, out, &from, &file).await,
        StorageCommand::Ls { at } => ls(&endpoint(client).await?.0, out, at.as_deref()).await,
        StorageCommand::Rm { at, dry_run } => rm(client, out, &at, dry_run).await,
        StorageCommand::Key(command) => key::run(client, out, command).await,
        StorageCommand::Share { at, expires } => key::share(client, out, &at, expires).await,
        StorageCommand::Escrow => escrow(client, out).await,
        StorageCommand::Car(command) => crate::car::run(client, out, command).await,
        StorageCommand::Publish { at, hash } => crate::car::publish(client, out, &at, hash).await,
        StorageCommand::Endow(asked) => crate::endow::endow(client, out, asked).await,
        StorageCommand::Endowment => crate::endow::show(client, out).await,
        StorageCommand::Recover { phrase } => recover(client, out, &phrase).await,
    }
}

/// `cairn storage escrow`.
async fn escrow(client: &Client, out: Out) -> Result<()> {
    let answer = client.devnet("escrow", &json!({})).await?;
    let field = |v: &serde_json::Value, name: &str| v[name].as_str().unwrap_or("unknown").to_owned();
    out.answer(&answer, || {
        let list = answer["leases"].as_array().cloned().unwrap_or_default();
        let row = |l: &serde_json::Value| {
            let state = if l["empty"] == true { "read-only: buy credits" } else { "paid" };
            let epochs = l["full_epochs"].as_u64().map_or("unknown".into(), |e| e.to_string());
            vec![field(l, "lease"), field(l, "left_micro_usd"), epochs, state.to_owned()]
        };
        let rows: Vec<Vec<String>> = list.iter().map(row).collect();
        format!(
            "{}\nfree credits of the account: {} micro-dollars; escrows are filled up from them",
            table(&["lease", "left (micro-dollars)", "epochs if full", "state"], &rows, 2),
            field(&answer, "free_micro_usd")
        )
    });
    Ok(())
}

/// The S3 endpoint of the devnet behind the API, and the failure domains of its market.
pub async fn endpoint(client: &Client) -> Result<(S3, u16)> {
    let facts = client.devnet("facts", &json!({})).await.map_err(|e| {
        if e.is_unreachable() {
            return anyhow::Error::new(e);
        }
        Failure::new(
            "storage.endpoint",
            format!("no S3 endpoint is known: {e}"),
            "start `cairn devnet`, or use any S3 client",
        )
    })?;
    let s3 = serde_json::from_value(facts["s3"].clone()).context("the devnet's answer has no S3 endpoint")?;
    let domains =
        facts["operators"].as_array().map(Vec::len).and_then(|n| u16::try_from(n).ok()).unwrap_or(1);
    Ok((s3, domains))
}

/// `s3://bucket/key`.
pub fn split(at: &str) -> Result<(&str, &str)> {
    let rest = at.strip_prefix("s3://").ok_or_else(|| {
        Failure::new("storage.name", format!("{at:?} is no name of an object"), "write s3://bucket/key")
    })?;
    Ok(rest.split_once('/').unwrap_or((rest, "")))
}

fn progress(out: Out, size: u64) -> ProgressBar {
    if out.json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(size).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Makes a bucket that is missing.
pub async fn bucket_of(s3: &S3, bucket: &str) -> Result<()> {
    if s3.send(Method::HEAD, &format!("/{bucket}"), &[], None).await.is_err() {
        s3.send(Method::PUT, &format!("/{bucket}"), &[], None).await?;
    }
    Ok(())
}

async fn put(s3: &S3, out: Out, file: &Path, to: &str, size: u64) -> Result<()> {
    let (bucket, key) = split(to)?;
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let key = if key.is_empty() || key.ends_with('/') { format!("{key}{name}") } else { key.to_owned() };
    bucket_of(s3, bucket).await?;
    let bar = progress(out, size);
    let inner = bar.clone();
    let reader =
        tokio::fs::File::open(file).await.with_context(|| format!("cannot read {}", file.display()))?;
    let stream = futures::stream::unfold(reader, move |mut f| {
        let bar = inner.clone();
        async move {
            let mut buffer = vec![0; 1 << 18];
            match tokio::io::AsyncReadExt::read(&mut f, &mut buffer).await {
                Ok(0) => None,
                Ok(n) => {
                    buffer.truncate(n);
                    bar.inc(u64::try_from(n).unwrap_or(0));
                    Some((Ok(bytes::Bytes::from(buffer)), f))
                }
                Err(e) => Some((Err(e), f)),
            }
        }
    });
    let response = s3
        .send(Method::PUT, &format!("/{bucket}/{key}"), &[], Some((Body::wrap_stream(stream), size)))
        .await?;
    bar.finish_and_clear();
    let etag = response
        .headers()
        .get("etag")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("")
        .trim_matches('"')
        .to_owned();
    out.answer(&json!({"bucket": bucket, "key": key, "bytes": size, "etag": etag}), || {
        format!("stored s3://{bucket}/{key}, {}", bytes(size))
    });
    Ok(())
}

async fn get(s3: &S3, out: Out, from: &str, file: &Path) -> Result<()> {
    let (bucket, key) = split(from)?;
    let response = s3.send(Method::GET, &format!("/{bucket}/{key}"), &[], None).await?;
    let bar = progress(out, response.content_length().unwrap_or(0));
    let mut to =
        tokio::fs::File::create(file).await.with_context(|| format!("cannot write {}", file.display()))?;
    let (mut stream, mut total) = (response.bytes_stream(), 0u64);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.context("the transfer broke off; run the command again")?;
        total += u64::try_from(chunk.len()).unwrap_or(0);
        bar.set_position(total);
        to.write_all(&chunk).await.with_context(|| format!("cannot write {}", file.display()))?;
    }
    to.flush().await?;
    bar.finish_and_clear();
    out.answer(&json!({"bucket": bucket, "key": key, "bytes": total, "file": file}), || {
        format!("read {} to {}", bytes(total), file.display())
    });
    Ok(())
}

/// Keys below a prefix with their bytes.
pub async fn list(s3: &S3, bucket: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
    let (mut objects, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut query = vec![("list-type", "2"), ("prefix", prefix)];
        if let Some(t) = &token {
            query.insert(0, ("continuation-token", t));
        }
        let xml = s3.send(Method::GET, &format!("/{bucket}"), &query, None).await?.text().await?;
        for item in tags(&xml, "Contents") {
            let size: u64 = tag(&item, "Size").and_then(|s| s.parse().ok()).unwrap_or(0);
            objects.push((tag(&item, "Key").unwrap_or_default(), size));
        }
        token = tag(&xml, "NextContinuationToken");
        if token.is_none() {
            break;
        }
    }
    Ok(objects)
}

async fn ls(s3: &S3, out: Out, at: Option<&str>) -> Result<()> {
    let Some(at) = at else {
        let xml = s3.send(Method::GET, "/", &[], None).await?.text().await?;
        let names: Vec<String> = tags(&xml, "Bucket").iter().filter_map(|b| tag(b, "Name")).collect();
        out.answer(&json!({"buckets": names}), || names.join("\n"));
        return Ok(());
    };
    let (bucket, prefix) = split(at)?;
    let objects = list(s3, bucket, prefix).await?;
    let listed: Vec<_> = objects.iter().map(|(k, s)| json!({"key": k, "bytes": s})).collect();
    out.answer(&json!({"bucket": bucket, "objects": listed}), || {
        let rows: Vec<Vec<String>> = objects.iter().map(|(k, s)| vec![k.clone(), bytes(*s)]).collect();
        table(&["key", "size"], &rows, 1)
    });
    Ok(())
}

async fn rm(client: &Client, out: Out, at: &str, dry_run: bool) -> Result<()> {
    let (s3, domains) = endpoint(client).await?;
    let (bucket, key) = split(at)?;
    let head = s3.send(Method::HEAD, &format!("/{bucket}/{key}"), &[], None).await?;
    let size = head.content_length().unwrap_or(0);
    if !dry_run {
        s3.send(Method::DELETE, &format!("/{bucket}/{key}"), &[], None).await?;
    }
    let saved = Estimate::new(size, 1, domains).at_rest();
    let object = json!({
        "bucket": bucket, "key": key, "deleted": !dry_run, "bytes": size,
        "at_rest_month_micro_usd": saved.to_string(), "refund": DELETE,
    });
    out.answer(&object, || {
        let verb = if dry_run { "would delete" } else { "deleted" };
        format!(
            "{verb} s3://{bucket}/{key}, {}\nat rest   {} a month at list price\nrefund    {DELETE}",
            bytes(size),
            crate::storage_cost::dollars(saved)
        )
    });
    Ok(())
}

async fn recover(client: &Client, out: Out, phrase: &str) -> Result<()> {
    let text = match phrase {
        "-" => std::io::read_to_string(std::io::stdin())?,
        file => std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?,
    };
    let answer = client.devnet("recover", &json!({"phrase": text.trim()})).await?;
    out.answer(&answer, || {
        format!(
            "recovered {} buckets and {} objects; the older gateway can no longer write",
            answer["buckets"], answer["objects"]
        )
    });
    Ok(())
}
