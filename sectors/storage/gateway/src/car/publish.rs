//! What is published, by CID.
//!
//! Nothing is kept but in memory, and all of it follows from the objects of the bucket: which publications there are, 16
//! bytes for each block of theirs, and the trees asked for last.

use super::dag::Block;
use super::manifest::MANIFEST_MAX;
use super::{BUCKET, CarError, Cid, Dag, Manifest};
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::index::{ListQuery, Resume};
use crate::record::Object;
use bytes::Bytes;
use futures::StreamExt;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Most publications that are looked at; the first by CID.
const PUBLICATIONS_MAX: usize = 4096;
/// Most blocks that can be found by themselves (64 MiB of index); roots beyond are found all the same.
const BLOCKS_MAX: usize = 1 << 22;
/// Most nodes of trees that are kept.
const CACHED_MAX: usize = 1 << 18;

/// Why nothing is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No publication has this block.
    Unknown,
    /// The object behind it was changed or deleted since it was published.
    Gone,
    /// It cannot be read now.
    Failed(GatewayError),
}

impl From<GatewayError> for Missing {
    fn from(e: GatewayError) -> Self {
        match e {
            GatewayError::NoSuchKey(_) | GatewayError::NoSuchBucket(_) | GatewayError::Ended(_) => Self::Gone,
            e => Self::Failed(e),
        }
    }
}

/// A publication with its tree.
pub struct Publication {
    manifest: Manifest,
    /// Its tree.
    pub dag: Dag,
}

#[derive(Clone, PartialEq, Eq)]
struct Known {
    name: String,
    etag: String,
    /// A fresh number for each, never used again.
    number: u32,
}

#[derive(Default)]
struct State {
    known: Vec<Known>,
    next: u32,
    /// Front of the digest, number of the publication, number of the node; sorted.
    blocks: Vec<(u64, u32, u32)>,
    /// The most recently used last.
    cache: Vec<(u32, Arc<Publication>)>,
}

/// All publications of a gateway.
pub struct Published {
    gateway: Arc<Gateway>,
    state: Mutex<State>,
}

fn front(cid: &Cid) -> Option<u64> {
    let digest = cid.digest()?;
    Some(u64::from_be_bytes(*digest.first_chunk()?))
}

impl Published {
    /// Of a gateway.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway, state: Mutex::default() }
    }

    /// The publication that has this block, and the number of its node. One at a time, which bounds the memory.
    ///
    /// # Errors
    /// There is none, or a manifest cannot be read now.
    pub async fn find(&self, cid: &Cid) -> Result<(Arc<Publication>, usize), Missing> {
        let Some(front) = front(cid) else { return Err(Missing::Unknown) };
        let mut state = self.state.lock().await;
        self.refresh(&mut state).await?;
        let name = cid.to_string();
        if let Some(known) = state.known.iter().find(|k| k.name == name).cloned() {
            let found = self.load(&mut state, &known).await?;
            let root = found.dag.root();
            return Ok((found, root));
        }
        let from = state.blocks.partition_point(|b| b.0 < front);
        let hits: Vec<_> = state.blocks[from..].iter().take_while(|b| b.0 == front).copied().collect();
        for (_, number, node) in hits {
            let Some(known) = state.known.iter().find(|k| k.number == number).cloned() else { continue };
            let (found, node) = (self.load(&mut state, &known).await?, usize::try_from(node).unwrap_or(0));
            if found.dag.nodes.get(node).is_some_and(|n| n.cid == *cid) {
                return Ok((found, node));
            }
        }
        Err(Missing::Unknown)
    }

    /// Compares what is known with the bucket.
    async fn refresh(&self, state: &mut State) -> Result<(), Missing> {
        let there = self.listed();
        let same = |k: &Known| there.iter().any(|(name, etag)| *name == k.name && *etag == k.etag);
        if there.len() == state.known.len() && state.known.iter().all(same) {
            return Ok(());
        }
        state.known.retain(same);
        let alive: Vec<u32> = state.known.iter().map(|k| k.number).collect();
        state.blocks.retain(|b| alive.contains(&b.1));
        state.cache.retain(|c| alive.contains(&c.0));
        for (name, etag) in there {
            if state.known.iter().any(|k| k.name == name) {
                continue;
            }
            let known = Known { name, etag, number: state.next };
            state.next = state.next.wrapping_add(1);
            match self.load(state, &known).await {
                Ok(publication) => index(&mut state.blocks, known.number, &publication.dag),
                // Whoever wrote that object has no publication; the others are not bothered.
                Err(Missing::Gone | Missing::Unknown) => {
                    tracing::warn!(
                        object = known.name,
                        "car.malformed: no manifest of this root; publish it again"
                    );
                }
                Err(failed) => return Err(failed),
            }
            state.known.push(known);
        }
        state.blocks.sort_unstable();
        Ok(())
    }

    fn listed(&self) -> Vec<(String, String)> {
        let index = self.gateway.index();
        let Ok(bucket) = index.bucket(BUCKET) else { return Vec::new() };
        let query = ListQuery { max: PUBLICATIONS_MAX, resume: Resume::Start, ..ListQuery::default() };
        bucket.list(&query).objects.into_iter().map(|(key, object)| (key, object.etag.to_string())).collect()
    }

    async fn load(&self, state: &mut State, known: &Known) -> Result<Arc<Publication>, Missing> {
        if let Some(at) = state.cache.iter().position(|c| c.0 == known.number) {
            let found = state.cache.remove(at);
            state.cache.push(found.clone());
            return Ok(found.1);
        }
        let object = self.gateway.index().object(BUCKET, &known.name)?;
        let most = u64::try_from(MANIFEST_MAX).unwrap_or(u64::MAX);
        if object.size > most {
            return Err(Missing::Gone);
        }
        let size = object.size;
        let bytes = read(&self.gateway, object, 0..size).await?;
        let made = tokio::task::spawn_blocking(move || {
            let manifest = Manifest::decode(&bytes)?;
            Ok::<_, CarError>(Publication { dag: Dag::new(&manifest)?, manifest })
        });
        let made = made.await.map_err(|_| Missing::Failed(GatewayError::Busy))?;
        let made = Arc::new(made.map_err(|_| Missing::Gone)?);
        if made.dag.root_cid().to_string() != known.name {
            return Err(Missing::Gone);
        }
        state.cache.push((known.number, Arc::clone(&made)));
        let mut held: usize = state.cache.iter().map(|c| c.1.dag.nodes.len()).sum();
        while held > CACHED_MAX && state.cache.len() > 1 {
            held -= state.cache.remove(0).1.dag.nodes.len();
        }
        Ok(made)
    }

    /// Is every object that these nodes need still the one that was published?
    ///
    /// # Errors
    /// One was changed or deleted.
    pub fn check(&self, publication: &Publication, nodes: &[usize]) -> Result<(), Missing> {
        let mut last = None;
        for number in nodes {
            if let Some(Block::Leaf { file, .. }) = publication.dag.nodes.get(*number).map(|n| &n.block)
                && last != Some(*file)
            {
                self.object(publication, *file)?;
                last = Some(*file);
            }
        }
        Ok(())
    }

    fn object(&self, publication: &Publication, file: usize) -> Result<Arc<Object>, Missing> {
        let entry = publication.manifest.files.get(file).ok_or(Missing::Gone)?;
        let object = self.gateway.index().object(&publication.manifest.bucket, &entry.key)?;
        let same = object.size == entry.size && object.etag.to_string() == entry.etag;
        if same { Ok(object) } else { Err(Missing::Gone) }
    }

    /// The bytes of a node's block, checked against its CID.
    ///
    /// # Errors
    /// The object is another by now, or cannot be read.
    pub async fn block(&self, publication: &Publication, number: usize) -> Result<Bytes, Missing> {
        let node = publication.dag.nodes.get(number).ok_or(Missing::Unknown)?;
        match &node.block {
            Block::File(block) | Block::Directory(block, _) => Ok(Bytes::copy_from_slice(block)),
            Block::Leaf { file, at } => {
                let object = self.object(publication, *file)?;
                let bytes = read(&self.gateway, object, at.clone()).await?;
                if node.cid.fits(&bytes) { Ok(bytes) } else { Err(Missing::Gone) }
            }
        }
    }
}

fn index(blocks: &mut Vec<(u64, u32, u32)>, number: u32, dag: &Dag) {
    for (node, at) in dag.nodes.iter().zip(0u32..) {
        match front(&node.cid) {
            Some(front) if blocks.len() < BLOCKS_MAX => blocks.push((front, number, at)),
            _ => return,
        }
    }
}

async fn read(gateway: &Arc<Gateway>, object: Arc<Object>, range: Range<u64>) -> Result<Bytes, GatewayError> {
    let mut stream = Box::pin(gateway.read_object(object, range).await?);
    let mut out = Vec::new();
    while let Some(bytes) = stream.next().await {
        out.extend_from_slice(&bytes?);
    }
    Ok(out.into())
}
