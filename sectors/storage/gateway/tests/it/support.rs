#![allow(clippy::unwrap_used)] // Helpers of tests, which may fail loudly.

use cairn_storage_gateway::error::GatewayError;
use cairn_storage_gateway::gateway::{BodyStream, Config, Gateway, Put, PutDone};
use cairn_storage_gateway::index::Condition;
use cairn_storage_gateway::memory::World;
use cairn_storage_gateway::record::{Attributes, Labels};
use futures::StreamExt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub const ROOT: [u8; 32] = [7; 32];

pub fn bytes(len: usize, seed: u32) -> Vec<u8> {
    (seed..).map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 24).unwrap()).take(len).collect()
}

pub fn body(data: &[u8]) -> BodyStream {
    let chunks: Vec<_> = data.chunks(70_000).map(|c| Ok(bytes::Bytes::copy_from_slice(c))).collect();
    futures::stream::iter(chunks).boxed()
}

pub fn request(key: &str) -> Put {
    Put {
        bucket: "b".into(),
        key: key.into(),
        attributes: Attributes::default(),
        labels: Labels::default(),
        condition: Condition::default(),
        algorithms: Vec::new(),
        limit: 5 << 30,
        expected: None,
        now: 1,
    }
}

pub async fn put(g: &Gateway, key: &str, data: &[u8]) -> Result<PutDone, GatewayError> {
    g.put_object(request(key), body(data), |_| Ok(())).await
}

pub async fn get(g: &Arc<Gateway>, key: &str) -> Result<Vec<u8>, GatewayError> {
    let object = g.index().object("b", key)?;
    let size = object.size;
    get_range(g, key, 0..size).await
}

pub async fn get_range(g: &Arc<Gateway>, key: &str, range: Range<u64>) -> Result<Vec<u8>, GatewayError> {
    let object = g.index().object("b", key)?;
    let mut stream = Box::pin(g.read_object(object, range).await?);
    let mut out = Vec::new();
    while let Some(chunk) = stream.next().await {
        out.extend_from_slice(&chunk?);
    }
    Ok(out)
}

/// Short waits, so that operators that hang cost a test little.
pub fn config() -> Config {
    let mut config = World::config();
    config.volume.put = Duration::from_secs(5);
    config.volume.get = Duration::from_secs(3);
    config
}

/// A world of `n` operators with a gateway and bucket `b`.
pub async fn started(n: u16) -> (World, Arc<Gateway>) {
    let world = World::new(n);
    let gateway = world.start(&ROOT, config()).await.unwrap().gateway;
    gateway.create_bucket("b", 1).await.unwrap();
    (world, gateway)
}
