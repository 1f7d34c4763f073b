//! The command line of a Cairn network.

mod args;
mod audit;
mod car;
mod config;
mod devnet;
mod endow;
mod gateway;
mod home;
mod key;
mod local;
mod node;
mod notify;
mod operator;
mod output;
mod plane;
mod port;
mod price;
mod relay;
mod s3;
mod state;
mod status;
mod storage;
mod storage_cost;
mod up;

use anyhow::Result;
use args::{Cli, Command, ExportCommand, VerifyCommand};
use cairn_client::Client;
use clap::Parser;
use home::Home;
use output::{Failure, Out};
use std::io::IsTerminal;
use std::process::ExitCode;

/// What is logged unless `CAIRN_LOG` says otherwise. A fresh database says that it is fresh, and connections that end say
/// so while a process stops: that is no news.
const QUIET: &str = "warn,commonware_storage::qmdb=error,iroh::socket::transports::relay=off,iroh_relay::server::client=error";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    // The demo breaks things on purpose; their complaints would drown what it shows.
    let shows = matches!(&cli.command, Command::Devnet(a) if a.demo.is_some());
    let usual = if shows { "error" } else { QUIET };
    let filter = tracing_subscriber::EnvFilter::try_from_env("CAIRN_LOG").unwrap_or_else(|_| usual.into());
    // The S3 library writes signatures and whole requests; the gateway's own events (cairn::s3::access) do not.
    let filter = match "s3s=off".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
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
    let client = || -> Result<Client> { Ok(Client::new(cli.api.clone())?) };
    match cli.command {
        Command::Devnet(mut a) => match a.ctl.take() {
            Some(args::DevnetCommand::Ctl(ctl)) => devnet::ctl(&client()?, out, ctl).await,
            None => devnet::run(a, out).await,
        },
        Command::Up(a) => up::up(a, &cli.api, out).await,
        Command::Gateway(a) => gateway::run(a, out).await,
        Command::Node(a) => node::run(a, out).await,
        Command::Relay(a) => relay::run(a, out).await,
        Command::Network(c) => node::network(out, c),
        Command::Set(a) => up::change::set(a, out),
        Command::Status(at) => match at.dir {
            Some(dir) => local::status(&Home::open(&dir)?, out).await,
            None => status::status(&client()?, out).await,
        },
        Command::Earnings(a) => {
            let home = a.at.dir.as_deref().map(Home::open).transpose()?;
            let client = home.as_ref().map_or_else(client, |h| h.client())?;
            let who = match (&home, &a.operator) {
                (Some(home), None) => Some(local::account(home)?),
                (_, Some(name)) => Some(operator::account(&client, name).await?),
                (None, None) => None,
            };
            status::earnings(&client, out, a.explain, who).await
        }
        Command::Doctor { operator, at } => match at.dir {
            Some(dir) => local::doctor(&Home::open(&dir)?, out).await,
            None => operator::doctor(&client()?, out, operator.as_deref()).await,
        },
        Command::Exit { operator, at, dry_run } => match (at.dir, operator) {
            (Some(dir), _) => local::exit(&Home::open(&dir)?, out, dry_run).await,
            (None, name) => operator::exit(&client()?, out, &name.unwrap_or_default(), dry_run).await,
        },
        Command::Storage(c) => storage::run(&client()?, out, c).await,
        Command::Export(ExportCommand::Epoch { epoch, out: file, sector }) => {
            audit::export(&client()?, out, epoch, sector, &file).await
        }
        Command::Export(ExportCommand::State { out: file }) => state::export(&client()?, out, &file).await,
        Command::Completions { shell } => {
            use clap::CommandFactory as _;
            clap_complete::generate(shell, &mut Cli::command(), "cairn", &mut std::io::stdout());
            Ok(())
        }
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
