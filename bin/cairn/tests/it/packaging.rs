//! Services and package: what they name exists, what they start can be typed, and each is shut in.

use clap::Parser;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::args::Cli;

const PARTS: [&str; 4] = ["operator", "gateway", "node", "relay"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Settings of a unit, by section and name; a name may stand several times.
fn unit(part: &str) -> BTreeMap<(String, String), Vec<String>> {
    let (mut section, mut out) = (String::new(), BTreeMap::<_, Vec<String>>::new());
    for line in read(&format!("packaging/systemd/cairn-{part}.service")).lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{part}: {line:?} is no setting"));
        out.entry((section.clone(), name.to_owned())).or_default().push(value.to_owned());
    }
    out
}

#[test]
fn every_service_is_watched_and_shut_in() {
    for part in PARTS {
        let unit = unit(part);
        let user = format!("cairn-{part}");
        let wanted = [
            ("Type", "notify"),
            ("WatchdogSec", "60"),
            ("Restart", "on-failure"),
            ("User", &user),
            ("StateDirectory", &user),
            ("StateDirectoryMode", "0700"),
            ("UMask", "0077"),
            ("NoNewPrivileges", "yes"),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("PrivateDevices", "yes"),
            ("MemoryDenyWriteExecute", "yes"),
            ("CapabilityBoundingSet", ""),
        ];
        for (name, value) in wanted {
            let found = unit.get(&("Service".into(), name.into()));
            assert_eq!(found.and_then(|v| v.last()).map(String::as_str), Some(value), "{part}: {name}");
        }
        assert!(unit.contains_key(&("Service".into(), "MemoryMax".into())), "{part}");
        let dir = format!("CAIRN_DIR=/var/lib/{user}");
        assert_eq!(unit[&("Service".into(), "Environment".into())], [dir]);
    }
}

/// The words after `cairn` of a unit's command, with what its file of defaults proposes for the variable.
fn command(part: &str) -> Vec<String> {
    let start = unit(part).remove(&("Service".into(), "ExecStart".into())).unwrap().remove(0);
    let defaults = read(&format!("packaging/default/cairn-{part}"));
    let variable = format!("#{}_ARGS=", part.to_uppercase());
    let proposed = defaults.lines().find_map(|l| l.strip_prefix(&variable)).unwrap_or_default();
    let line = start.replace(&format!("${}_ARGS", part.to_uppercase()), proposed);
    let words = line.split_whitespace().skip(1).map(str::to_owned);
    assert!(line.starts_with("/usr/bin/cairn "), "{line}");
    std::iter::once("cairn".to_owned()).chain(words).collect()
}

#[test]
fn what_a_service_starts_can_be_typed() {
    for part in PARTS {
        let mut words = command(part);
        if part != "relay" {
            // Comes from CAIRN_DIR of the unit.
            words.extend(["--dir".to_owned(), format!("/var/lib/cairn-{part}")]);
        }
        Cli::try_parse_from(&words).unwrap_or_else(|e| panic!("{words:?}: {e}"));
    }
}

#[test]
fn the_package_names_files_that_exist() {
    let manifest: toml::Value = toml::from_str(&read("bin/cairn/Cargo.toml")).unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut targets = Vec::new();
    for asset in deb["assets"].as_array().unwrap() {
        let field = |n: usize| asset[n].as_str().unwrap();
        let (from, to, mode) = (field(0), field(1), field(2));
        assert!(from.starts_with("target/release/") || base.join(from).is_file(), "{from}");
        assert!(["644", "755"].contains(&mode), "{from}");
        targets.push(format!("/{to}{}", Path::new(from).file_name().unwrap().to_string_lossy()));
    }
    for part in PARTS {
        assert!(targets.contains(&format!("/lib/systemd/system/cairn-{part}.service")), "{part}");
        let user = format!("u cairn-{part} ");
        assert!(read("packaging/sysusers.d/cairn.conf").contains(&user), "{part}");
    }
    for kept in deb["conf-files"].as_array().unwrap() {
        assert!(targets.iter().any(|t| t == kept.as_str().unwrap()), "{kept}");
    }
    let scripts = base.join(deb["maintainer-scripts"].as_str().unwrap());
    for script in ["postinst", "prerm", "postrm"] {
        let text = std::fs::read_to_string(scripts.join(script)).unwrap();
        assert!(
            text.starts_with("#!/bin/sh\n")
                && text.contains("\nset -e\n")
                && text.contains("\n#DEBHELPER#\n")
        );
        let fine = std::process::Command::new("sh").arg("-n").arg(scripts.join(script)).status().unwrap();
        assert!(fine.success(), "{script}");
        assert!(!text.contains("rm -r"), "{script}: keys and data are never removed");
    }
}

#[test]
fn the_service_manager_takes_the_units_where_there_is_one() {
    let tool = std::process::Command::new("systemd-analyze").arg("--version").output();
    if !tool.is_ok_and(|t| t.status.success()) {
        eprintln!(
            "systemd-analyze is not installed: only the settings were compared, the units were NOT verified"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for part in PARTS {
        // The program is not installed here.
        let text =
            read(&format!("packaging/systemd/cairn-{part}.service")).replace("/usr/bin/cairn", "/bin/true");
        let file = dir.path().join(format!("cairn-{part}.service"));
        std::fs::write(&file, text).unwrap();
        files.push(file);
    }
    let done = std::process::Command::new("systemd-analyze").arg("verify").args(&files).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && !said.contains("Unknown"), "{said}");
}
