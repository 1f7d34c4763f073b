//! Files that are generated, checked in and compared.

use std::path::Path;

/// Compares `made` with the file at `path` (from the crate's directory); `CAIRN_UPDATE=1` rewrites the file.
pub fn check(path: &str, made: &str) {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("CAIRN_UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&full, made).unwrap();
    }
    let found = std::fs::read_to_string(&full).unwrap_or_default();
    let differs = found.lines().zip(made.lines()).position(|(a, b)| a != b);
    let line = differs.unwrap_or_else(|| found.lines().count().min(made.lines().count()));
    assert!(
        found == made,
        "{path} is out of step from line {} on: {:?} is now {:?}; read the difference after \
         CAIRN_UPDATE=1 cargo test -p cairn",
        line + 1,
        found.lines().nth(line).unwrap_or("its end"),
        made.lines().nth(line).unwrap_or("its end"),
    );
}
