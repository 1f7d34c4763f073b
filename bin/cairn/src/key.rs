//! Account keys: made from a recovery phrase, kept in encrypted files.

use anyhow::{Context, Result};
use cairn_crypto::authority::Authority;
use cairn_crypto::keyfile::{self, KeyFileError, Kind, WorkFactor};
use cairn_crypto::keys::SecretKey;
use cairn_crypto::phrase::{ACCOUNT, Phrase};
use cairn_crypto::{address, address::DEFAULT_HRP};
use serde_json::json;
use std::path::Path;
use zeroize::Zeroizing;

use crate::args::KeyCommand;
use crate::output::{Failure, Out};

/// Where the passphrase of key files comes from; never the command line, where other users could read it.
const PASSPHRASE: &str = "CAIRN_PASSPHRASE";
/// Fewest bytes of a passphrase.
const SHORTEST: usize = 12;

/// Runs a key command.
pub fn run(out: Out, command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::New { out: file, phrase } => new(out, &file, phrase.as_deref()),
        KeyCommand::Show { file } => show(out, &file),
    }
}

/// The passphrase of key files, from the environment.
pub fn passphrase() -> Result<Zeroizing<String>> {
    let text = Zeroizing::new(std::env::var(PASSPHRASE).unwrap_or_default());
    if text.len() < SHORTEST {
        let has = if text.is_empty() { "is not set".into() } else { format!("has {} bytes", text.len()) };
        return Err(Failure::new(
            "key.passphrase",
            format!("the passphrase {PASSPHRASE} {has}, at least {SHORTEST} bytes are needed"),
            "run `read -rs CAIRN_PASSPHRASE; export CAIRN_PASSPHRASE` and type it",
        ));
    }
    Ok(text)
}

fn new(out: Out, file: &Path, phrase: Option<&str>) -> Result<()> {
    let restored = phrase.is_some();
    let phrase = match phrase {
        None => Phrase::generate()?,
        Some("-") => Phrase::parse(&Zeroizing::new(std::io::read_to_string(std::io::stdin())?))?,
        Some(path) => Phrase::parse(&Zeroizing::new(
            std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?,
        ))?,
    };
    let secret = phrase.key(ACCOUNT);
    keyfile::write_encrypted(file, &*secret.seed(), &passphrase()?, WorkFactor::STANDARD)?;
    let address = of(&secret)?;
    let words = (!restored).then(|| phrase.words());
    if !restored {
        out.say("write the 24 words on paper: whoever has them has the account, and nobody can replace them");
    }
    out.answer(
        &json!({"address": address, "file": file, "phrase": words.as_ref().map(|w| w.as_str())}),
        || {
            let words = words.as_ref().map(|w| format!("{}\n", w.as_str())).unwrap_or_default();
            format!("{words}{address}")
        },
    );
    Ok(())
}

fn show(out: Out, file: &Path) -> Result<()> {
    let (kind, secret) = match keyfile::read(file, None) {
        Err(KeyFileError::NeedsPassphrase(_)) => keyfile::read(file, Some(&passphrase()?))?,
        read => read?,
    };
    let seed: [u8; 32] = secret.as_slice().try_into().context("the key file holds no account key")?;
    let address = of(&SecretKey::from_seed(&seed))?;
    out.answer(&json!({"address": address, "worthless": kind == Kind::WorthlessDevnet}), || address.clone());
    Ok(())
}

fn of(secret: &SecretKey) -> Result<String> {
    Ok(address::encode(DEFAULT_HRP, &Authority::Single(secret.public()).account_id())?)
}
