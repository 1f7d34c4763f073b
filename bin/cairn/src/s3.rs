//! The few S3 calls that `cairn storage` needs, signed with Signature Version 4.
//!
//! Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)".

use anyhow::{Context, Result};
use aws_lc_rs::{digest, hmac};
use reqwest::{Body, Method, Response};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::output::Failure;

/// An endpoint with keys.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct S3 {
    /// `http://127.0.0.1:9000`.
    pub endpoint: String,
    /// Key id.
    pub access_key: String,
    /// Secret; never printed but by a devnet.
    pub secret_key: String,
    /// Region.
    pub region: String,
}

/// Percent-encodes all but unreserved characters (and `/` in paths), as the signature demands.
pub fn encode(text: &str, keep_slash: bool) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (b as char).to_string(),
            b'/' if keep_slash => "/".to_owned(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// `20261120T123456Z` for seconds since 1970 (proleptic Gregorian calendar; Hinnant's civil-from-days).
pub fn amz_date(seconds: u64) -> String {
    let (days, rest) = (i64::try_from(seconds / 86_400).unwrap_or(0), seconds % 86_400);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The signature of a canonical request.
pub fn sign(secret: &str, region: &str, date: &str, canonical: &str) -> String {
    let day = &date[..8];
    let scope = format!("{day}/{region}/s3/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let key = [region, "s3", "aws4_request"]
        .iter()
        .fold(mac(format!("AWS4{secret}").as_bytes(), day), |k, part| mac(&k, part));
    hex::encode(mac(&key, &to_sign))
}

impl S3 {
    /// A link that reads `/bucket/key` for so many seconds (1 to 604,800) from a date on.
    ///
    /// Source: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
    pub fn link(&self, path: &str, expires: u64, date: &str) -> String {
        let host = self.endpoint.split("://").nth(1).unwrap_or(&self.endpoint).trim_end_matches('/');
        let path = encode(path, true);
        let credential = format!("{}/{}/{}/s3/aws4_request", self.access_key, &date[..8], self.region);
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={date}&X-Amz-Expires={expires}\
             &X-Amz-SignedHeaders=host",
            encode(&credential, false)
        );
        let canonical = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let signature = sign(&self.secret_key, &self.region, date, &canonical);
        format!("{}{path}?{query}&X-Amz-Signature={signature}", self.endpoint.trim_end_matches('/'))
    }

    /// Sends a request for `/bucket/key` with a query of (name, value), sorted by name.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<(Body, u64)>,
    ) -> Result<Response> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
        let date = amz_date(now);
        let path = encode(path, true);
        let query: Vec<String> =
            query.iter().map(|(k, v)| format!("{}={}", encode(k, false), encode(v, false))).collect();
        let query = query.join("&");
        let host = self.endpoint.split("://").nth(1).unwrap_or(&self.endpoint).trim_end_matches('/');
        let payload = if body.is_some() { "UNSIGNED-PAYLOAD".to_owned() } else { sha256_hex(b"") };
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{date}\n\n\
             host;x-amz-content-sha256;x-amz-date\n{payload}"
        );
        let signature = sign(&self.secret_key, &self.region, &date, &canonical);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}/{}/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}",
            self.access_key,
            &date[..8],
            self.region
        );
        let url = format!(
            "{}{path}{}{query}",
            self.endpoint.trim_end_matches('/'),
            if query.is_empty() { "" } else { "?" }
        );
        cairn_client::use_ring();
        let mut request = reqwest::Client::new()
            .request(method, &url)
            .header("x-amz-date", &date)
            .header("x-amz-content-sha256", &payload)
            .header("authorization", authorization);
        if let Some((body, len)) = body {
            request = request.header("content-length", len).body(body);
        }
        let response = request.send().await.map_err(|e| {
            Failure::new(
                "storage.endpoint",
                format!("the S3 endpoint {} does not answer: {e}", self.endpoint),
                "start `cairn devnet`; if its gateway is lost, `cairn storage recover --phrase FILE` brings it back",
            )
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        let code = tag(&text, "Code").unwrap_or_else(|| status.as_u16().to_string());
        let message = tag(&text, "Message").unwrap_or_else(|| status.to_string());
        let remedy = match code.as_str() {
            "AccountProblem" => {
                "buy credits (`cairn devnet ctl pay 8000`); `cairn storage escrow` shows what is left"
            }
            "SlowDown" | "ServiceUnavailable" | "InternalError" => {
                "repeat the command in a moment; see `cairn doctor`"
            }
            _ => "check bucket and key with `cairn storage ls`",
        };
        Err(Failure::new(&format!("s3.{code}"), message, remedy))
    }
}

/// Text of the first element `name`; enough for the flat answers of S3.
pub fn tag(xml: &str, name: &str) -> Option<String> {
    let from = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let until = xml[from..].find(&format!("</{name}>"))? + from;
    Some(unescape(&xml[from..until]))
}

/// All elements `name`.
pub fn tags(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|part| part.split(&close).next()).map(str::to_owned).collect()
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The GET-object example of the S3 API reference.
    #[test]
    fn the_published_signature_comes_out() {
        let canonical = "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n\
            x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
            x-amz-date:20130524T000000Z\n\nhost;range;x-amz-content-sha256;x-amz-date\n\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let s = sign("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1", "20130524T000000Z", canonical);
        assert_eq!(s, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    }

    /// The presigned example of the S3 API reference.
    #[test]
    fn the_published_link_comes_out() {
        let s3 = S3 {
            endpoint: "https://examplebucket.s3.amazonaws.com".into(),
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".into(),
        };
        let link = s3.link("/test.txt", 86_400, "20130524T000000Z");
        let signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(link.ends_with(signature), "{link}");
    }

    #[test]
    fn dates_are_civil() {
        assert_eq!(amz_date(0), "19700101T000000Z");
        assert_eq!(amz_date(1_369_353_600), "20130524T000000Z");
        assert_eq!(amz_date(951_782_400 + 3661), "20000229T010101Z");
    }

    #[test]
    fn answers_are_read() {
        let xml = "<A><Code>NoSuchKey</Code><Key>a&amp;b</Key><Key>c</Key></A>";
        assert_eq!(tag(xml, "Code").as_deref(), Some("NoSuchKey"));
        assert_eq!(tags(xml, "Key").len(), 2);
        assert_eq!(tag(xml, "Key").as_deref(), Some("a&b"));
    }
}
