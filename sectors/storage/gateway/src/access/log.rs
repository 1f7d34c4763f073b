//! Lines of the access log, in the format of S3's server access logs.
//!
//! Source: "Amazon S3 server access log format", user guide.

use super::{OWNER_ID, Who, date};
use std::fmt::Write;
use std::net::IpAddr;

/// Longest text of a client's in a line, in bytes of the line.
const MAX_TEXT: usize = 4096;

/// How a request proved who sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// Not at all.
    #[default]
    None,
    /// In the header `Authorization`.
    Header,
    /// In the query: a presigned URL.
    Query,
    /// In a form.
    Form,
}

/// What a line says.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Bucket; empty for the list of buckets.
    pub bucket: String,
    /// Unix time in seconds of the request's arrival.
    pub time: u64,
    /// Whence it came.
    pub address: Option<IpAddr>,
    /// On whose behalf; `None` until known.
    pub who: Option<Who>,
    /// Id of the request.
    pub id: String,
    /// `REST.GET.OBJECT`.
    pub operation: String,
    /// Key.
    pub key: Option<String>,
    /// Method, path with query and version, as sent.
    pub line: String,
    /// Status of the answer.
    pub status: u16,
    /// S3's code of a refusal.
    pub code: Option<String>,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// Bytes of the object.
    pub size: Option<u64>,
    /// Milliseconds from arrival until the answer was sent.
    pub total: u64,
    /// Milliseconds until the answer began.
    pub turn: u64,
    /// Header `Referer`.
    pub referer: Option<String>,
    /// Header `User-Agent`.
    pub agent: Option<String>,
    /// Version of the object.
    pub version: Option<String>,
    /// How it was signed.
    pub proof: Proof,
    /// Header `Host`.
    pub host: Option<String>,
}

impl Entry {
    /// The line, without its end. Signatures and what could break the line are taken out.
    pub fn line(&self) -> String {
        let mut out = String::with_capacity(512);
        let who = match &self.who {
            Some(Who::Root) => OWNER_ID.into(),
            Some(who) => who.arn(),
            None => "-".into(),
        };
        let number = |n: u64| if n == 0 { "-".into() } else { n.to_string() };
        let (sig, auth) = match self.proof {
            Proof::None => ("-", "-"),
            Proof::Header => ("SigV4", "AuthHeader"),
            Proof::Query => ("SigV4", "QueryString"),
            Proof::Form => ("SigV4", "FormFields"),
        };
        let address = self.address.map_or_else(|| "-".into(), |a| a.to_canonical().to_string());
        let fields = [
            OWNER_ID.into(),
            word(Some(&self.bucket)),
            format!("[{}]", date::logged(self.time)),
            address,
            who,
            word(Some(&self.id)),
            word(Some(&self.operation)),
            word(self.key.as_deref()),
            quoted(Some(&redact(&self.line))),
            self.status.to_string(),
            word(self.code.as_deref()),
            number(self.sent),
            self.size.map_or_else(|| "-".into(), |n| n.to_string()),
            self.total.to_string(),
            number(self.turn),
            quoted(self.referer.as_deref().map(redact).as_deref()),
            quoted(self.agent.as_deref()),
            word(self.version.as_deref()),
            "-".into(),
            sig.into(),
            "-".into(),
            auth.into(),
            word(self.host.as_deref()),
            "-".into(),
            "-".into(),
            "-".into(),
        ];
        for (i, field) in fields.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = write!(out, "{}{field}", if i == 0 { "" } else { " " });
        }
        out
    }
}

/// Percent-encodes what would end a word.
fn word(text: Option<&str>) -> String {
    clean(text, |b| b <= b' ' || b == b'"' || b >= 0x7f)
}

/// In quotes; blanks stay.
fn quoted(text: Option<&str>) -> String {
    format!("\"{}\"", clean(text, |b| b < b' ' || b == b'"' || b >= 0x7f))
}

fn clean(text: Option<&str>, bad: impl Fn(u8) -> bool) -> String {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return "-".into() };
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if out.len() >= MAX_TEXT {
            out.push_str("...");
            break;
        }
        if bad(b) {
            let _ = write!(out, "%{b:02X}");
        } else {
            out.push(char::from(b));
        }
    }
    out
}

/// A URI or request line with the values that open something taken out: signatures and session tokens. Of a
/// credential the key id stays, which is no secret.
pub fn redact(line: &str) -> String {
    let Some((path, rest)) = line.split_once('?') else { return line.to_owned() };
    let (query, behind) = rest.split_once(' ').map_or((rest, None), |(query, behind)| (query, Some(behind)));
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let shown = match name.replace("%2D", "-").replace("%2d", "-").to_ascii_lowercase().as_str() {
            "x-amz-signature" | "signature" | "x-amz-security-token" => "***",
            "x-amz-credential" => value.split(['/', '%']).next().unwrap_or_default(),
            _ => return pair.to_owned(),
        };
        format!("{name}={shown}")
    };
    let query: Vec<String> = query.split('&').map(pair).collect();
    let behind = behind.map(|b| format!(" {b}")).unwrap_or_default();
    format!("{path}?{}{behind}", query.join("&"))
}

/// `REST.GET.OBJECT` and the like, from a method, the names in the query and whether a key is named.
pub fn operation(method: &str, query: &[&str], bucket: bool, key: bool) -> String {
    const NAMES: [(&str, &str); 20] = [
        ("acl", "ACL"),
        ("policy", "BUCKETPOLICY"),
        ("policyStatus", "POLICY_STATUS"),
        ("cors", "CORS"),
        ("tagging", "TAGGING"),
        ("versioning", "VERSIONING"),
        ("versions", "BUCKETVERSIONS"),
        ("uploads", "UPLOADS"),
        ("location", "LOCATION"),
        ("lifecycle", "LIFECYCLE"),
        ("logging", "LOGGING_STATUS"),
        ("object-lock", "OBJECT_LOCK_CONFIGURATION"),
        ("retention", "OBJECT_LOCK_RETENTION"),
        ("legal-hold", "OBJECT_LOCK_LEGALHOLD"),
        ("ownershipControls", "OWNERSHIP_CONTROLS"),
        ("publicAccessBlock", "PUBLIC_ACCESS_BLOCK"),
        ("attributes", "OBJECT_ATTRIBUTES"),
        ("delete", "MULTI_OBJECT_DELETE"),
        ("partNumber", "PART"),
        ("uploadId", "UPLOAD"),
    ];
    let named =
        NAMES.iter().find(|(name, _)| query.contains(name) && !(method == "GET" && *name == "partNumber"));
    let what = match named {
        Some((_, "TAGGING")) if key => "OBJECT_TAGGING",
        Some((_, what)) => what,
        None if key => "OBJECT",
        None if bucket => "BUCKET",
        None => "SERVICE",
    };
    format!("REST.{method}.{what}")
}

/// Name of an object of the log: `prefix2026-11-20-19-35-58-` and sixteen hexadecimal digits.
pub fn object_name(prefix: &str, seconds: u64, unique: u64) -> String {
    let stamp = date::iso(seconds).replace(['T', ':'], "-");
    format!("{prefix}{}-{unique:016X}", stamp.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> Entry {
        Entry {
            bucket: "b".into(),
            time: 1_369_353_600,
            address: Some("192.0.2.3".parse().unwrap()),
            who: Some(Who::User("ann".into())),
            id: "ID".into(),
            operation: operation("GET", &["X-Amz-Signature"], true, true),
            key: Some("a b\"c".into()),
            line: "GET /b/a%20b?X-Amz-Credential=AK%2F2013%2Fx&X-Amz-Signature=abcdef&versionId=3 HTTP/1.1"
                .into(),
            status: 200,
            sent: 12,
            size: Some(12),
            total: 7,
            turn: 3,
            agent: Some("me \"quoted\"\n".into()),
            proof: Proof::Query,
            ..Entry::default()
        }
    }

    #[test]
    fn a_line_has_the_fields_of_s3_and_no_signature() {
        let line = entry().line();
        assert_eq!(
            line,
            format!(
                "{OWNER_ID} b [24/May/2013:00:00:00 +0000] 192.0.2.3 arn:aws:iam::000000000000:user/ann ID \
                 REST.GET.OBJECT a%20b%22c \"GET /b/a%20b?X-Amz-Credential=AK&X-Amz-Signature=***&versionId=3 HTTP/1.1\" \
                 200 - 12 12 7 3 \"-\" \"me %22quoted%22%0A\" - - SigV4 - QueryString - - - -"
            )
        );
    }

    #[test]
    fn secrets_are_taken_out_wherever_they_stand() {
        assert_eq!(redact("/b?Signature=x&Expires=5"), "/b?Signature=***&Expires=5");
        assert_eq!(redact("/b?x-amz-security-token=x"), "/b?x-amz-security-token=***");
        assert_eq!(redact("/b?X%2DAmz%2dSignature=x"), "/b?X%2DAmz%2dSignature=***");
        assert_eq!(redact("/b?X-Amz-Credential=AK/2013/us/s3/aws4_request"), "/b?X-Amz-Credential=AK");
        assert_eq!(redact("/b/signature=x"), "/b/signature=x");
    }

    #[test]
    fn operations_have_their_names() {
        assert_eq!(operation("GET", &[], false, false), "REST.GET.SERVICE");
        assert_eq!(operation("GET", &["list-type"], true, false), "REST.GET.BUCKET");
        assert_eq!(operation("PUT", &["partNumber", "uploadId"], true, true), "REST.PUT.PART");
        assert_eq!(operation("POST", &["uploadId"], true, true), "REST.POST.UPLOAD");
        assert_eq!(operation("PUT", &["tagging"], true, true), "REST.PUT.OBJECT_TAGGING");
        assert_eq!(operation("GET", &["partNumber"], true, true), "REST.GET.OBJECT");
    }

    #[test]
    fn objects_are_named_after_their_time() {
        assert_eq!(object_name("logs/", 1_369_353_600, 10), "logs/2013-05-24-00-00-00-000000000000000A");
    }

    proptest! {
        /// Whatever clients send, an entry stays one line of bounded length with a fixed number of quotes.
        #[test]
        fn clients_cannot_forge_lines(text in "(\\PC|[\\n\\r\"]){0,60}", signature in "[a-z]{8,16}") {
            let mut e = entry();
            e.agent = Some(text.clone());
            e.referer = Some(format!("http://x/?X-Amz-Signature={signature}"));
            e.key = Some(text.clone());
            e.host = Some(text);
            let line = e.line();
            prop_assert!(!line.contains(['\n', '\r']) && line.is_ascii());
            prop_assert_eq!(line.matches('"').count(), 6);
            prop_assert!(!line.contains(&signature));
        }
    }
}
