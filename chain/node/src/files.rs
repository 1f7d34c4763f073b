//! Whole files: written beside their place, flushed, renamed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

/// The directories that a node keeps files in.
pub(crate) fn make_dirs(dir: &Path) -> io::Result<()> {
    ["bundles", "packs", "executed"].iter().try_for_each(|d| fs::create_dir_all(dir.join(d)))
}

/// Writes a file so that after a crash it is whole or absent. Durable when this returns.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent =
        path.parent().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a path without a directory"))?;
    fs::create_dir_all(parent)?;
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(parent)?.sync_all()
}

/// Writes a file that survives the end of the process, but perhaps not of the machine.
pub(crate) fn write_quick(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path)
}

/// Reads a file; `None` if there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes entries whose name begins with a number below `end`.
pub(crate) fn prune_numbered(dir: &Path, end: u64) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let digits: String = name.to_string_lossy().chars().take_while(char::is_ascii_digit).collect();
        if digits.parse::<u64>().is_ok_and(|n| n < end) {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    Ok(())
}
