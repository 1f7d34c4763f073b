//! The whole state as a file: out of one network, into its next fork.

use anyhow::{Context, Result};
use cairn_client::Client;
use cairn_node::{EXPORT_LIMIT, StateFile};
use cairn_types::{NetworkId, Refusal};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::output::{Failure, Out, bytes};

/// A refusal at the edge.
fn refused(r: Refusal) -> anyhow::Error {
    Failure::new(r.code, r.cause, r.remedy)
}

/// A file that nobody else reads, and that is not there under its name before it is whole.
fn draft(path: &Path) -> Result<(tempfile::TempPath, File)> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().prefix(".cairn-").make_in(folder, |path| {
        OpenOptions::new().write(true).read(true).create_new(true).mode(0o600).open(path)
    });
    let made = made.with_context(|| format!("cannot write into {}", folder.display()))?;
    let (file, path) = made.into_parts();
    Ok((path, file))
}

/// `cairn export state --out FILE`.
pub async fn export(client: &Client, out: Out, path: &Path) -> Result<()> {
    let (draft, mut file) = draft(path)?;
    let written = client.export_state(&mut file).await?;
    file.flush()?;
    file.sync_all().context("the export does not reach the disk")?;
    // What came is what will be imported: read it as an import would.
    let state = load(&draft)?;
    draft.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    let digest = state.export.digest();
    out.say(format!("{} in {}", bytes(written), path.display()));
    out.say("trust a copy of this file only if it has this digest:");
    let answer = json!({
        "network": state.network.to_string(), "fork": state.fork, "height": state.export.height.0,
        "rows": state.export.rows.len(), "bytes": written, "digest": digest.to_string(), "file": path,
    });
    out.answer(&answer, || {
        format!(
            "{digest}  {} rows at height {}, fork {}",
            state.export.rows.len(),
            state.export.height,
            state.fork
        )
    });
    Ok(())
}

/// Reads a file that [`export`] wrote.
pub fn load(path: &Path) -> Result<StateFile> {
    let file = File::open(path).map_err(|e| {
        Failure::new(
            "export.file",
            format!("{} cannot be read: {e}", path.display()),
            "name a file that `cairn export state` wrote",
        )
    })?;
    let mut content = Vec::new();
    let limit = u64::try_from(EXPORT_LIMIT).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut content).with_context(|| format!("cannot read {}", path.display()))?;
    StateFile::decode(&content).map_err(refused)
}

/// Reads a state to go on from, and refuses one of another network.
pub fn import(path: &Path, network: NetworkId) -> Result<StateFile> {
    let state = load(path)?;
    if state.network != network {
        return Err(Failure::new(
            "import.network",
            format!("the file is of network {}, this would be network {network}", state.network),
            "give the same --seed, --operators and --epoch as the network that it was exported from",
        ));
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_draft_is_private_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let (kept, file) = draft(&path).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(kept);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let (kept, _) = draft(&path).unwrap();
        kept.persist(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn files_that_are_none_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let code = |e: anyhow::Error| e.downcast_ref::<Failure>().unwrap().code.clone();
        assert_eq!(code(load(&dir.path().join("nothing")).unwrap_err()), "export.file");
        let wrong = dir.path().join("wrong");
        std::fs::write(&wrong, b"not a state").unwrap();
        assert_eq!(code(load(&wrong).unwrap_err()), "export.malformed");
    }
}
