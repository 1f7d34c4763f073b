//! `cargo xtask tidy`: the rules of the house, each with its place and its remedy.

mod houses;
mod licences;
mod sizes;
mod text;

use std::fmt;
use std::fs;
use std::io::Write;

use anyhow::Result;

use crate::run;
use crate::workspace::{self, Workspace};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Shown; the run still passes.
    Warning,
    /// Fails the run.
    Error,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Finding {
    pub level: Level,
    pub file: String,
    /// From 1.
    pub line: usize,
    pub rule: &'static str,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Warning => "warning",
            Level::Error => "error",
        };
        write!(f, "{}:{}: {level}[{}]: {}", self.file, self.line, self.rule, self.what)?;
        write!(f, "\n    remedy: {}", self.remedy)
    }
}

/// An error at the first line of a file.
fn error(file: impl Into<String>, rule: &'static str, what: String, remedy: &str) -> Finding {
    let (file, remedy) = (file.into(), remedy.to_owned());
    Finding { level: Level::Error, file, line: 1, rule, what, remedy }
}

/// Runs all checks, prints the findings; true when none of them is an error.
///
/// # Errors
/// When the workspace cannot be read at all.
pub fn command() -> Result<bool> {
    let workspace = Workspace::load()?;
    let mut findings = houses::edges(&workspace.rooms);
    findings.extend(houses::readmes(&workspace.rooms, &workspace.files));
    findings.extend(houses::sectors(&workspace.rooms, &workspace.files));
    findings.extend(licences::check(&workspace.foreign));
    match fs::read_to_string(workspace.root.join("Cargo.lock")) {
        Ok(lock) => findings.extend(licences::lock(&lock)),
        Err(cause) => findings.push(error(
            "Cargo.lock",
            "lock-file",
            format!("cannot be read: {cause}"),
            "run any cargo command and commit the file it writes",
        )),
    }
    for file in &workspace.files {
        let bytes = fs::read(workspace.root.join(file))?;
        findings.extend(text::weight(file, bytes.len()));
        let Ok(content) = String::from_utf8(bytes) else {
            continue; // not a text
        };
        findings.extend(text::machine_paths(file, &content));
        if file.ends_with(".rs") {
            findings.extend(sizes::check(file, &content));
            findings.extend(text::unwraps(file, &content));
        }
    }
    findings.extend(formatting()?);
    report(&findings, &mut std::io::stdout())
}

/// Asks rustfmt, when there is one.
fn formatting() -> Result<Option<Finding>> {
    if !workspace::has_rustfmt() {
        eprintln!("xtask: formatting is NOT checked: no rustfmt here (rustup component add rustfmt)");
        return Ok(None);
    }
    let fine = run::plainly(run::cargo().args(["fmt", "--all", "--check"]))?;
    let what = || "the sources are not formatted (differences above)".to_owned();
    Ok((!fine).then(|| error("Cargo.toml", "format", what(), "run `cargo fmt --all`")))
}

fn report(findings: &[Finding], out: &mut impl Write) -> Result<bool> {
    for level in [Level::Warning, Level::Error] {
        for finding in findings.iter().filter(|finding| finding.level == level) {
            writeln!(out, "{finding}")?;
        }
    }
    let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
    writeln!(out, "tidy: {errors} errors, {} warnings", findings.len() - errors)?;
    Ok(errors == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_place_rule_and_remedy() {
        let finding = error("a/b.rs", "some-rule", "is wrong".to_owned(), "mend it");
        assert_eq!(finding.to_string(), "a/b.rs:1: error[some-rule]: is wrong\n    remedy: mend it");
    }

    #[test]
    fn warnings_pass_and_errors_fail() {
        let mut finding = error("a", "r", "w".to_owned(), "m");
        assert!(!report(std::slice::from_ref(&finding), &mut Vec::new()).unwrap());
        finding.level = Level::Warning;
        assert!(report(&[finding], &mut Vec::new()).unwrap());
    }
}
