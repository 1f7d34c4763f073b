//! The command line of a Cairn network.

mod args;
mod audit;
mod devnet;
mod key;
mod operator;
mod output;
mod port;
mod s3;
mod state;
mod status;
mod storage;

use anyhow::Result;
use args::{Cli, Command, ExportCommand, VerifyCommand};
use cairn_client::Client;
use clap::Parser;
use output::{Failure, Out};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The demo breaks things on purpose; their complaints would drown what it shows.
    let shows = matches!(&cli.command, Command::Devnet(a) if a.demo.is_some());
    let usual = if shows { "error" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("CAIRN_LOG").unwrap_or_else(|_| usual.into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
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
            fail(&e, out);
            ExitCode::FAILURE
        }
    }
}

/// One report at the edge: code, cause, remedy, whatever room it came from.
fn fail(e: &anyhow::Error, out: Out) {
    let (code, cause, remedy) = if let Some(f) = e.downcast_ref::<Failure>() {
        (f.code.clone(), f.cause.clone(), f.remedy.clone())
    } else if let Some(c) = e.downcast_ref::<cairn_client::ClientError>() {
        (c.code.clone(), c.cause.clone(), c.remedy.clone())
    } else {
        ("cli.failed".into(), format!("{e:#}"), "see the cause".into())
    };
    if out.json {
        println!("{}", serde_json::json!({"error": {"code": code, "cause": cause, "remedy": remedy}}));
    }
    eprintln!("error: {cause}\n  code:   {code}\n  remedy: {remedy}");
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
            (Some(VerifyCommand::Epoch { epoch, sector }), _, _) => {
                audit::verify_epoch(&client()?, out, epoch, sector).await
            }
            (None, Some(pack), Some(trust)) => audit::verify_file(out, &pack, &trust),
            _ => Err(Failure::new(
                "cli.usage",
                "nothing to verify",
                "`cairn verify epoch N`, or `cairn verify --pack FILE --trust DIGITS`",
            )),
        },
    }
}
