//! `cairn gateway`: the customer's side as a process. Everything it knows comes from 24 words and the network.

use anyhow::{Context, Result};
use cairn_client::Account;
use cairn_crypto::address;
use cairn_crypto::phrase::{ACCOUNT, Phrase};
use cairn_crypto::random::random32;
use cairn_net::Transport;
use cairn_net::quic::Endpoint;
use cairn_sector::{Finding, Gateway as _, Level};
use cairn_storage_gateway::error::GatewayError;
use cairn_storage_gateway::front::Front;
use cairn_storage_gateway::gateway::{Config as Settings, Gateway, Recovery, Terms, profiles};
use cairn_storage_gateway::server::{self, ServerConfig};
use cairn_storage_rules::quote::demand;
use cairn_storage_rules::types::{Kind, Order};
use cairn_types::{Amount, Credits, Rate};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

use crate::args::{GatewayArgs, parse_size};
use crate::config::Config;
use crate::devnet::genesis::CRN;
use crate::devnet::keys::STORAGE_ROOT;
use crate::home::{Home, Identity, Role, meet, write};
use crate::node::loopback;
use crate::notify::{Alive, Manager};
use crate::output::{Failure, Out};
use crate::plane;
use crate::port::Port;
use crate::price::{Per, parse_dollars, rate};
use crate::s3::S3;
use crate::up::plan::Facts;

/// Where S3 clients connect unless it is set.
const S3_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);
/// Region that S3 clients must name.
const REGION: &str = "cairn";
/// How long an escrow should last: the gateway fills it up from the account's credits meanwhile.
const LASTS: u64 = 7 * 86_400;
/// What a lease reserves on each operator unless it is set.
const RESERVE: u64 = 256 << 20;
/// KiB reserved on each replica of the index log.
const INDEX_CHUNKS: u64 = 64 << 10;
/// For the fees of transactions.
const FEES: Amount = Amount(10 * CRN);
/// How often the process says how it is doing.
const WORD: Duration = Duration::from_secs(10);
/// Longest wait for a node while the process says how it is doing.
const ANSWER: Duration = Duration::from_secs(8);
/// Longest pause between two tries to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs until a signal.
pub async fn run(args: GatewayArgs, out: Out) -> Result<()> {
    let manager = Manager::from_env();
    let home = Home::make(&args.dir)?;
    let config = configured(&home, &args)?;
    let listen = config.s3.unwrap_or(S3_ADDRESS);
    loopback(listen, false, "gateway.listen")?;
    let link = home.link()?;
    let client = home.client()?;
    meet(&client, link.network, |cause| {
        manager.say("waiting for a node");
        tracing::warn!(%cause, "gateway.waiting");
    })
    .await?;
    let facts = Facts::ask(&client).await?;
    let phrase = phrase(&home, args.phrase.as_deref())?;
    let secret = phrase.key(ACCOUNT);
    let account = Account::new(client.clone(), phrase.key(ACCOUNT));
    home.set_identity(&Identity {
        role: Role::Gateway,
        network: link.network.to_string(),
        account: account.id().to_string(),
        device: None,
    })?;
    let terms = terms(&config, &facts, facts.domains())?;
    fund(&account, &facts, &terms, &manager, out).await?;
    let s3 = TcpListener::bind(listen).await.map_err(|e| {
        let cause = format!("cannot listen on {listen}: {e}");
        Failure::new(
            "gateway.listen",
            cause,
            "stop what listens there, or `cairn set s3 ADDR`; port 0 takes a free one",
        )
    })?;
    let anywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let at = config.listen.unwrap_or(anywhere);
    let endpoint =
        plane::endpoint(plane::nodes(&link)?, link.network, secret, at, config.advertise, &link.relays)
            .await?;
    let (gateway, found) = start(&phrase, account, &facts, terms, &endpoint, &manager).await?;
    let keys = s3_keys(&home, &s3)?;
    gateway.put_access_key(&keys.access_key, &keys.secret_key).await?;
    let served = server::serve(
        s3,
        gateway.clone(),
        ServerConfig { region: REGION.into(), ..ServerConfig::default() },
    )?;
    let front = Box::new(Front::new(gateway, served));
    ready(out, &home, &facts, &keys, found);
    let alive = manager.ready();
    let ended = tokio::select! {
        signal = crate::devnet::wait_for_signal() => signal,
        () = watch(&home, &front, &endpoint, &alive) => Ok(()),
    };
    drop(alive);
    out.say("stopping");
    home.fall_silent();
    front.stop().await;
    endpoint.close().await;
    ended
}

/// What the directory says, with what the command line says the first time.
fn configured(home: &Home, args: &GatewayArgs) -> Result<Config> {
    let old = home.config()?;
    let new = Config {
        join: args.join.clone().or(old.join.clone()),
        s3: args.s3.or(old.s3),
        listen: args.listen.or(old.listen),
        ..old.clone()
    };
    if new.join.is_none() {
        return Err(Failure::new("gateway.join", "which network to use is not known", "give --join LINK"));
    }
    if old.join.is_some() && new.link()?.map(|l| l.network) != old.link()?.map(|l| l.network) {
        return Err(Failure::new(
            "gateway.network",
            format!("{} belongs to another network", home.path().display()),
            "choose another --dir for another network",
        ));
    }
    loopback(new.s3.unwrap_or(S3_ADDRESS), false, "gateway.listen")?;
    new.save(home.path())?;
    // As it is read, with what the environment says.
    home.config()
}

/// The 24 words, made at the first start.
fn phrase(home: &Home, given: Option<&Path>) -> Result<Phrase> {
    let path = home.path().join("keys/phrase.words");
    let read = |path: &Path| -> Result<Phrase> {
        let text = zeroize::Zeroizing::new(
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        );
        Ok(Phrase::parse(text.trim())?)
    };
    if path.exists() {
        let kept = read(&path)?;
        return match given {
            Some(other) if *read(other)?.words() != *kept.words() => Err(Failure::new(
                "gateway.phrase",
                format!("{} has other words already", home.path().display()),
                "choose another --dir for another storage",
            )),
            _ => Ok(kept),
        };
    }
    let phrase = match given {
        Some(file) => read(file)?,
        None => Phrase::generate()?,
    };
    write(&path, phrase.words().as_bytes())?;
    Ok(phrase)
}

/// What is ordered: a week of escrow for a lease of data and one of the index.
fn terms(config: &Config, facts: &Facts, domains: u16) -> Result<Terms> {
    let (data, replicas) = profiles(domains.max(1));
    let reserve = config.reserve.as_deref().map_or(Ok(RESERVE), parse_size);
    let reserve = reserve.map_err(|e| Failure::new("config.invalid", e, "write a size such as 256MiB"))?;
    let highest = config.highest.as_deref().and_then(parse_dollars).map(|m| rate(Per::Month, m));
    // Others may ask more tomorrow; what is not charged is not spent.
    let max_rate = highest.unwrap_or(Rate(facts.suggested_rate().0.saturating_mul(2)));
    let p = &facts.storage;
    let epochs = (LASTS / p.epoch_seconds.max(1)).max(u64::from(p.escrow_epochs).saturating_mul(2));
    let escrow = |kind, k: u16, n: u16, chunks: u64| -> Result<Credits> {
        let small = |v: u16| u8::try_from(v).unwrap_or(u8::MAX);
        let order = Order {
            kind,
            k: small(k),
            n: small(n),
            chunks_per_slot: chunks,
            max_per_domain: 1,
            class: 0,
            region: 0,
            max_rate,
            epochs: 0,
        };
        let least = demand(p, &order).map_err(|r| Failure::new(r.code, r.cause, r.remedy))?.min_escrow;
        let all = u128::from(least.0) * u128::from(epochs) / u128::from(p.escrow_epochs.max(1));
        Ok(Credits(u64::try_from(all).unwrap_or(u64::MAX).max(least.0)))
    };
    let chunks_per_slot = (reserve / 1024).max(1);
    Ok(Terms {
        chunks_per_slot,
        index_chunks: INDEX_CHUNKS,
        escrow: escrow(Kind::Data, data.k(), data.n(), chunks_per_slot)?,
        index_escrow: escrow(Kind::Index, 1, replicas, INDEX_CHUNKS)?,
        max_rate,
        max_per_domain: 1,
        class: 0,
        region: 0,
    })
}

/// Waits until the account can pay for its leases: credits it has, or CRN that are turned into credits. On a devnet the
/// faucet pays.
async fn fund(account: &Account, facts: &Facts, terms: &Terms, manager: &Manager, out: Out) -> Result<()> {
    let client = account.client();
    if !client.leases_of(&account.id()).await?.is_empty() {
        return Ok(());
    }
    let need = terms.escrow.saturating_add(terms.index_escrow);
    let mut told = false;
    loop {
        let row = client.account(&account.id()).await?;
        if row.credits >= need {
            return Ok(());
        }
        let missing = need.saturating_sub(row.credits);
        let cost = facts.chain.price.pebbles_ceil(missing);
        let total = cost.saturating_add(FEES);
        if row.balance >= total {
            account.buy_credits(account.id(), missing, row.balance).await?.done()?;
            continue;
        }
        if facts.devnet {
            // Twice as much: what is over goes into the escrows as they empty.
            let gift = Amount(total.0.saturating_mul(2).saturating_sub(row.balance.0));
            crate::up::give(client, &account.id(), gift).await?;
            continue;
        }
        if !told {
            let to = address::encode(&facts.chain.hrp, &account.id())?;
            out.say(format!("send at least {total} to {to} (a week of {need} credits and fees); waiting"));
            manager.say("waiting for money");
            told = true;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Takes over what the words own, or orders it. Operators or node that are away are waited for.
async fn start(
    phrase: &Phrase,
    account: Account,
    facts: &Facts,
    terms: Terms,
    endpoint: &Endpoint,
    manager: &Manager,
) -> Result<(Arc<Gateway>, Recovery)> {
    let root = phrase.derive32(STORAGE_ROOT);
    let port = Arc::new(Port::asking(account, facts.chain.network));
    let mut settings = Settings::new(terms);
    let epoch = Duration::from_secs(facts.storage.epoch_seconds);
    // Revisions must be in place well before each lock.
    settings.upkeep = Some((epoch / 5).min(Duration::from_secs(30)));
    let mut pause = Duration::from_millis(500);
    loop {
        let transport: Arc<dyn Transport> = Arc::new(endpoint.clone());
        match Gateway::start(&root, port.clone(), transport, settings).await {
            Ok(started) => return Ok((started.gateway, started.recovery)),
            Err(error @ (GatewayError::WrongKey | GatewayError::Invalid(_))) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "gateway.start.again");
                manager.say("waiting for operators");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PATIENCE);
    }
}

/// Access key of the directory's owner, made at the first start.
fn s3_keys(home: &Home, listener: &TcpListener) -> Result<S3> {
    let path = home.path().join("keys/s3.json");
    let endpoint = format!("http://{}", listener.local_addr()?);
    if let Ok(bytes) = std::fs::read(&path) {
        let kept: S3 =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
        let now = S3 { endpoint, ..kept };
        write(&path, &serde_json::to_vec_pretty(&now)?)?;
        return Ok(now);
    }
    let id = hex::encode(random32()?).to_uppercase();
    let keys = S3 {
        endpoint,
        access_key: format!("CAIRN{}", &id[..15]),
        secret_key: hex::encode(random32()?)[..40].to_owned(),
        region: REGION.into(),
    };
    write(&path, &serde_json::to_vec_pretty(&keys)?)?;
    Ok(keys)
}

fn ready(out: Out, home: &Home, facts: &Facts, keys: &S3, found: Recovery) {
    let account = home.identity().map(|i| i.account()).unwrap_or_default();
    let address = address::encode(&facts.chain.hrp, &account).unwrap_or_else(|_| account.to_string());
    let dir = home.path().display().to_string();
    let object = json!({
        "s3": keys.endpoint, "region": keys.region, "access_key": keys.access_key, "keys": format!("{dir}/keys/s3.json"),
        "account": address, "dir": dir, "pid": std::process::id(), "fresh": found.fresh, "objects": found.objects,
    });
    out.answer(&object, || {
        format!(
            "gateway is ready: {} objects in {} buckets\n\nS3        {}   region {}\nkey id    {}\nsecret    in {dir}/keys/s3.json\n\
             account   {address}\ndirectory {dir}   (back up keys/phrase.words: the 24 words are everything)",
            found.objects, found.buckets, keys.endpoint, keys.region, keys.access_key,
        )
    });
}

async fn watch(home: &Home, front: &Front, endpoint: &Endpoint, alive: &Alive) {
    loop {
        let late = |_| {
            let cause = "the node does not answer in time: reads go on, and writes that are paid for";
            vec![Finding::new(Level::Warning, "gateway.node", cause, "look whether the node is up")]
        };
        let mut findings = tokio::time::timeout(ANSWER, front.checks()).await.unwrap_or_else(late);
        if let Some(why) = endpoint.relay_refusal() {
            let cause = format!("the relay refuses: {why}");
            findings.push(Finding::new(
                Level::Warning,
                "reach.relay",
                cause,
                "look whether the account has credits and the relay's node is up",
            ));
        }
        let facts = json!({"s3": front.endpoint(), "relay": endpoint.home_relay()});
        let said = serde_json::to_value(&findings).unwrap_or(Value::Null);
        if let Err(error) = home.say(said, facts) {
            tracing::warn!(%error, "gateway.status");
        }
        alive.say("running");
        tokio::time::sleep(WORD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_made_once_kept_private_and_not_exchanged() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let home = Home::make(dir.path()).unwrap();
        let made = phrase(&home, None).unwrap();
        let path = home.path().join("keys/phrase.words");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*phrase(&home, None).unwrap().words(), *made.words());
        assert!(phrase(&home, Some(&path)).is_ok());
        let other = dir.path().join("other");
        std::fs::write(&other, Phrase::generate().unwrap().words().as_bytes()).unwrap();
        assert!(phrase(&home, Some(&other)).is_err());
    }

    #[test]
    fn a_directory_belongs_to_one_network() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::make(dir.path()).unwrap();
        let link = |n| cairn_crypto::JoinLink {
            network: cairn_types::NetworkId([n; 32]),
            nodes: vec!["http://127.0.0.1:7070".into()],
            relays: Vec::new(),
        };
        let args = |join: Option<String>| GatewayArgs {
            join,
            dir: dir.path().into(),
            s3: None,
            listen: None,
            phrase: None,
        };
        assert!(configured(&home, &args(None)).is_err());
        assert!(configured(&home, &args(Some(link(1).text().unwrap()))).is_ok());
        assert!(configured(&home, &args(None)).is_ok());
        assert!(configured(&home, &args(Some(link(2).text().unwrap()))).is_err());
    }
}
