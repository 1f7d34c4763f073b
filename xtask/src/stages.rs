//! `cargo xtask test`: all stages in order; a failure ends nothing early.

use anyhow::Result;

use crate::count::Count;
use crate::{e2e, run, tidy};

type Stage = fn() -> Result<Count>;

/// Runs every stage and prints the sum as the last line.
///
/// # Errors
/// None of its own: a stage that cannot even start is a failed stage.
pub fn test() -> Result<bool> {
    let stages: [(&str, Stage); 3] =
        [("tidy", tidy_stage), ("cargo test", cargo_stage), ("e2e", || e2e::stage(None))];
    let mut sum = Count::default();
    let mut bad = Vec::new();
    for (name, stage) in stages {
        eprintln!("\nxtask: stage {name}");
        let count = stage().unwrap_or_else(|error| {
            eprintln!("xtask: {name}: {error:#}");
            Count::default().closed(false)
        });
        if count.failed > 0 {
            bad.push(name);
        }
        sum += count;
    }
    if !bad.is_empty() {
        eprintln!("\nxtask: failed in: {}; the findings stand above", bad.join(", "));
    }
    println!("{sum}");
    Ok(sum.failed == 0)
}

/// Findings are no tests: tidy adds nothing when it is content and one failure when not.
fn tidy_stage() -> Result<Count> {
    Ok(Count::default().closed(tidy::command()?))
}

fn cargo_stage() -> Result<Count> {
    let ended = run::counting(run::cargo().args(["test", "--workspace", "--no-fail-fast"]))?;
    Ok(ended.count.closed(ended.success))
}
