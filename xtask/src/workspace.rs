//! What the checks read: cargo's view of the workspace and git's view of its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package};

use crate::run;

/// One crate of the workspace, reduced to what the checks need.
#[derive(Clone, Debug)]
pub struct Room {
    pub name: String,
    /// Directory relative to the root, with `/`.
    pub dir: String,
    pub uses: Vec<Edge>,
}

/// A dependency of a room, by package name (renames are seen through).
#[derive(Clone, Debug)]
pub struct Edge {
    pub to: String,
    pub dev: bool,
}

/// The whole workspace: rooms, foreign packages, files.
pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
    pub rooms: Vec<Room>,
    pub foreign: Vec<Foreign>,
    pub files: Vec<String>,
}

/// A package from a registry.
#[derive(Clone, Debug)]
pub struct Foreign {
    pub name: String,
    pub version: String,
    pub licence: Option<String>,
    pub licence_file: bool,
}

impl Workspace {
    /// # Errors
    /// When `cargo metadata` fails (a broken manifest, no registry) or git cannot list files
    /// and the directory cannot be read either.
    pub fn load() -> Result<Self> {
        let metadata = metadata(false)?;
        let root = metadata.workspace_root.clone().into_std_path_buf();
        let members = metadata.workspace_packages();
        let rooms = members.iter().map(|package| room(&root, package)).collect();
        let foreign = metadata
            .packages
            .iter()
            .filter(|package| !metadata.workspace_members.contains(&package.id))
            .map(foreign)
            .collect();
        let files = files(&root)?;
        let target = metadata.target_directory.clone().into_std_path_buf();
        Ok(Self { root, target, rooms, foreign, files })
    }

    /// Rooms and paths only: quick, and needs no registry.
    ///
    /// # Errors
    /// When `cargo metadata` fails.
    pub fn sketch() -> Result<Self> {
        let metadata = metadata(true)?;
        let root = metadata.workspace_root.clone().into_std_path_buf();
        let rooms = metadata.packages.iter().map(|package| room(&root, package)).collect();
        let target = metadata.target_directory.clone().into_std_path_buf();
        Ok(Self { root, target, rooms, foreign: Vec::new(), files: Vec::new() })
    }

    /// True when a crate of that name is in the workspace.
    pub fn has(&self, name: &str) -> bool {
        self.rooms.iter().any(|room| room.name == name)
    }
}

fn metadata(no_deps: bool) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    if no_deps {
        command.no_deps();
    }
    command.exec().context("cargo metadata failed: mend the manifest it names, then run again")
}

fn room(root: &Path, package: &Package) -> Room {
    let dir = package.manifest_path.parent().map_or_else(String::new, |dir| {
        let dir = dir.as_std_path();
        dir.strip_prefix(root).unwrap_or(dir).to_string_lossy().replace('\\', "/")
    });
    let uses = package
        .dependencies
        .iter()
        .map(|dependency| Edge {
            to: dependency.name.to_string(),
            dev: dependency.kind == cargo_metadata::DependencyKind::Development,
        })
        .collect();
    Room { name: package.name.to_string(), dir, uses }
}

fn foreign(package: &Package) -> Foreign {
    Foreign {
        name: package.name.to_string(),
        version: package.version.to_string(),
        licence: package.license.clone(),
        licence_file: package.license_file.is_some(),
    }
}

/// Tracked files and new ones that git does not ignore, so that a finding comes before
/// `git add`; without git (an unpacked archive), the directory itself.
fn files(root: &Path) -> Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    let mut files = match listed {
        Ok(output) if output.status.success() => output
            .stdout
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect(),
        _ => {
            eprintln!("xtask: git lists no files here, so every file below the root is checked");
            let mut found = Vec::new();
            walk(root, root, &mut found)?;
            found
        }
    };
    files.retain(|file| fs::symlink_metadata(root.join(file)).is_ok_and(|meta| meta.is_file()));
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        if kind.is_dir() {
            if name != "target" && name != ".git" && name != "__pycache__" {
                walk(root, &path, found)?;
            }
        } else if kind.is_file() {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            found.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

/// True when rustfmt can be called through cargo.
pub fn has_rustfmt() -> bool {
    run::present("rustfmt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_without_git_is_walked_without_its_build_output() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/b.rs", "target/c.rs", "d.md"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let mut found = Vec::new();
        walk(dir.path(), dir.path(), &mut found).unwrap();
        found.sort();
        assert_eq!(found, ["a/b.rs", "d.md"]);
    }
}
