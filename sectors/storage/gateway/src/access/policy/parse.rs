//! From JSON to a policy.

use super::condition::{self, Condition};
use super::{Effect, Listed, MAX_POLICY, Malformed, Party, Policy, Statement};
use crate::access::actions::{ACTIONS, Kind};
use crate::access::glob::Pattern;
use crate::access::json::{self, Json};
use crate::access::{ACCOUNT, OWNER_ID};
use std::collections::{BTreeMap, BTreeSet};

type Object = BTreeMap<String, Json>;
type Result<T> = std::result::Result<T, Malformed>;

/// What resources begin with.
const ARN: &str = "arn:aws:s3:::";
/// The one service that policies may name: the delivery of access logs.
const LOGGING: &str = "logging.s3.amazonaws.com";

fn refuse<T>(text: impl Into<String>) -> Result<T> {
    Err(Malformed(text.into()))
}

pub(super) fn policy(text: &[u8], bucket: &str) -> Result<Policy> {
    let json = json::parse(text, MAX_POLICY)
        .map_err(|e| Malformed(format!("This policy is not valid JSON: {e}")))?;
    let Json::Object(members) = json else { return refuse("Policies must be a JSON object") };
    let mut variables = false;
    for (name, value) in &members {
        match (name.as_str(), value.text()) {
            ("Version", Some("2012-10-17")) => variables = true,
            ("Version", Some("2008-10-17")) | ("Id", Some(_)) | ("Statement", _) => {}
            ("Version", _) => {
                return refuse("The policy must contain a valid version string, such as 2012-10-17");
            }
            _ => return refuse(format!("Unknown field {name}")),
        }
    }
    let list = members.get("Statement").map(Json::items).unwrap_or_default();
    if list.is_empty() {
        return refuse("Missing required field Statement");
    }
    let (mut statements, mut ids) = (Vec::new(), BTreeSet::new());
    for item in list {
        let Json::Object(members) = item else { return refuse("A statement must be a JSON object") };
        if let Some(sid) = members.get("Sid").and_then(Json::text)
            && !ids.insert(sid)
        {
            return refuse(format!("Statement IDs (SID) in a single policy must be unique: {sid}"));
        }
        statements.push(statement(members, bucket, variables)?);
    }
    Ok(Policy { statements })
}

fn statement(members: &Object, bucket: &str, variables: bool) -> Result<Statement> {
    const FIELDS: [&str; 9] = [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ];
    if let Some(name) = members.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return refuse(format!("Unknown field {name}"));
    }
    if members.get("Sid").is_some_and(|sid| sid.text().is_none()) {
        return refuse("Sid must be a string");
    }
    let effect = match members.get("Effect").and_then(Json::text) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return refuse("Missing required field Effect, or it is neither Allow nor Deny"),
    };
    let principals = principals(either(members, "Principal")?)?;
    let actions = actions(either(members, "Action")?)?;
    let resources = resources(either(members, "Resource")?, bucket, variables)?;
    fit(&actions, &resources)?;
    Ok(Statement {
        effect,
        principals,
        actions: Listed { not: actions.not, items: actions.items.into_iter().map(|(_, p)| p).collect() },
        resources: Listed {
            not: resources.not,
            items: resources.items.into_iter().map(|(_, p)| p).collect(),
        },
        conditions: conditions(members.get("Condition"), variables)?,
    })
}

/// A field or its `Not` form; exactly one of them.
fn either<'a>(members: &'a Object, name: &str) -> Result<Listed<&'a Json>> {
    match (members.get(name), members.get(&format!("Not{name}"))) {
        (Some(value), None) => Ok(Listed { not: false, items: vec![value] }),
        (None, Some(value)) => Ok(Listed { not: true, items: vec![value] }),
        (None, None) => refuse(format!("Missing required field {name}")),
        (Some(_), Some(_)) => refuse(format!("{name} and Not{name} cannot stand together")),
    }
}

fn texts<'a>(list: &Listed<&'a Json>, what: &str) -> Result<Vec<&'a str>> {
    let items = list.items.iter().flat_map(|value| value.items());
    let texts: Option<Vec<&str>> = items.map(Json::text).collect();
    match texts {
        Some(texts) if !texts.is_empty() => Ok(texts),
        _ => refuse(format!("{what} must be a string or a list of strings")),
    }
}

fn principals(list: Listed<&Json>) -> Result<Listed<Party>> {
    let mut items = Vec::new();
    for value in &list.items {
        match value {
            Json::Text(text) if text == "*" => items.push(Party::Everybody),
            Json::Object(kinds) => {
                for (kind, value) in kinds {
                    let names = texts(&Listed { not: false, items: vec![value] }, "Principal")?;
                    for name in names {
                        items.push(party(kind, name)?);
                    }
                }
            }
            _ => return refuse("Invalid principal in policy"),
        }
    }
    if items.is_empty() {
        return refuse("Invalid principal in policy");
    }
    Ok(Listed { not: list.not, items })
}

fn party(kind: &str, name: &str) -> Result<Party> {
    match (kind, name) {
        ("AWS", "*") => return Ok(Party::Everybody),
        ("AWS", account) if account == ACCOUNT => return Ok(Party::Account),
        ("CanonicalUser", id) if id == OWNER_ID => return Ok(Party::Account),
        ("Service", LOGGING) => return Ok(Party::Service(LOGGING.into())),
        _ => {}
    }
    let rest = if kind == "AWS" { name.strip_prefix("arn:aws:iam::") } else { None };
    match rest.and_then(|rest| rest.split_once(':')) {
        Some((account, "root")) if account.is_empty() || account == ACCOUNT => Ok(Party::Account),
        Some((account, user)) if account.is_empty() || account == ACCOUNT => match user.strip_prefix("user/")
        {
            // A path before the name is part of who it is in IAM; keys have none here.
            Some(user) if !user.is_empty() && !user.contains(['/', '*', '?']) => Ok(Party::User(user.into())),
            _ => refuse(format!("Invalid principal in policy: {name}")),
        },
        _ => refuse(format!(
            "Invalid principal in policy: {name}; name *, arn:aws:iam::{ACCOUNT}:root or arn:aws:iam::{ACCOUNT}:user/NAME"
        )),
    }
}

fn actions(list: Listed<&Json>) -> Result<Listed<(Vec<Kind>, Pattern)>> {
    let mut items = Vec::new();
    for text in texts(&list, "Action")? {
        let pattern = Pattern::new(&text.to_ascii_lowercase());
        let known = ACTIONS.iter().filter(|a| pattern.matches(&a.name.to_ascii_lowercase()));
        let kinds: Vec<Kind> = known.map(|a| a.kind).collect();
        if kinds.is_empty() {
            return refuse(format!("Policy has invalid action: {text}"));
        }
        items.push((kinds, pattern));
    }
    Ok(Listed { not: list.not, items })
}

/// What a resource can be: the bucket, objects in it.
type Reach = (bool, bool);

fn resources(list: Listed<&Json>, bucket: &str, variables: bool) -> Result<Listed<(Reach, Pattern)>> {
    let mut items = Vec::new();
    for text in texts(&list, "Resource")? {
        let path = if text == "*" { Some("*") } else { text.strip_prefix(ARN) };
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return refuse(format!("Policy has invalid resource: {text}; it begins with {ARN}"));
        };
        let pattern = if variables {
            Pattern::with_variables(path, true, condition::is_variable)
                .map_err(|name| Malformed(format!("Policy has an unknown variable {name}")))?
        } else {
            Pattern::new(path)
        };
        let reach = (pattern.can_be(bucket), pattern.can_begin(&format!("{bucket}/")));
        if reach == (false, false) && !list.not {
            return refuse(format!("Policy has invalid resource: {text}; it is not of bucket {bucket}"));
        }
        items.push((reach, pattern));
    }
    Ok(Listed { not: list.not, items })
}

/// An action that none of the resources can have would never do what its author thinks.
fn fit(actions: &Listed<(Vec<Kind>, Pattern)>, resources: &Listed<(Reach, Pattern)>) -> Result<()> {
    if actions.not || resources.not {
        return Ok(());
    }
    let (bucket, object) =
        resources.items.iter().fold((false, false), |all, ((b, o), _)| (all.0 | b, all.1 | o));
    let possible = |kind: &Kind| match kind {
        Kind::Bucket => bucket,
        Kind::Object => object,
        Kind::Account => false,
    };
    if actions.items.iter().all(|(kinds, _)| kinds.iter().any(possible)) {
        return Ok(());
    }
    refuse("Action does not apply to any resource(s) in statement")
}

fn conditions(value: Option<&Json>, variables: bool) -> Result<Vec<Condition>> {
    let operators = match value {
        None => return Ok(Vec::new()),
        Some(Json::Object(operators)) => operators,
        Some(_) => return refuse("Condition must be a JSON object"),
    };
    let mut out = Vec::new();
    for (operator, keys) in operators {
        let Json::Object(keys) = keys else {
            return refuse(format!("The condition {operator} must be a JSON object"));
        };
        for (key, values) in keys {
            let values: Option<Vec<String>> = values.items().iter().map(Json::scalar).collect();
            let Some(values) = values.filter(|v| !v.is_empty()) else {
                return refuse(format!("The values of {key} must be strings"));
            };
            out.push(Condition::new(operator, key, &values, variables).map_err(Malformed)?);
        }
    }
    Ok(out)
}
