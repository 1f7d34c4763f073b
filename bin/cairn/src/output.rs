//! stdout is the answer, stderr the talk, `--json` the contract.

use cairn_crypto::keyfile::KeyFileError;
use cairn_crypto::phrase::PhraseError;
use serde_json::Value;
use std::io::{ErrorKind, Write};

/// How answers are printed.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// One JSON object on stdout.
    pub json: bool,
}

impl Out {
    /// Prints an answer: the object, or the text.
    pub fn answer(&self, object: &Value, text: impl FnOnce() -> String) {
        if self.json { line(&object.to_string()) } else { line(text().trim_end()) }
    }

    /// A line of a longer answer as it comes; with `--json`, where the answer is one object at the end, it is talk.
    pub fn tell(&self, text: &str) {
        if self.json { self.say(text) } else { line(text) }
    }

    /// Talks on stderr.
    pub fn say(&self, text: impl AsRef<str>) {
        eprintln!("{}", text.as_ref());
    }
}

/// A line on stdout, nothing if it is empty.
fn line(text: &str) {
    if text.is_empty() {
        return;
    }
    let mut to = std::io::stdout().lock();
    match writeln!(to, "{text}").and_then(|()| to.flush()) {
        Ok(()) => {}
        // Who reads only the head has what it wanted.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
        Err(e) => {
            eprintln!(
                "error: the answer cannot be written: {e}\n  code:   cli.output\n  remedy: check where stdout goes"
            );
            std::process::exit(1);
        }
    }
}

/// A failure for the edge: code, cause, remedy.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Stable code.
    pub code: String,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub remedy: String,
    /// What was found all the same: printed beside the three with `--json`, where stdout has one object.
    pub findings: Option<Value>,
}

impl Failure {
    /// A failure, as `?` wants it.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(code: &str, cause: impl Into<String>, remedy: &str) -> anyhow::Error {
        anyhow::Error::new(Self::plain(code, cause, remedy))
    }

    fn plain(code: &str, cause: impl Into<String>, remedy: &str) -> Self {
        Self { code: code.to_owned(), cause: cause.into(), remedy: remedy.to_owned(), findings: None }
    }

    /// Code of a line that is not understood; the exit code is then 2.
    pub const USAGE: &str = "cli.usage";

    /// What clap says, in one sentence, with the usage that it names as remedy.
    pub fn usage(e: &clap::Error) -> Self {
        use clap::error::ErrorKind::{DisplayHelpOnMissingArgumentOrSubcommand, MissingSubcommand};
        let text = e.to_string();
        let remedy = match text.lines().find_map(|l| l.trim().strip_prefix("Usage: ")) {
            Some(usage) => format!("type `{usage}`; `--help` explains it"),
            None => "`--help` explains what can be typed".to_owned(),
        };
        let remedy = match text.lines().find_map(|l| l.trim().strip_prefix("tip: ")) {
            Some(tip) => format!("{tip}; {remedy}"),
            None => remedy,
        };
        let cause = match e.kind() {
            DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand => "a command is missing".to_owned(),
            _ => {
                let first: Vec<&str> =
                    text.lines().take_while(|l| !l.trim().is_empty()).map(str::trim).collect();
                first.join(" ").trim_start_matches("error: ").to_owned()
            }
        };
        Self::plain(Self::USAGE, cause, &remedy)
    }

    /// The failure in an error, whatever room it came from.
    pub fn of(e: &anyhow::Error) -> Self {
        if let Some(f) = e.downcast_ref::<Self>() {
            return f.clone();
        }
        if let Some(c) = e.downcast_ref::<cairn_client::ClientError>() {
            let remedy = match c.is_unreachable() {
                true => "start `cairn devnet`, or name a running node with --api or CAIRN_API",
                false => &c.remedy,
            };
            return Self::plain(&c.code, c.cause.clone(), remedy);
        }
        if let Some(k) = e.downcast_ref::<KeyFileError>() {
            return Self::sentence(key_code(k), &k.to_string());
        }
        if let Some(p) = e.downcast_ref::<PhraseError>() {
            return Self::sentence("phrase.invalid", &p.to_string());
        }
        if let Some(io) = e.chain().find_map(|c| c.downcast_ref::<std::io::Error>()) {
            return Self::plain("cli.file", format!("{e:#}"), io_remedy(io.kind()));
        }
        Self::plain("cli.failed", format!("{e:#}"), "run it again with CAIRN_LOG=debug and report the output")
    }

    /// Errors of the lower rooms are sentences that end with their remedy.
    fn sentence(code: &str, text: &str) -> Self {
        let (cause, remedy) = text.rsplit_once("; ").unwrap_or((text, "see the cause"));
        Self::plain(code, cause, remedy)
    }

    /// The object of `--json`.
    pub fn object(&self) -> Value {
        let mut error = serde_json::json!({"code": self.code, "cause": self.cause, "remedy": self.remedy});
        if let Some(findings) = &self.findings {
            error["findings"] = findings.clone();
        }
        serde_json::json!({ "error": error })
    }

    /// Tells it: the sentence on stderr, and with `--json` the object on stdout.
    pub fn tell(&self, out: Out) {
        if out.json {
            line(&self.object().to_string());
        }
        out.say(format!("error: {self}"));
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n  code:   {}\n  remedy: {}", self.cause, self.code, self.remedy)
    }
}

impl std::error::Error for Failure {}

fn key_code(e: &KeyFileError) -> &'static str {
    match e {
        KeyFileError::Io { .. } => "key.file",
        KeyFileError::Exists(_) => "key.exists",
        KeyFileError::Permissions { .. } => "key.permissions",
        KeyFileError::DoesNotOpen(_) | KeyFileError::TooMuchWork(_) => "key.locked",
        KeyFileError::NotAKeyFile(_) => "key.unknown",
        KeyFileError::NeedsPassphrase(_) | KeyFileError::Unusable(_) => "key.passphrase",
        KeyFileError::Worthless(_) => "key.worthless",
    }
}

fn io_remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "check the path; directories are not made",
        ErrorKind::PermissionDenied => "check who may read and write there",
        ErrorKind::StorageFull => "free some space, or choose another place",
        ErrorKind::IsADirectory => "give the path of a file",
        _ => "check the path, its permissions and the free space",
    }
}

/// Plain table: columns padded to their widest cell, the first `left` columns to the left, the others to the right.
pub fn table(head: &[&str], rows: &[Vec<String>], left: usize) -> String {
    let width = |i: usize| {
        rows.iter()
            .filter_map(|r| r.get(i))
            .map(|c| c.chars().count())
            .chain([head[i].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells: Vec<String> = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (c, w))| if i < left { format!("{c:<w$}") } else { format!("{c:>w$}") })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut out = vec![line(head.to_vec())];
    out.extend(rows.iter().map(|r| line(r.iter().map(String::as_str).collect())));
    out.join("\n")
}

/// `1.4 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scale = 1u64;
    while unit + 1 < UNITS.len() && n / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    if unit == 0 {
        return format!("{n} B");
    }
    format!("{}.{} {}", n / scale, n % scale * 10 / scale, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align() {
        let text =
            table(&["who", "got"], &[vec!["a".into(), "1".into()], vec!["bcde".into(), "100".into()]], 1);
        assert_eq!(text, "who   got\na       1\nbcde  100");
    }

    #[test]
    fn sizes_in_words() {
        assert_eq!(
            (bytes(5), bytes(1536), bytes(64 << 20)),
            ("5 B".into(), "1.5 KiB".into(), "64.0 MiB".into())
        );
    }
}
