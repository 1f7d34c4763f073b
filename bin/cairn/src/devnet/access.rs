//! Access keys of the devnet's gateway.

use super::Devnet;
use super::control::failed;
use cairn_storage_gateway::access::actions::Group;
use cairn_storage_gateway::access::date;
use cairn_storage_gateway::access::key::{AccessKey, Place, Scope};
use cairn_storage_gateway::error::GatewayError;
use cairn_storage_gateway::gateway::Gateway;
use cairn_types::Refusal;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const GROUPS: [(Group, &str); 5] = [
    (Group::Read, "read"),
    (Group::List, "list"),
    (Group::Write, "write"),
    (Group::Delete, "delete"),
    (Group::Manage, "manage"),
];

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn bad(cause: impl Into<String>) -> Refusal {
    Refusal::with("storage.key", cause.into(), "see `cairn storage key new --help`")
}

/// What a key may do, out of what was typed.
fn scope(body: &Value) -> Result<Scope, Refusal> {
    let list = |field: &str| -> Vec<String> {
        let items = body[field].as_array().into_iter().flatten();
        items.filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let mut groups = 0;
    for name in list("allow").iter().filter(|name| *name != "none") {
        let found = GROUPS.iter().find(|(_, known)| known == name);
        let (group, _) = found.ok_or_else(|| {
            bad(format!(
                "{name:?} is nothing that a key may do; choose of read, list, write, delete, manage, none"
            ))
        })?;
        groups |= *group as u8;
    }
    let place = |text: &String| {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        Place { bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    };
    Ok(Scope { groups, places: list("buckets").iter().map(place).collect(), quota: body["quota"].as_u64() })
}

/// What a key may do, in words.
fn may(key: &AccessKey) -> String {
    let Some(scope) = &key.scope else { return "everything".into() };
    let names: Vec<&str> = GROUPS.iter().filter(|(g, _)| scope.has(*g)).map(|(_, name)| *name).collect();
    let what = if names.is_empty() { "what bucket policies allow".into() } else { names.join(", ") };
    let place =
        |p: &Place| if p.prefix.is_empty() { p.bucket.clone() } else { format!("{}/{}", p.bucket, p.prefix) };
    let places: Vec<String> = scope.places.iter().map(place).collect();
    let places = if places.is_empty() { String::new() } else { format!(" in {}", places.join(", ")) };
    let quota = scope.quota.map_or_else(String::new, |q| format!(", up to {q} bytes"));
    format!("{what}{places}{quota}")
}

fn shown(id: &str, key: &AccessKey) -> Value {
    json!({
        "access_key": id, "name": key.name, "may": may(key), "created": date::iso(key.created),
        "expires": key.expires.map_or_else(|| "never".into(), date::iso), "expired": key.is_expired(now()),
    })
}

impl Devnet {
    async fn storage(&self) -> Result<Arc<Gateway>, Refusal> {
        let gateway = self.gateway.lock().await.as_ref().map(|f| f.gateway().clone());
        gateway.ok_or_else(|| failed("there is no gateway; recover first"))
    }

    /// Makes a key.
    pub(super) async fn new_key(&self, body: &Value) -> Result<Value, Refusal> {
        let gateway = self.storage().await?;
        let (created, scope) = (now(), scope(body)?);
        let expires = body["seconds"].as_u64().map(|s| created.saturating_add(s));
        let name = body["name"].as_str().unwrap_or_default();
        let made = gateway.new_access_key(name, scope, created, expires).await;
        let (id, secret) = made.map_err(|e| match e {
            GatewayError::Invalid(cause) => bad(cause),
            e => failed(e),
        })?;
        let key = gateway.access_keys().into_iter().find(|(known, _)| *known == id);
        let mut answer = key.map(|(_, key)| shown(&id, &key)).unwrap_or_default();
        answer["secret_key"] = secret.into();
        Ok(answer)
    }

    /// All keys, without secrets.
    pub(super) async fn list_keys(&self) -> Result<Value, Refusal> {
        let keys = self.storage().await?.access_keys();
        let keys: Vec<Value> = keys.iter().map(|(id, key)| shown(id, key)).collect();
        Ok(json!({"keys": keys}))
    }

    /// Withdraws a key.
    pub(super) async fn revoke_key(&self, id: &str) -> Result<Value, Refusal> {
        let done = self.storage().await?.delete_access_key(id).await.map_err(|e| match e {
            GatewayError::Invalid(cause) => bad(cause),
            e => failed(e),
        })?;
        if done {
            return Ok(json!({"access_key": id, "revoked": true}));
        }
        let cause = format!("there is no access key {id:?}");
        Err(Refusal::with("storage.key", cause, "`cairn storage key ls` lists them"))
    }
}
