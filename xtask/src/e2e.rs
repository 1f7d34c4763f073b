//! `cargo xtask e2e`: real clients, as their makers ship them, against a devnet process.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use crate::count::Count;
use crate::run;
use crate::workspace::Workspace;

const SUITE: &str = "testkit/e2e";

/// Runs the suite and prints its sum.
///
/// # Errors
/// As [`stage`].
pub fn command(name: Option<&str>) -> Result<bool> {
    let count = stage(name)?;
    println!("{count}");
    Ok(count.failed == 0)
}

/// Runs the suite; counts nothing, and says so, while there is no binary to test.
///
/// # Errors
/// When Python or the clients cannot be installed, or the binary does not build.
pub fn stage(name: Option<&str>) -> Result<Count> {
    let workspace = Workspace::sketch()?;
    if !workspace.has("cairn") {
        eprintln!("xtask: e2e is NOT run: bin/cairn does not exist yet, so there is nothing to test");
        return Ok(Count::default());
    }
    let python = Python::prepare(&workspace.root, &workspace.target)?;
    ensure("curl")?;
    ensure("restic")?;
    let binary = build()?;
    let mut pytest = python.command();
    pytest.args(["-m", "pytest", SUITE, "-ra", "--color=no", "-p", "no:cacheprovider"]);
    if let Some(name) = name {
        pytest.args(["-k", name]);
    }
    pytest.current_dir(&workspace.root).env("CAIRN_BIN", binary);
    let ended = run::counting(&mut pytest)?;
    Ok(ended.count.closed(ended.success))
}

/// A Python with the packages of the suite.
struct Python {
    program: PathBuf,
    /// Where packages lie when there is no virtual environment.
    packages: Option<PathBuf>,
    scripts: PathBuf,
}

impl Python {
    fn prepare(root: &Path, target: &Path) -> Result<Self> {
        let wanted = fs::read_to_string(root.join(SUITE).join("requirements.txt"))
            .context("reading testkit/e2e/requirements.txt")?;
        let home = target.join("e2e-venv");
        let stamp = home.join("installed.txt");
        let known = fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted);
        if known && let Some(python) = Self::found(&home) {
            return Ok(python);
        }
        if home.exists() {
            fs::remove_dir_all(&home).context("removing the old target/e2e-venv")?;
        }
        let requirements = root.join(SUITE).join("requirements.txt");
        Self::install(&home, &requirements)?;
        fs::write(&stamp, wanted).context("writing into target/e2e-venv")?;
        Self::found(&home).context("the packages were installed but no Python is to be found")
    }

    /// A virtual environment; without `ensurepip` a plain directory of packages; without pip
    /// either, what apt can bring.
    fn install(home: &Path, requirements: &Path) -> Result<()> {
        if virtual_environment(home, requirements)? || plain_directory(home, requirements)? {
            return Ok(());
        }
        if apt(&["python3-venv", "python3-pip"])? && virtual_environment(home, requirements)? {
            return Ok(());
        }
        bail!(
            "the Python packages of testkit/e2e/requirements.txt cannot be installed (output above): \
             install python3-venv, check the way to the package registry, then run again"
        )
    }

    fn found(home: &Path) -> Option<Self> {
        let program = home.join("bin/python");
        let scripts = home.join("bin");
        if run::present(&program.to_string_lossy()) {
            return Some(Self { program, packages: None, scripts });
        }
        let packages = home.join("packages");
        let scripts = packages.join("bin");
        packages.exists().then(|| Self { program: "python3".into(), packages: Some(packages), scripts })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let mut path: OsString = self.scripts.clone().into_os_string();
        if let Some(old) = env::var_os("PATH") {
            path.push(":");
            path.push(old);
        }
        command.env("PATH", path).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
        if let Some(packages) = &self.packages {
            command.env("PYTHONPATH", packages);
        }
        command
    }
}

fn virtual_environment(home: &Path, requirements: &Path) -> Result<bool> {
    let made = run::plainly(Command::new("python3").args(["-m", "venv"]).arg(home))?;
    let python = home.join("bin/python");
    let fine = made && run::plainly(pip(&mut Command::new(python)).arg("-r").arg(requirements))?;
    if !fine && home.exists() {
        fs::remove_dir_all(home).context("removing a half-made target/e2e-venv")?;
    }
    Ok(fine)
}

fn plain_directory(home: &Path, requirements: &Path) -> Result<bool> {
    eprintln!("xtask: no virtual environment here; trying a plain directory of packages");
    let mut command = Command::new("python3");
    pip(&mut command).arg("--target").arg(home.join("packages")).arg("-r").arg(requirements);
    let fine = run::plainly(&mut command)?;
    if !fine && home.exists() {
        fs::remove_dir_all(home).context("removing a half-made target/e2e-venv")?;
    }
    Ok(fine)
}

fn pip(python: &mut Command) -> &mut Command {
    python.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
}

/// A program of the system that no package of Python brings.
fn ensure(program: &str) -> Result<()> {
    if on_path(program) || (apt(&[program])? && on_path(program)) {
        return Ok(());
    }
    bail!("{program} is missing and could not be installed: install it, then run again")
}

/// Not every program knows `--version`, so it is looked for, not run.
fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Installs packages of the system; false when that is not for us to do (not root, no apt).
pub fn apt(packages: &[&str]) -> Result<bool> {
    if !run::present("apt-get") || !is_root() {
        eprintln!("xtask: needed: {}; install it by hand (no apt here, or not root)", packages.join(" "));
        return Ok(false);
    }
    let install = || -> Result<bool> {
        let mut command = Command::new("apt-get");
        command.args(["install", "-y", "--no-install-recommends"]).args(packages);
        run::plainly(command.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // The lists of a fresh machine may be empty: the second try comes after an update.
    Ok(install()? || (run::plainly(Command::new("apt-get").arg("update"))? && install()?))
}

fn is_root() -> bool {
    let asked = Command::new("id").arg("-u").stdin(Stdio::null()).output();
    asked.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn build() -> Result<PathBuf> {
    artifact(&["build", "-p", "cairn"], "cairn")
}

/// Builds a program under the profile of the tests and asks cargo where it put it.
///
/// # Errors
/// When it does not build, or cargo builds no program of that name.
pub fn artifact(build: &[&str], name: &str) -> Result<PathBuf> {
    let mut child = run::cargo()
        .args(build)
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let pipe = child.stdout.take().context("cargo has no standard output")?;
    let mut binary = None;
    for message in Message::parse_stream(BufReader::new(pipe)) {
        if let Message::CompilerArtifact(artifact) = message.context("reading cargo's messages")?
            && artifact.target.name == name
            && let Some(path) = artifact.executable
        {
            binary = Some(path.into_std_path_buf());
        }
    }
    if !child.wait().context("waiting for cargo")?.success() {
        bail!("{name} does not build (errors above)");
    }
    binary.with_context(|| format!("cargo built no program called {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_place_holds_no_python() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Python::found(dir.path()).is_none());
    }

    #[test]
    fn programs_are_looked_for_on_the_path() {
        assert!(on_path("sh"));
        assert!(!on_path("a-program-that-nobody-has"));
    }

    #[test]
    fn a_plain_directory_of_packages_is_put_on_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let packages = dir.path().join("packages");
        fs::create_dir(&packages).unwrap();
        let command = Python::found(dir.path()).unwrap().command();
        let path = command.get_envs().find(|(name, _)| *name == "PYTHONPATH").unwrap().1;
        assert_eq!(path.unwrap(), packages.as_os_str());
    }
}
