//! `cairn node` and `cairn network`: a node as a process, and what a devnet of processes starts from.

use anyhow::{Context, Result};
use async_trait::async_trait;
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_api::{DevnetCommand, DevnetControl, Services};
use cairn_client::{Account, Client};
use cairn_crypto::JoinLink;
use cairn_crypto::bls::BlsSecret;
use cairn_crypto::keyfile::{self, Kind};
use cairn_crypto::keys::SecretKey;
use cairn_ledger::genesis::Genesis;
use cairn_node::{Node, NodeConfig, NodeError, SeatKeys};
use cairn_types::{Amount, Credits, NetworkId, Refusal, decode_bounded, encode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::args::{NetworkCommand, NodeArgs};
use crate::config;
use crate::devnet::genesis;
use crate::devnet::keys::Keys;
use crate::home;
use crate::notify::Manager;
use crate::output::{Failure, Out};
use crate::plane;

/// Most CRN that a faucet gives at once.
const MOST: Amount = Amount(100_000 * genesis::CRN);
/// Time for the first block and the API to come up is the node's own; this is between two looks at its end.
const GENESIS: &str = "genesis.bin";

/// Secrets of a seat as its key file holds them.
#[derive(BorshSerialize, BorshDeserialize)]
struct SeatFile {
    number: u16,
    identity: [u8; 32],
    consensus: [u8; 32],
    message: [u8; 32],
    vote: [u8; 32],
}

/// `cairn network`.
pub fn network(out: Out, command: NetworkCommand) -> Result<()> {
    match command {
        NetworkCommand::Dev { dir, seed, epoch } => dev(out, &dir, &seed, epoch),
        NetworkCommand::Show { link } => {
            let link = config::join(&link)?;
            let object =
                json!({"network": link.network.to_string(), "nodes": link.nodes, "relays": link.relays});
            out.answer(&object, || {
                let relays = if link.relays.is_empty() { "none".to_owned() } else { link.relays.join(" ") };
                format!("network {}\nnodes   {}\nrelays  {relays}", link.network, link.nodes.join(" "))
            });
            Ok(())
        }
    }
}

fn dev(out: Out, dir: &Path, seed: &str, epoch: Duration) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let keys = Keys::new(seed);
    let genesis = genesis::genesis(&keys, 0, epoch, Credits(0));
    let (file, seat, faucet) = (dir.join(GENESIS), dir.join("seat.key"), dir.join("faucet.key"));
    let secrets = SeatFile {
        number: 0,
        identity: *keys.secret("seat/message").seed(),
        consensus: keys.bytes("seat/consensus"),
        message: *keys.secret("seat/message").seed(),
        vote: keys.bytes("seat/vote"),
    };
    keyfile::write_plain_devnet(&seat, &Zeroizing::new(encode(&secrets)))?;
    keyfile::write_plain_devnet(&faucet, &keys.bytes("founder"))?;
    home::write(&file, &encode(&genesis))?;
    let network = genesis.network().to_string();
    let object =
        json!({"network": network, "genesis": file, "seat": seat, "faucet": faucet, "worthless_keys": true});
    out.say("these keys follow from the seed: publicly known and WORTHLESS; never put anything of value on this network");
    out.answer(&object, || {
        let d = dir.display();
        format!(
            "network {network}\n\nnext:\n  cairn node --dir {d}/node --genesis {d}/{GENESIS} --seat {d}/seat.key --faucet {d}/faucet.key\n  \
             cairn up --devnet --dir {d}/operator-1"
        )
    });
    Ok(())
}

/// Refuses to speak in the clear beyond this machine.
pub fn loopback(listen: SocketAddr, plain: bool, code: &str) -> Result<()> {
    if listen.ip().is_loopback() || plain {
        return Ok(());
    }
    Err(Failure::new(
        code,
        format!(
            "{listen} is not a loopback address, and without TLS everybody on the way could read and change what is said"
        ),
        "listen on 127.0.0.1 and put a TLS proxy (nginx, caddy, haproxy) in front",
    ))
}

fn read_genesis(bytes: &[u8], from: &str) -> Result<Genesis> {
    decode_bounded(bytes, cairn_client::GENESIS_LIMIT).map_err(|e| {
        Failure::new(
            "genesis.file",
            format!("{from} is no genesis ({e})"),
            "name a file of `cairn network dev`",
        )
    })
}

/// The genesis: from the directory, else from a file, else from the nodes of a join link.
async fn genesis_of(args: &NodeArgs) -> Result<Genesis> {
    let kept = args.dir.join(GENESIS);
    let named = match (&args.genesis, &args.join) {
        (Some(file), _) => {
            let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            Some(read_genesis(&bytes, &file.display().to_string())?)
        }
        (None, Some(link)) => Some(fetch(&config::join(link)?).await?),
        (None, None) => None,
    };
    let old = match std::fs::read(&kept) {
        Ok(bytes) => Some(read_genesis(&bytes, &kept.display().to_string())?),
        Err(_) => None,
    };
    match (named, old) {
        (Some(named), Some(old)) if named != old => Err(Failure::new(
            "genesis.other",
            format!("{} holds network {}, named is {}", args.dir.display(), old.network(), named.network()),
            "choose another --dir for another network",
        )),
        (Some(found), _) => {
            std::fs::create_dir_all(&args.dir)?;
            home::write(&kept, &encode(&found))?;
            Ok(found)
        }
        (None, Some(old)) => Ok(old),
        (None, None) => Err(Failure::new(
            "genesis.missing",
            "no genesis is known for this directory",
            "give --genesis FILE or --join LINK at the first start",
        )),
    }
}

/// The genesis file from a network's nodes: whichever has one whose digest is the network id.
pub async fn fetch(link: &JoinLink) -> Result<Genesis> {
    let bytes = Client::with_urls(link.nodes.clone())?.genesis_file().await?;
    let genesis = read_genesis(&bytes, "what the node sent")?;
    matching(genesis, link.network)
}

fn matching(genesis: Genesis, network: NetworkId) -> Result<Genesis> {
    let got = genesis.network();
    if got == network {
        return Ok(genesis);
    }
    Err(Failure::new(
        "join.genesis",
        format!("the node's genesis is of network {got}, the join link is of {network}"),
        "ask for the present join link; do not use this node",
    ))
}

fn seat_keys(path: &Path) -> Result<SeatKeys> {
    let (_, secret) = keyfile::read(path, None).or_else(|e| match e {
        keyfile::KeyFileError::NeedsPassphrase(_) => {
            Ok(keyfile::read(path, Some(&crate::key::passphrase()?))?)
        }
        other => Err(anyhow::Error::from(other)),
    })?;
    let seat: SeatFile = decode_bounded(&secret, keyfile::MAX_SECRET).map_err(|e| {
        Failure::new(
            "seat.key",
            format!("{} holds no seat ({e})", path.display()),
            "name the seat's key file",
        )
    })?;
    Ok(SeatKeys {
        number: seat.number,
        identity_seed: seat.identity,
        consensus_secret: seat.consensus,
        message: SecretKey::from_seed(&seat.message),
        vote: BlsSecret::from_seed(&seat.vote),
    })
}

/// Time between blocks that makes an epoch as long as the genesis says.
fn interval(genesis: &Genesis) -> Duration {
    let p = &genesis.params;
    Duration::from_millis(p.epoch_seconds.saturating_mul(1000) / p.epoch_blocks.max(1))
}

/// `cairn node`.
pub async fn run(args: NodeArgs, out: Out) -> Result<()> {
    loopback(args.listen, args.plain, "node.listen")?;
    let manager = Manager::from_env();
    let genesis = genesis_of(&args).await?;
    let network = genesis.network();
    let listener = TcpListener::bind(args.listen).await.map_err(|e| {
        let cause = format!("cannot listen on {}: {e}", args.listen);
        Failure::new(
            "node.listen",
            cause,
            "stop what listens there, or choose another --listen; port 0 takes a free one",
        )
    })?;
    let api = format!("http://{}", listener.local_addr()?);
    let link = JoinLink {
        network,
        nodes: if args.public.is_empty() { vec![api.clone()] } else { args.public.clone() },
        relays: args.relay.clone(),
    };
    let text = link.text().map_err(|e| plane::plain("join.invalid", &e))?;
    let interval = interval(&genesis);
    let config = NodeConfig {
        dir: args.dir.join("chain"),
        genesis,
        sectors: genesis::sectors(),
        seat: args.seat.as_deref().map(seat_keys).transpose()?,
        interval,
        import: None,
    };
    let node = Node::start(config).await.map_err(refused)?;
    let devnet = args.faucet.as_deref().map(|file| faucet(file, &api)).transpose()?;
    let services =
        Services { devnet, peers: Some(plane::peer_store(network, &args.dir)), join: Some(text.clone()) };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let serving = tokio::spawn(cairn_api::serve_until(node.clone(), listener, services, shutdown));
    let alive = manager.ready();
    let object = json!({"api": api, "network": network.to_string(), "join": text, "pid": std::process::id()});
    out.answer(&object, || format!("node is ready\n\nAPI   {api}\njoin  {text}"));
    let ended = tokio::select! {
        signal = crate::devnet::wait_for_signal() => signal,
        broken = node.ended() => Err(refused(broken)),
    };
    drop(alive);
    out.say("stopping");
    // Nobody listens any more when the server broke off by itself.
    let _ = stop.send(());
    let _ = serving.await;
    node.shutdown().await.map_err(refused)?;
    ended
}

fn refused(e: NodeError) -> anyhow::Error {
    match e {
        NodeError::Genesis(r) => Failure::new(r.code, r.cause, r.remedy),
        other => plane::plain("node.failed", &other),
    }
}

/// Gives a devnet's worthless CRN to whoever asks.
pub struct Faucet(Account);

impl Faucet {
    /// A faucet that pays from an account.
    pub fn new(account: Account) -> Self {
        Self(account)
    }

    /// `{"account", "pebbles"}`.
    pub async fn give(&self, body: &Value) -> Result<Value, Refusal> {
        let bad = |cause: &str| {
            Refusal::with(
                "faucet.request",
                cause.to_owned(),
                "send account (64 hexadecimal digits) and pebbles",
            )
        };
        let account = body["account"].as_str().and_then(cairn_types::AccountId::from_hex);
        let account = account.ok_or_else(|| bad("no account"))?;
        let pebbles: Option<u128> = body["pebbles"].as_str().and_then(|t| t.parse().ok());
        let amount =
            pebbles.filter(|p| (1..=MOST.0).contains(p)).ok_or_else(|| bad("1 pebble to 100,000 CRN"))?;
        let failed = |e: cairn_client::ClientError| {
            Refusal::with("faucet.failed", e.to_string(), "try again; the founder may have nothing left")
        };
        let done = self.0.transfer(account, Amount(amount)).await.map_err(failed)?;
        Ok(json!({"height": done.height.0, "text": format!("gave {}", Amount(amount))}))
    }
}

#[async_trait]
impl DevnetControl for Faucet {
    async fn control(&self, command: DevnetCommand) -> Result<Value, Refusal> {
        match command {
            DevnetCommand::Other { name, body } if name == "faucet" => self.give(&body).await,
            _ => Err(Refusal::new(
                "devnet.command",
                "the parts of this network are processes of their own: nobody here commands them",
                "stop and start the processes themselves; `cairn devnet` has faults on demand",
            )),
        }
    }
}

fn faucet(file: &Path, api: &str) -> Result<Arc<dyn DevnetControl>> {
    let (kind, secret) = keyfile::read(file, None)?;
    let seed: Option<[u8; 32]> = secret.as_slice().try_into().ok();
    let (Kind::WorthlessDevnet, Some(seed)) = (kind, seed) else {
        return Err(Failure::new(
            "faucet.key",
            format!("{} is not a worthless key of a devnet", file.display()),
            "name the faucet.key that `cairn network dev` wrote; never give away a real key",
        ));
    };
    let account = Account::new(Client::new(api)?, SecretKey::from_seed(&seed));
    Ok(Arc::new(Faucet::new(account)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devnet_of_processes_has_a_valid_genesis_a_seat_and_a_worthless_faucet() {
        let dir = tempfile::tempdir().unwrap();
        dev(Out { json: true }, dir.path(), "x", Duration::from_secs(4)).unwrap();
        let bytes = std::fs::read(dir.path().join(GENESIS)).unwrap();
        let genesis = read_genesis(&bytes, "file").unwrap();
        genesis.check(&genesis::sectors()).unwrap();
        assert_eq!(interval(&genesis), Duration::from_millis(200));
        let seat = seat_keys(&dir.path().join("seat.key")).unwrap();
        assert_eq!(seat.message.public(), genesis.seats[0].key);
        assert_eq!(seat.vote.public(), genesis.seats[0].vote);
        assert!(faucet(&dir.path().join("faucet.key"), "http://127.0.0.1:1").is_ok());
        let home = home::Home::make(&dir.path().join("op")).unwrap();
        home.key("account").unwrap();
        assert!(faucet(&home.key_path("account"), "http://127.0.0.1:1").is_err());
        assert!(matching(genesis.clone(), genesis.network()).is_ok());
        assert!(matching(genesis, NetworkId([1; 32])).is_err());
        assert!(read_genesis(b"x", "file").is_err());
    }

    #[test]
    fn only_loopback_is_spoken_to_in_the_clear() {
        assert!(loopback(([127, 0, 0, 1], 1).into(), false, "x").is_ok());
        assert!(loopback(([0, 0, 0, 0], 1).into(), false, "x").is_err());
        assert!(loopback(([10, 0, 0, 1], 1).into(), true, "x").is_ok());
    }
}
