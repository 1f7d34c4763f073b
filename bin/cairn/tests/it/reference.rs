//! docs/reference/cli.md, made from the definitions of the command line.

use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;

use crate::args::Cli;
use crate::golden;

const PREFACE: &str = "\
# The command line

Generated from `bin/cairn/src/args.rs`; `CAIRN_UPDATE=1 cargo test -p cairn` writes it anew.

stdout is the answer, stderr the talk. With `--json` the answer is one object on one line; `cairn devnet` prints its
object when it is ready and then runs on. A failure is one object too,
`{\"error\": {\"code\", \"cause\", \"remedy\"}}`; the code is stable, the sentences are not. `cairn doctor` adds `findings` to
it, so that nothing that was found is lost.

| exit code | meaning |
|---|---|
| 0 | done; for `verify`: everything comes out the same; for `doctor`: nothing is bad |
| 1 | failed: the error says what and what to do |
| 2 | the line was not understood (code `cli.usage`); nothing was done |

| environment | meaning |
|---|---|
| `CAIRN_API` | URL of the node's API, where `--api` is not given |
| `CAIRN_LOG` | what is logged on stderr: `error`, `warn` (the default), `info`, `debug`, or a filter by module |
| `CAIRN_PASSPHRASE` | passphrase of encrypted key files, at least 12 bytes |
| `CAIRN_DIR` | directory of an operator, gateway or node, where `--dir` is not given |
| `CAIRN_JOIN`, `CAIRN_OFFER`, `CAIRN_PRICE`, ... | go over the keys of a directory's `cairn.toml`; `cairn set` lists them |
| `NOTIFY_SOCKET`, `WATCHDOG_USEC` | set by systemd: `up`, `gateway`, `node` and `relay` say when they are ready and that they live |
";

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// `--epoch TIME`, or `FILE` of a positional argument.
fn name(arg: &Arg) -> String {
    let values: Vec<&str> = arg.get_value_names().unwrap_or_default().iter().map(|v| v.as_str()).collect();
    let takes = arg.get_action().takes_values();
    let optional = arg.get_num_args().is_some_and(|n| n.min_values() == 0);
    let value = match (takes, optional) {
        (false, _) => String::new(),
        (true, false) => values.join(" "),
        (true, true) => format!("[{}]", values.join(" ")),
    };
    match arg.get_long() {
        Some(long) => format!("--{long} {value}").trim_end().to_owned(),
        None => value,
    }
}

fn default(arg: &Arg) -> String {
    let values: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    match (arg.get_action().takes_values(), values.is_empty(), arg.is_required_set()) {
        (true, false, _) => format!("`{}`", values.join(" ")),
        (_, _, true) => "required".to_owned(),
        _ => String::new(),
    }
}

fn table(out: &mut String, args: &[&Arg]) {
    out.push_str("\n| argument | default | meaning |\n|---|---|---|\n");
    for arg in args {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let env = arg.get_env().map(|e| format!(". Environment: `{}`", e.to_string_lossy()));
        let (name, default) = (cell(&name(arg)), default(arg));
        writeln!(out, "| `{name}` | {default} | {}{} |", cell(&help), env.unwrap_or_default()).unwrap();
    }
}

/// Arguments that belong to this command alone; `--help` and `--version` are everywhere.
fn own(command: &Command) -> Vec<&Arg> {
    let general = |a: &Arg| a.is_global_set() || ["help", "version"].contains(&a.get_id().as_str());
    command.get_arguments().filter(|a| !general(a)).collect()
}

/// The command and all below it.
fn section(out: &mut String, command: &mut Command, path: &str) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.render_usage().to_string();
    write!(out, "\n## {path}\n\n{about}\n\n    {}\n", usage.trim_start_matches("Usage: ").trim()).unwrap();
    let args = own(command);
    if !args.is_empty() {
        table(out, &args);
    }
    for below in command.get_subcommands_mut().filter(|c| c.get_name() != "help") {
        let path = format!("{path} {}", below.get_name());
        section(out, below, &path);
    }
}

fn reference() -> String {
    let mut command = Cli::command();
    command.build();
    let mut out = PREFACE.to_owned();
    out.push_str("\n## Options of every command\n");
    table(&mut out, &command.get_arguments().filter(|a| a.is_global_set()).collect::<Vec<_>>());
    out.push_str("\n`--help` explains a command, `--version` prints the version.\n");
    for below in command.get_subcommands_mut().filter(|c| c.get_name() != "help") {
        let path = format!("cairn {}", below.get_name());
        section(&mut out, below, &path);
    }
    out
}

#[test]
fn the_checked_in_reference_is_in_step() {
    golden::check("../../docs/reference/cli.md", &reference());
}

#[test]
fn every_command_and_argument_says_what_it_is() {
    fn silent(command: &Command, path: &str, found: &mut Vec<String>) {
        if command.get_about().is_none() {
            found.push(path.to_owned());
        }
        let args = command.get_arguments().filter(|a| a.get_help().is_none());
        found.extend(args.map(|a| format!("{path} {}", a.get_id())));
        for below in command.get_subcommands() {
            silent(below, &format!("{path} {}", below.get_name()), found);
        }
    }
    let mut found = Vec::new();
    silent(&Cli::command(), "cairn", &mut found);
    assert!(found.is_empty(), "no help for {found:?}");
}
