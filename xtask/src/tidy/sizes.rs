//! Files and functions stay small enough to be read in one sitting.

use super::{Finding, Level};
use crate::scan::Source;

/// Lines of a file outside tests: more than the first is a warning, than the second an error.
const FILE: (usize, usize) = (500, 800);
/// Lines of a function, `fn` to closing brace.
const FUNCTION: (usize, usize) = (70, 120);

/// Measures one Rust source.
pub fn check(file: &str, text: &str) -> Vec<Finding> {
    if exempt(file) {
        return Vec::new();
    }
    let source = Source::new(text);
    let mut findings = Vec::new();
    let lines = source.lines_outside_tests();
    if let Some(level) = level(lines, FILE) {
        findings.push(Finding {
            level,
            file: file.to_owned(),
            line: 1,
            rule: "file-size",
            what: format!("{lines} lines outside tests; aim at {}, never above {}", FILE.0, FILE.1),
            remedy: "split it by concern; move tests into a file of their own".to_owned(),
        });
    }
    for function in source.functions() {
        if let Some(level) = level(function.length, FUNCTION) {
            let (name, length) = (&function.name, function.length);
            findings.push(Finding {
                level,
                file: file.to_owned(),
                line: function.line,
                rule: "function-size",
                what: format!(
                    "fn {name} has {length} lines; aim at {}, never above {}",
                    FUNCTION.0, FUNCTION.1
                ),
                remedy: "give its steps names of their own".to_owned(),
            });
        }
    }
    findings
}

fn level(measured: usize, (warning, error): (usize, usize)) -> Option<Level> {
    if measured > error { Some(Level::Error) } else { (measured > warning).then_some(Level::Warning) }
}

/// Tests, benchmarks and tools may be long.
pub fn exempt(file: &str) -> bool {
    let file = format!("/{file}");
    ["/tests/", "/benches/", "/fuzz/", "/testkit/", "/xtask/"].iter().any(|part| file.contains(part))
        || file.ends_with("/tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn functions_have_two_bounds() {
        assert!(check("ledger/src/a.rs", &function(70)).is_empty());
        assert_eq!(check("ledger/src/a.rs", &function(71))[0].level, Level::Warning);
        assert_eq!(check("ledger/src/a.rs", &function(120))[0].level, Level::Warning);
        assert_eq!(check("ledger/src/a.rs", &function(121))[0].level, Level::Error);
    }

    #[test]
    fn files_have_two_bounds_and_tests_do_not_count() {
        let tests = "#[cfg(test)]\nmod tests {\n    // a case\n}\n".repeat(300);
        let file = |lines: usize| format!("{}{tests}", "const A: u8 = 0;\n".repeat(lines));
        assert!(check("ledger/src/a.rs", &file(500)).is_empty());
        assert_eq!(check("ledger/src/a.rs", &file(501))[0].level, Level::Warning);
        assert_eq!(check("ledger/src/a.rs", &file(801))[0].level, Level::Error);
    }

    #[test]
    fn tests_benches_and_tools_are_exempt() {
        let long = function(900);
        for file in
            ["a/tests/it/b.rs", "a/src/b/tests.rs", "a/benches/c.rs", "testkit/src/d.rs", "xtask/src/e.rs"]
        {
            assert!(check(file, &long).is_empty(), "{file}");
        }
        assert!(!check("a/src/contests.rs", &long).is_empty());
    }
}
