//! stdout is the answer, stderr the talk, `--json` the contract.

use serde_json::Value;

/// How answers are printed.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// One JSON object on stdout.
    pub json: bool,
}

impl Out {
    /// Prints an answer: the object, or the text.
    pub fn answer(&self, object: &Value, text: impl FnOnce() -> String) {
        if self.json {
            println!("{object}");
        } else {
            println!("{}", text().trim_end());
        }
    }

    /// Talks on stderr.
    pub fn say(&self, text: impl AsRef<str>) {
        eprintln!("{}", text.as_ref());
    }
}

/// A failure for the edge: code, cause, remedy.
#[derive(Debug)]
pub struct Failure {
    /// Stable code.
    pub code: String,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

impl Failure {
    /// A failure.
    pub fn new(code: &str, cause: impl Into<String>, remedy: &str) -> anyhow::Error {
        anyhow::Error::new(Self { code: code.to_owned(), cause: cause.into(), remedy: remedy.to_owned() })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n  code:   {}\n  remedy: {}", self.cause, self.code, self.remedy)
    }
}

impl std::error::Error for Failure {}

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
