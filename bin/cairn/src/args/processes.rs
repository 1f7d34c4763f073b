//! Commands that run one part of a network as a process of its own, or look after its directory.

use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{parse_duration, parse_size};

/// Which directory a command speaks of.
#[derive(Args, Clone, Debug, Default)]
pub struct At {
    /// Directory of an operator or gateway of this machine, as `cairn up` or `cairn gateway` made it; its network is asked
    /// then, not --api.
    #[arg(long, value_name = "DIR", env = "CAIRN_DIR")]
    pub dir: Option<PathBuf>,
}

/// `cairn up`.
#[derive(Args, Debug)]
pub struct UpArgs {
    /// Join link of the network, `cairn:join/...`; needed the first time.
    #[arg(long, value_name = "LINK", conflicts_with = "devnet")]
    pub join: Option<String>,
    /// Join the devnet behind --api instead; it pays the bond.
    #[arg(long)]
    pub devnet: bool,
    /// Ask nothing: take what is suggested, or what the options below say.
    #[arg(long)]
    pub yes: bool,
    /// Directory of keys, configuration and state; made if missing.
    #[arg(long, value_name = "DIR", env = "CAIRN_DIR", default_value = "cairn-operator")]
    pub dir: PathBuf,
    /// Directory on the disk that is offered; without it, `data` in --dir.
    #[arg(long, value_name = "PATH")]
    pub disk: Option<PathBuf>,
    /// How much to offer, such as 500GB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub offer: Option<u64>,
    /// What to ask for storing, in dollars a TB-month.
    #[arg(long, value_name = "DOLLARS")]
    pub price: Option<String>,
    /// Key file of an account that is to own the device, pay the bond and be paid; without it one is made.
    #[arg(long, value_name = "FILE")]
    pub account: Option<PathBuf>,
    /// Where to listen for customers (UDP); port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where the machine stands, any text: operators with the same site are taken to fail together. Without it, this
    /// machine's id.
    #[arg(long, value_name = "TEXT")]
    pub site: Option<String>,
    /// Only make keys, register and write the configuration; a service runs it then.
    #[arg(long)]
    pub no_run: bool,
}

/// `cairn gateway`.
#[derive(Args, Debug)]
pub struct GatewayArgs {
    /// Join link of the network, `cairn:join/...`; needed the first time.
    #[arg(long, value_name = "LINK")]
    pub join: Option<String>,
    /// Directory of keys and configuration; made if missing.
    #[arg(long, value_name = "DIR", env = "CAIRN_DIR", default_value = "cairn-gateway")]
    pub dir: PathBuf,
    /// Where S3 clients connect; another address than a loopback one is refused, put a TLS proxy in front.
    #[arg(long, value_name = "ADDR")]
    pub s3: Option<SocketAddr>,
    /// Where to listen for answers of operators (UDP); port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// File with the 24 words of a storage that exists: take it over instead of making a new one.
    #[arg(long, value_name = "FILE")]
    pub phrase: Option<PathBuf>,
}

/// `cairn node`.
#[derive(Args, Debug)]
pub struct NodeArgs {
    /// Directory of the node's state; made if missing. One process at a time.
    #[arg(long, value_name = "DIR", env = "CAIRN_DIR")]
    pub dir: PathBuf,
    /// Genesis file of the network; kept in --dir from the first start on.
    #[arg(long, value_name = "FILE", conflicts_with = "join")]
    pub genesis: Option<PathBuf>,
    /// Join link: the genesis is fetched from a node that it names and checked against the network id.
    #[arg(long, value_name = "LINK")]
    pub join: Option<String>,
    /// Key file of the validator seat that this node holds. Following a network without one is not part of this version.
    #[arg(long, value_name = "FILE")]
    pub seat: Option<PathBuf>,
    /// Where the API listens; another address than a loopback one needs --plain.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// Listen in the clear beyond this machine: only inside a network that you trust, or behind a TLS proxy.
    #[arg(long)]
    pub plain: bool,
    /// URL under which others reach the API, for the join link; without it, the address it listens on. Repeatable.
    #[arg(long, value_name = "URL")]
    pub public: Vec<String>,
    /// URL of a relay, for the join link. Repeatable.
    #[arg(long, value_name = "URL")]
    pub relay: Vec<String>,
    /// Key file of a devnet's founder: give its worthless CRN to whoever asks.
    #[arg(long, value_name = "FILE")]
    pub faucet: Option<PathBuf>,
}

/// `cairn relay`.
#[derive(Args, Debug)]
pub struct RelayArgs {
    /// Join link of the network whose devices and customers may use it.
    #[arg(long, value_name = "LINK")]
    pub join: String,
    /// Where to listen (TCP).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7072")]
    pub listen: SocketAddr,
    /// PEM file with the certificate chain; with it the relay speaks HTTPS.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// Where to tell peers which address they are seen under (UDP); needs a certificate.
    #[arg(long, value_name = "ADDR", requires = "certificate")]
    pub discovery: Option<SocketAddr>,
}

/// `cairn network`.
#[derive(Subcommand, Debug)]
pub enum NetworkCommand {
    /// Write the genesis, the seat's key and the faucet's key of a devnet, so that its parts can be started as processes.
    /// All keys follow from the seed: they are publicly known and worthless.
    Dev {
        /// Directory to write into; made if missing.
        dir: PathBuf,
        /// Seed of all keys, any text.
        #[arg(long, value_name = "TEXT", default_value = "cairn")]
        seed: String,
        /// Length of an epoch, 2s to 24h (`ms`, `s`, `m`, `h`).
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
        epoch: Duration,
    },
    /// Read a join link: network id, nodes, relays.
    Show {
        /// `cairn:join/...`
        link: String,
    },
}

/// `cairn set`.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// What to change; without it all keys and their values are shown.
    pub key: Option<String>,
    /// The new value; without it the present one is shown.
    #[arg(requires = "key")]
    pub value: Option<String>,
    /// The directory whose configuration it is.
    #[command(flatten)]
    pub at: At,
}
