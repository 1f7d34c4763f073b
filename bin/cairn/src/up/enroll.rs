//! The first start: probe, explain, ask, make keys, register.

use anyhow::{Context, Result};
use cairn_client::{Account, Client};
use cairn_crypto::address;
use cairn_crypto::keys::{PublicKey, SecretKey};
use cairn_ledger::tables::{Devices, Operators};
use cairn_ledger::tx::{Action, DEVICE_PROOF_DOMAIN, device_proof};
use cairn_sector::{Finding, Level, Rules as _};
use cairn_storage_rules::Storage;
use cairn_types::{AccountId, Amount, DeviceId, encode};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ask::Ask;
use super::plan::{Facts, Plan, machine};
use super::{answer, explain, probe};
use crate::args::{UpArgs, parse_size};
use crate::config::{self, Config};
use crate::devnet::genesis::CRN;
use crate::home::{Home, Identity, Role, account_of};
use crate::output::{Failure, Out, bytes};
use crate::price::{Per, dollars, micro_dollars, parse_dollars, rate};

/// For the fees of registering and of changes later on.
const FEES: Amount = Amount(CRN);
/// Pause between two looks whether an account was funded.
const LOOK: Duration = Duration::from_secs(2);
/// Devices of an account that are looked through for this one.
const DEVICES: u64 = 256;

/// Join link: from the command line, from the devnet, or from an earlier try.
async fn link(args: &UpArgs, api: &str, config: &Config) -> Result<String> {
    if let Some(text) = &args.join {
        return Ok(text.clone());
    }
    if args.devnet {
        let found = Client::new(api)?.join_link().await?;
        return found.ok_or_else(|| {
            Failure::new("up.join", "the node hands out no join link", "give the network's link with --join")
        });
    }
    config.join.clone().ok_or_else(|| {
        Failure::new(
            "up.join",
            "which network to join is not known",
            "give --join LINK, or --devnet for the devnet behind --api",
        )
    })
}

/// Everything until the device is on the market.
pub async fn enroll(home: &Home, args: UpArgs, api: &str, out: Out) -> Result<()> {
    let ask = Ask::new(args.yes, out)?;
    let old = home.config()?;
    let text = link(&args, api, &old).await?;
    let network = config::join(&text)?;
    let client = Client::with_urls(network.nodes.clone())?;
    // Somebody waits at the keyboard: a node that is not there is told at once.
    client.status().await?;
    crate::home::meet(&client, network.network, |_| {}).await?;
    let facts = Facts::ask(&client).await?;

    let disk = disk(home, args.disk.clone().or(old.disk.clone()))?;
    let free = probe::free(&disk).unwrap_or(0);
    out.say(format!("looking at {} ({} free) and at the clock", disk.display(), bytes(free)));
    for finding in probe::machine(&disk, &client).await? {
        show(out, &finding)?;
    }
    let config = Config {
        join: Some(text),
        disk: Some(disk),
        listen: args.listen.or(old.listen),
        site: Some(args.site.clone().or(old.site.clone()).unwrap_or_else(machine)),
        ..old
    };
    let (config, account) = decide(&ask, &args, &facts, config, free, out)?;
    let plan = Plan::of(&config, &facts)?;
    let secret = match &account {
        Some(file) => home.adopt_key("account", file)?,
        None => home.key("account")?,
    };
    let device = home.key("device")?;
    config.save(home.path())?;

    let owner = Account::new(client.clone(), secret);
    fund(&owner, &facts, &plan, args.devnet || facts.devnet, out).await?;
    let id = register(&owner, &device, &facts, &plan, &config, &network.network).await?;
    home.set_identity(&Identity {
        role: Role::Operator,
        network: network.network.to_string(),
        account: owner.id().to_string(),
        device: Some(id.to_string()),
    })?;
    if args.no_run {
        answer(out, home, &facts.chain.hrp, "registered", json!({}));
    }
    Ok(())
}

/// The directory that is offered, made if missing.
fn disk(home: &Home, named: Option<PathBuf>) -> Result<PathBuf> {
    let path = named.unwrap_or_else(|| home.path().join("data"));
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
}

/// A bad finding ends it: better now than with a bond at stake.
fn show(out: Out, finding: &Finding) -> Result<()> {
    let level = match finding.level {
        Level::Good => "good",
        Level::Warning => "warning",
        Level::Bad => "bad",
    };
    out.say(format!("  {level:<8} {}", finding.cause));
    if !finding.remedy.is_empty() {
        out.say(format!("           -> {}", finding.remedy));
    }
    match finding.level {
        Level::Bad => Err(Failure::new(&finding.code, finding.cause.clone(), &finding.remedy)),
        _ => Ok(()),
    }
}

/// What it means, and then the three questions: how much, at what price, who is paid.
fn decide(
    ask: &Ask,
    args: &UpArgs,
    facts: &Facts,
    config: Config,
    free: u64,
    out: Out,
) -> Result<(Config, Option<PathBuf>)> {
    let size = args.offer.map(|n| n.to_string()).or(config.offer.clone());
    let price = args.price.clone().or(config.price.clone());
    let first = Config {
        offer: size.clone().or(Some(facts.suggested_size(free).to_string())),
        price: price.clone(),
        ..config.clone()
    };
    let shown = Plan::of(&first, facts)?;
    explain(out, facts, &shown)?;
    let suggested = facts.suggested_size(free).to_string();
    let read_size = |t: &str| parse_size(t).and_then(|n| facts.check_size(n, free));
    let size = ask.ask("How much space do you offer? (500GB, 64GiB)", size, &suggested, read_size)?;
    let usual = dollars(micro_dollars(Per::Month, facts.suggested_rate()));
    let read_price =
        |t: &str| parse_dollars(t).filter(|m| rate(Per::Month, *m).0 > 0).ok_or(format!("{t:?} is no price"));
    let price = ask.ask("What do you ask for storing, in dollars a TB-month?", price, &usual, read_price)?;
    let named = args.account.as_ref().map(|p| p.display().to_string());
    let read_account = |t: &str| match t {
        "new" => Ok(None),
        file => match crate::home::read_key(Path::new(file)) {
            Ok(_) => Ok(Some(PathBuf::from(file))),
            Err(e) => Err(format!("{e:#}")),
        },
    };
    let account =
        ask.ask("Which account owns it and is paid? (new, or a key file)", named, "new", read_account)?;
    let config = Config { offer: Some(size.to_string()), price: Some(dollars(u128::from(price))), ..config };
    let plan = Plan::of(&config, facts)?;
    if plan != shown {
        explain(out, facts, &plan)?;
    }
    Ok((plan.written(config), account))
}

/// Waits until the account can pay the bond; on a devnet the faucet pays it.
async fn fund(owner: &Account, facts: &Facts, plan: &Plan, devnet: bool, out: Out) -> Result<()> {
    let need = plan.bond(facts)?.saturating_add(FEES);
    let mut told = false;
    loop {
        let has = owner.client().account(&owner.id()).await?.balance;
        if has >= need || !devices(owner.client(), &owner.id()).await?.is_empty() {
            return Ok(());
        }
        if devnet {
            give(owner.client(), &owner.id(), Amount(need.0.saturating_sub(has.0))).await?;
            continue;
        }
        if !told {
            let to = address::encode(&facts.chain.hrp, &owner.id())?;
            out.say(format!(
                "send at least {} to {to}; waiting (it has {has}); stop and start again any time",
                Amount(need.0.saturating_sub(has.0))
            ));
            told = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks a devnet for worthless CRN.
pub async fn give(client: &Client, to: &AccountId, amount: Amount) -> Result<()> {
    let body = json!({"account": to.to_string(), "pebbles": amount.0.to_string()});
    client.devnet("faucet", &body).await?;
    Ok(())
}

/// Devices of an account with their keys.
async fn devices(client: &Client, owner: &AccountId) -> Result<Vec<(DeviceId, PublicKey)>> {
    let count = client.get::<Operators>(owner).await?.map_or(0, |row| row.devices);
    let mut found = Vec::new();
    for number in 0..count.min(DEVICES) {
        let id = DeviceId::derive("cairn/device", &[owner.as_ref(), &number.to_le_bytes()]);
        if let Some(row) = client.get::<Devices>(&id).await? {
            found.push((id, row.key));
        }
    }
    Ok(found)
}

/// Registers account and device. What an earlier, interrupted try did is found and not done again.
async fn register(
    owner: &Account,
    device: &SecretKey,
    facts: &Facts,
    plan: &Plan,
    config: &Config,
    network: &cairn_types::NetworkId,
) -> Result<DeviceId> {
    let (client, who) = (owner.client(), owner.id());
    debug_assert_eq!(who, account_of(owner.secret()));
    let ours =
        |all: Vec<(DeviceId, PublicKey)>| all.into_iter().find(|d| d.1 == device.public()).map(|d| d.0);
    if let Some(id) = ours(devices(client, &who).await?) {
        return Ok(id);
    }
    if client.get::<Operators>(&who).await?.is_none() {
        let info = config.name.clone().unwrap_or_default();
        owner.run(Action::Operator { info }).await?.done()?;
    }
    let proof = device.sign(DEVICE_PROOF_DOMAIN, &device_proof(network, &who));
    let action = Action::Register {
        sector: Storage::ID,
        key: device.public(),
        proof,
        offer: encode(&plan.offer()),
        bond: plan.bond(facts)?,
    };
    owner.run(action).await?.done()?;
    ours(devices(client, &who).await?).ok_or_else(|| {
        Failure::new("up.registered", "the device was registered and is not found", "run the command again")
    })
}
