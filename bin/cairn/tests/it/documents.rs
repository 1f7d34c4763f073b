//! The commands in README and tutorials are commands of this program.

use clap::Parser;
use std::path::{Path, PathBuf};

use crate::args::Cli;

/// Most lines of a tutorial.
const MOST_LINES: usize = 120;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tutorials() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(root().join("docs/tutorials")).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

/// Commands in indented blocks: after `$ ` or at the start of a line, several in a line between `;`.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.lines().filter_map(|l| l.strip_prefix("    "));
    blocks
        .flat_map(|l| l.strip_prefix("$ ").unwrap_or(l).split(';'))
        .map(|c| c.split('#').next().unwrap_or_default().trim())
        .filter(|c| c.starts_with("cairn "))
        // Output may begin with the program's name too: `cairn export` is quoted there.
        .filter(|c| !c.contains('`'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_in_a_document_is_understood() {
    let mut files = tutorials();
    files.push(root().join("README.md"));
    for file in files {
        let found = commands(&std::fs::read_to_string(&file).unwrap());
        assert!(found.len() > 5, "{}: {found:?}", file.display());
        for command in found {
            let parsed = Cli::try_parse_from(command.split_whitespace());
            assert!(parsed.is_ok(), "{}: `{command}`: {}", file.display(), parsed.unwrap_err());
        }
    }
}

#[test]
fn a_tutorial_is_short_and_readme_names_it() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for file in tutorials() {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines < MOST_LINES, "{}: {lines} lines", file.display());
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(readme.contains(&format!("docs/tutorials/{name}")), "README.md does not name {name}");
    }
}
