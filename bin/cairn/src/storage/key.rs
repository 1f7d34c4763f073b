//! `cairn storage key` and `cairn storage share`.

use anyhow::{Context, Result};
use cairn_client::Client;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{endpoint, split};
use crate::args::AccessKeyCommand;
use crate::output::{Failure, Out, table};
use crate::s3::amz_date;

/// Longest life of a link in seconds, as S3 has it.
const MAX_LINK: u64 = 604_800;

/// Runs a command about keys.
pub async fn run(client: &Client, out: Out, command: AccessKeyCommand) -> Result<()> {
    match command {
        AccessKeyCommand::New { name, read_only, allow, buckets, expires, quota } => {
            let allow = if read_only { vec!["read".to_owned(), "list".to_owned()] } else { allow };
            let asked = json!({
                "name": name, "allow": allow, "buckets": buckets, "quota": quota,
                "seconds": expires.map(|e| e.as_secs()),
            });
            let made = client.devnet("key-new", &asked).await?;
            out.answer(&made, || {
                format!(
                    "access key  {}\nsecret key  {}   (shown now and never again)\nmay         {}",
                    text(&made, "access_key"),
                    text(&made, "secret_key"),
                    text(&made, "may")
                )
            });
            Ok(())
        }
        AccessKeyCommand::Ls => {
            let answer = client.devnet("key-ls", &json!({})).await?;
            out.answer(&answer, || {
                let keys = answer["keys"].as_array().cloned().unwrap_or_default();
                let row = |k: &Value| ["access_key", "name", "may", "expires"].map(|f| text(k, f)).to_vec();
                let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
                table(&["access key", "name", "may", "expires"], &rows, 4)
            });
            Ok(())
        }
        AccessKeyCommand::Revoke { id } => {
            let answer = client.devnet("key-revoke", &json!({"id": id})).await?;
            out.answer(&answer, || {
                format!("revoked {id}; it and the links that it signed open nothing any more")
            });
            Ok(())
        }
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or("unknown").to_owned()
}

/// `cairn storage share`: a key that reads this object only and ends with the link, and the link signed by it.
pub async fn share(client: &Client, out: Out, at: &str, expires: Duration) -> Result<()> {
    let (bucket, key) = split(at)?;
    if key.is_empty() || key.ends_with('/') {
        let cause = format!("{at:?} names no object");
        return Err(Failure::new(
            "storage.name",
            cause,
            "write s3://bucket/key; each object has a link of its own",
        ));
    }
    let seconds = expires.as_secs();
    if seconds > MAX_LINK {
        let cause = format!("a link cannot work for {seconds} seconds");
        return Err(Failure::new(
            "storage.expires",
            cause,
            "choose 7d or less; make a key for longer access",
        ));
    }
    let (mut s3, _) = endpoint(client).await?;
    s3.send(reqwest::Method::HEAD, &format!("/{bucket}/{key}"), &[], None).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
    let asked = json!({
        "name": format!("share-{now}"), "allow": ["read"], "buckets": [format!("{bucket}/{key}")],
        "seconds": seconds,
    });
    let made = client.devnet("key-new", &asked).await?;
    (s3.access_key, s3.secret_key) = (text(&made, "access_key"), text(&made, "secret_key"));
    let link = s3.link(&format!("/{bucket}/{key}"), seconds, &amz_date(now));
    let answer = json!({
        "url": link, "access_key": s3.access_key, "bucket": bucket, "key": key, "seconds": seconds,
    });
    out.answer(&answer, || link.clone());
    if !out.json {
        eprintln!("it works for {seconds} s; `cairn storage key revoke {}` ends it earlier", s3.access_key);
    }
    Ok(())
}
