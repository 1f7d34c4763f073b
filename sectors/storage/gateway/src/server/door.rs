//! One request from its headers to the last byte of its answer.

use super::desk::{Desk, Party};
use super::form;
use super::journal::Journal;
use super::paced::{Pace, Paced};
use super::places::Busy;
use super::visit::Visit;
use crate::access::cors;
use crate::access::log::{Entry, Proof, operation};
use crate::access::net::Net;
use crate::access::{ACCOUNT, Who};
use crate::s3::convert::seconds;
use crate::s3::gate::{Gate, other, slow_down};
use crate::s3::post::{self, Posted};
use crate::s3::query::Query;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, HttpError, S3Error, S3Result, s3_error};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// Longest time for which a link can be signed: a week, as S3 has it.
const MAX_EXPIRES: u64 = 604_800;

/// What all requests share.
pub struct Door {
    pub service: S3Service,
    pub gate: Arc<Gate>,
    pub desk: Arc<Desk>,
    pub journal: Journal,
    pub pace: Pace,
    /// Proxies whose word about the client counts.
    pub proxies: Vec<Net>,
    /// Ids of requests: a random beginning, counted on.
    pub ids: AtomicU64,
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// Bucket and key of a path, decoded.
fn place(path: &str) -> (String, Option<String>) {
    // A plus in a path is a plus.
    let decoded = Query::parse(
        &path.trim_start_matches('/').replace('+', "%2B").replace('=', "%3D").replace('&', "%26"),
    );
    let path = decoded.iter().next().map(|(name, _)| name.to_owned()).unwrap_or_default();
    match path.split_once('/') {
        Some((bucket, key)) if !key.is_empty() => (bucket.to_owned(), Some(key.to_owned())),
        Some((bucket, _)) => (bucket.to_owned(), None),
        None => (path, None),
    }
}

/// What must be refused before a signature is looked at.
fn check_proof(headers: &HeaderMap, query: &Query) -> S3Result<Proof> {
    let header = text(headers, "authorization");
    let link = query.has("X-Amz-Signature");
    let old = (query.has("Signature") && query.has("AWSAccessKeyId"))
        || header.is_some_and(|h| h.starts_with("AWS ") || h.starts_with("AWS\t"));
    if old {
        return Err(s3_error!(
            InvalidRequest,
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
        ));
    }
    if link && header.is_some() {
        return Err(s3_error!(
            InvalidArgument,
            "Only one auth mechanism allowed: a header or a query, not both"
        ));
    }
    let scope = header.or_else(|| query.get("X-Amz-Credential")).unwrap_or_default();
    if scope.contains("/sts/aws4_request") {
        return Err(s3_error!(
            NotImplemented,
            "temporary credentials are not implemented here; make a key that expires"
        ));
    }
    if link {
        let expires = query.get("X-Amz-Expires").unwrap_or_default().parse::<u64>().ok();
        if !expires.is_some_and(|e| (1..=MAX_EXPIRES).contains(&e)) {
            let cause = "X-Amz-Expires must be a number of seconds from 1 to 604800 (a week)";
            return Err(other("AuthorizationQueryParametersError", StatusCode::BAD_REQUEST, cause));
        }
    }
    Ok(match (header, link) {
        (Some(_), _) => Proof::Header,
        (None, true) => Proof::Query,
        (None, false) => Proof::None,
    })
}

impl Door {
    /// Answers a request of a peer.
    pub async fn serve(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        peer: IpAddr,
        busy: Busy,
    ) -> Result<Response<Answer>, HttpError> {
        let (address, secure) = self.client(peer, request.headers());
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let (bucket, key) = place(request.uri().path());
        let proof = check_proof(request.headers(), &query);
        let mut entry = self.entry(&request, &query, address, &bucket, key);
        entry.proof = *proof.as_ref().unwrap_or(&Proof::None);
        let visit = Arc::new(Visit::new(address, secure, entry.time, entry));
        request.extensions_mut().insert(Arc::clone(&visit));
        let (method, origin) = (request.method().clone(), request.headers().get("origin").cloned());
        let sends_body = !request.body().is_end_stream();
        let answered = match proof {
            Err(e) => Err(e),
            Ok(_) if method == Method::OPTIONS => self.preflight(&visit, &bucket, request.headers()),
            Ok(_) => self.work(&visit, &bucket, request).await,
        };
        visit.unproven();
        let answer = match answered {
            Ok(answer) => answer?,
            Err(e) => refuse(e)?,
        };
        if visit.is_proven() {
            busy.proven();
        }
        let mut answer = answer;
        self.decorate(&mut answer, &visit, &bucket, &method, origin.as_ref());
        if sends_body && !answer.status().is_success() {
            // A body that was refused may still be on its way, and what follows it could not be told from it.
            answer.headers_mut().insert(hyper::header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(self.wrap(answer, visit, busy))
    }

    /// The client's address, and whether it speaks TLS: what a proxy that we trust says of it, else what we see.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> (IpAddr, bool) {
        if !self.proxies.iter().any(|net| net.contains(peer)) {
            return (peer, false);
        }
        // The last address is the one that the proxy itself saw.
        let last = text(headers, "x-forwarded-for").and_then(|v| v.rsplit(',').next()?.trim().parse().ok());
        let secure = text(headers, "x-forwarded-proto").is_some_and(|p| p.eq_ignore_ascii_case("https"));
        (last.unwrap_or(peer), secure)
    }

    fn entry(
        &self,
        request: &Request<Incoming>,
        query: &Query,
        address: IpAddr,
        bucket: &str,
        key: Option<String>,
    ) -> Entry {
        let headers = request.headers();
        let names: Vec<&str> = query.iter().map(|(name, _)| name).collect();
        let own = |name: &str| text(headers, name).map(str::to_owned);
        let size = text(headers, "x-amz-decoded-content-length").or_else(|| text(headers, "content-length"));
        let writes = matches!(*request.method(), Method::PUT | Method::POST);
        let id = self.ids.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        Entry {
            operation: operation(request.method().as_str(), &names, !bucket.is_empty(), key.is_some()),
            bucket: bucket.to_owned(),
            time: seconds(),
            address: Some(address),
            id: format!("{id:016X}"),
            key,
            line: format!("{} {} {:?}", request.method(), request.uri(), request.version()),
            size: size.and_then(|s| s.parse().ok()).filter(|_| writes),
            referer: own("referer"),
            agent: own("user-agent"),
            version: query.get("versionId").map(str::to_owned),
            host: own("host"),
            ..Entry::default()
        }
    }

    async fn work(
        &self,
        visit: &Arc<Visit>,
        bucket: &str,
        request: Request<Incoming>,
    ) -> S3Result<Result<Response<Body>, HttpError>> {
        visit.proving(self.desk.prove().await.map_err(|later| slow_down(later.0))?);
        let (parts, incoming) = request.into_parts();
        let ended = incoming.is_end_stream();
        let body = Paced::new(incoming, self.pace);
        let kind = text(&parts.headers, "content-type").unwrap_or_default();
        let boundary = form::boundary(kind);
        if parts.method == Method::POST
            && boundary.is_none()
            && kind.to_ascii_lowercase().contains("multipart")
        {
            return Err(s3_error!(
                MalformedPOSTRequest,
                "the form's content type names no boundary of 1 to 70 bytes"
            ));
        }
        if let Some(boundary) = boundary.filter(|_| parts.method == Method::POST) {
            if place(parts.uri.path()).1.is_some() {
                return Err(s3_error!(
                    MethodNotAllowed,
                    "a form is sent to a bucket, without a key in the path"
                ));
            }
            // Its fields are read before one can know who signed it: until then it counts as a stranger's.
            let pass = self.desk.admit(Party::stranger(visit.address)).map_err(|later| slow_down(later.0))?;
            visit.proven(Who::Anonymous, pass);
            self.gate.gateway().index().bucket(bucket).map_err(crate::s3::convert::refusal)?;
            let posted = Posted {
                visit,
                bucket,
                headers: &parts.headers,
                boundary: &boundary,
                body: form::arriving(body.into_data_stream()),
            };
            return post::upload(&self.gate, posted).await.map(Ok);
        }
        let body = if ended { Body::empty() } else { Body::http_body(body) };
        Ok(self.service.call(Request::from_parts(parts, body)).await)
    }

    /// The answer to a browser that asks first. It is not signed, and tells nothing but what the rules say.
    fn preflight(
        &self,
        visit: &Visit,
        bucket: &str,
        headers: &HeaderMap,
    ) -> S3Result<Result<Response<Body>, HttpError>> {
        let pass = self.desk.admit(Party::stranger(visit.address)).map_err(|later| slow_down(later.0))?;
        visit.proven(Who::Anonymous, pass);
        let needed = |name: &str, what: &str| {
            text(headers, name).map(str::to_owned).ok_or_else(|| {
                other(
                    "BadRequest",
                    StatusCode::BAD_REQUEST,
                    format!("Insufficient information. {what} needed."),
                )
            })
        };
        let origin = needed("origin", "Origin request header")?;
        let method = needed("access-control-request-method", "Access-Control-Request-Method header")?;
        let asked = text(headers, "access-control-request-headers").unwrap_or_default();
        let forbidden =
            |cause: &str| other("AccessForbidden", StatusCode::FORBIDDEN, format!("CORSResponse: {cause}"));
        let rules = crate::s3::cors::rules(self.gate.gateway(), bucket);
        let rules = rules.ok_or_else(|| forbidden("CORS is not enabled for this bucket."))?;
        let Some(allowed) = cors::preflight(&rules, &origin, &method, asked) else {
            let cause = "This CORS request is not allowed. This is usually because the evalution of Origin, request \
                         method / Access-Control-Request-Method or Access-Control-Request-Headers are not \
                         whitelisted by the resource's CORS spec.";
            return Err(forbidden(cause));
        };
        let mut answer = Response::new(Body::empty());
        add(answer.headers_mut(), allowed);
        Ok(Ok(answer))
    }

    fn decorate(
        &self,
        answer: &mut Response<Body>,
        visit: &Visit,
        bucket: &str,
        method: &Method,
        origin: Option<&HeaderValue>,
    ) {
        if let Ok(id) = HeaderValue::from_str(&visit.id()) {
            answer.headers_mut().insert("x-amz-request-id", id);
        }
        let origin = origin.and_then(|o| o.to_str().ok()).filter(|_| *method != Method::OPTIONS);
        if let Some(origin) = origin
            && let Some(rules) = crate::s3::cors::rules(self.gate.gateway(), bucket)
        {
            match cors::actual(&rules, origin, method.as_str()) {
                Some(allowed) => add(answer.headers_mut(), allowed),
                // Another origin might get another answer.
                None => add(answer.headers_mut(), vec![("vary", "Origin".into())]),
            }
        }
    }

    fn wrap(&self, answer: Response<Body>, visit: Arc<Visit>, busy: Busy) -> Response<Answer> {
        let status = answer.status().as_u16();
        let number = |name: &str| text(answer.headers(), name).map(str::to_owned);
        let range = number("content-range").and_then(|r| r.rsplit('/').next()?.parse().ok());
        let size = range.or_else(|| number("content-length").and_then(|l| l.parse().ok()));
        let code = if status >= 400 { answer.body().bytes().and_then(|b| code(&b)) } else { None };
        visit.note(|e| {
            e.status = status;
            e.code = code;
            e.turn = millis(&visit);
            let reads = e.operation == "REST.GET.OBJECT" || e.operation == "REST.HEAD.OBJECT";
            e.size = e.size.or(size.filter(|_| reads && status < 300));
        });
        let (gate, journal) = (Arc::clone(&self.gate), self.journal.clone());
        answer.map(|body| Answer { body, sent: 0, visit, gate, journal, _busy: busy })
    }
}

fn millis(visit: &Visit) -> u64 {
    u64::try_from(visit.arrived.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn add(headers: &mut HeaderMap, list: cors::Headers) {
    for (name, value) in list {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

fn refuse(e: S3Error) -> Result<Response<Body>, HttpError> {
    e.to_http_response().map_err(|e| HttpError::new(Box::new(e)))
}

/// The code in the text of an error.
fn code(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code.to_owned())
}

/// The body of an answer, with the request's places until its last byte is on its way; then it is logged.
pub struct Answer {
    body: Body,
    sent: u64,
    visit: Arc<Visit>,
    gate: Arc<Gate>,
    journal: Journal,
    _busy: Busy,
}

impl Drop for Answer {
    fn drop(&mut self) {
        let sent = self.sent;
        let mut entry = self.visit.entry();
        entry.sent = sent;
        entry.total = millis(&self.visit);
        let who = entry.who.as_ref().map_or_else(|| "-".into(), Who::arn);
        tracing::info!(
            target: "cairn::s3::access", account = ACCOUNT, bucket = entry.bucket, key = entry.key,
            operation = entry.operation, status = entry.status, code = entry.code, who, sent,
            millis = entry.total, id = entry.id, "request"
        );
        let logging = {
            let index = self.gate.gateway().index();
            index.bucket(&entry.bucket).ok().and_then(|b| b.settings.logging.clone())
        };
        if let Some(to) = logging {
            self.journal.add(&to, entry.line());
        }
    }
}

impl hyper::body::Body for Answer {
    type Data = <Body as hyper::body::Body>::Data;
    type Error = <Body as hyper::body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, |d| u64::try_from(d.len()).unwrap_or(0));
            self.sent = self.sent.saturating_add(bytes);
        }
        polled
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(query: &str, header: Option<&'static str>) -> Result<Proof, String> {
        let header = header.map(|h| (HeaderName::from_static("authorization"), HeaderValue::from_static(h)));
        let headers: HeaderMap = header.into_iter().collect();
        check_proof(&headers, &Query::parse(query)).map_err(|e| e.code().as_str().to_owned())
    }

    #[test]
    fn links_live_a_week_at_most() {
        let link = |expires: &str| checked(&format!("X-Amz-Signature=x&X-Amz-Expires={expires}"), None);
        assert_eq!(link("604800"), Ok(Proof::Query));
        for bad in ["604801", "0", "-1", "", "99999999999999999999", "x"] {
            assert_eq!(link(bad), Err("AuthorizationQueryParametersError".into()), "{bad}");
        }
    }

    #[test]
    fn old_and_double_signatures_are_refused() {
        assert_eq!(checked("AWSAccessKeyId=a&Signature=b&Expires=9", None), Err("InvalidRequest".into()));
        assert_eq!(checked("", Some("AWS key:sig")), Err("InvalidRequest".into()));
        assert_eq!(checked("", Some("AWS4-HMAC-SHA256 Credential=a")), Ok(Proof::Header));
        let both = checked("X-Amz-Signature=x&X-Amz-Expires=5", Some("AWS4-HMAC-SHA256 Credential=a"));
        assert_eq!(both, Err("InvalidArgument".into()));
        let sts = "AWS4-HMAC-SHA256 Credential=a/20260101/r/sts/aws4_request";
        assert_eq!(checked("", Some(sts)), Err("NotImplemented".into()));
        assert_eq!(checked("prefix=Signature", None), Ok(Proof::None));
    }

    #[test]
    fn paths_are_places() {
        assert_eq!(place("/"), (String::new(), None));
        assert_eq!(place("/b"), ("b".into(), None));
        assert_eq!(place("/b/"), ("b".into(), None));
        assert_eq!(place("/b/a%20b/c+d&e=f"), ("b".into(), Some("a b/c+d&e=f".into())));
    }

    #[test]
    fn codes_are_read_from_errors() {
        assert_eq!(code(b"<Error><Code>SlowDown</Code></Error>").as_deref(), Some("SlowDown"));
        assert_eq!(code(b"nothing"), None);
    }
}
