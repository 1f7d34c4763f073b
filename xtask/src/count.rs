//! Reads the summaries of test runners and adds them up.

use std::fmt;
use std::ops::AddAssign;

/// Tests of one or of several stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
        self.skipped = self.skipped.saturating_add(other.skipped);
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

impl Count {
    /// A stage that ended badly counts at least one failure, even when its runner died
    /// before it could print a summary (a crate that does not compile, a signal).
    pub fn closed(mut self, success: bool) -> Self {
        if !success && self.failed == 0 {
            self.failed = 1;
        }
        self
    }

    /// What one line of output adds: a summary line of cargo's test harness or of pytest;
    /// `None` for every other line.
    pub fn from_line(line: &str) -> Option<Self> {
        let line = without_colour(line);
        libtest(&line).or_else(|| pytest(&line))
    }
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s`
fn libtest(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let (_verdict, numbers) = rest.split_once(". ")?;
    let mut count = Count::default();
    for part in numbers.split(';') {
        let Some((number, word)) = number_and_word(part) else {
            continue;
        };
        match word {
            "passed" => count.passed = number,
            "failed" => count.failed = number,
            "ignored" => count.skipped = number,
            _ => {}
        }
    }
    Some(count)
}

/// `==== 1 failed, 11 passed, 2 skipped, 1 error in 3.20s ====`, the frame being optional.
fn pytest(line: &str) -> Option<Count> {
    let body = line.trim().trim_matches('=').trim();
    let (numbers, duration) = body.rsplit_once(" in ")?;
    let seconds = duration.split(' ').next()?.strip_suffix('s')?;
    seconds.parse::<f64>().ok()?;
    if numbers == "no tests ran" {
        return Some(Count::default());
    }
    let mut count = Count::default();
    for part in numbers.split(',') {
        let (number, word) = number_and_word(part)?;
        match word {
            "passed" | "xpassed" => count.passed = count.passed.saturating_add(number),
            "failed" | "error" | "errors" => count.failed = count.failed.saturating_add(number),
            "skipped" | "xfailed" => count.skipped = count.skipped.saturating_add(number),
            "deselected" | "warning" | "warnings" | "rerun" => {}
            _ => return None,
        }
    }
    Some(count)
}

fn number_and_word(part: &str) -> Option<(u64, &str)> {
    let mut words = part.split_whitespace();
    let number = words.next()?.parse().ok()?;
    Some((number, words.next()?))
}

/// Drops the colour sequences of a terminal (`ESC [ ... letter`).
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            plain.push(c);
        } else if chars.next() == Some('[') {
            chars.by_ref().find(char::is_ascii_alphabetic);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(passed: u64, failed: u64, skipped: u64) -> Option<Count> {
        Some(Count { passed, failed, skipped })
    }

    #[test]
    fn reads_the_summary_of_the_test_harness() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s";
        assert_eq!(Count::from_line(line), count(3, 2, 1));
        let coloured = "test result: \u{1b}[32mok\u{1b}[0m. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(Count::from_line(coloured), count(4, 0, 0));
    }

    #[test]
    fn reads_the_summary_of_pytest_and_counts_errors_as_failures() {
        let framed = "=== 1 failed, 11 passed, 2 skipped, 3 deselected, 2 errors in 3.20s ===";
        assert_eq!(Count::from_line(framed), count(11, 3, 2));
        assert_eq!(Count::from_line("5 passed in 63.10s (0:01:03)"), count(5, 0, 0));
        assert_eq!(Count::from_line("=== no tests ran in 0.01s ==="), count(0, 0, 0));
    }

    #[test]
    fn other_lines_add_nothing() {
        for line in [
            "",
            "test a::b ... ok",
            "running 3 tests",
            "3 passed the gate in the morning",
            "the door opened in 3s",
            "4 files, 2 passed in 3x",
        ] {
            assert_eq!(Count::from_line(line), None, "{line}");
        }
    }

    #[test]
    fn a_bad_end_is_never_zero_failures() {
        let fine = Count { passed: 9, ..Count::default() };
        assert_eq!(fine.closed(false).failed, 1);
        assert_eq!(fine.closed(true).failed, 0);
        let known = Count { failed: 4, ..Count::default() };
        assert_eq!(known.closed(false).failed, 4);
    }

    #[test]
    fn the_last_line_names_skips_only_when_there_are_some() {
        let mut sum = Count { passed: 2, failed: 0, skipped: 0 };
        assert_eq!(sum.to_string(), "2 passed, 0 failed");
        sum += Count { passed: 1, failed: 1, skipped: 3 };
        assert_eq!(sum.to_string(), "3 passed, 1 failed, 3 skipped");
    }
}
