//! Runs a child and shows its output as it comes, while counting the tests in it.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::count::Count;

/// The cargo that runs us, or the one on the path.
///
/// What cargo told *us* about our own package is taken out of its environment: build scripts of some libraries (ring)
/// look at it and would be built anew, with everything above them, each time that cargo is called another way.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if let Some(name) = name.to_str()
            && (name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// What a child came to.
pub struct Ended {
    pub success: bool,
    pub count: Count,
}

/// Runs `command` to its end; its standard output goes through us line by line, its standard
/// error goes straight to ours.
///
/// # Errors
/// When the program cannot be started or its output cannot be read.
pub fn counting(command: &mut Command) -> Result<Ended> {
    announce(command);
    counting_into(command, &mut std::io::stdout())
}

fn counting_into(command: &mut Command, out: &mut impl Write) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}; is it installed and on PATH?"))?;
    let pipe = child.stdout.take().context("the child has no standard output")?;
    let mut count = Count::default();
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    // Tests may print any bytes: pass them on unchanged, read them leniently.
    while reader.read_until(b'\n', &mut line).context("reading a child's output")? > 0 {
        out.write_all(&line)?;
        out.flush()?;
        if let Some(part) = Count::from_line(String::from_utf8_lossy(&line).trim_end()) {
            count += part;
        }
        line.clear();
    }
    let status = child.wait().context("waiting for a child")?;
    Ok(Ended { success: status.success(), count })
}

/// Runs `command` with our own outputs; true when it ended well.
///
/// # Errors
/// When the program cannot be started.
pub fn plainly(command: &mut Command) -> Result<bool> {
    announce(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {command:?}; is it installed and on PATH?"))?;
    Ok(status.success())
}

/// True when `program --version` can be run.
pub fn present(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn announce(command: &Command) {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    if let Some(name) = shown.rsplit('/').next() {
        shown = name.to_owned();
    }
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    eprintln!("xtask: {shown}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_a_child_prints_and_reports_its_end() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured'; exit 3";
        // Not to our own output: the outer run would count these tests as ours.
        let mut shown = Vec::new();
        let ended = counting_into(Command::new("sh").args(["-c", script]), &mut shown).unwrap();
        assert!(shown.starts_with(b"test result: ok. 2 passed"));
        assert!(!ended.success);
        assert_eq!(ended.count.passed, 2);
    }

    #[test]
    fn a_missing_program_is_an_error_with_its_name() {
        let error = counting(&mut Command::new("no-such-program-here")).err().unwrap();
        assert!(format!("{error:#}").contains("no-such-program-here"));
    }
}
