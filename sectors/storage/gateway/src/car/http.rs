//! The trustless gateway: `GET` and `HEAD /ipfs/{cid}[/path]`, unsigned, as a block or as a CAR.

use super::ask::{Ask, Format, Refused, Scope, bytes_of};
use super::publish::{Missing, Publication, Published};
use super::{Cid, Codec, Node, v1};
use crate::gateway::Gateway;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode, Uri, http::Extensions};
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result, StdError};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers that are streamed at once; each holds three blocks at most. More are told to come back.
const STREAMS: usize = 16;
/// Blocks that are read ahead.
const AHEAD: usize = 2;
/// What has a CID never changes; as long as caches are asked to keep anything.
const FOREVER: &str = "public, max-age=29030400, immutable";

/// The route beside S3. It takes unsigned reads below `/ipfs/` only: a bucket of that name needs signed requests.
pub struct IpfsRoute {
    published: Arc<Published>,
    streams: Arc<Semaphore>,
}

impl IpfsRoute {
    /// Over a gateway.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        let published = Arc::new(Published::new(gateway));
        Self { published, streams: Arc::new(Semaphore::new(STREAMS)) }
    }

    /// Answers a request.
    pub async fn answer(&self, uri: &Uri, headers: &HeaderMap, head: bool) -> S3Response<Body> {
        match self.try_answer(uri, headers, head).await {
            Ok(answer) => answer,
            Err(Refused(status, why)) => {
                let mut answer = S3Response::new(Body::from(format!("{why}\n")));
                answer.status = Some(status);
                set(&mut answer, header::CONTENT_TYPE, "text/plain; charset=utf-8");
                // A publication may come or come back.
                set(&mut answer, header::CACHE_CONTROL, "no-store");
                set(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
                answer
            }
        }
    }

    async fn try_answer(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        head: bool,
    ) -> Result<S3Response<Body>, Refused> {
        let ask = Ask::read(uri, headers)?;
        if ask.cid.inline().is_some() {
            return probe(&ask, uri);
        }
        let cached = headers.get(header::CACHE_CONTROL).and_then(|v| v.to_str().ok());
        let cached = cached.is_some_and(|c| c.contains("only-if-cached"));
        let (publication, start) = self.published.find(&ask.cid).await.map_err(|m| match m {
            Missing::Unknown if cached => Refused(StatusCode::PRECONDITION_FAILED, "not here".into()),
            m => missing(m),
        })?;
        let plan = plan(&publication, &ask, start)?;
        self.published.check(&publication, &plan.nodes).map_err(missing)?;
        let terminus = publication.dag.nodes[plan.terminus].cid.clone();
        let mut answer = dressed(&ask, uri, &terminus, &plan.roots)?;
        if unchanged(headers, &ask.etag(&terminus)) {
            answer.status = Some(StatusCode::NOT_MODIFIED);
        } else if ask.format == Format::Raw {
            let block = self.published.block(&publication, plan.terminus).await.map_err(missing)?;
            set(&mut answer, header::CONTENT_LENGTH, &block.len().to_string());
            answer.output = if head { Body::empty() } else { Body::from(block) };
        } else if !head {
            let busy = || Refused(StatusCode::SERVICE_UNAVAILABLE, "busy; ask again a little later".into());
            let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| busy())?;
            let published = Arc::clone(&self.published);
            let header = v1::header(&terminus);
            let stream = stream(published, publication, plan.nodes, header, permit);
            answer.output = Body::http_body_unsync(StreamBody::new(stream));
        }
        Ok(answer)
    }
}

#[async_trait::async_trait]
impl S3Route for IpfsRoute {
    fn is_match(&self, method: &Method, uri: &Uri, headers: &HeaderMap, _: &mut Extensions) -> bool {
        let signed = headers.contains_key(header::AUTHORIZATION)
            || uri.query().is_some_and(|q| q.contains("X-Amz-Signature=") || q.contains("Signature="));
        uri.path().starts_with("/ipfs/") && matches!(*method, Method::GET | Method::HEAD) && !signed
    }
    /// What is published is for everybody.
    async fn check_access(&self, _: &mut S3Request<Body>) -> S3Result<()> {
        Ok(())
    }
    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        Ok(self.answer(&request.uri, &request.headers, request.method == Method::HEAD).await)
    }
}

fn missing(m: Missing) -> Refused {
    match m {
        Missing::Unknown => Refused(
            StatusCode::NOT_FOUND,
            "no block of this name is published here; `cairn storage publish` publishes an object".into(),
        ),
        Missing::Gone => Refused(
            StatusCode::GONE,
            "the object behind it was changed or deleted; publish the new one under its new CID".into(),
        ),
        Missing::Failed(e) => Refused(StatusCode::SERVICE_UNAVAILABLE, e.to_string()),
    }
}

/// What is sent, in order.
struct Plan {
    nodes: Vec<usize>,
    terminus: usize,
    /// Names of the nodes on the way.
    roots: Vec<Cid>,
}

fn plan(publication: &Publication, ask: &Ask, start: usize) -> Result<Plan, Refused> {
    let dag = &publication.dag;
    let (mut at, mut way) = (start, Vec::new());
    for name in &ask.path {
        way.push(at);
        let nothing = || Refused(StatusCode::NOT_FOUND, format!("no entry {name:?} below this CID"));
        at = dag.child(at, name).ok_or_else(nothing)?;
    }
    let size = dag.nodes[at].size;
    let tail = match ask.scope {
        _ if ask.format == Format::Raw => vec![at],
        Scope::Block => vec![at],
        Scope::All => dag.below(at),
        Scope::Entity => dag.within(at, &(0..size)),
        Scope::Bytes(..) if matches!(dag.nodes[at].block, super::dag::Block::Directory(..)) => vec![at],
        Scope::Bytes(from, to) => match bytes_of(from, to, size)? {
            Some(range) => dag.within(at, &range),
            None => vec![at],
        },
    };
    let roots = way.iter().chain([&at]).map(|n| dag.nodes[*n].cid.clone()).collect();
    let mut nodes = way;
    nodes.extend(tail);
    if ask.format != (Format::Car { dups: true }) {
        let mut seen = BTreeSet::new();
        nodes.retain(|n| seen.insert(&dag.nodes[*n].cid));
    }
    Ok(Plan { nodes, terminus: at, roots })
}

/// The CAR, block by block. It breaks off when a block cannot be had any more; clients check what they got.
fn stream(
    published: Arc<Published>,
    publication: Arc<Publication>,
    nodes: Vec<usize>,
    header: Vec<u8>,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Frame<Bytes>, StdError>> + Send {
    let first = futures::stream::iter([Ok(Frame::data(Bytes::from(header)))]);
    let sections = futures::stream::iter(nodes).map(move |number| {
        let (published, publication) = (Arc::clone(&published), Arc::clone(&publication));
        async move {
            let block = published.block(&publication, number).await;
            let block = block.map_err(|m| StdError::from(missing(m).1))?;
            let Node { cid, .. } = &publication.dag.nodes[number];
            let front = Bytes::from(v1::section(cid, block.len()));
            Ok::<_, StdError>([Ok(Frame::data(front)), Ok(Frame::data(block))])
        }
    });
    let sections = sections.buffered(AHEAD).flat_map(|done| match done {
        Ok(frames) => futures::stream::iter(Vec::from(frames)),
        Err(e) => futures::stream::iter(vec![Err(e)]),
    });
    first.chain(sections).inspect(move |_| {
        let _ = &permit;
    })
}

/// `bafkqaaa`, by which clients see that there is a gateway, and its like: the block is in the name.
fn probe(ask: &Ask, uri: &Uri) -> Result<S3Response<Body>, Refused> {
    let block = match ask.cid.inline() {
        Some(block) if ask.path.is_empty() && ask.cid.codec() == Codec::Raw => block.to_vec(),
        _ => return Err(missing(Missing::Unknown)),
    };
    let mut answer = dressed(ask, uri, &ask.cid, std::slice::from_ref(&ask.cid))?;
    answer.output = match ask.format {
        Format::Raw => Body::from(block),
        Format::Car { .. } => Body::from(v1::header(&ask.cid)),
    };
    Ok(answer)
}

fn unchanged(headers: &HeaderMap, etag: &str) -> bool {
    let Some(known) = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()) else { return false };
    let bare = |t: &str| t.trim().trim_start_matches("W/").to_owned();
    known.split(',').any(|t| t.trim() == "*" || bare(t) == bare(etag))
}

/// An answer with all headers and no body yet.
fn dressed(ask: &Ask, uri: &Uri, terminus: &Cid, roots: &[Cid]) -> Result<S3Response<Body>, Refused> {
    let mut answer = S3Response::new(Body::empty());
    answer.status = Some(StatusCode::OK);
    let (end, name) = match ask.format {
        Format::Raw => ("bin", "raw"),
        Format::Car { .. } => ("car", "car"),
    };
    let roots: Vec<String> = roots.iter().map(ToString::to_string).collect();
    set(&mut answer, header::CONTENT_TYPE, &ask.media());
    set(&mut answer, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{terminus}.{end}\""));
    set(&mut answer, header::ETAG, &ask.etag(terminus));
    set(&mut answer, header::CACHE_CONTROL, FOREVER);
    set(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut answer, header::ACCEPT_RANGES, "none");
    set(&mut answer, header::VARY, "Accept");
    set(&mut answer, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(&mut answer, HeaderName::from_static("x-ipfs-path"), uri.path());
    set(&mut answer, HeaderName::from_static("x-ipfs-roots"), &roots.join(","));
    if !ask.explicit {
        let query = uri.query().map_or_else(String::new, |q| format!("{q}&"));
        set(&mut answer, header::CONTENT_LOCATION, &format!("{}?{query}format={name}", uri.path()));
    }
    Ok(answer)
}

fn set<T>(answer: &mut S3Response<T>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers.insert(name, value);
    }
}
