//! `cargo xtask`: everything a contributor must pass, and the machinery around it.
//!
//! It knows the layout of the workspace and the tools of the house. It knows nothing of
//! leases, epochs or money: no crate of the workspace is a dependency of this one, so it
//! builds in seconds and still runs when the rest does not compile.

mod count;
mod e2e;
mod edges;
mod labs;
mod nat;
mod run;
mod scan;
mod spdx;
mod stages;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that must pass: tidy, the tests of all crates, real clients
    Test,
    /// House rules: dependency edges, sizes, file names, licences, formatting
    Tidy,
    /// Stock clients (boto3, aws cli, curl) against a real devnet process
    E2e {
        /// Run only the tests whose name contains this; `nat` runs the NAT lab in network namespaces
        name: Option<String>,
    },
    /// Benchmarks, all of them or one by name
    Bench {
        /// A name from the table in xtask/src/labs.rs
        name: Option<String>,
    },
    /// The consensus engine under simulated faults, one run for each seed; or `durability`: the model of losses against a
    /// simulation of 100,000 segment-years of each profile
    Sim {
        /// `engine` or `durability`
        #[arg(default_value = "engine", value_parser = ["engine", "durability"])]
        what: String,
        /// Seeds as A..B; B itself is not run
        #[arg(long, default_value = "0..16")]
        seeds: labs::Seeds,
    },
    /// Mutated bytes into every decoder of foreign bytes; needs no nightly toolchain
    Fuzz {
        /// How long, over all targets together
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        seconds: u64,
        /// One target by name; all of them when left out
        target: Option<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.task {
        Task::Test => stages::test(),
        Task::Tidy => tidy::command(),
        Task::E2e { name } if name.as_deref() == Some("nat") => nat::command(),
        Task::E2e { name } => e2e::command(name.as_deref()),
        Task::Bench { name } => labs::bench(name.as_deref()),
        Task::Sim { what, seeds } => labs::sim(&what, &seeds),
        Task::Fuzz { seconds, target } => labs::fuzz(seconds, target.as_deref()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
