//! Networks inside this machine: namespaces, cables between them, and home routers.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{e2e, run};

/// Begins the names of all namespaces; the number of the process follows.
const PREFIX: &str = "cairn-nat-";

/// How a home router chooses the outside port of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// The same for every destination: hole punching works.
    Cone,
    /// Another for every destination: it does not.
    Symmetric,
}

/// Namespaces of one run; removed with it.
pub struct Net {
    prefix: String,
    names: Vec<String>,
}

/// Why namespaces cannot be made here, if so. Installs what is missing where that is allowed.
pub fn forbidden() -> Result<Option<String>> {
    for (program, package) in [("ip", "iproute2"), ("iptables", "iptables")] {
        let there = known(program) || (e2e::apt(&[package])? && known(program));
        if !there {
            return Ok(Some(format!("{program} is missing and {package} could not be installed")));
        }
    }
    let probe = format!("cairn-probe-{}", std::process::id());
    let made = quiet("ip", &["netns", "add", &probe]);
    let nat = made && quiet("ip", &["netns", "exec", &probe, "iptables", "-t", "nat", "-L", "-n"]);
    if made {
        quiet("ip", &["netns", "del", &probe]);
    }
    Ok(match (made, nat) {
        (true, true) => None,
        (true, false) => Some("the kernel offers no address translation in a namespace".into()),
        _ => Some("network namespaces are not permitted; run it as root".into()),
    })
}

fn known(program: &str) -> bool {
    let asked = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success()) || run::present(program)
}

fn quiet(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Removes what runs left behind that were killed.
pub fn sweep() {
    let Ok(out) = Command::new("ip").args(["netns", "list"]).output() else { return };
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let run = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()).unwrap_or_default();
        let ours = !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_digit());
        if ours && !Path::new("/proc").join(run).exists() {
            quiet("ip", &["netns", "del", name]);
        }
    }
}

impl Net {
    /// An internet: the namespace `wan` with a switch in it, 10.99.0.1/24.
    pub fn new(scenario: &str) -> Result<Self> {
        let mut net =
            Self { prefix: format!("{PREFIX}{}-{scenario}-", std::process::id()), names: Vec::new() };
        net.add("wan")?;
        net.ip("wan", &["link", "add", "br0", "type", "bridge"])?;
        net.ip("wan", &["link", "set", "br0", "up"])?;
        net.ip("wan", &["addr", "add", "10.99.0.1/24", "dev", "br0"])?;
        Ok(net)
    }

    /// Full name of a namespace.
    pub fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn add(&mut self, name: &str) -> Result<()> {
        let full = self.full(name);
        shell("ip", &["netns", "add", &full])?;
        self.names.push(full);
        self.ip(name, &["link", "set", "lo", "up"])
    }

    fn ip(&self, name: &str, args: &[&str]) -> Result<()> {
        let full = self.full(name);
        shell("ip", &[&["-n", &full], args].concat())
    }

    fn exec(&self, name: &str, args: &[&str]) -> Result<()> {
        let full = self.full(name);
        shell("ip", &[&["netns", "exec", &full], args].concat())
    }

    /// A cable from `inside` (as `eth0`) to the switch or, as `port`, into the namespace `outside`.
    fn cable(&self, inside: &str, device: &str, outside: &str, port: &str) -> Result<()> {
        let (inside_full, outside_full) = (self.full(inside), self.full(outside));
        shell(
            "ip",
            &[
                "link",
                "add",
                device,
                "netns",
                &inside_full,
                "type",
                "veth",
                "peer",
                "name",
                port,
                "netns",
                &outside_full,
            ],
        )?;
        self.ip(inside, &["link", "set", device, "up"])?;
        self.ip(outside, &["link", "set", port, "up"])
    }

    /// A host on the internet at 10.99.0.`last`.
    pub fn host(&mut self, name: &str, last: u8) -> Result<()> {
        self.add(name)?;
        self.plug(name, "eth0", last)
    }

    fn plug(&self, name: &str, device: &str, last: u8) -> Result<()> {
        let port = format!("p{last}");
        self.cable(name, device, "wan", &port)?;
        self.ip("wan", &["link", "set", &port, "master", "br0"])?;
        self.ip(name, &["addr", "add", &format!("10.99.0.{last}/24"), "dev", device])
    }

    /// A host at 192.168.`last`.2 behind a router of its own, which is 10.99.0.`last` outside.
    pub fn home(&mut self, name: &str, last: u8, nat: Nat) -> Result<()> {
        let router = format!("{name}-r");
        self.add(name)?;
        self.add(&router)?;
        self.plug(&router, "wan0", last)?;
        self.cable(name, "eth0", &router, "lan0")?;
        self.ip(name, &["addr", "add", &format!("192.168.{last}.2/24"), "dev", "eth0"])?;
        self.ip(&router, &["addr", "add", &format!("192.168.{last}.1/24"), "dev", "lan0"])?;
        self.ip(name, &["route", "add", "default", "via", &format!("192.168.{last}.1")])?;
        self.exec(&router, &["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        let mut rule = vec!["iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "wan0", "-j", "MASQUERADE"];
        if nat == Nat::Symmetric {
            rule.push("--random-fully");
        }
        self.exec(&router, &rule)?;
        // A home router passes nothing in that was not asked for, and says nothing about it.
        for chain in ["FORWARD", "INPUT"] {
            let asked = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"];
            self.exec(&router, &[&["iptables", "-A", chain, "-i", "wan0"], &asked[..]].concat())?;
            self.exec(&router, &["iptables", "-A", chain, "-i", "wan0", "-j", "DROP"])?;
        }
        Ok(())
    }

    /// A host whose every packet to anywhere but itself ends in a namespace that counts it.
    pub fn lonely(&mut self, name: &str) -> Result<()> {
        self.add(name)?;
        self.exec(name, &["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])?;
        self.cable(name, "eth0", "wan", "sink")?;
        self.ip(name, &["addr", "add", "192.0.2.1/24", "dev", "eth0"])?;
        self.ip(name, &["neigh", "add", "192.0.2.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0"])?;
        self.ip(name, &["route", "add", "default", "via", "192.0.2.2"])
    }

    /// Packets that `name` has sent over `eth0`.
    pub fn sent(&self, name: &str) -> Result<u64> {
        let full = self.full(name);
        let path = "/sys/class/net/eth0/statistics/tx_packets";
        let out =
            Command::new("ip").args(["netns", "exec", &full, "cat", path]).output().context("starting ip")?;
        let text = String::from_utf8_lossy(&out.stdout);
        text.trim().parse().with_context(|| format!("no count of packets in {full}"))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            quiet("ip", &["netns", "del", name]);
        }
    }
}

fn shell(program: &str, args: &[&str]) -> Result<()> {
    let out = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !out.status.success() {
        bail!("{program} {} failed: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
