//! CORS configurations. They lie in the index as JSON.

use super::convert::{answer, refusal};
use crate::access::cors::{BadRules, Rule, check};
use crate::gateway::Gateway;
use crate::record::Setting;
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};

/// Largest configuration in bytes.
const MAX_CORS: usize = 64 << 10;

/// The rules of a bucket, if it has some.
pub fn rules(g: &Gateway, bucket: &str) -> Option<Vec<Rule>> {
    let text = g.index().bucket(bucket).ok()?.settings.cors.clone()?;
    serde_json::from_str(&text).ok()
}

pub async fn put(g: &Gateway, i: PutBucketCorsInput) -> S3Result<S3Response<PutBucketCorsOutput>> {
    let rules: Vec<Rule> = i.cors_configuration.cors_rules.into_iter().map(kept).collect::<S3Result<_>>()?;
    check(&rules).map_err(|e| match e {
        BadRules::Shape(cause) => s3_error!(MalformedXML, "{cause}"),
        BadRules::Value(cause) => s3_error!(InvalidRequest, "{cause}"),
    })?;
    let text = serde_json::to_string(&rules).map_err(s3s::S3Error::internal_error)?;
    if text.len() > MAX_CORS {
        return Err(s3_error!(InvalidRequest, "a CORS configuration has at most 64 KiB; shorten it"));
    }
    g.set_bucket(&i.bucket, Setting::Cors(Some(text))).await.map_err(refusal)?;
    answer(PutBucketCorsOutput::default())
}

fn kept(rule: CORSRule) -> S3Result<Rule> {
    let age =
        |age: i32| u32::try_from(age).map_err(|_| s3_error!(InvalidRequest, "MaxAgeSeconds is negative"));
    Ok(Rule {
        id: rule.id,
        origins: rule.allowed_origins,
        methods: rule.allowed_methods,
        headers: rule.allowed_headers.unwrap_or_default(),
        expose: rule.expose_headers.unwrap_or_default(),
        max_age: rule.max_age_seconds.map(age).transpose()?,
    })
}

pub fn get(g: &Gateway, i: &GetBucketCorsInput) -> S3Result<S3Response<GetBucketCorsOutput>> {
    g.index().bucket(&i.bucket).map_err(refusal)?;
    let rules = rules(g, &i.bucket)
        .ok_or_else(|| s3_error!(NoSuchCORSConfiguration, "The CORS configuration does not exist"))?;
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let shown = |rule: Rule| CORSRule {
        id: rule.id,
        allowed_origins: rule.origins,
        allowed_methods: rule.methods,
        allowed_headers: some(rule.headers),
        expose_headers: some(rule.expose),
        max_age_seconds: rule.max_age.and_then(|age| i32::try_from(age).ok()),
    };
    answer(GetBucketCorsOutput { cors_rules: Some(rules.into_iter().map(shown).collect()) })
}

pub async fn delete(g: &Gateway, i: DeleteBucketCorsInput) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
    g.set_bucket(&i.bucket, Setting::Cors(None)).await.map_err(refusal)?;
    answer(DeleteBucketCorsOutput::default())
}
