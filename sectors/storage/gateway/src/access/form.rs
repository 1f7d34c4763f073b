//! The policy of an upload form: what a browser may send on behalf of whoever signed it.
//!
//! Source: "Creating an HTML form (using AWS Signature Version 4)" and "POST policy", Amazon S3 API reference.

use super::date;
use super::json::{self, Json};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::collections::BTreeMap;

/// Largest policy in bytes of base64.
pub const MAX_FORM_POLICY: usize = 32 << 10;
/// Most conditions.
const MAX_CONDITIONS: usize = 256;

/// Fields of a form by lower-case name.
pub type Fields = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Equal(String, String),
    StartsWith(String, String),
}

/// A policy that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormPolicy {
    /// Unix time in seconds from which on it allows nothing.
    expires: u64,
    conditions: Vec<Condition>,
    /// Fewest and most bytes of the file.
    range: Option<(u64, u64)>,
}

/// Why an upload is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormRefusal {
    /// The policy cannot be read.
    #[error("Invalid Policy: {0}")]
    Malformed(String),
    /// It does not allow this.
    #[error("Invalid according to Policy: {0}")]
    Denied(String),
}

fn malformed(text: impl Into<String>) -> FormRefusal {
    FormRefusal::Malformed(text.into())
}

impl FormPolicy {
    /// Reads the base64 of a policy.
    ///
    /// # Errors
    /// It is no policy.
    pub fn parse(encoded: &str) -> Result<Self, FormRefusal> {
        if encoded.len() > MAX_FORM_POLICY {
            return Err(malformed(format!("more than {MAX_FORM_POLICY} bytes")));
        }
        let text =
            BASE64_STANDARD.decode(encoded.trim()).map_err(|e| malformed(format!("no base64: {e}")))?;
        let json = json::parse(&text, MAX_FORM_POLICY).map_err(|e| malformed(format!("no JSON: {e}")))?;
        let Json::Object(members) = json else { return Err(malformed("no JSON object")) };
        if let Some(name) = members.keys().find(|n| !["expiration", "conditions"].contains(&n.as_str())) {
            return Err(malformed(format!("unexpected {name:?}")));
        }
        let expiration = members.get("expiration").and_then(Json::text);
        let expires = expiration.and_then(date::parse).ok_or_else(|| malformed("expiration is no date"))?;
        let Some(Json::List(list)) = members.get("conditions") else {
            return Err(malformed("conditions is no list"));
        };
        if list.len() > MAX_CONDITIONS {
            return Err(malformed(format!("more than {MAX_CONDITIONS} conditions")));
        }
        let mut out = Self { expires, conditions: Vec::new(), range: None };
        list.iter().try_for_each(|c| out.condition(c))?;
        Ok(out)
    }

    fn condition(&mut self, condition: &Json) -> Result<(), FormRefusal> {
        match condition {
            Json::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    let value = value.text().ok_or_else(|| malformed(format!("{name} is no string")))?;
                    self.conditions.push(Condition::Equal(name.to_ascii_lowercase(), value.into()));
                }
                Ok(())
            }
            Json::List(items) => self.operation(items),
            _ => Err(malformed("a condition is an object or a list")),
        }
    }

    fn operation(&mut self, items: &[Json]) -> Result<(), FormRefusal> {
        let [operation, a, b] = items else { return Err(malformed("a condition has three items")) };
        let operation = operation.text().unwrap_or_default().to_ascii_lowercase();
        if operation == "content-length-range" {
            let number = |j: &Json| j.scalar().and_then(|s| s.parse::<u64>().ok());
            let (Some(least), Some(most)) = (number(a), number(b)) else {
                return Err(malformed("content-length-range takes two whole numbers"));
            };
            // All of them hold, so that the narrowest counts.
            let (low, high) = self.range.unwrap_or((0, u64::MAX));
            self.range = Some((low.max(least), high.min(most)));
            return Ok(());
        }
        let field = a.text().and_then(|name| name.strip_prefix('$'));
        let (Some(field), Some(value)) = (field, b.text()) else {
            return Err(malformed("a condition names a field as \"$field\" and a string"));
        };
        let (field, value) = (field.to_ascii_lowercase(), value.to_owned());
        self.conditions.push(match operation.as_str() {
            "eq" => Condition::Equal(field, value),
            "starts-with" => Condition::StartsWith(field, value),
            other => return Err(malformed(format!("the condition {other:?} is not known"))),
        });
        Ok(())
    }

    /// Fewest and most bytes of the file.
    pub const fn range(&self) -> Option<(u64, u64)> {
        self.range
    }

    /// Whether the fields of a form to a bucket are allowed at a time in Unix seconds.
    ///
    /// # Errors
    /// It has run out, a condition does not hold, or a field is not covered by one.
    pub fn check(&self, fields: &Fields, bucket: &str, now: u64) -> Result<(), FormRefusal> {
        if now >= self.expires {
            return Err(FormRefusal::Denied("Policy expired.".into()));
        }
        let value = |name: &str| {
            if name == "bucket" { Some(bucket) } else { fields.get(name).map(String::as_str) }
        };
        for condition in &self.conditions {
            let (text, holds) = match condition {
                Condition::Equal(name, wanted) => {
                    (format!("[\"eq\", \"${name}\", \"{wanted}\"]"), value(name) == Some(wanted))
                }
                Condition::StartsWith(name, wanted) => {
                    let holds = value(name).is_some_and(|v| starts_with(name, v, wanted));
                    (format!("[\"starts-with\", \"${name}\", \"{wanted}\"]"), holds)
                }
            };
            if !holds {
                return Err(FormRefusal::Denied(format!("Policy Condition failed: {text}")));
            }
        }
        if let Some(name) = fields.keys().find(|name| !self.covers(name)) {
            return Err(FormRefusal::Denied(format!("Extra input fields: {name}")));
        }
        Ok(())
    }

    fn covers(&self, name: &str) -> bool {
        const FREE: [&str; 6] = ["policy", "file", "submit", "bucket", "x-amz-signature", "signature"];
        let named = |c: &Condition| match c {
            Condition::Equal(n, _) | Condition::StartsWith(n, _) => n == name,
        };
        FREE.contains(&name) || name.starts_with("x-ignore-") || self.conditions.iter().any(named)
    }
}

/// A content type may be a list of which each has to fit.
fn starts_with(name: &str, value: &str, wanted: &str) -> bool {
    if name == "content-type" {
        return value.split(',').all(|one| one.trim_start().starts_with(wanted));
    }
    value.starts_with(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn policy(conditions: &Value) -> Result<FormPolicy, FormRefusal> {
        let text = json!({"expiration": "2030-01-01T00:00:00Z", "conditions": conditions}).to_string();
        FormPolicy::parse(&BASE64_STANDARD.encode(text))
    }

    fn check(conditions: &Value, fields: &[(&str, &str)]) -> Result<(), FormRefusal> {
        let fields = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        policy(conditions).unwrap().check(&fields, "b", 1_000)
    }

    #[test]
    fn conditions_hold_or_not() {
        assert!(check(&json!([{"bucket": "b"}, ["starts-with", "$key", "a/"]]), &[("key", "a/x")]).is_ok());
        assert!(check(&json!([["starts-with", "$Key", "a/"]]), &[("key", "b/x")]).is_err());
        assert!(check(&json!([{"bucket": "other"}, {"key": "k"}]), &[("key", "k")]).is_err());
        assert!(check(&json!([["eq", "$key", "k"]]), &[("key", "k")]).is_ok());
        assert!(check(&json!([["eq", "$key", "k"]]), &[]).is_err(), "absent is not equal");
        assert!(check(&json!([["starts-with", "$x", ""]]), &[("x", "anything")]).is_ok());
        assert!(
            check(
                &json!([["starts-with", "$content-type", "image/"]]),
                &[("content-type", "image/a, image/b")]
            )
            .is_ok()
        );
        assert!(
            check(
                &json!([["starts-with", "$content-type", "image/"]]),
                &[("content-type", "image/a,text/b")]
            )
            .is_err()
        );
    }

    #[test]
    fn every_field_is_covered() {
        let refusal = check(&json!([{"key": "k"}]), &[("key", "k"), ("acl", "public-read")]).unwrap_err();
        assert_eq!(refusal, FormRefusal::Denied("Extra input fields: acl".into()));
        let free =
            [("key", "k"), ("x-ignore-me", "1"), ("submit", "go"), ("policy", "p"), ("x-amz-signature", "s")];
        assert!(check(&json!([{"key": "k"}]), &free).is_ok());
    }

    #[test]
    fn it_ends() {
        let p = policy(&json!([])).unwrap();
        assert!(p.check(&Fields::new(), "b", 1_893_455_999).is_ok());
        assert!(p.check(&Fields::new(), "b", 1_893_456_000).is_err());
    }

    #[test]
    fn the_narrowest_range_counts() {
        let p =
            policy(&json!([["content-length-range", 1, 100], ["content-length-range", "5", "200"]])).unwrap();
        assert_eq!(p.range(), Some((5, 100)));
    }

    #[test]
    fn what_is_no_policy() {
        for conditions in [
            json!("x"),
            json!([7]),
            json!([["eq", "$key"]]),
            json!([["eq", "key", "v"]]),
            json!([["like", "$key", "v"]]),
            json!([["content-length-range", -1, 5]]),
            json!([["content-length-range", 0]]),
            json!([{"key": 7}]),
            json!([{}]),
        ] {
            assert!(matches!(policy(&conditions), Err(FormRefusal::Malformed(_))), "{conditions}");
        }
        for text in [
            "{}",
            r#"{"expiration":"soon","conditions":[]}"#,
            r#"{"expiration":"2030-01-01","conditions":[],"x":1}"#,
        ] {
            assert!(FormPolicy::parse(&BASE64_STANDARD.encode(text)).is_err(), "{text}");
        }
        assert!(FormPolicy::parse("%%%").is_err());
        assert!(FormPolicy::parse(&"A".repeat(MAX_FORM_POLICY + 4)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,100}", raw in ".{0,40}") {
            let _ = FormPolicy::parse(&raw);
            let _ = FormPolicy::parse(&BASE64_STANDARD.encode(text));
        }
    }
}
