//! `bench`, `sim` and `fuzz`: longer runs that `test` does not contain.

use std::str::FromStr;

use anyhow::{Result, anyhow, bail, ensure};

use crate::run;
use crate::workspace::Workspace;

/// A benchmark: a name, the cargo command that runs it, and what the figure means.
pub struct Bench {
    pub name: &'static str,
    /// Arguments for cargo, e.g. `["bench", "-p", "cairn-ledger"]`.
    pub command: &'static [&'static str],
    pub measures: &'static str,
}

/// All benchmarks; `bench/README.md` holds their figures. Add a row with the benchmark.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "crypto",
        command: &["run", "--release", "--quiet", "-p", "cairn-crypto", "--example", "crypto_speed"],
        measures: "signatures, trees, chunk proofs, set hash",
    },
    Bench {
        name: "ledger",
        command: &["run", "--release", "--quiet", "-p", "cairn-ledger", "--example", "ledger_speed"],
        measures: "transfers, batch verification, settlement of 10,000 operators, orders",
    },
    Bench {
        name: "transfers",
        command: &["run", "--release", "--quiet", "-p", "cairn-api", "--example", "transfer_speed"],
        measures: "transfers per second from HTTP to finality, one validator",
    },
    Bench {
        name: "proofs",
        command: &["run", "--release", "--quiet", "-p", "cairn-storage-rules", "--example", "proof_speed"],
        measures: "proof and verification of 20 challenges, the operator tree",
    },
    Bench {
        name: "codec",
        command: &["run", "--release", "--quiet", "-p", "cairn-storage-codec", "--example", "codec_speed"],
        measures: "encryption, erasure code, sealing, opening, repair",
    },
    Bench {
        name: "disk",
        command: &["run", "--release", "--quiet", "-p", "cairn-storage-node", "--example", "disk_speed"],
        measures: "durable puts and gets of fragments",
    },
    Bench {
        name: "net",
        command: &["run", "--release", "--quiet", "-p", "cairn-net", "--example", "net_speed"],
        measures: "the data plane on loopback: in process, direct QUIC, through a relay",
    },
    Bench {
        name: "coverage",
        command: &["run", "--release", "--quiet", "-p", "cairn-coverage-rules", "--example", "coverage_100k"],
        measures: "judging 100,000 standing devices in bounded memory",
    },
];

/// Runs one benchmark, or all.
///
/// # Errors
/// When the name is unknown or cargo cannot be started.
pub fn bench(name: Option<&str>) -> Result<bool> {
    if BENCHES.is_empty() && name.is_none() {
        println!("no benchmark is registered yet; add a row to BENCHES in xtask/src/labs.rs");
        return Ok(true);
    }
    let chosen = choose(BENCHES, name)?;
    let mut fine = true;
    for bench in chosen {
        println!("{}: {}", bench.name, bench.measures);
        fine &= run::plainly(run::cargo().args(bench.command))?;
    }
    Ok(fine)
}

fn choose<'a>(table: &'a [Bench], name: Option<&str>) -> Result<Vec<&'a Bench>> {
    let chosen: Vec<&Bench> =
        table.iter().filter(|bench| name.is_none_or(|name| bench.name == name)).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = table.iter().map(|bench| bench.name).collect();
        bail!(
            "no benchmark is called {:?}; known: {}",
            name.unwrap_or_default(),
            if known.is_empty() { "none yet".to_owned() } else { known.join(", ") }
        );
    }
    Ok(chosen)
}

/// A half-open range of seeds, written `A..B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    from: u64,
    to: u64,
}

impl FromStr for Seeds {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (from, to) =
            text.split_once("..").ok_or_else(|| anyhow!("seeds are written A..B, e.g. 0..16"))?;
        let number = |part: &str| {
            part.parse::<u64>().map_err(|_| anyhow!("{part:?} is no seed; use whole numbers, e.g. 0..16"))
        };
        let (from, to) = (number(from)?, number(to)?);
        ensure!(from < to, "the range {from}..{to} holds no seed; the second number must be larger");
        Ok(Self { from, to })
    }
}

/// Segment-years of each profile in `sim durability`.
const SEGMENT_YEARS: &str = "100000";

/// Runs the engine's simulation for each seed, or the one of durability.
///
/// # Errors
/// When the crate is not there or no such test ran.
pub fn sim(what: &str, seeds: &Seeds) -> Result<bool> {
    if what == "durability" {
        let years = [("CAIRN_DURABILITY_YEARS", SEGMENT_YEARS.to_owned())];
        return one_test("cairn-storage-gateway", "durability", &years);
    }
    let range = format!("{}..{}", seeds.from, seeds.to);
    one_test("cairn-engine", "sim_seeds", &[("CAIRN_SIM_SEEDS", range)])
}

/// Drives the fuzz targets; which there are stands in `cairn_testkit::fuzz::TARGETS`, and the
/// driver refuses a name that is not among them.
///
/// # Errors
/// When the crate is not there or no such test ran.
pub fn fuzz(seconds: u64, target: Option<&str>) -> Result<bool> {
    let mut settings = vec![("CAIRN_FUZZ_SECONDS", seconds.to_string())];
    if let Some(target) = target {
        settings.push(("CAIRN_FUZZ_TARGET", target.to_owned()));
    }
    one_test("cairn-testkit", "fuzz", &settings)
}

/// Runs the tests of `package`'s `it` binary that match `filter`. A filter that matches
/// nothing would pass in silence, so that is an error.
fn one_test(package: &str, filter: &str, settings: &[(&str, String)]) -> Result<bool> {
    ensure!(
        Workspace::sketch()?.has(package),
        "the crate {package} is not in the workspace yet, so there is nothing to run"
    );
    let mut command = run::cargo();
    command.args(["test", "-p", package, "--test", "it", filter, "--", "--nocapture"]);
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    let ended = run::counting(&mut command)?;
    ensure!(
        !ended.success || ended.count.passed > 0,
        "no test of {package} matches {filter:?}; add it to {package}'s tests/it"
    );
    Ok(ended.success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_that_holds_something() {
        assert_eq!("3..9".parse::<Seeds>().unwrap(), Seeds { from: 3, to: 9 });
        for bad in ["", "3", "9..3", "3..3", "a..b", "-1..4", "1..=4"] {
            assert!(bad.parse::<Seeds>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_row_of_the_table_is_empty_or_stands_twice() {
        for (place, bench) in BENCHES.iter().enumerate() {
            assert!(!bench.name.is_empty() && !bench.command.is_empty() && !bench.measures.is_empty());
            assert!(BENCHES.iter().skip(place + 1).all(|other| other.name != bench.name));
        }
    }

    #[test]
    fn an_unknown_benchmark_is_answered_with_the_known_ones() {
        let table = [Bench { name: "proof", command: &["bench"], measures: "a proof" }];
        assert_eq!(choose(&table, None).unwrap().len(), 1);
        assert_eq!(choose(&table, Some("proof")).unwrap().len(), 1);
        let error = choose(&table, Some("prof")).err().unwrap();
        assert!(error.to_string().contains("known: proof"));
    }
}
