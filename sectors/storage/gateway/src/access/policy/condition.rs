//! Conditions of statements.

use crate::access::date;
use crate::access::glob::Pattern;
use crate::access::net::Net;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is known about a request, by condition key in lower case (what stands behind `/` keeps its case).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, Vec<String>>);

impl Facts {
    /// Adds a value.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().push(value.into());
    }
    /// Adds a value if there is one.
    pub fn add_some(&mut self, key: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }
    /// The only value of a key.
    pub fn one(&self, key: &str) -> Option<&str> {
        match self.0.get(key).map(Vec::as_slice) {
            Some([one]) => Some(one),
            _ => None,
        }
    }
}

/// Condition keys that requests are looked at for.
const KEYS: [&str; 38] = [
    "aws:currenttime",
    "aws:epochtime",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principaltype",
    "aws:referer",
    "aws:securetransport",
    "aws:sourceip",
    "aws:useragent",
    "aws:userid",
    "aws:username",
    "s3:authtype",
    "s3:delimiter",
    "s3:locationconstraint",
    "s3:max-keys",
    "s3:object-lock-legal-hold",
    "s3:object-lock-mode",
    "s3:object-lock-retain-until-date",
    "s3:prefix",
    "s3:requestobjecttagkeys",
    "s3:resourceaccount",
    "s3:signatureage",
    "s3:signatureversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-object-ownership",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-storage-class",
    "s3:x-amz-website-redirect-location",
];
/// Keys with the name of a tag behind them.
const TAGS: [&str; 2] = ["s3:existingobjecttag/", "s3:requestobjecttag/"];

/// A condition key as facts are filed under it; `None` if requests are not looked at for it.
pub fn key(name: &str) -> Option<String> {
    let (family, tag) = name.split_once('/').map_or((name, None), |(family, tag)| (family, Some(tag)));
    let family = family.to_ascii_lowercase();
    match tag {
        None => KEYS.contains(&family.as_str()).then_some(family),
        Some(tag) => {
            let family = format!("{family}/");
            (TAGS.contains(&family.as_str()) && !tag.is_empty()).then(|| family + tag)
        }
    }
}

/// Whether a condition key, in lower case, can stand in `${}`.
pub fn is_variable(name: &str) -> bool {
    KEYS.contains(&name)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    One,
    Any,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: Ord>(self, a: &T, b: &T) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Less => a < b,
            Self::LessOrEqual => a <= b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
        }
    }
}

/// One value that is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// Text; without case if so.
    Text(Pattern, bool),
    /// Six parts between colons.
    Arn(Vec<Pattern>),
    Number(Order, i64),
    Date(Order, u64),
    Bool(bool),
    Address(Net),
    /// Whether the key is absent.
    Null(bool),
}

/// One key of one operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    key: String,
    quantifier: Quantifier,
    not: bool,
    if_exists: bool,
    tests: Vec<Test>,
}

impl Condition {
    /// From an operator, a key and its values.
    ///
    /// # Errors
    /// What is not understood.
    pub fn new(operator: &str, name: &str, values: &[String], variables: bool) -> Result<Self, String> {
        let (quantifier, rest) = match operator.split_once(':') {
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            Some(_) => return Err(format!("Invalid Condition type : {operator}")),
            None => (Quantifier::One, operator),
        };
        let (rest, if_exists) = rest.strip_suffix("IfExists").map_or((rest, false), |rest| (rest, true));
        let (kind, not) = kind(rest).ok_or_else(|| format!("Invalid Condition type : {operator}"))?;
        if kind == Comparison::Null && (if_exists || quantifier != Quantifier::One) {
            return Err(format!("Invalid Condition type : {operator}"));
        }
        let key = key(name).ok_or_else(|| format!("Policy has an invalid condition key: {name}"))?;
        let test = |value: &String| kind.test(value, variables);
        let tests = values.iter().map(test).collect::<Result<_, _>>();
        let tests = tests.map_err(|e| format!("Invalid value of {name} in {operator}: {e}"))?;
        Ok(Self { key, quantifier, not, if_exists, tests })
    }

    /// Whether it holds of a request.
    pub fn holds(&self, facts: &Facts) -> bool {
        let values = facts.0.get(&self.key).map(Vec::as_slice).unwrap_or_default();
        if let [Test::Null(absent), ..] = self.tests[..] {
            return values.is_empty() == absent;
        }
        if values.is_empty() {
            return match self.quantifier {
                _ if self.if_exists => true,
                Quantifier::One => self.not,
                Quantifier::Any => false,
                Quantifier::All => true,
            };
        }
        let one = |value: &String| self.tests.iter().any(|t| t.holds(value, facts)) != self.not;
        match self.quantifier {
            Quantifier::Any => values.iter().any(one),
            Quantifier::All => values.iter().all(one),
            Quantifier::One if self.not => values.iter().all(one),
            Quantifier::One => values.iter().any(one),
        }
    }

    /// Whether it looks at tags of the object that is there.
    pub fn needs_tags(&self) -> bool {
        self.key.starts_with(TAGS[0])
    }

    /// Whether only few can fulfil it, because it fixes an address or a name.
    pub fn fixes_who(&self) -> bool {
        let who = ["aws:sourceip", "aws:principalarn", "aws:principalaccount", "aws:userid", "aws:username"];
        let fixed = |test: &Test| match test {
            Test::Text(pattern, _) => pattern.is_literal(),
            Test::Arn(parts) => parts.iter().all(Pattern::is_literal),
            Test::Address(net) => !net.is_wide(),
            _ => false,
        };
        who.contains(&self.key.as_str())
            && !self.not
            && !self.if_exists
            && self.quantifier != Quantifier::All
            && self.tests.iter().all(fixed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Text,
    TextNoCase,
    Like,
    Arn,
    Number(Order),
    Date(Order),
    Bool,
    Address,
    Null,
}

/// An operator, and whether it is the opposite of what it is named after.
fn kind(name: &str) -> Option<(Comparison, bool)> {
    let order = |name: &str| {
        Some(match name {
            "Equals" => (Order::Equal, false),
            "NotEquals" => (Order::Equal, true),
            "LessThan" => (Order::Less, false),
            "LessThanEquals" => (Order::LessOrEqual, false),
            "GreaterThan" => (Order::Greater, false),
            "GreaterThanEquals" => (Order::GreaterOrEqual, false),
            _ => return None,
        })
    };
    Some(match name {
        "StringEquals" => (Comparison::Text, false),
        "StringNotEquals" => (Comparison::Text, true),
        "StringEqualsIgnoreCase" => (Comparison::TextNoCase, false),
        "StringNotEqualsIgnoreCase" => (Comparison::TextNoCase, true),
        "StringLike" => (Comparison::Like, false),
        "StringNotLike" => (Comparison::Like, true),
        "ArnEquals" | "ArnLike" => (Comparison::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Comparison::Arn, true),
        "Bool" => (Comparison::Bool, false),
        "IpAddress" => (Comparison::Address, false),
        "NotIpAddress" => (Comparison::Address, true),
        "Null" => (Comparison::Null, false),
        name => {
            if let Some(rest) = name.strip_prefix("Numeric") {
                let (order, not) = order(rest)?;
                (Comparison::Number(order), not)
            } else {
                let (order, not) = order(name.strip_prefix("Date")?)?;
                (Comparison::Date(order), not)
            }
        }
    })
}

fn truth(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A date as ISO 8601 or in Unix seconds.
fn moment(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| date::parse(text))
}

impl Comparison {
    fn test(self, value: &str, variables: bool) -> Result<Test, String> {
        let pattern = |text: &str, wild: bool| match (variables, wild) {
            (true, wild) => Pattern::with_variables(text, wild, is_variable)
                .map_err(|name| format!("the variable {name} is not known")),
            (false, true) => Ok(Pattern::new(text)),
            (false, false) => Ok(Pattern::literal(text)),
        };
        let bad = |what: &str| format!("{value:?} is no {what}");
        match self {
            Self::Text => pattern(value, false).map(|p| Test::Text(p, false)),
            Self::TextNoCase => pattern(&value.to_lowercase(), false).map(|p| Test::Text(p, true)),
            Self::Like => pattern(value, true).map(|p| Test::Text(p, false)),
            Self::Arn => {
                let parts = value.splitn(6, ':').map(|part| pattern(part, true));
                let parts = parts.collect::<Result<Vec<_>, _>>()?;
                if parts.len() == 6 || value == "*" { Ok(Test::Arn(parts)) } else { Err(bad("ARN")) }
            }
            Self::Number(order) => {
                value.parse().map(|n| Test::Number(order, n)).map_err(|_| bad("whole number"))
            }
            Self::Date(order) => moment(value).map(|d| Test::Date(order, d)).ok_or_else(|| bad("date")),
            Self::Bool => truth(value).map(Test::Bool).ok_or_else(|| bad("truth value")),
            Self::Null => truth(value).map(Test::Null).ok_or_else(|| bad("truth value")),
            Self::Address => Net::parse(value).map(Test::Address).ok_or_else(|| bad("range of addresses")),
        }
    }
}

impl Test {
    fn holds(&self, value: &str, facts: &Facts) -> bool {
        let variable = |name: &str| facts.one(name);
        match self {
            Self::Text(pattern, false) => pattern.matches_with(value, variable),
            Self::Text(pattern, true) => pattern.matches_with(&value.to_lowercase(), variable),
            Self::Arn(parts) if parts.len() == 1 => true,
            Self::Arn(parts) => {
                let own: Vec<&str> = value.splitn(6, ':').collect();
                own.len() == parts.len() && parts.iter().zip(own).all(|(p, v)| p.matches_with(v, variable))
            }
            Self::Number(order, wanted) => value.parse().is_ok_and(|n: i64| order.holds(&n, wanted)),
            Self::Date(order, wanted) => moment(value).is_some_and(|d| order.holds(&d, wanted)),
            Self::Bool(wanted) => truth(value) == Some(*wanted),
            Self::Address(net) => value.parse::<IpAddr>().is_ok_and(|a| net.contains(a)),
            Self::Null(_) => false,
        }
    }
}
