//! What is printed without a network: help, and errors as text and as JSON.

use clap::{Command, CommandFactory};
use std::fmt::Write;
use std::path::Path;

use crate::args::Cli;
use crate::golden;

/// A port on which nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";
/// 64 digits that are no settlement.
const DIGITS: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
/// A network of which no node is up.
const LINK: &str = "cairn:join/join1qyrswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswqgqqqqpyqqqqp58gars8ghj7vfjxuhrqt3s9ccn5vgqqqqqqp3qr8u";
/// Long enough for a key file.
const PASSPHRASE: &str = "a long enough passphrase";

/// Exit code, stdout, stderr.
struct Seen {
    code: i32,
    out: String,
    err: String,
}

fn cairn(dir: &Path, words: &[&str], passphrase: Option<&str>) -> Seen {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.args(words).current_dir(dir).stdin(std::process::Stdio::null());
    for name in [
        "CAIRN_API",
        "CAIRN_DIR",
        "CAIRN_LOG",
        "CAIRN_PASSPHRASE",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    if let Some(p) = passphrase {
        command.env("CAIRN_PASSPHRASE", p);
    }
    let done = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Seen { code: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
}

fn show(into: &mut String, title: &str, seen: &Seen) {
    write!(into, "$ {title}\nexit code {}\n", seen.code).unwrap();
    for (stream, text) in [("stdout", &seen.out), ("stderr", &seen.err)] {
        for line in text.lines() {
            writeln!(into, "{}", format!("{stream} | {line}").trim_end()).unwrap();
        }
    }
    into.push('\n');
}

/// All commands, the topmost first.
fn commands(command: &Command, path: &[String], into: &mut Vec<Vec<String>>) {
    into.push(path.to_vec());
    for below in command.get_subcommands() {
        let mut path = path.to_vec();
        path.push(below.get_name().to_owned());
        commands(below, &path, into);
    }
}

#[test]
fn help_of_every_command() {
    let (mut text, mut paths) = (String::new(), Vec::new());
    commands(&Cli::command(), &[], &mut paths);
    let dir = tempfile::tempdir().unwrap();
    for path in paths {
        let mut words: Vec<&str> = path.iter().map(String::as_str).collect();
        words.push("--help");
        let seen = cairn(dir.path(), &words, None);
        assert!(seen.code == 0 && seen.err.is_empty(), "{words:?}: {}", seen.err);
        show(&mut text, &format!("cairn {}", words.join(" ")), &seen);
    }
    golden::check("tests/golden/help.txt", &text);
}

/// Lines that fail, and the passphrase that they find.
fn mistakes() -> Vec<(Vec<&'static str>, Option<&'static str>)> {
    let key = Some(PASSPHRASE);
    vec![
        (vec![], None),
        (vec!["reckon"], None),
        (vec!["statsu"], None),
        (vec!["export", "epoch", "3"], None),
        (vec!["devnet", "--epoch", "fast"], None),
        (vec!["devnet", "--epoch", "1s"], None),
        (vec!["devnet", "--operators", "65"], None),
        (vec!["earnings", "--explain", "last"], None),
        (vec!["--api", NOBODY, "storage", "cost", "lots"], None),
        (vec!["--api", NOBODY, "status"], None),
        (vec!["--api", NOBODY, "storage", "ls"], None),
        (vec!["--api", NOBODY, "devnet", "ctl", "crash", "op-3"], None),
        (vec!["--api", "nonsense", "status"], None),
        (vec!["verify"], None),
        (vec!["verify", "--pack", "note.txt"], None),
        (vec!["verify", "--pack", "note.txt", "--trust", "beef"], None),
        (vec!["verify", "--pack", "note.txt", "--trust", DIGITS], None),
        (vec!["verify", "--pack", "missing.pack", "--trust", DIGITS], None),
        (vec!["verify", "--pack", "note.txt", "--trust", DIGITS, "epoch", "3"], None),
        (vec!["key", "new", "--out", "new.key"], None),
        (vec!["key", "new", "--out", "new.key"], Some("short")),
        (vec!["key", "new", "--out", "note.txt"], key),
        (vec!["key", "new", "--out", "missing/new.key"], key),
        (vec!["key", "new", "--out", "new.key", "--phrase", "missing.words"], key),
        (vec!["key", "new", "--out", "new.key", "--phrase", "few.words"], key),
        (vec!["key", "new", "--out", "new.key", "--phrase", "unknown.words"], key),
        (vec!["key", "new", "--out", "new.key", "--phrase", "swapped.words"], key),
        (vec!["key", "show", "missing.key"], None),
        (vec!["key", "show", "note.txt"], None),
        (vec!["up", "--dir", "op"], None),
        (vec!["up", "--dir", "op", "--yes"], None),
        (vec!["up", "--dir", "op", "--yes", "--join", "cairn:join/join1qqqq"], None),
        (vec!["up", "--dir", "op", "--yes", "--join", LINK], None),
        (vec!["gateway", "--dir", "gw"], None),
        (vec!["gateway", "--dir", "gw", "--join", LINK, "--s3", "0.0.0.0:9000"], None),
        (vec!["node", "--dir", "n"], None),
        (vec!["node", "--dir", "n", "--listen", "0.0.0.0:7070"], None),
        (vec!["node", "--dir", "n", "--genesis", "note.txt"], None),
        (vec!["relay", "--join", "https://example.org"], None),
        (vec!["network", "show", "cairn:join/"], None),
        (vec!["set"], None),
        (vec!["set", "price", "2", "--dir", "nothing"], None),
        (vec!["set", "prise", "2", "--dir", "home"], None),
        (vec!["set", "offer", "lots", "--dir", "home"], None),
        (vec!["status", "--dir", "nothing"], None),
        (vec!["doctor", "--dir", "home"], None),
        (vec!["exit", "--dry-run"], None),
    ]
}

/// Files that the lines above name.
fn desk() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("note.txt", "neither a pack nor a key\n");
    std::fs::set_permissions(dir.path().join("note.txt"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir(dir.path().join("home")).unwrap();
    write("home/cairn.toml", &format!("join = \"{LINK}\"\n"));
    write("few.words", "abandon ability\n");
    write("unknown.words", &"abandon cairn ".repeat(12));
    write("swapped.words", &"abandon ability ".repeat(12));
    dir
}

#[test]
fn errors_as_text_and_as_json() {
    let (dir, mut text) = (desk(), String::new());
    for (words, passphrase) in mistakes() {
        let title = format!("cairn {}", words.join(" "));
        let seen = cairn(dir.path(), &words, passphrase);
        assert!(
            seen.code != 0 && seen.out.is_empty(),
            "{title}: stdout is for answers, not for {:?}",
            seen.out
        );
        assert!(!seen.err.is_empty() && !seen.err.contains("panicked"), "{title}: {}", seen.err);
        show(&mut text, &title, &seen);

        let with_json: Vec<&str> = ["--json"].into_iter().chain(words).collect();
        let json = cairn(dir.path(), &with_json, passphrase);
        assert_eq!(json.code, seen.code, "{title}: --json changes what is printed, not what happened");
        let object: serde_json::Value =
            serde_json::from_str(&json.out).expect("stdout holds exactly one object");
        for field in ["code", "cause", "remedy"] {
            let told = object["error"][field].as_str().unwrap_or_default();
            assert!(!told.trim().is_empty() && !told.contains('\n'), "{title}: {field} is {told:?}");
        }
        show(&mut text, &title.replacen("cairn", "cairn --json", 1), &Seen { err: String::new(), ..json });
    }
    assert!(!dir.path().join("new.key").exists(), "a refused command leaves no key behind");
    golden::check("tests/golden/errors.txt", &text);
}

#[test]
fn a_new_key_is_shown_restored_and_stays_shut_to_another_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    let made = cairn(dir.path(), &["--json", "key", "new", "--out", "a.key"], Some(PASSPHRASE));
    assert!(made.code == 0 && made.err.contains("on paper"), "{}", made.err);
    let made: serde_json::Value = serde_json::from_str(&made.out).unwrap();
    let shown = cairn(dir.path(), &["key", "show", "a.key"], Some(PASSPHRASE));
    assert_eq!(shown.out.trim(), made["address"].as_str().unwrap());

    std::fs::write(dir.path().join("words"), made["phrase"].as_str().unwrap()).unwrap();
    let again = ["key", "new", "--out", "b.key", "--phrase", "words"];
    let restored = cairn(dir.path(), &again, Some(PASSPHRASE));
    assert_eq!(restored.out, shown.out);
    assert!(
        !restored.err.contains("on paper"),
        "no words are shown that could be written down: {}",
        restored.err
    );

    let wrong = cairn(dir.path(), &["--json", "key", "show", "a.key"], Some("another long passphrase"));
    let wrong: serde_json::Value = serde_json::from_str(&wrong.out).unwrap();
    assert_eq!(wrong["error"]["code"], "key.locked");
}
