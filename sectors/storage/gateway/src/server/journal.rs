//! Delivery of access logs: lines are collected and stored as objects. A request never waits for it; when it cannot
//! keep up, lines are lost and counted.

use crate::access::Who;
use crate::access::actions::find;
use crate::access::log::object_name;
use crate::access::policy::condition::Facts;
use crate::access::policy::{Ask, Effect, Policy};
use crate::error::GatewayError;
use crate::gateway::{Gateway, Put};
use crate::index::Condition;
use crate::record::{Attributes, Labels, Logging};
use crate::s3::convert::seconds;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Lines that wait to be collected.
const QUEUE: usize = 4096;
/// Bytes of one log after which it is stored at once: 256 KiB.
const FULL: usize = 256 << 10;
/// Bytes of all logs that are collected at most: 4 MiB.
const MOST: usize = 4 << 20;
/// Who stores them, for policies.
const SERVICE: Who = Who::Service("logging.s3.amazonaws.com");

type Target = (String, String);

/// Takes lines.
#[derive(Clone)]
pub struct Journal {
    queue: mpsc::Sender<(Target, String)>,
    lost: Arc<AtomicU64>,
}

impl Journal {
    /// Delivers to a gateway every so often, until the last clone of it is gone.
    pub fn start(gateway: Arc<Gateway>, every: Duration) -> (Self, JoinHandle<()>) {
        let (queue, lines) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(collect(gateway, lines, every, Arc::clone(&lost)));
        (Self { queue, lost }, task)
    }

    /// Adds a line to a log. Never waits.
    pub fn add(&self, to: &Logging, line: String) {
        if self.queue.try_send(((to.bucket.clone(), to.prefix.clone()), line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn collect(
    gateway: Arc<Gateway>,
    mut lines: mpsc::Receiver<(Target, String)>,
    every: Duration,
    lost: Arc<AtomicU64>,
) {
    let mut logs: BTreeMap<Target, Vec<u8>> = BTreeMap::new();
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = tick.tick() => {
                deliver(&gateway, std::mem::take(&mut logs), &lost).await;
                continue;
            }
        };
        let Some((target, line)) = line else { break };
        let held: usize = logs.values().map(Vec::len).sum();
        if held.saturating_add(line.len()) > MOST {
            lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let log = logs.entry(target.clone()).or_default();
        log.extend_from_slice(line.as_bytes());
        log.push(b'\n');
        if log.len() >= FULL
            && let Some(full) = logs.remove(&target)
        {
            deliver(&gateway, [(target, full)].into(), &lost).await;
        }
    }
    deliver(&gateway, logs, &lost).await;
}

async fn deliver(gateway: &Arc<Gateway>, logs: BTreeMap<Target, Vec<u8>>, lost: &AtomicU64) {
    for ((bucket, prefix), log) in logs {
        let lines = log.iter().filter(|b| **b == b'\n').count();
        if let Err(e) = store(gateway, &bucket, &prefix, log).await {
            tracing::warn!(bucket, lines, error = %e, "an access log was not delivered");
        }
    }
    match lost.swap(0, Ordering::Relaxed) {
        0 => {}
        lines => tracing::warn!(lines, "access logs could not keep up; lines were lost"),
    }
}

async fn store(gateway: &Gateway, bucket: &str, prefix: &str, log: Vec<u8>) -> Result<(), GatewayError> {
    let mut unique = [0; 8];
    getrandom::fill(&mut unique).map_err(|e| GatewayError::Random(e.to_string()))?;
    let now = seconds();
    let key = object_name(prefix, now, u64::from_le_bytes(unique));
    if is_denied(gateway, bucket, &key) {
        return Err(GatewayError::Invalid("the policy of the target bucket denies the delivery of logs"));
    }
    let headers = [("content-type".to_owned(), "text/plain".to_owned())].into();
    let put = Put {
        bucket: bucket.into(),
        key,
        attributes: Attributes { headers, ..Attributes::default() },
        labels: Labels::default(),
        condition: Condition::default(),
        algorithms: Vec::new(),
        limit: u64::try_from(MOST).unwrap_or(u64::MAX),
        expected: u64::try_from(log.len()).ok(),
        now,
    };
    let body = futures::stream::iter([Ok(Bytes::from(log))]).boxed();
    gateway.put_object(put, body, |_| Ok(())).await.map(|_| ())
}

fn is_denied(gateway: &Gateway, bucket: &str, key: &str) -> bool {
    let index = gateway.index();
    let Ok(found) = index.bucket(bucket) else { return false };
    let Some(policy) = found.settings.policy.as_ref() else { return false };
    let (Ok(policy), Some(action)) = (Policy::parse(policy.as_bytes(), bucket), find("s3:PutObject")) else {
        return true;
    };
    let facts = Facts::default();
    policy.judge(&Ask { who: &SERVICE, action, bucket, key: Some(key), facts: &facts }) == Some(Effect::Deny)
}
