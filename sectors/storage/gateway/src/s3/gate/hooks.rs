//! Where s3s asks: once before the input is read, and again where the input decides.

use super::{Caller, Gate, Wish, canned, denied, other};
use crate::access::actions::{self, Action};
use crate::access::{ACCOUNT, OWNER_ID, Who};
use crate::record::Ownership;
use crate::s3::convert::refusal;
use crate::s3::query::Query;
use crate::server::MAX_XML;
use crate::server::visit::Visit;
use hyper::{HeaderMap, StatusCode};
use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};
use std::sync::Arc;

/// Keys of a deletion of many that are not allowed, with why; they go into its answer.
#[derive(Clone, Debug, Default)]
pub struct Denied(pub Vec<Error>);

/// The gate as s3s wants it.
pub struct Keeper(pub Arc<Gate>);

/// Actions beyond the operation's own that headers ask for.
fn extra(operation: &str, headers: &HeaderMap) -> Vec<&'static str> {
    let value = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let writes = matches!(operation, "PutObject" | "CopyObject" | "CreateMultipartUpload");
    let mut out = Vec::new();
    let grants = headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-"));
    let opens = value("x-amz-acl").is_some_and(|acl| canned(acl).is_none_or(super::CannedAcl::is_public));
    if writes && (grants || opens) {
        out.push("s3:PutObjectAcl");
    }
    if writes && value("x-amz-tagging").is_some_and(|t| !t.is_empty()) {
        out.push("s3:PutObjectTagging");
    }
    if writes && value("x-amz-object-lock-mode").is_some() {
        out.push("s3:PutObjectRetention");
    }
    if writes && value("x-amz-object-lock-legal-hold").is_some() {
        out.push("s3:PutObjectLegalHold");
    }
    let bypasses = matches!(operation, "DeleteObject" | "DeleteObjects" | "PutObjectRetention");
    if bypasses && value("x-amz-bypass-governance-retention").is_some_and(|v| v.eq_ignore_ascii_case("true"))
    {
        out.push("s3:BypassGovernanceRetention");
    }
    if operation == "CreateBucket" && (grants || value("x-amz-acl").is_some_and(|acl| acl != "private")) {
        out.push("s3:PutBucketAcl");
    }
    if operation == "CreateBucket" && value("x-amz-object-ownership").is_some() {
        out.push("s3:PutBucketOwnershipControls");
    }
    out
}

/// Bytes of the object that a request brings.
fn announced(headers: &HeaderMap) -> Option<u64> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse().ok();
    number("x-amz-decoded-content-length").or_else(|| number("content-length"))
}

/// Whether the named owners are the one there is.
fn check_owner(headers: &HeaderMap) -> S3Result<()> {
    let ours = |v: &hyper::header::HeaderValue| v == ACCOUNT || v == OWNER_ID;
    let names = ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"];
    match names.iter().filter_map(|n| headers.get(*n)).all(ours) {
        true => Ok(()),
        false => {
            Err(denied(format!("the bucket belongs to {ACCOUNT}, not to the owner that the request expects")))
        }
    }
}

fn visit(extensions: &hyper::http::Extensions) -> S3Result<Arc<Visit>> {
    let visit = extensions.get::<Arc<Visit>>().cloned();
    visit.ok_or_else(|| s3_error!(InternalError, "the request did not come through the server"))
}

/// Whose judgement waits until the input is read.
fn waits(operation: &str) -> bool {
    matches!(operation, "DeleteObjects" | "PutObjectTagging")
}

impl Gate {
    /// What is asked of a request again, with its input.
    fn again<T>(&self, req: &S3Request<T>) -> S3Result<(Arc<Visit>, Caller, Query)> {
        let visit = visit(&req.extensions)?;
        let caller = self.caller(req.credentials.as_ref().map(|c| c.access_key.as_str()))?;
        Ok((visit, caller, Query::parse(req.uri.query().unwrap_or_default())))
    }

    /// Whether the source of a copy may be read, and its size counted.
    fn check_source<T>(&self, req: &S3Request<T>, source: &CopySource) -> S3Result<()> {
        let CopySource::Bucket { bucket, key, version_id } = source else { return Ok(()) };
        let (visit, caller, query) = self.again(req)?;
        let version = version_id.as_deref();
        let none = HeaderMap::new();
        let wish = Wish {
            visit: &visit,
            caller: &caller,
            bucket,
            key: Some(key),
            version,
            headers: &none,
            query: &query,
            tags: &[],
            new: false,
        };
        let action =
            actions::of_operation("GetObject", version.is_some()).ok_or_else(|| denied("no action"))?;
        self.judge(&wish, action)?;
        let size = self.gateway.index().object(bucket, key).map(|o| o.size).ok();
        self.charge(&caller, Some(size.unwrap_or(0)))
    }

    /// Whether lists may be set here, and public ones.
    pub(in crate::s3) fn check_list(&self, bucket: &str, asked: Option<&str>, object: bool) -> S3Result<()> {
        let Some(asked) = asked else { return Ok(()) };
        let Some(list) = canned(asked) else { return Ok(()) };
        let index = self.gateway.index();
        let Ok(found) = index.bucket(bucket) else { return Ok(()) };
        let harmless = object && matches!(asked, "private" | "bucket-owner-full-control");
        if found.settings.ownership == Some(Ownership::Enforced) && !harmless {
            return Err(s3_error!(AccessControlListNotSupported, "The bucket does not allow ACLs"));
        }
        if list.is_public() && found.settings.public_access.is_some_and(|b| b.block_acls) {
            return Err(denied("the public access block of the bucket refuses public lists"));
        }
        Ok(())
    }

    fn check_many(&self, req: &mut S3Request<DeleteObjectsInput>) -> S3Result<()> {
        let (visit, caller, query) = self.again(req)?;
        let bypass = extra("DeleteObjects", &req.headers);
        let mut refused = Vec::new();
        let (bucket, headers) = (req.input.bucket.clone(), &req.headers);
        req.input.delete.objects.retain(|object| {
            let version = object.version_id.as_deref();
            let wish = Wish {
                visit: &visit,
                caller: &caller,
                bucket: &bucket,
                key: Some(&object.key),
                version,
                headers,
                query: &query,
                tags: &[],
                new: false,
            };
            let own = actions::of_operation("DeleteObjects", version.is_some());
            let all = own.into_iter().chain(bypass.iter().filter_map(|name| actions::find(name)));
            let judged = all.map(|action| self.judge(&wish, action)).collect::<S3Result<Vec<()>>>();
            let Err(e) = judged else { return true };
            refused.push(Error {
                code: Some(e.code().as_str().to_owned()),
                key: Some(object.key.clone()),
                message: e.message().map(str::to_owned),
                version_id: object.version_id.clone(),
            });
            false
        });
        req.extensions.insert(Denied(refused));
        Ok(())
    }
}

#[async_trait::async_trait]
impl S3Access for Keeper {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let gate = &self.0;
        let visit = visit(cx.extensions_mut())?;
        let caller = gate.caller(cx.credentials().map(|c| c.access_key.as_str()))?;
        gate.admit(&visit, &caller)?;
        check_owner(cx.headers())?;
        let (operation, path) = (cx.s3_op().name(), cx.s3_path());
        let (bucket, key) = (path.get_bucket_name().unwrap_or_default(), path.get_object_key());
        let query = Query::parse(cx.uri().query().unwrap_or_default());
        if caller.who == Who::Anonymous && query.iter().any(|(name, _)| name.starts_with("response-")) {
            return Err(s3_error!(
                InvalidRequest,
                "Request specific response headers cannot be used for anonymous GET requests."
            ));
        }
        if !bucket.is_empty() && operation != "CreateBucket" {
            gate.gateway.index().bucket(bucket).map_err(refusal)?;
        }
        let files = matches!(operation, "PutObject" | "UploadPart");
        if !files && announced(cx.headers()).is_some_and(|n| usize::try_from(n).map_or(true, |n| n > MAX_XML))
        {
            return Err(s3_error!(
                MaxMessageLengthExceeded,
                "Your request was too big: XML has at most {MAX_XML} bytes"
            ));
        }
        if waits(operation) {
            let index = gate.gateway.index();
            // A stranger's list of a thousand keys is read only where it can have an effect.
            let hopeless = index.bucket(bucket).is_ok_and(|b| b.settings.policy.is_none());
            return match caller.who {
                Who::Anonymous if hopeless => Err(denied("the request is not signed; sign it")),
                _ => Ok(()),
            };
        }
        let version = query.get("versionId");
        let action = actions::of_operation(operation, version.is_some());
        let Some(action) = action else {
            return match caller.who {
                Who::Root => Ok(()),
                _ => Err(denied("only the key without limits may do this")),
            };
        };
        let headers = cx.headers();
        let wish = Wish {
            visit: &visit,
            caller: &caller,
            bucket,
            key,
            version,
            headers,
            query: &query,
            tags: &[],
            new: operation == "CreateBucket",
        };
        let more = extra(operation, headers);
        for action in std::iter::once(action).chain(more.into_iter().filter_map(actions::find)) {
            gate.judge(&wish, action)?;
        }
        if files {
            gate.charge(&caller, announced(headers))?;
        }
        Ok(())
    }

    async fn put_object(&self, req: &mut S3Request<PutObjectInput>) -> S3Result<()> {
        self.0.check_list(&req.input.bucket, req.input.acl.as_ref().map(ObjectCannedACL::as_str), true)
    }
    async fn create_multipart_upload(&self, req: &mut S3Request<CreateMultipartUploadInput>) -> S3Result<()> {
        self.0.check_list(&req.input.bucket, req.input.acl.as_ref().map(ObjectCannedACL::as_str), true)
    }
    async fn copy_object(&self, req: &mut S3Request<CopyObjectInput>) -> S3Result<()> {
        self.0.check_source(req, &req.input.copy_source)?;
        self.0.check_list(&req.input.bucket, req.input.acl.as_ref().map(ObjectCannedACL::as_str), true)
    }
    async fn upload_part_copy(&self, req: &mut S3Request<UploadPartCopyInput>) -> S3Result<()> {
        self.0.check_source(req, &req.input.copy_source)
    }
    async fn put_object_acl(&self, req: &mut S3Request<PutObjectAclInput>) -> S3Result<()> {
        self.0.check_list(
            &req.input.bucket,
            Some(req.input.acl.as_ref().map_or("private", |a| a.as_str())),
            true,
        )
    }
    async fn put_bucket_acl(&self, req: &mut S3Request<PutBucketAclInput>) -> S3Result<()> {
        self.0.check_list(
            &req.input.bucket,
            Some(req.input.acl.as_ref().map_or("private", |a| a.as_str())),
            false,
        )
    }
    async fn delete_objects(&self, req: &mut S3Request<DeleteObjectsInput>) -> S3Result<()> {
        self.0.check_many(req)
    }

    async fn put_object_tagging(&self, req: &mut S3Request<PutObjectTaggingInput>) -> S3Result<()> {
        let (visit, caller, query) = self.0.again(req)?;
        let tag = |t: &Tag| (t.key.clone().unwrap_or_default(), t.value.clone().unwrap_or_default());
        let tags: Vec<(String, String)> = req.input.tagging.tag_set.iter().map(tag).collect();
        let version = req.input.version_id.as_deref();
        let wish = Wish {
            visit: &visit,
            caller: &caller,
            bucket: &req.input.bucket,
            key: Some(&req.input.key),
            version,
            headers: &req.headers,
            query: &query,
            tags: &tags,
            new: false,
        };
        let action: Option<&Action> = actions::of_operation("PutObjectTagging", version.is_some());
        self.0.judge(&wish, action.ok_or_else(|| other("AccessDenied", StatusCode::FORBIDDEN, "no action"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(k, v)| (hyper::header::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn headers_ask_for_more_than_the_operation() {
        assert_eq!(extra("PutObject", &headers(&[("x-amz-acl", "public-read")])), ["s3:PutObjectAcl"]);
        assert!(extra("PutObject", &headers(&[("x-amz-acl", "private")])).is_empty());
        assert_eq!(extra("PutObject", &headers(&[("x-amz-grant-read", "x")])), ["s3:PutObjectAcl"]);
        assert_eq!(extra("CopyObject", &headers(&[("x-amz-tagging", "a=b")])), ["s3:PutObjectTagging"]);
        assert!(extra("GetObject", &headers(&[("x-amz-tagging", "a=b")])).is_empty());
        let bypass = headers(&[("x-amz-bypass-governance-retention", "TRUE")]);
        assert_eq!(extra("DeleteObject", &bypass), ["s3:BypassGovernanceRetention"]);
        assert_eq!(extra("CreateBucket", &headers(&[("x-amz-acl", "public-read")])), ["s3:PutBucketAcl"]);
    }

    #[test]
    fn a_foreign_owner_is_expected_in_vain() {
        assert!(check_owner(&headers(&[("x-amz-expected-bucket-owner", ACCOUNT)])).is_ok());
        assert!(check_owner(&headers(&[("x-amz-expected-bucket-owner", "123456789012")])).is_err());
        assert!(check_owner(&headers(&[])).is_ok());
    }

    #[test]
    fn the_length_before_encoding_counts() {
        let both = headers(&[("content-length", "120"), ("x-amz-decoded-content-length", "100")]);
        assert_eq!(announced(&both), Some(100));
        assert_eq!(announced(&headers(&[("content-length", "7")])), Some(7));
        assert_eq!(announced(&headers(&[])), None);
    }
}
