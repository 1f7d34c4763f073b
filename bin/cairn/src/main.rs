//! The command line of a Cairn network.

mod args;
mod audit;
mod car;
mod devnet;
mod endow;
mod key;
mod operator;
mod output;
mod port;
mod s3;
mod state;
mod status;
mod storage;
mod storage_cost;

use anyhow::Result;
use args::{Cli, Command, ExportCommand, VerifyCommand};
use cairn_client::Client;
use clap::Parser;
use output::{Failure, Out};
use std::io::IsTerminal;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    // The demo breaks things on purpose; their complaints would drown what it shows.
    let shows = matches!(&cli.command, Command::Devnet(a) if a.demo.is_some());
    // A fresh database says that it is fresh; that is no news.
    let usual = if shows { "error" } else { "warn,commonware_storage::qmdb=error" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("CAIRN_LOG").unwrap_or_else(|_| usual.into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let out = Out { json: cli.json };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => {
            eprintln!("error: the async runtime does not start: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli, out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let failure = Failure::of(&e);
            failure.tell(out);
            ExitCode::from(if failure.code == Failure::USAGE { 2 } else { 1 })
        }
    }
}

/// What was typed is not understood (or help was asked for): clap's text, and with `--json` one object.
fn usage(e: &clap::Error) -> ExitCode {
    // The line did not parse, so the flag is looked for by eye.
    let json = std::env::args_os().skip(1).take_while(|a| a != "--").any(|a| a == "--json");
    if e.use_stderr() && json {
        Failure::usage(e).tell(Out { json });
        return ExitCode::from(2);
    }
    // Nobody is left to tell when this fails.
    let _ = e.print();
    ExitCode::from(if e.use_stderr() { 2 } else { 0 })
}

async fn run(cli: Cli, out: Out) -> Result<()> {
    let client = || Client::new(cli.api.clone());
    match cli.command {
        Command::Devnet(mut a) => match a.ctl.take() {
            Some(args::DevnetCommand::Ctl(ctl)) => devnet::ctl(&client()?, out, ctl).await,
            None => devnet::run(a, out).await,
        },
        Command::Status => status::status(&client()?, out).await,
        Command::Earnings(a) => {
            let client = client()?;
            let who = match &a.operator {
                Some(name) => Some(operator::account(&client, name).await?),
                None => None,
            };
            status::earnings(&client, out, a.explain, who).await
        }
        Command::Doctor { operator } => operator::doctor(&client()?, out, operator.as_deref()).await,
        Command::Exit { operator, dry_run } => operator::exit(&client()?, out, &operator, dry_run).await,
        Command::Storage(c) => storage::run(&client()?, out, c).await,
        Command::Export(ExportCommand::Epoch { epoch, out: file, sector }) => {
            audit::export(&client()?, out, epoch, sector, &file).await
        }
        Command::Export(ExportCommand::State { out: file }) => state::export(&client()?, out, &file).await,
        Command::Key(k) => key::run(out, k),
        Command::Verify(v) => match (v.what, v.pack, v.trust) {
            (Some(VerifyCommand::Epoch { epoch, sector }), None, None) => {
                audit::verify_epoch(&client()?, out, epoch, sector).await
            }
            (None, Some(pack), Some(trust)) => audit::verify_file(out, &pack, &trust),
            _ => Err(Failure::new(
                Failure::USAGE,
                "one thing to verify is needed, an epoch of the node or a pack",
                "`cairn verify epoch N`, or `cairn verify --pack FILE --trust DIGITS`",
            )),
        },
    }
}
