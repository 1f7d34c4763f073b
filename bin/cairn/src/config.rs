//! The configuration of an operator or gateway: a TOML file in its directory, over which `CAIRN_KEY` of the environment
//! goes.

use anyhow::Result;
use cairn_crypto::JoinLink;
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::args::parse_size;
use crate::output::Failure;
use crate::price::parse_dollars;

/// Name of the file.
pub const FILE: &str = "cairn.toml";
/// Largest file that is read.
const MAX_FILE: u64 = 64 << 10;

/// Who looks at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// A running process takes a change up.
    Live,
    /// At the next start.
    Restart,
}

/// A key of the configuration.
pub struct Key {
    /// Its name in the file; in the environment `CAIRN_` and the name in capitals.
    pub name: &'static str,
    /// When a change counts.
    pub used: Used,
    /// What it is.
    pub help: &'static str,
}

const fn key(name: &'static str, used: Used, help: &'static str) -> Key {
    Key { name, used, help }
}

/// All keys.
pub const KEYS: &[Key] = &[
    key("join", Used::Restart, "join link of the network, cairn:join/..."),
    key("listen", Used::Restart, "where to listen for peers (UDP), such as 0.0.0.0:7071"),
    key("advertise", Used::Restart, "address under which peers reach this machine, such as a forwarded port"),
    key("disk", Used::Restart, "operator: directory on the disk that is offered"),
    key("offer", Used::Live, "operator: how much is offered, such as 500GB"),
    key("price", Used::Live, "operator: dollars a TB-month for storing"),
    key("egress", Used::Live, "operator: dollars a TB for serving"),
    key("region", Used::Live, "operator: number of the region, 1 to 65535"),
    key("site", Used::Live, "operator: where the machine stands, any text; the same text fails together"),
    key("name", Used::Live, "operator: what the network shows of it, at most 256 bytes"),
    key("s3", Used::Restart, "gateway: where S3 clients connect, such as 127.0.0.1:9000"),
    key("reserve", Used::Restart, "gateway: what a lease reserves on each operator, such as 256MiB"),
    key("highest", Used::Restart, "gateway: most that it pays for storing, dollars a TB-month"),
];

/// The configuration. What is not there is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// See [`KEYS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub offer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub price: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub egress: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub site: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub reserve: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub highest: Option<String>,
}

/// Texts may look like numbers: `price = 1.52` and `CAIRN_PRICE=2` are meant as they stand.
fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Loose {
        Text(String),
        Whole(u64),
        Number(f64),
        Bool(bool),
    }
    Ok(Option::<Loose>::deserialize(from)?.map(|value| match value {
        Loose::Text(t) => t,
        Loose::Whole(n) => n.to_string(),
        Loose::Number(n) => n.to_string(),
        Loose::Bool(b) => b.to_string(),
    }))
}

fn bad(cause: String, remedy: &str) -> anyhow::Error {
    Failure::new("config.invalid", cause, remedy)
}

impl Config {
    /// Reads the configuration of a directory; one without a file is empty.
    pub fn load(dir: &Path) -> Result<Self> {
        let names: Vec<&str> = KEYS.iter().map(|k| k.name).collect();
        let read = Figment::from(Toml::string(&file(dir)?)).merge(Env::prefixed("CAIRN_").only(&names));
        Self::checked(read, &dir.join(FILE))
    }

    fn checked(figment: Figment, path: &Path) -> Result<Self> {
        let found: Self = figment.extract().map_err(|e| match &e.kind {
            figment::error::Kind::UnknownField(name, _) => unknown(name),
            _ => {
                let cause = e.to_string().replace('\n', "; ");
                bad(format!("{} cannot be used: {cause}", path.display()), "mend the line, or remove it")
            }
        })?;
        found.check()?;
        Ok(found)
    }

    /// Refuses values that cannot be used.
    fn check(&self) -> Result<()> {
        let sized = |name: &str, text: &Option<String>| match text.as_deref().map(parse_size) {
            Some(Err(e)) => Err(bad(format!("{name}: {e}"), "write a number with a unit")),
            _ => Ok(()),
        };
        sized("offer", &self.offer)?;
        sized("reserve", &self.reserve)?;
        for (name, price) in [("price", &self.price), ("egress", &self.egress), ("highest", &self.highest)] {
            if let Some(text) = price
                && parse_dollars(text).is_none()
            {
                return Err(bad(format!("{name}: {text:?} is no price"), "write dollars, such as 1.52"));
            }
        }
        if self.region == Some(0) {
            return Err(bad("region: 0 means anywhere".into(), "name the region where the machine stands"));
        }
        if let Some(text) = self.name.as_ref().filter(|t| t.len() > 256) {
            return Err(bad(format!("name: {} bytes, 256 are allowed", text.len()), "shorten it"));
        }
        self.link().map(|_| ())
    }

    /// The join link.
    pub fn link(&self) -> Result<Option<JoinLink>> {
        self.join.as_deref().map(join).transpose()
    }

    /// Writes the file; whole or as before after a crash.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let text = format!(
            "# Written by cairn; `cairn set KEY VALUE --dir DIR` changes it, `cairn set --dir DIR` explains it.\n{}",
            toml::to_string(self)?
        );
        super::home::write(&dir.join(FILE), text.as_bytes())
    }

    /// Value of a key as it would be typed.
    pub fn get(&self, name: &str) -> Option<String> {
        let value = toml::Value::try_from(self).ok()?;
        let found = value.get(name)?;
        Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
    }

    /// The same with one key changed, checked.
    pub fn with(&self, name: &str, value: &str) -> Result<Self> {
        if !KEYS.iter().any(|k| k.name == name) {
            return Err(unknown(name));
        }
        let base = Figment::from(figment::providers::Serialized::defaults(self));
        let changed = base.merge((
            name,
            value
                .parse::<u16>()
                .ok()
                .filter(|_| name == "region")
                .map_or_else(|| figment::value::Value::from(value), figment::value::Value::from),
        ));
        Self::checked(changed, Path::new("the new value"))
    }

    /// Keys whose values differ.
    pub fn differs(&self, other: &Self) -> Vec<&'static Key> {
        KEYS.iter().filter(|k| self.get(k.name) != other.get(k.name)).collect()
    }
}

fn file(dir: &Path) -> Result<String> {
    let path = dir.join(FILE);
    let unreadable = |e: std::io::Error| {
        Failure::new(
            "config.file",
            format!("{} cannot be read: {e}", path.display()),
            "check its owner and mode",
        )
    };
    match std::fs::metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(unreadable(e)),
        Ok(m) if m.len() > MAX_FILE => {
            Err(bad(format!("{} is no configuration", path.display()), "move it away"))
        }
        Ok(_) => std::fs::read_to_string(&path).map_err(unreadable),
    }
}

/// Reads a join link.
pub fn join(text: &str) -> Result<JoinLink> {
    JoinLink::parse(text).map_err(|e| {
        let text = e.to_string();
        let (cause, remedy) = text.rsplit_once("; ").unwrap_or((&text, "ask for a new link"));
        Failure::new("join.invalid", cause, remedy)
    })
}

fn unknown(name: &str) -> anyhow::Error {
    let nearest = KEYS.iter().map(|k| (distance(name, k.name), k.name)).min();
    let remedy = match nearest {
        Some((d, key)) if d <= 3 => format!("did you mean `{key}`? `cairn set` without a key lists all"),
        _ => "`cairn set` without a key lists all".to_owned(),
    };
    Failure::new("config.unknown", format!("there is no key {name:?}"), &remedy)
}

/// Changes of one letter that lead from one word to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(r: Result<Config>) -> (String, String) {
        let e = r.unwrap_err();
        let f = e.downcast_ref::<Failure>().expect("a failure with a code");
        (f.code.clone(), f.remedy.clone())
    }

    #[test]
    fn what_is_set_is_saved_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Config::load(dir.path()).unwrap(), Config::default());
        let config = Config::default();
        let config = config.with("offer", "500GB").unwrap().with("price", "2").unwrap();
        let config = config.with("region", "7").unwrap().with("listen", "0.0.0.0:7071").unwrap();
        let config = config.with("disk", "/srv/cairn").unwrap().with("name", "12").unwrap();
        config.save(dir.path()).unwrap();
        let back = Config::load(dir.path()).unwrap();
        assert_eq!(back, config);
        assert_eq!((back.get("region").as_deref(), back.get("price").as_deref()), (Some("7"), Some("2")));
        assert_eq!(back.get("s3"), None);
        let changed = back.with("price", "3").unwrap();
        assert_eq!(changed.differs(&back).iter().map(|k| k.name).collect::<Vec<_>>(), ["price"]);
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused_with_a_remedy() {
        let c = Config::default();
        assert!(code(c.with("prise", "1")).1.contains("`price`"));
        assert_eq!(code(c.with("colour-of-the-box", "1")).0, "config.unknown");
        for (name, value) in [
            ("offer", "lots"),
            ("price", "-1"),
            ("region", "0"),
            ("region", "x"),
            ("listen", "7071"),
            ("name", &"n".repeat(257)),
        ] {
            assert_eq!(code(c.with(name, value)).0, "config.invalid", "{name} = {value}");
        }
        assert_eq!(code(c.with("join", "cairn:join/x")).0, "join.invalid");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "ofer = \"1GB\"").unwrap();
        assert!(code(Config::load(dir.path())).1.contains("`offer`"));
        std::fs::write(dir.path().join(FILE), "price = 1.52\nname = true").unwrap();
        assert_eq!(Config::load(dir.path()).unwrap().price.as_deref(), Some("1.52"));
        std::fs::write(dir.path().join(FILE), "price = [").unwrap();
        assert_eq!(code(Config::load(dir.path())).0, "config.invalid");
    }

    #[test]
    fn distances() {
        assert_eq!((distance("offer", "offer"), distance("ofer", "offer"), distance("", "abc")), (0, 1, 3));
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn every_key_is_a_field_and_every_field_a_key() {
        let all = toml::Value::try_from(Config {
            join: Some(String::new()),
            listen: Some(([127, 0, 0, 1], 1).into()),
            advertise: Some(([127, 0, 0, 1], 1).into()),
            disk: Some("x".into()),
            offer: Some(String::new()),
            price: Some(String::new()),
            egress: Some(String::new()),
            region: Some(1),
            site: Some(String::new()),
            name: Some(String::new()),
            s3: Some(([127, 0, 0, 1], 1).into()),
            reserve: Some(String::new()),
            highest: Some(String::new()),
        })
        .unwrap();
        let mut fields: Vec<&String> = all.as_table().unwrap().keys().collect();
        let mut names: Vec<&str> = KEYS.iter().map(|k| k.name).collect();
        (fields.sort(), names.sort_unstable());
        assert_eq!(fields, names);
    }
}
