//! What can be typed.

// By path: the tests read this file from elsewhere.
#[path = "args/processes.rs"]
pub mod processes;

use clap::{Args, Parser, Subcommand};
pub use processes::{At, GatewayArgs, NetworkCommand, NodeArgs, RelayArgs, SetArgs, UpArgs};
use std::path::PathBuf;
use std::time::Duration;

/// Cairn: a network of independent machines that anybody can join, buy from and recompute.
#[derive(Parser, Debug)]
#[command(
    name = "cairn",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Exit code: 0 done, 1 failed, 2 not understood. The answer is on stdout, talk and errors on stderr.\n\
                  CAIRN_LOG=info shows more of what happens inside (error, warn, info, debug, or a filter by module)."
)]
pub struct Cli {
    /// URL of the node's API.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:7070",
        env = "CAIRN_API"
    )]
    pub api: String,
    /// Print one JSON object on stdout instead of text; of an error `{"error": {"code", "cause", "remedy"}}`.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a whole network in this process until Ctrl-C: one validator, operators, an S3 gateway, all on 127.0.0.1.
    Devnet(DevnetArgs),
    /// Join a network with this machine's disk: probe, explain, at most three questions, then run. A second start only
    /// runs.
    Up(UpArgs),
    /// Run the customer's side as a process: an S3 endpoint whose state lies encrypted at the operators.
    Gateway(GatewayArgs),
    /// Run a node as a process: chain and API.
    Node(NodeArgs),
    /// Run a relay as a process: it carries packets between those who cannot reach each other, and reads none.
    Relay(RelayArgs),
    /// Make and look at networks.
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Show or change the configuration of an operator or gateway; a running one takes up what it can and says what needs
    /// a restart.
    Set(SetArgs),
    /// Show where the network stands: height, the last five epochs, who paid and what is owed. With --dir also how this
    /// machine's part of it does.
    Status(At),
    /// Show what operators earned in the newest settled epoch; `--explain` shows every row and why.
    Earnings(EarningsArgs),
    /// Examine operators: each finding with its cause and remedy. Exit code 1 if one is bad.
    Doctor {
        /// Name of a devnet operator (op-3), `gateway`, or a device id (64 hexadecimal digits); without it, all.
        operator: Option<String>,
        /// Examine the operator or gateway of this directory.
        #[command(flatten)]
        at: At,
    },
    /// Leave the network gracefully: duties are handed over, and the bond is yours again, less what it costs to rebuild
    /// elsewhere what the device held.
    Exit {
        /// Name of a devnet operator, such as op-3; with --dir it is that directory's.
        #[arg(required_unless_present = "dir")]
        operator: Option<String>,
        /// The operator's directory.
        #[command(flatten)]
        at: At,
        /// Only show what would happen: duties to hand over, last epoch, when the bond is free.
        #[arg(long)]
        dry_run: bool,
    },
    /// Store, read and recover files, and see what that costs.
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Write what is needed to recompute an epoch, or the whole state.
    #[command(subcommand)]
    Export(ExportCommand),
    /// Recompute an epoch: from the node (`verify epoch 812`) or offline from a pack (`--pack`, `--trust`).
    Verify(VerifyArgs),
    /// Print the completions of a shell: `cairn completions bash > /etc/bash_completion.d/cairn`.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Make and look at account keys; the passphrase of a key file is read from CAIRN_PASSPHRASE.
    #[command(subcommand)]
    Key(KeyCommand),
}

/// `cairn key`.
#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Make a new account: print its 24 recovery words and its address, write its key file (encrypted, mode 0600).
    #[command(
        after_help = "CAIRN_PASSPHRASE must hold at least 12 bytes: read -rs CAIRN_PASSPHRASE; export CAIRN_PASSPHRASE"
    )]
    New {
        /// Key file to write; it must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// File with the 24 words of an account to restore instead; `-` reads them from standard input.
        #[arg(long, value_name = "FILE")]
        phrase: Option<String>,
    },
    /// Print the address of a key file (an encrypted one needs CAIRN_PASSPHRASE).
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
    /// How many operators, 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub operators: u16,
    /// Length of an epoch, 2s to 24h (`ms`, `s`, `m`, `h`): work is judged and paid once an epoch.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub epoch: Duration,
    /// Keep the network in this directory and go on with it next time; without it the network ends with the process.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Seed of all keys, any text; the same seed gives the same (worthless) keys.
    #[arg(long, value_name = "TEXT", default_value = "cairn")]
    pub seed: String,
    /// Port of the API; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 7070)]
    pub api_port: u16,
    /// Port of the S3 endpoint; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 9000)]
    pub s3_port: u16,
    /// The customer has paid for so many epochs (6 to 100000) of full, small leases and no more: see what an empty
    /// escrow does.
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u32).range(6..=100_000))]
    pub prepaid: Option<u32>,
    /// Go on from a file of `cairn export state`, as the next fork: same balances, duties and nonces; what was signed for
    /// the old fork counts no more. Needs the --seed, --operators and --epoch of the network that it is from, and the
    /// operators' disks (`operators` in its --dir) copied into --dir: the state says what they hold, they hold it.
    #[arg(long, value_name = "FILE", requires = "dir", conflicts_with = "demo")]
    pub import: Option<PathBuf>,
    /// Store, prove, repair, recover and verify before your eyes, then stop. With a file: store that one. Epochs last
    /// 2 s at most, whatever `--epoch` says.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "")]
    pub demo: Option<String>,
}

/// `cairn devnet ctl`.
#[derive(Subcommand, Debug)]
pub enum DevnetCommand {
    /// Change a running devnet: inject a fault, pay, or skip time.
    #[command(subcommand)]
    Ctl(Ctl),
}

/// Faults.
#[derive(Subcommand, Debug)]
pub enum Ctl {
    /// Stop an operator as a power cut would; three silent epochs count as a loss.
    Crash {
        /// Name of the operator, such as op-3.
        operator: String,
    },
    /// Start a stopped operator again, on the disk that it had.
    Restart {
        /// Name of the operator, such as op-3.
        operator: String,
    },
    /// Make an operator cheat from now on.
    Cheat {
        /// Name of the operator, such as op-4.
        operator: String,
        /// Name of the cheat, such as bad-proof; without it the names are listed.
        which: Option<String>,
    },
    /// Accuse an operator of not serving a chunk that it signed for: it answers on chain, or loses part of its bond.
    Dispute {
        /// Name of the operator, such as op-5.
        operator: String,
    },
    /// Let the customer buy credits; the gateway fills up its escrows from them.
    Pay {
        /// How many credits (micro-dollars): 8000 is 0.008 $.
        credits: u64,
    },
    /// Lose the gateway and its disk: no index, no lease keys; `cairn storage recover` brings it back.
    LoseGateway,
    /// Run epochs as fast as the operators can follow.
    Warp {
        /// How many epochs; more than 20 are taken as 20.
        epochs: u64,
    },
}

/// `cairn earnings`.
#[derive(Args, Debug)]
pub struct EarningsArgs {
    /// Explain an epoch (the newest settled one without a number): every lease slot, what was counted, why, what was
    /// charged.
    #[arg(long, num_args = 0..=1, value_name = "EPOCH")]
    pub explain: Option<Option<u64>>,
    /// Only this operator: its devnet name (op-3) or its address (cairn1...).
    #[arg(long, value_name = "NAME")]
    pub operator: Option<String>,
    /// Only the operator of this directory.
    #[command(flatten)]
    pub at: At,
}

/// `cairn storage`.
#[derive(Subcommand, Debug)]
pub enum StorageCommand {
    /// Store a file, encrypted on this side of the network.
    Put {
        /// File to read.
        file: PathBuf,
        /// s3://bucket/key; with a `/` at the end (or no key) the file's name is the key. A missing bucket is made.
        to: String,
        /// Only show the price of a month; nothing is stored.
        #[arg(long)]
        dry_run: bool,
    },
    /// Read a file back.
    Get {
        /// s3://bucket/key.
        from: String,
        /// File to write; an existing one is replaced.
        file: PathBuf,
    },
    /// List buckets, or the objects of one.
    Ls {
        /// s3://bucket/prefix; without it, the buckets.
        at: Option<String>,
    },
    /// Delete an object.
    Rm {
        /// s3://bucket/key.
        at: String,
        /// Only show what would be deleted, and what that saves.
        #[arg(long)]
        dry_run: bool,
    },
    /// Objects as files of content-addressed blocks (CAR).
    #[command(subcommand)]
    Car(CarCommand),
    /// Let everybody fetch an object, or all below a prefix, by its content's name (CID), through /ipfs/ beside S3.
    Publish {
        /// s3://bucket/key, or s3://bucket/prefix/ for a directory.
        at: String,
        /// Hash of the blocks.
        #[arg(long, value_enum, default_value_t = CarHash::Sha256)]
        hash: CarHash,
    },
    /// Rebuild the gateway's state from the recovery phrase and the network alone. A gateway that still runs loses
    /// its right to write.
    Recover {
        /// File with the 24 words; `-` reads them from standard input.
        #[arg(long, value_name = "FILE")]
        phrase: String,
    },
    /// Make, list and revoke access keys with limits.
    #[command(subcommand)]
    Key(AccessKeyCommand),
    /// Print a link with which anybody can read one object until it ends, or until its key is revoked.
    Share {
        /// s3://bucket/key.
        at: String,
        /// How long the link works: 1s to 7d, such as 90s, 30m, 12h or 7d.
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_span)]
        expires: Duration,
    },
    /// Show what is paid: what is left in each lease's escrow, and for how long that lasts.
    Escrow,
    /// Pay once to keep a bucket: credits that are locked to its leases for ever and fill their escrows. Nobody can take
    /// them out again. Other objects in the same leases are kept with it.
    Endow(EndowArgs),
    /// Show what is endowed, and how many years of keeping it pays for, if nothing changes and under stress.
    Endowment,
    /// Show what storing so much costs here and elsewhere, and how safe it is. A devnet charges a million times as much, so that a minute
    /// shows money.
    Cost {
        /// Size: bytes, or with kB, MB, GB, TB (1000) or KiB, MiB, GiB, TiB (1024), such as 500GB or 64MiB.
        size: String,
        /// Months of 30 days.
        #[arg(long, value_name = "N", default_value_t = 1)]
        months: u32,
    },
}

/// `cairn storage key`.
#[derive(Subcommand, Debug)]
pub enum AccessKeyCommand {
    /// Make a key; its secret is shown now and never again.
    New {
        /// Who will use it: the name by which bucket policies know it.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// It may read and list, nothing else.
        #[arg(long, conflicts_with = "allow")]
        read_only: bool,
        /// What it may do: read, list, write, delete, manage (settings of buckets), or none: only what bucket policies
        /// open to it.
        #[arg(long, value_name = "ACTIONS", value_delimiter = ',', default_value = "read,list,write,delete")]
        allow: Vec<String>,
        /// Where: a bucket, or BUCKET/PREFIX; repeat it for more. Everywhere without it.
        #[arg(long = "bucket", value_name = "BUCKET[/PREFIX]")]
        buckets: Vec<String>,
        /// How long it works, such as 12h or 30d; until revoked without it.
        #[arg(long, value_name = "TIME", value_parser = parse_span)]
        expires: Option<Duration>,
        /// Bytes of objects that may lie where it acts for a write of its to be taken, such as 10GB.
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        quota: Option<u64>,
    },
    /// List keys with what they may do; secrets are not shown.
    Ls,
    /// Revoke a key: it and every link that it signed stop working at once.
    Revoke {
        /// Id of the key, as `cairn storage key ls` shows it.
        id: String,
    },
}

/// `cairn storage endow`.
#[derive(Args, Debug)]
pub struct EndowArgs {
    /// s3://bucket.
    pub at: String,
    /// Credits (micro-dollars) to lock; without it, as many as the assumptions ask for.
    #[arg(long, value_name = "N")]
    pub credits: Option<u64>,
    /// Assumed: years to pay for.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub years: u32,
    /// Assumed: how much cheaper storing becomes each year, in hundredths of a percent (50 is 0.5 %).
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=5000))]
    pub decline: u32,
    /// Only show what it would cost, how long it lasts, and its stress test.
    #[arg(long)]
    pub dry_run: bool,
}

/// `cairn storage car`.
#[derive(Subcommand, Debug)]
pub enum CarCommand {
    /// Write an object, or all below a prefix as a directory, into a CAR file; print its root (leaves of 1 MiB, nodes of
    /// 1024 links, as `ipfs-car` makes them).
    Export {
        /// s3://bucket/key, or s3://bucket/prefix/ for a directory.
        from: String,
        /// File to write; an existing one is replaced.
        file: PathBuf,
        /// Hash of the blocks.
        #[arg(long, value_enum, default_value_t = CarHash::Sha256)]
        hash: CarHash,
    },
    /// Store the files of a CAR file as objects, after every block was checked against its name.
    Import {
        /// CAR file, version 1.
        file: PathBuf,
        /// s3://bucket/prefix; a missing bucket is made.
        to: String,
        /// Only check the file, and show the price of a month.
        #[arg(long)]
        dry_run: bool,
    },
}

/// How blocks are hashed.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarHash {
    /// SHA2-256: every tool reads it.
    #[value(name = "sha2-256")]
    Sha256,
    /// BLAKE3.
    Blake3,
}

/// `cairn export`.
#[derive(Subcommand, Debug)]
pub enum ExportCommand {
    /// Write the pack of a settled epoch; print the 64 digits to trust.
    Epoch {
        /// Number of the epoch; `cairn status` shows which are settled.
        epoch: u64,
        /// File to write; an existing one is replaced.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Number of the sector; storage is 1.
        #[arg(long, value_name = "N", default_value_t = 1)]
        sector: u16,
    },
    /// The whole state at a final height, to go on from in a new fork (`cairn devnet --import`); prints its digest.
    State {
        /// File to write; an existing one is replaced.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// `cairn verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// What.
    #[command(subcommand)]
    pub what: Option<VerifyCommand>,
    /// Pack to verify offline, as `cairn export epoch` wrote it.
    #[arg(long, value_name = "FILE", requires = "trust")]
    pub pack: Option<PathBuf>,
    /// Settlement id to trust: 64 hexadecimal digits, from the chain or from somebody you trust.
    #[arg(long, value_name = "DIGITS", requires = "pack")]
    pub trust: Option<String>,
}

/// `cairn verify epoch`.
#[derive(Subcommand, Debug)]
pub enum VerifyCommand {
    /// Fetch the pack of an epoch from the node, recompute it and compare it with the chain's record.
    Epoch {
        /// Number of the epoch; `cairn status` shows which are settled.
        epoch: u64,
        /// Number of the sector; storage is 1.
        #[arg(long, value_name = "N", default_value_t = 1)]
        sector: u16,
    },
}

/// Reads `10s`, `250ms`, `1m`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let n: u64 =
        number.parse().map_err(|_| format!("{text:?} is no length of time; write 10s, 2500ms, 1m or 1h"))?;
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

/// Reads `90s`, `30m`, `12h`, `30d`: one second to ten years.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no length of time; write 90s, 30m, 12h or 30d");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let n: u64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "s" => Some(n),
        "m" => n.checked_mul(60),
        "h" => n.checked_mul(3600),
        "d" => n.checked_mul(86_400),
        _ => return Err(bad()),
    };
    match seconds {
        Some(s) if (1..=3650 * 86_400).contains(&s) => Ok(Duration::from_secs(s)),
        _ => Err(format!("{text:?} is outside 1s to 3650d")),
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
    fn spans_of_keys_and_links() {
        assert_eq!(parse_span("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(parse_span("90s"), Ok(Duration::from_secs(90)));
        for bad in ["", "7", "d", "0s", "4000d", "99999999999999999999d", "1w"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
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
