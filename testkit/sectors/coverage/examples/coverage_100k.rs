//! Judges a synthetic field and prints time and peak memory: `cargo run -p cairn-coverage-rules --example
//! coverage_100k [DEVICES]`.

// The module is shared with the tests, where a failure may panic.
#[path = "../tests/it/field.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod field;

use std::time::Instant;

fn main() {
    let devices = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let start = Instant::now();
    let field = field::Field::new(devices);
    let (built, before) = (start.elapsed(), field::peak_kib());
    let start = Instant::now();
    let outcome = field.judge();
    let judged = start.elapsed();
    println!("devices             {devices}");
    println!("receipts            {}", outcome.receipts);
    println!("rows                {}", outcome.judgement.rows.len());
    println!("registry and keys   {built:.1?}");
    println!("sign and judge      {judged:.1?}");
    println!("VmHWM before, after {before:?}, {:?} KiB", field::peak_kib());
}
