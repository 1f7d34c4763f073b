//! What may not stand in a tracked file.

use super::sizes::exempt;
use super::{Finding, Level, error};
use crate::scan::Source;

/// A repository is no place for big files.
const MOST_BYTES: usize = 1_000_000;

/// Directories at the root of somebody's machine; put together here so that this file does
/// not hold what it looks for.
const MACHINE_ROOTS: [&str; 4] = ["work", "root", "home", "farm"];

/// No file above a megabyte. The lock file is exempt: cargo decides its size.
pub fn weight(file: &str, bytes: usize) -> Option<Finding> {
    let what = format!("{bytes} bytes; a tracked file has at most {MOST_BYTES}");
    let remedy = "generate it, fetch it in the test, or keep a smaller sample";
    (bytes > MOST_BYTES && file != "Cargo.lock").then(|| error(file, "file-weight", what, remedy))
}

/// No absolute path of the machine on which somebody worked.
pub fn machine_paths(file: &str, text: &str) -> Vec<Finding> {
    let roots = MACHINE_ROOTS.map(|root| format!("/{root}/"));
    let mut findings = Vec::new();
    for (place, line) in text.lines().enumerate() {
        if let Some(root) = roots.iter().find(|root| names_root(line, root)) {
            findings.push(Finding {
                level: Level::Error,
                file: file.to_owned(),
                line: place + 1,
                rule: "machine-path",
                what: format!("a path below {root} exists on one machine only"),
                remedy: "write it relative to the repository, or with ~ or a variable".to_owned(),
            });
        }
    }
    findings
}

/// True when `root` stands in `line` as the start of a path, not in the middle of one.
fn names_root(line: &str, root: &str) -> bool {
    line.match_indices(root).any(|(at, _)| {
        let before = &line[..at];
        let inside = |c: char| c.is_alphanumeric() || "._-~/$}{*)%+@".contains(c);
        !before.ends_with(inside) || before.ends_with("://")
    })
}

/// No `unwrap()` in code that is not a test.
pub fn unwraps(file: &str, text: &str) -> Vec<Finding> {
    let tool = file.starts_with("xtask/");
    if exempt(file) && !tool {
        return Vec::new();
    }
    if file.ends_with("/tests.rs") {
        return Vec::new();
    }
    let lines = Source::new(text).lines_with(".unwrap()");
    let finding = |line| Finding {
        level: Level::Error,
        file: file.to_owned(),
        line,
        rule: "unwrap",
        what: "unwrap() outside tests".to_owned(),
        remedy: "return an error, or use expect(...) with the reason why it cannot fail".to_owned(),
    };
    lines.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_machine_are_found_where_they_start() {
        let slash = "/";
        for bad in ["X/work/a", "\"X/root/.cargo\"", "see (X/home/me)", "file://X/farm/b", "A=X/home/x"] {
            let line = bad.replace('X', "");
            assert_eq!(machine_paths("a.md", &line).len(), 1, "{line}");
        }
        for fine in
            ["docs/work/a", "~/work/b", "$HOME/work/", "https://x.org/home/y", "/homework/", "/workspace/c"]
        {
            assert!(machine_paths("a.md", fine).is_empty(), "{fine}");
        }
        let second = format!("fine\n{slash}work{slash}x\n");
        assert_eq!(machine_paths("a.md", &second)[0].line, 2);
    }

    #[test]
    fn unwrap_is_found_outside_tests_only() {
        let text = "fn f() { x.unwrap(); }\n#[cfg(test)]\nmod tests { fn t() { x.unwrap(); } }\n";
        assert_eq!(unwraps("ledger/src/a.rs", text).len(), 1);
        assert_eq!(unwraps("xtask/src/a.rs", text).len(), 1);
        assert!(unwraps("testkit/src/a.rs", text).is_empty());
        assert!(unwraps("ledger/src/a/tests.rs", text).is_empty());
        assert!(unwraps("ledger/src/a.rs", "fn f() { x.unwrap_or(1); }").is_empty());
    }

    #[test]
    fn heavy_files_are_found() {
        assert!(weight("a.bin", MOST_BYTES).is_none());
        assert!(weight("a.bin", MOST_BYTES + 1).is_some());
        assert!(weight("Cargo.lock", MOST_BYTES + 1).is_none());
    }
}
