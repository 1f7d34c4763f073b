//! Cross-origin requests: which pages of which origins may use a bucket.
//!
//! Source: "Using cross-origin resource sharing (CORS)", Amazon S3 user guide; Fetch standard, section 3.2.

use super::glob::Pattern;
use serde::{Deserialize, Serialize};

/// Most rules of a bucket.
pub const MAX_RULES: usize = 100;
/// Methods that a rule can name.
pub const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Name that its author gave it.
    pub id: Option<String>,
    /// Origins, each with at most one `*`.
    pub origins: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Request headers, each with at most one `*`.
    pub headers: Vec<String>,
    /// Headers of answers that a page may see.
    pub expose: Vec<String>,
    /// Seconds for which a browser may remember a preflight's answer.
    pub max_age: Option<u32>,
}

/// What is wrong with rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRules {
    /// Something is missing, or there is too much of it.
    Shape(&'static str),
    /// A value is not possible.
    Value(String),
}

/// Whether rules can be kept.
///
/// # Errors
/// What is wrong first.
pub fn check(rules: &[Rule]) -> Result<(), BadRules> {
    if rules.is_empty() || rules.len() > MAX_RULES {
        return Err(BadRules::Shape("a CORS configuration has 1 to 100 rules"));
    }
    for rule in rules {
        if rule.origins.is_empty() || rule.methods.is_empty() {
            return Err(BadRules::Shape("a CORS rule names at least one origin and one method"));
        }
        if let Some(method) = rule.methods.iter().find(|m| !METHODS.contains(&m.as_str())) {
            return Err(BadRules::Value(format!(
                "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            )));
        }
        let stars = |text: &&String| text.matches('*').count() > 1;
        if let Some(bad) = rule.origins.iter().find(stars) {
            return Err(BadRules::Value(format!(
                "AllowedOrigin \"{bad}\" can not have more than one wildcard."
            )));
        }
        if let Some(bad) = rule.headers.iter().find(stars) {
            return Err(BadRules::Value(format!(
                "AllowedHeader \"{bad}\" can not have more than one wildcard."
            )));
        }
        if let Some(bad) = rule.expose.iter().find(|h| h.contains('*')) {
            return Err(BadRules::Value(format!(
                "ExposeHeader \"{bad}\" contains wildcard. Name each header."
            )));
        }
        let texts = rule.origins.iter().chain(&rule.headers).chain(&rule.expose);
        if let Some(bad) =
            texts.into_iter().find(|t| t.is_empty() || t.bytes().any(|b| b < 0x20 || b == 0x7f))
        {
            return Err(BadRules::Value(format!("{bad:?} is empty or has a control character")));
        }
    }
    Ok(())
}

/// Headers to add to an answer.
pub type Headers = Vec<(&'static str, String)>;

/// On what an answer with these headers depends, for caches.
pub const VARY: &str = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

fn allows(rule: &Rule, origin: &str, method: &str) -> Option<Headers> {
    let matched = rule.origins.iter().find(|o| Pattern::new(o).matches(origin))?;
    rule.methods.iter().find(|m| *m == method)?;
    let any = matched == "*";
    let mut out: Headers =
        vec![("access-control-allow-origin", if any { "*".into() } else { origin.to_owned() })];
    if !any {
        out.push(("access-control-allow-credentials", "true".into()));
    }
    out.push(("access-control-allow-methods", rule.methods.join(", ")));
    if !rule.expose.is_empty() {
        out.push(("access-control-expose-headers", rule.expose.join(", ")));
    }
    Some(out)
}

/// The answer to a preflight; `None`: no rule allows it. `asked`: the value of `Access-Control-Request-Headers`.
pub fn preflight(rules: &[Rule], origin: &str, method: &str, asked: &str) -> Option<Headers> {
    let asked: Vec<String> =
        asked.split(',').map(|h| h.trim().to_ascii_lowercase()).filter(|h| !h.is_empty()).collect();
    rules.iter().find_map(|rule| {
        let mut out = allows(rule, origin, method)?;
        let known: Vec<Pattern> =
            rule.headers.iter().map(|h| Pattern::new(&h.to_ascii_lowercase())).collect();
        if !asked.iter().all(|h| known.iter().any(|k| k.matches(h))) {
            return None;
        }
        if !asked.is_empty() {
            out.push(("access-control-allow-headers", asked.join(", ")));
        }
        if let Some(age) = rule.max_age {
            out.push(("access-control-max-age", age.to_string()));
        }
        out.push(("vary", VARY.into()));
        Some(out)
    })
}

/// What is added to the answer of an actual request from an origin.
pub fn actual(rules: &[Rule], origin: &str, method: &str) -> Option<Headers> {
    let mut out = rules.iter().find_map(|rule| allows(rule, origin, method))?;
    out.push(("vary", VARY.into()));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(origins: &[&str], methods: &[&str], headers: &[&str]) -> Rule {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Rule { origins: own(origins), methods: own(methods), headers: own(headers), ..Rule::default() }
    }

    fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
        headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    #[test]
    fn the_first_rule_that_fits_answers() {
        let rules = [rule(&["https://*.example.org"], &["GET"], &["x-*"]), rule(&["*"], &["PUT"], &[])];
        let got = preflight(&rules, "https://a.example.org", "GET", "X-One, x-two").unwrap();
        assert_eq!(value(&got, "access-control-allow-origin"), Some("https://a.example.org"));
        assert_eq!(value(&got, "access-control-allow-credentials"), Some("true"));
        assert_eq!(value(&got, "access-control-allow-headers"), Some("x-one, x-two"));
        assert_eq!(preflight(&rules, "https://a.example.org", "GET", "authorization"), None);
        assert_eq!(preflight(&rules, "https://example.org", "GET", ""), None);
        let any = actual(&rules, "https://evil.test", "PUT").unwrap();
        assert_eq!(value(&any, "access-control-allow-origin"), Some("*"));
        assert_eq!(value(&any, "access-control-allow-credentials"), None, "never with a star");
        assert_eq!(actual(&rules, "https://evil.test", "GET"), None);
    }

    #[test]
    fn headers_are_compared_without_case() {
        let rules = [rule(&["*"], &["GET"], &["Content-*"])];
        assert!(preflight(&rules, "o", "GET", "CONTENT-MD5").is_some());
    }

    #[test]
    fn ages_and_exposed_headers_are_said() {
        let rules = [Rule { max_age: Some(60), expose: vec!["ETag".into()], ..rule(&["*"], &["GET"], &[]) }];
        let got = preflight(&rules, "o", "GET", "").unwrap();
        assert_eq!(value(&got, "access-control-max-age"), Some("60"));
        assert_eq!(value(&got, "access-control-expose-headers"), Some("ETag"));
        assert_eq!(value(&actual(&rules, "o", "GET").unwrap(), "access-control-max-age"), None);
        assert_eq!(value(&got, "vary"), Some(VARY));
    }

    #[test]
    fn rules_that_cannot_be_kept() {
        assert!(check(&[rule(&["https://*.x.*"], &["GET"], &[])]).is_err());
        assert!(check(&[rule(&["*"], &["PATCH"], &[])]).is_err());
        assert!(check(&[rule(&["*"], &["get"], &[])]).is_err());
        assert!(check(&[rule(&["*"], &["GET"], &["*-*"])]).is_err());
        assert!(check(&[rule(&[], &["GET"], &[])]).is_err());
        assert!(check(&[]).is_err());
        assert!(check(&vec![rule(&["*"], &["GET"], &[]); 101]).is_err());
        assert!(check(&[rule(&["a\r\nset-cookie: x"], &["GET"], &[])]).is_err());
        assert!(check(&vec![rule(&["*"], &["GET"], &["*"]); 100]).is_ok());
    }
}
