//! Uploads by a form in a browser.

use super::convert::seconds;
use super::gate::{Caller, Gate, Wish, denied};
use super::objects;
use super::query::Query;
use crate::access::actions;
use crate::access::form::{Fields, FormPolicy, FormRefusal};
use crate::access::log::Proof;
use crate::record::CannedAcl;
use crate::server::form::{Arriving, BadForm, Form, read};
use crate::server::visit::Visit;
use aws_lc_rs::hmac;
use bytes::Bytes;
use futures::StreamExt;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use s3s::dto::{ObjectCannedACL, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp, TimestampFormat};
use s3s::{Body, S3Error, S3Request, S3Result, StdError, s3_error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// A form on its way in.
pub struct Posted<'a> {
    /// The request.
    pub visit: &'a Arc<Visit>,
    /// The bucket in its path.
    pub bucket: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// What separates its parts.
    pub boundary: &'a str,
    /// Its body.
    pub body: Arriving,
}

fn refused(e: FormRefusal) -> S3Error {
    match e {
        FormRefusal::Malformed(_) => s3_error!(InvalidPolicyDocument, "{e}"),
        FormRefusal::Denied(_) => s3_error!(AccessDenied, "{e}"),
    }
}

fn malformed(e: BadForm) -> S3Error {
    match e {
        BadForm::Shape(_) => s3_error!(MalformedPOSTRequest, "{e}"),
        BadForm::Broken(_) => s3_error!(IncompleteBody, "{e}"),
    }
}

/// Takes an upload. Nothing of the file is read before it is clear that it may come.
///
/// # Errors
/// What S3 says of forms.
pub async fn upload(gate: &Gate, posted: Posted<'_>) -> S3Result<Response<Body>> {
    let Posted { visit, bucket, headers, boundary, body } = posted;
    let Form { mut fields, filename, file } = read(body, boundary).await.map_err(malformed)?;
    let caller = signer(gate, &fields)?;
    visit.note(|e| e.proof = if caller.key.is_some() { Proof::Form } else { Proof::None });
    let name = filename.unwrap_or_default();
    // Some browsers send the path on their disk.
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    let key = fields.get("key").map(|key| key.replace("${filename}", &name));
    let key = key.filter(|k| !k.is_empty() && k.len() <= 1024);
    let key = key.ok_or_else(|| {
        s3_error!(InvalidArgument, "Bucket POST must contain a field named 'key' of 1 to 1024 bytes.")
    })?;
    fields.insert("key".into(), key.clone());
    visit.note(|e| e.key = Some(key.clone()));
    gate.admit(visit, &caller)?;
    let range = allowed(&fields, bucket, &caller)?;
    judge(gate, visit, &caller, bucket, &key, &fields)?;
    let length = headers.get("content-length").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    gate.charge(&caller, length)?;
    let done = store(gate, bucket, &key, &fields, file, range).await?;
    let host = text_of(headers, "host");
    Ok(success(&fields, (bucket, &key), &done, (visit.secure, host)))
}

/// Who signed a form, if it is signed.
fn signer(gate: &Gate, fields: &Fields) -> S3Result<Caller> {
    let field = |name: &str| fields.get(name).map(String::as_str);
    if field("signature").is_some() || field("awsaccesskeyid").is_some() {
        return Err(s3_error!(InvalidArgument, "Signature Version 2 is not accepted; use AWS4-HMAC-SHA256."));
    }
    let Some(signature) = field("x-amz-signature") else { return gate.caller(None) };
    let needed = |name: &'static str| {
        let missing = || s3_error!(InvalidArgument, "Bucket POST must contain a field named '{name}'.");
        fields.get(name).map(String::as_str).ok_or_else(missing)
    };
    if needed("x-amz-algorithm")? != "AWS4-HMAC-SHA256" {
        return Err(s3_error!(InvalidArgument, "X-Amz-Algorithm only supports AWS4-HMAC-SHA256"));
    }
    let (policy, date) = (needed("policy")?, needed("x-amz-date")?);
    let parts: Vec<&str> = needed("x-amz-credential")?.split('/').collect();
    let [id, day, region, "s3", "aws4_request"] = parts[..] else {
        return Err(s3_error!(InvalidArgument, "X-Amz-Credential is not KEY/DATE/REGION/s3/aws4_request"));
    };
    if date.len() != 16 || !date.starts_with(day) {
        return Err(s3_error!(InvalidArgument, "X-Amz-Date is not of the day in X-Amz-Credential"));
    }
    let caller = gate.caller(Some(id))?;
    let secret = caller.key.as_ref().map(|(_, key)| format!("AWS4{}", key.secret)).unwrap_or_default();
    let key = [day, region, "s3", "aws4_request"].iter().fold(secret.into_bytes(), |key, part| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec()
    });
    let signature = hex::decode(signature).unwrap_or_default();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), policy.as_bytes(), &signature).map_err(|_| {
        s3_error!(SignatureDoesNotMatch, "The signature of the form does not match its policy.")
    })?;
    Ok(caller)
}

/// Whether the form's own policy allows it; the sizes that it allows.
fn allowed(fields: &Fields, bucket: &str, caller: &Caller) -> S3Result<(u64, u64)> {
    let everything = (0, objects::MAX_BODY);
    let Some(policy) = fields.get("policy") else {
        return match caller.key {
            Some(_) => Err(s3_error!(InvalidArgument, "Bucket POST must contain a field named 'policy'.")),
            None => Ok(everything),
        };
    };
    let policy = FormPolicy::parse(policy).map_err(refused)?;
    policy.check(fields, bucket, seconds()).map_err(refused)?;
    let (least, most) = policy.range().unwrap_or(everything);
    Ok((least, most.min(objects::MAX_BODY)))
}

/// Whether whoever signed may write there.
fn judge(
    gate: &Gate,
    visit: &Visit,
    caller: &Caller,
    bucket: &str,
    key: &str,
    fields: &Fields,
) -> S3Result<()> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = if name == "acl" { "x-amz-acl" } else { name };
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    let query = Query::default();
    let wish = Wish {
        visit,
        caller,
        bucket,
        key: Some(key),
        version: None,
        headers: &headers,
        query: &query,
        tags: &[],
        new: false,
    };
    let acl = fields.get("acl").map(String::as_str);
    let opens = acl.is_some_and(|acl| CannedAcl::parse(acl).is_none_or(CannedAcl::is_public));
    let needed = std::iter::once("s3:PutObject").chain(opens.then_some("s3:PutObjectAcl"));
    for action in needed.filter_map(actions::find) {
        gate.judge(&wish, action)?;
    }
    gate.check_list(bucket, acl, true)
}

/// Why a file is not taken for its size.
const TOO_LARGE: u8 = 1;
const TOO_SMALL: u8 = 2;

async fn store(
    gate: &Gate,
    bucket: &str,
    key: &str,
    fields: &Fields,
    file: Arriving,
    (least, most): (u64, u64),
) -> S3Result<PutObjectOutput> {
    let (size, wrong) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU8::new(0)));
    let (counted, flag) = (Arc::clone(&size), Arc::clone(&wrong));
    // The end is held back until the size is known to be allowed: an error there leaves nothing stored.
    let end = futures::stream::once(async move {
        let small = counted.load(Ordering::Relaxed) < least;
        small.then(|| flag.store(TOO_SMALL, Ordering::Relaxed));
        if small { Err(StdError::from("too small")) } else { Ok(Bytes::new()) }
    });
    let (counted, flag) = (Arc::clone(&size), Arc::clone(&wrong));
    let file = file.map(move |chunk: Result<Bytes, StdError>| {
        let chunk = chunk?;
        let len = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if counted.fetch_add(len, Ordering::Relaxed).saturating_add(len) > most {
            flag.store(TOO_LARGE, Ordering::Relaxed);
            return Err(StdError::from("too large"));
        }
        Ok(chunk)
    });
    let stream = file.chain(end).map(|chunk| chunk.map(hyper::body::Frame::data));
    let body = Body::http_body_unsync(http_body_util::StreamBody::new(stream));
    let req = S3Request {
        input: input(bucket, key, fields, StreamingBlob::from(body))?,
        method: Method::PUT,
        uri: Uri::default(),
        headers: HeaderMap::new(),
        extensions: hyper::http::Extensions::new(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    };
    match objects::put(gate.gateway(), req).await {
        Ok(done) => Ok(done.output),
        Err(_) if wrong.load(Ordering::Relaxed) == TOO_LARGE => Err(s3_error!(
            EntityTooLarge,
            "Your proposed upload exceeds the maximum allowed size of {most} bytes."
        )),
        Err(_) if wrong.load(Ordering::Relaxed) == TOO_SMALL => Err(s3_error!(
            EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size of {least} bytes."
        )),
        Err(e) => Err(e),
    }
}

/// A form as the request that it stands for.
fn input(bucket: &str, key: &str, fields: &Fields, body: StreamingBlob) -> S3Result<PutObjectInput> {
    let field = |name: &str| fields.get(name).cloned();
    if field("tagging").is_some_and(|t| !t.is_empty()) {
        return Err(s3_error!(NotImplemented, "tagging in a form is not implemented here"));
    }
    let mut i = PutObjectInput::builder();
    i.set_bucket(bucket.into()).set_key(key.into()).set_body(Some(body));
    i.set_acl(field("acl").map(ObjectCannedACL::from));
    i.set_content_type(field("content-type")).set_cache_control(field("cache-control"));
    i.set_content_disposition(field("content-disposition")).set_content_encoding(field("content-encoding"));
    i.set_content_language(field("content-language")).set_content_md5(field("content-md5"));
    i.set_checksum_crc32(field("x-amz-checksum-crc32")).set_checksum_crc32c(field("x-amz-checksum-crc32c"));
    i.set_checksum_crc64nvme(field("x-amz-checksum-crc64nvme"));
    i.set_checksum_sha1(field("x-amz-checksum-sha1")).set_checksum_sha256(field("x-amz-checksum-sha256"));
    let expires = field("expires").map(|e| Timestamp::parse(TimestampFormat::HttpDate, &e)).transpose();
    i.set_expires(expires.map_err(|_| s3_error!(InvalidArgument, "the field Expires is no HTTP date"))?);
    let user =
        fields.iter().filter_map(|(k, v)| Some((k.strip_prefix("x-amz-meta-")?.to_owned(), v.clone())));
    i.set_metadata(Some(user.collect()));
    i.build().map_err(|e| denied(e.to_string()))
}

/// What a browser gets: a redirection, a document or nothing.
fn success(
    fields: &Fields,
    (bucket, key): (&str, &str),
    done: &PutObjectOutput,
    (secure, host): (bool, &str),
) -> Response<Body> {
    let etag = done.e_tag.as_ref().map(|e| format!("\"{}\"", e.value())).unwrap_or_default();
    let mut answer = Response::new(Body::empty());
    if let Ok(value) = HeaderValue::from_str(&etag) {
        answer.headers_mut().insert("etag", value);
    }
    let path = format!("/{bucket}/{}", escape(key, true));
    let scheme = if secure { "https" } else { "http" };
    let location = format!("{scheme}://{host}{path}");
    if let Ok(value) = HeaderValue::from_str(&location) {
        answer.headers_mut().insert("location", value);
    }
    let redirect = fields.get("success_action_redirect").or_else(|| fields.get("redirect"));
    if let Some(to) = redirect.filter(|r| r.starts_with("http://") || r.starts_with("https://")) {
        let sign = if to.contains('?') { '&' } else { '?' };
        let query = format!(
            "bucket={}&key={}&etag={}",
            escape(bucket, false),
            escape(key, false),
            escape(&etag, false)
        );
        if let Ok(value) = HeaderValue::from_str(&format!("{to}{sign}{query}")) {
            *answer.status_mut() = StatusCode::SEE_OTHER;
            answer.headers_mut().insert("location", value);
            return answer;
        }
    }
    *answer.status_mut() = match fields.get("success_action_status").map(String::as_str) {
        Some("200") => StatusCode::OK,
        Some("201") => StatusCode::CREATED,
        _ => StatusCode::NO_CONTENT,
    };
    if answer.status() == StatusCode::CREATED {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{}</Location><Bucket>{}</Bucket>\
             <Key>{}</Key><ETag>{}</ETag></PostResponse>",
            xml(&location),
            xml(bucket),
            xml(key),
            xml(&etag)
        );
        answer.headers_mut().insert("content-type", HeaderValue::from_static("application/xml"));
        *answer.body_mut() = Body::from(text);
    }
    answer
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|h| h.to_str().ok()).unwrap_or_default()
}

fn escape(text: &str, slash: bool) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            b'/' if slash => out.push('/'),
            b => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{b:02X}");
            }
        }
    }
    out
}

/// Text in XML; what XML cannot hold is replaced.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fields: &[(&str, &str)]) -> Response<Body> {
        let fields = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        success(&fields, ("b", "a b&"), &PutObjectOutput::default(), (false, "h:1"))
    }

    #[test]
    fn answers_are_what_the_form_asks_for() {
        assert_eq!(answer(&[]).status(), StatusCode::NO_CONTENT);
        assert_eq!(answer(&[("success_action_status", "200")]).status(), StatusCode::OK);
        assert_eq!(answer(&[("success_action_status", "404")]).status(), StatusCode::NO_CONTENT);
        let made = answer(&[("success_action_status", "201")]);
        assert_eq!(made.headers()["location"], "http://h:1/b/a%20b%26");
        let text = made.into_body().bytes().unwrap();
        assert!(std::str::from_utf8(&text).unwrap().contains("<Key>a b&amp;</Key>"));
        let sent = answer(&[("success_action_redirect", "https://x/?a=1")]);
        assert_eq!(sent.status(), StatusCode::SEE_OTHER);
        assert_eq!(sent.headers()["location"], "https://x/?a=1&bucket=b&key=a%20b%26&etag=");
        let script = answer(&[("success_action_redirect", "javascript:alert(1)")]);
        assert_eq!(script.status(), StatusCode::NO_CONTENT);
    }
}
