//! What can be typed.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Cairn: a network of independent machines that anybody can join, buy from and recompute.
#[derive(Parser, Debug)]
#[command(name = "cairn", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Where the node's API is.
    #[arg(long, global = true, default_value = "http://127.0.0.1:7070", env = "CAIRN_API")]
    pub api: String,
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a whole network in this process.
    Devnet(DevnetArgs),
    /// Show where the network stands.
    Status,
    /// Show what operators earned.
    Earnings(EarningsArgs),
    /// Examine an operator: each finding with its cause and remedy.
    Doctor {
        /// Name of a devnet operator, `gateway`, or a device id.
        operator: Option<String>,
    },
    /// Leave the network gracefully: duties are handed over, the bond stays yours.
    Exit {
        /// Name of a devnet operator.
        operator: String,
        /// Only show what would happen.
        #[arg(long)]
        dry_run: bool,
    },
    /// Store, read and recover files.
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Write what is needed to recompute an epoch.
    #[command(subcommand)]
    Export(ExportCommand),
    /// Recompute.
    Verify(VerifyArgs),
    /// Make and look at keys.
    #[command(subcommand)]
    Key(KeyCommand),
}

/// `cairn key`.
#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// A new account: prints its 24 recovery words and its address, writes its key file (encrypted, 0600).
    New {
        /// File to write; it must not exist.
        #[arg(long)]
        out: PathBuf,
        /// File with the 24 words of an account to restore; `-` reads them from standard input.
        #[arg(long)]
        phrase: Option<String>,
    },
    /// The address of a key file.
    Show {
        /// Key file.
        file: PathBuf,
    },
}

/// `cairn devnet`.
#[derive(Args, Debug)]
pub struct DevnetArgs {
    /// Change a running devnet instead.
    #[command(subcommand)]
    pub ctl: Option<DevnetCommand>,
    /// Operators.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub operators: u16,
    /// Length of an epoch, such as 10s or 2s.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub epoch: Duration,
    /// Keep the network in this directory; without it the network ends with the process.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Seed of all keys; the same seed gives the same (worthless) keys.
    #[arg(long, default_value = "cairn")]
    pub seed: String,
    /// Port of the API; 0 takes a free one.
    #[arg(long, default_value_t = 7070)]
    pub api_port: u16,
    /// Port of the S3 endpoint; 0 takes a free one.
    #[arg(long, default_value_t = 9000)]
    pub s3_port: u16,
    /// The customer has paid for so many epochs of full, small leases and no more: see what an empty escrow does.
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u32).range(6..=100_000))]
    pub prepaid: Option<u32>,
    /// Go on from a file of `cairn export state`, as the next fork: same balances, duties and nonces; what was signed for
    /// the old fork counts no more. Needs the --seed, --operators and --epoch of the network that it is from, and the
    /// operators' disks (`operators` in its --dir) copied into --dir: the state says what they hold, they hold it.
    #[arg(long, value_name = "FILE", requires = "dir", conflicts_with = "demo")]
    pub import: Option<PathBuf>,
    /// Store, prove, repair, recover and verify before your eyes, then stop. With a file: store that one.
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    pub demo: Option<String>,
}

/// `cairn devnet ctl`.
#[derive(Subcommand, Debug)]
pub enum DevnetCommand {
    /// Inject a fault, or skip time.
    #[command(subcommand)]
    Ctl(Ctl),
}

/// Faults.
#[derive(Subcommand, Debug)]
pub enum Ctl {
    /// Stop an operator as a power cut would.
    Crash {
        /// Operator, such as op-3.
        operator: String,
    },
    /// Start a stopped operator again.
    Restart {
        /// Operator.
        operator: String,
    },
    /// Make an operator cheat.
    Cheat {
        /// Operator.
        operator: String,
        /// Name of the cheat; without it the names are listed.
        which: Option<String>,
    },
    /// Accuse an operator of not serving a chunk that it signed for: it answers on chain, or loses part of its bond.
    Dispute {
        /// Operator.
        operator: String,
    },
    /// Let the customer buy credits.
    Pay {
        /// How many (a credit is a micro-dollar).
        credits: u64,
    },
    /// Skip epochs.
    Warp {
        /// How many.
        epochs: u64,
    },
}

/// `cairn earnings`.
#[derive(Args, Debug)]
pub struct EarningsArgs {
    /// Explain an epoch (the latest settled one without a number): every task, every deduction, its code.
    #[arg(long, num_args = 0..=1, value_name = "EPOCH")]
    pub explain: Option<Option<u64>>,
    /// Only this operator (devnet name or address).
    #[arg(long)]
    pub operator: Option<String>,
}

/// `cairn storage`.
#[derive(Subcommand, Debug)]
pub enum StorageCommand {
    /// Store a file.
    Put {
        /// File.
        file: PathBuf,
        /// s3://bucket/key; the bucket is made if it is missing.
        to: String,
        /// Only show the price.
        #[arg(long)]
        dry_run: bool,
    },
    /// Read a file back.
    Get {
        /// s3://bucket/key.
        from: String,
        /// File to write.
        file: PathBuf,
    },
    /// List buckets, or the objects of one.
    Ls {
        /// s3://bucket/prefix.
        at: Option<String>,
    },
    /// Delete an object.
    Rm {
        /// s3://bucket/key.
        at: String,
        /// Only show what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// Rebuild the gateway's state from the recovery phrase and the network alone.
    Recover {
        /// File with the 24 words; `-` reads them from standard input.
        #[arg(long)]
        phrase: String,
    },
    /// Show what is paid: what is left in each lease's escrow, and for how long that lasts.
    Escrow,
    /// What storing so much costs, and how safe it is.
    Cost {
        /// Size, such as 500GB or 64MiB.
        size: String,
        /// Months.
        #[arg(long, default_value_t = 1)]
        months: u32,
    },
}

/// `cairn export`.
#[derive(Subcommand, Debug)]
pub enum ExportCommand {
    /// The pack of an epoch; prints the 64 digits to trust.
    Epoch {
        /// Epoch.
        epoch: u64,
        /// File to write.
        #[arg(long)]
        out: PathBuf,
        /// Sector number.
        #[arg(long, default_value_t = 1)]
        sector: u16,
    },
    /// The whole state at a final height, to go on from in a new fork (`cairn devnet --import`); prints its digest.
    State {
        /// File to write.
        #[arg(long)]
        out: PathBuf,
    },
}

/// `cairn verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// What.
    #[command(subcommand)]
    pub what: Option<VerifyCommand>,
    /// Pack to verify, offline.
    #[arg(long, requires = "trust")]
    pub pack: Option<PathBuf>,
    /// Settlement id to trust: 64 hexadecimal digits.
    #[arg(long)]
    pub trust: Option<String>,
}

/// `cairn verify epoch`.
#[derive(Subcommand, Debug)]
pub enum VerifyCommand {
    /// Fetch the pack of an epoch from the node, recompute it and compare it with the chain's record.
    Epoch {
        /// Epoch.
        epoch: u64,
        /// Sector number.
        #[arg(long, default_value_t = 1)]
        sector: u16,
    },
}

/// Reads `10s`, `250ms`, `1m`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let n: u64 =
        number.parse().map_err(|_| format!("{text:?} is no length of time; write 10s, 500ms, 1m or 1h"))?;
    let ms = match unit {
        "ms" => Some(n),
        "s" | "" => n.checked_mul(1000),
        "m" => n.checked_mul(60_000),
        "h" => n.checked_mul(3_600_000),
        _ => None,
    };
    match ms {
        Some(ms) if (2_000..=86_400_000).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err(format!("{text:?} is outside 2s to 24h")),
    }
}

/// Reads `500GB`, `64MiB`, `1234`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size; write 500GB, 64MiB or 1234");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let n: u64 = number.parse().map_err(|_| bad())?;
    let (base, power) = match unit {
        "" | "B" => (1u64, 0),
        "kB" | "KB" => (1000, 1),
        "MB" => (1000, 2),
        "GB" => (1000, 3),
        "TB" => (1000, 4),
        "KiB" => (1024, 1),
        "MiB" => (1024, 2),
        "GiB" => (1024, 3),
        "TiB" => (1024, 4),
        _ => return Err(bad()),
    };
    n.checked_mul(base.pow(power)).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("2500ms"), Ok(Duration::from_millis(2500)));
        assert!(parse_duration("1s").is_err());
        assert!(parse_duration("fast").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("500GB"), Ok(500_000_000_000));
        assert!(parse_size("99999999999TB").is_err());
        assert!(parse_size("lots").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
