//! The directory of an operator or gateway: keys, who it is on the chain, what its process last said of itself.

use anyhow::{Context, Result};
use cairn_client::Client;
use cairn_crypto::keyfile::{self, KeyFileError};
use cairn_crypto::keys::SecretKey;
use cairn_crypto::random::random32;
use cairn_crypto::{Authority, JoinLink};
use cairn_types::{AccountId, DeviceId, NetworkId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::output::Failure;

/// Age from which on the last word of a process means that it does not run.
pub const SILENT: Duration = Duration::from_secs(30);
/// Largest JSON file that is read.
const MAX_JSON: u64 = 4 << 20;

/// What a directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An operator with one device.
    Operator,
    /// A customer's gateway.
    Gateway,
}

/// Who the directory is on the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What it belongs to.
    pub role: Role,
    /// Network id, hexadecimal.
    pub network: String,
    /// Account, hexadecimal.
    pub account: String,
    /// Device of an operator, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// What a process last said of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastWord {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Process id.
    pub pid: u32,
    /// Findings, as `cairn doctor` shows them.
    pub findings: serde_json::Value,
    /// Facts, by name.
    pub facts: serde_json::Value,
}

/// A directory.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

/// Milliseconds since 1970 by this machine's clock.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Writes a file that nobody else may read, whole or as before after a crash.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension("new");
    let put = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let small = std::fs::metadata(path).ok()?.len() <= MAX_JSON;
    serde_json::from_slice(&std::fs::read(path).ok().filter(|_| small)?).ok()
}

impl Home {
    /// A directory that is there.
    pub fn open(dir: &Path) -> Result<Self> {
        if Config::load(dir)?.join.is_none() {
            return Err(Failure::new(
                "home.unknown",
                format!("{} is no directory of an operator or gateway", dir.display()),
                "make one with `cairn up --join LINK --dir DIR` or `cairn gateway --join LINK --dir DIR`",
            ));
        }
        Ok(Self(dir.to_owned()))
    }

    /// A directory, made if it is missing; only its owner may look inside.
    pub fn make(dir: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join("keys"));
        made.with_context(|| format!("cannot make {}", dir.display()))?;
        // Relative paths would mean something else in a service.
        let full = dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))?;
        Ok(Self(full))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its configuration.
    pub fn config(&self) -> Result<Config> {
        Config::load(&self.0)
    }

    /// Its network.
    pub fn link(&self) -> Result<JoinLink> {
        self.config()?.link()?.ok_or_else(|| {
            Failure::new(
                "home.network",
                "no network is configured",
                "run `cairn set join LINK` with its join link",
            )
        })
    }

    /// A client of its network's nodes.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::with_urls(self.link()?.nodes)?)
    }

    /// Path of a key file.
    pub fn key_path(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(format!("{name}.key"))
    }

    /// A key, made if it is missing.
    pub fn key(&self, name: &str) -> Result<SecretKey> {
        let path = self.key_path(name);
        if !path.exists() {
            let fresh = Zeroizing::new(random32()?);
            keyfile::write_hot(&path, fresh.as_slice())?;
        }
        read_key(&path)
    }

    /// Takes a copy of a key file.
    pub fn adopt_key(&self, name: &str, from: &Path) -> Result<SecretKey> {
        let secret = read_key(from)?;
        match keyfile::write_hot(&self.key_path(name), secret.seed().as_slice()) {
            Ok(()) => Ok(secret),
            Err(KeyFileError::Exists(_)) if *self.key(name)?.seed() == *secret.seed() => Ok(secret),
            Err(e) => Err(e.into()),
        }
    }

    /// Who it is, once it is registered.
    pub fn identity(&self) -> Option<Identity> {
        read(&self.0.join("identity.json"))
    }

    /// Keeps who it is.
    pub fn set_identity(&self, identity: &Identity) -> Result<()> {
        write(&self.0.join("identity.json"), &serde_json::to_vec_pretty(identity)?)
    }

    /// What its process last said, and how long ago.
    pub fn last_word(&self) -> Option<(LastWord, Duration)> {
        let word: LastWord = read(&self.0.join("status.json"))?;
        let age = Duration::from_millis(now_ms().saturating_sub(word.at_ms));
        Some((word, age))
    }

    /// Says how the process is doing.
    pub fn say(&self, findings: serde_json::Value, facts: serde_json::Value) -> Result<()> {
        let word = LastWord { at_ms: now_ms(), pid: std::process::id(), findings, facts };
        write(&self.0.join("status.json"), &serde_json::to_vec_pretty(&word)?)
    }

    /// The process ends: what it said counts no more.
    pub fn fall_silent(&self) {
        // Somebody who looks later finds an old word instead; no harm done.
        let _ = std::fs::remove_file(self.0.join("status.json"));
    }
}

/// A key file of any kind; an encrypted one needs its passphrase in the environment.
pub fn read_key(path: &Path) -> Result<SecretKey> {
    let secret = match keyfile::read(path, None) {
        Err(KeyFileError::NeedsPassphrase(_)) => keyfile::read(path, Some(&crate::key::passphrase()?))?,
        read => read?,
    };
    let seed: [u8; 32] =
        secret.1.as_slice().try_into().map_err(|_| KeyFileError::NotAKeyFile(path.into()))?;
    Ok(SecretKey::from_seed(&seed))
}

/// The account of a key.
pub fn account_of(secret: &SecretKey) -> AccountId {
    Authority::Single(secret.public()).account_id()
}

impl Identity {
    /// The account.
    pub fn account(&self) -> AccountId {
        AccountId::from_hex(&self.account).unwrap_or_default()
    }

    /// The device.
    pub fn device(&self) -> Option<DeviceId> {
        DeviceId::from_hex(self.device.as_deref()?)
    }
}

/// Asks a network's nodes who they are until one answers, and refuses another network. `waiting` is told now and then.
pub async fn meet(client: &Client, network: NetworkId, mut waiting: impl FnMut(&str)) -> Result<()> {
    let mut pause = Duration::from_millis(200);
    loop {
        match client.status().await {
            Ok(status) if status.network == network.to_string() => return Ok(()),
            Ok(status) => {
                return Err(Failure::new(
                    "join.network",
                    format!("the node is of network {}, the join link of {network}", status.network),
                    "ask for the present join link of the network",
                ));
            }
            Err(e) if e.is_unreachable() || e.is_starting() => waiting(&e.cause),
            Err(e) => return Err(e.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_are_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::make(&dir.path().join("op")).unwrap();
        let first = home.key("device").unwrap();
        assert_eq!(*home.key("device").unwrap().seed(), *first.seed());
        assert_ne!(*home.key("account").unwrap().seed(), *first.seed());
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&home.key_path("device")), mode(&home.path().join("keys"))), (0o600, 0o700));
        home.say(serde_json::json!([]), serde_json::json!({"a": 1})).unwrap();
        assert_eq!(mode(&home.path().join("status.json")), 0o600);
        let (word, age) = home.last_word().unwrap();
        assert!(word.facts["a"] == 1 && age < SILENT);
        home.fall_silent();
        assert!(home.last_word().is_none());
    }

    #[test]
    fn an_adopted_key_does_not_replace_another() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::make(dir.path()).unwrap();
        let other = Home::make(&dir.path().join("other")).unwrap();
        let account = other.key("account").unwrap();
        let from = other.key_path("account");
        assert_eq!(*home.adopt_key("account", &from).unwrap().seed(), *account.seed());
        assert_eq!(*home.adopt_key("account", &from).unwrap().seed(), *account.seed());
        other.key("device").unwrap();
        assert!(home.adopt_key("account", &other.key_path("device")).is_err());
        assert!(Home::open(&dir.path().join("nothing")).is_err());
    }
}
