//! `cargo xtask e2e nat`: the data plane through home routers, as processes in network namespaces.

mod net;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::count::Count;
use crate::e2e;
use crate::workspace::Workspace;
use net::{Nat, Net};

/// Longest wait for a line of a process.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long two peers have to find the direct way.
const PUNCHING: Duration = Duration::from_secs(30);
/// What is promised when a relay dies.
const FAILOVER: Duration = Duration::from_secs(10);
/// Bytes of one upload and one download.
const OBJECT: usize = 1 << 20;
/// Seeds of the keys: gateway side, first and second operator.
const GATEWAY: u8 = 1;
const FIRST: u8 = 2;
const SECOND: u8 = 3;

type Scenario = (&'static str, fn(&Path, &Path) -> Result<String>);

const SCENARIOS: &[Scenario] = &[
    ("without the world: nothing but loopback is used", quiet),
    ("homes with ordinary routers find the direct way", cone),
    ("homes with symmetric routers talk through the relay", symmetric),
    ("when the relay dies the other takes over within 10 s", failover),
];

/// Runs all scenarios, or says aloud why it cannot.
///
/// # Errors
/// When the peer's program does not build.
pub fn command() -> Result<bool> {
    if let Some(why) = net::forbidden()? {
        println!("NOT RUN: the NAT lab: {why}");
        println!("{}", Count { skipped: u64::try_from(SCENARIOS.len())?, ..Count::default() });
        return Ok(true);
    }
    net::sweep();
    ensure!(Workspace::sketch()?.has("cairn-net"), "cairn-net is not in the workspace");
    let program = e2e::artifact(&["build", "-p", "cairn-net", "--example", "nat_peer"], "nat_peer")?;
    let mut count = Count::default();
    for (name, scenario) in SCENARIOS {
        let dir = Scratch::new()?;
        match scenario(&program, &dir.0) {
            Ok(seen) => {
                println!("ok      {name}: {seen}");
                count.passed += 1;
            }
            Err(error) => {
                println!("FAILED  {name}: {error:#}");
                count.failed += 1;
            }
        }
    }
    println!("{count}");
    Ok(count.failed == 0)
}

/// A directory of one scenario, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let unique = format!("cairn-nat-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).context("making a directory for the lab")?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process of the lab; killed when dropped.
struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Value>,
    ready: Value,
    name: String,
}

impl Peer {
    fn start(program: &Path, net: &Net, name: &str, args: &[&str]) -> Result<Self> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &net.full(name)]).arg(program).args(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no output")?;
        let (tx, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else { continue };
                if tx.send(value).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self { child, input, lines, ready: Value::Null, name: name.to_owned() };
        peer.ready = peer.line()?;
        Ok(peer)
    }

    fn line(&self) -> Result<Value> {
        self.lines.recv_timeout(PATIENCE).with_context(|| format!("{} said nothing", self.name))
    }

    fn ask(&mut self, command: &str) -> Result<Value> {
        let input = self.input.as_mut().context("its input is closed")?;
        writeln!(input, "{command}").with_context(|| format!("{} has ended", self.name))?;
        self.line()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two relays on the internet and three homes behind routers of the same kind.
struct Town {
    relays: VecDeque<(String, Peer)>,
    gateway: Peer,
    first: Peer,
    second: Peer,
    _net: Net,
}

impl Town {
    fn build(program: &Path, dir: &Path, scenario: &str, nat: Nat) -> Result<Self> {
        let mut net = Net::new(scenario)?;
        let place = dir.to_string_lossy().into_owned();
        let ips = ["10.99.0.11", "10.99.0.12"];
        net.host("r1", 11)?;
        net.host("r2", 12)?;
        drop(Peer::start(program, &net, "r1", &["cert", &place, ips[0], ips[1]])?);
        let mut relays = VecDeque::new();
        for (name, ip) in ["r1", "r2"].into_iter().zip(ips) {
            relays.push_back((ip.to_owned(), Peer::start(program, &net, name, &["relay", ip, &place])?));
        }
        let mut home = |name: &str, role: &str, seed: u8| {
            net.home(name, 20 + seed, nat)?;
            let args = [role, &seed.to_string(), "0.0.0.0:4400", &place, ips[0], ips[1]];
            Peer::start(program, &net, name, &args)
        };
        let first = home("op1", "store", FIRST)?;
        let second = home("op2", "store", SECOND)?;
        let gateway = home("gate", "ask", GATEWAY)?;
        Ok(Self { relays, gateway, first, second, _net: net })
    }

    /// Uploads to an operator and reads back; the way that was taken.
    fn transfer(&mut self, seed: u8) -> Result<String> {
        let said = self.gateway.ask(&format!("transfer {seed} {OBJECT}"))?;
        ensure!(
            said["same"] == true,
            "the transfer with operator {seed} failed: {said}; {}",
            self.records()?
        );
        Ok(said["way"].as_str().unwrap_or_default().to_owned())
    }

    /// What everybody publishes, for reports of failures.
    fn records(&mut self) -> Result<String> {
        let mut text = String::new();
        for peer in [&mut self.gateway, &mut self.first, &mut self.second] {
            let said = peer.ask("record")?;
            write!(text, "{} publishes {said}; ", peer.name)?;
        }
        Ok(text)
    }
}

/// Relay, store and asker on loopback in a place from which every packet that leaves is counted.
fn quiet(program: &Path, dir: &Path) -> Result<String> {
    let mut net = Net::new("q")?;
    net.lonely("alone")?;
    let place = dir.to_string_lossy().into_owned();
    let here = "127.0.0.1";
    drop(Peer::start(program, &net, "alone", &["cert", &place, here])?);
    let before = net.sent("alone")?;
    let _relay = Peer::start(program, &net, "alone", &["relay", here, &place])?;
    let listen = "127.0.0.1:0";
    let _store = Peer::start(program, &net, "alone", &["store", "2", listen, &place, here])?;
    let mut asker = Peer::start(program, &net, "alone", &["ask", "1", listen, &place, here])?;
    let said = asker.ask(&format!("transfer 2 {OBJECT}"))?;
    ensure!(said["same"] == true, "the transfer failed: {said}");
    // Regular reports of the library come every 20 to 26 s: one must fall into the time that is watched.
    std::thread::sleep(Duration::from_secs(30));
    let left = net.sent("alone")?.saturating_sub(before);
    ensure!(left == 0, "{left} packets left the machine");
    Ok("0 packets left the machine in 30 s with a relay, a transfer and a regular report".into())
}

fn cone(program: &Path, dir: &Path) -> Result<String> {
    let mut town = Town::build(program, dir, "c", Nat::Cone)?;
    for seed in [FIRST, SECOND] {
        let start = Instant::now();
        loop {
            let way = town.transfer(seed)?;
            if way == "direct" {
                break;
            }
            if start.elapsed() > PUNCHING {
                bail!("operator {seed} is still reached through {way}; {}", town.records()?);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    let said = town.gateway.ask(&format!("transfer {FIRST} {}", 4 * OBJECT))?;
    Ok(format!("both operators directly; 4 MiB there and back in {} ms", said["ms"]))
}

fn symmetric(program: &Path, dir: &Path) -> Result<String> {
    let mut town = Town::build(program, dir, "s", Nat::Symmetric)?;
    let mut ways = Vec::new();
    for _ in 0..10 {
        for seed in [FIRST, SECOND] {
            ways.push(town.transfer(seed)?);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let strays: Vec<&String> = ways.iter().filter(|way| !way.starts_with("https://10.99.0.1")).collect();
    ensure!(strays.is_empty(), "not through a relay: {strays:?}; {}", town.records()?);
    let carried: u64 = town
        .relays
        .iter_mut()
        .map(|(_, relay)| Ok(relay.ask("usage")?["received"].as_u64().unwrap_or_default()))
        .sum::<Result<u64>>()?;
    let least = u64::try_from(20 * 2 * OBJECT)?;
    ensure!(carried >= least, "the relays carried {carried} bytes, at least {least} were sent");
    Ok(format!("{} transfers through the relays, which carried {carried} bytes", ways.len()))
}

fn failover(program: &Path, dir: &Path) -> Result<String> {
    let mut town = Town::build(program, dir, "f", Nat::Symmetric)?;
    let way = town.transfer(FIRST)?;
    let dying = town.relays.iter().position(|(ip, _)| way.contains(&format!("//{ip}:")));
    let dying =
        dying.with_context(|| format!("operator {FIRST} is reached through {way}, which is no relay"))?;
    let start = Instant::now();
    // Killed, not closed: nobody is told.
    drop(town.relays.remove(dying));
    let mut seen = Vec::new();
    for seed in [FIRST, SECOND] {
        let said = town.gateway.ask(&format!("until {seed}"))?;
        let took = start.elapsed();
        ensure!(said["way"] != "none", "operator {seed} was not reached again: {said}; {}", town.records()?);
        ensure!(took <= FAILOVER, "operator {seed} was reached again after {} ms: {said}", took.as_millis());
        seen.push(format!("operator {seed} after {} ms", took.as_millis()));
        town.transfer(seed)?;
    }
    Ok(seen.join(", "))
}
