//! What this machine can do: space, speed and health of its disk, its clock.

use anyhow::Result;
use cairn_client::Client;
use cairn_sector::{Finding, Level};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::home::now_ms;
use crate::output::bytes;

/// What the write test writes at a first start.
const TRIAL: usize = 32 << 20;
/// What it writes at once.
const CHUNK: usize = 1 << 20;
/// Small writes that are made durable one by one.
const SYNCS: usize = 8;
/// A durable small write that takes longer delays every customer.
const SLOW_SYNC: Duration = Duration::from_millis(100);
/// Slowest disk that can keep up with a few leases, bytes a second.
const SLOW_WRITE: u64 = 10_000_000;
/// Space that the file system should keep beside the offer.
const SPARE: u64 = 1 << 30;
/// Clock difference at which records of peers and requests begin to be refused.
const SKEW_BAD: u64 = 300_000;
/// Clock difference worth a word.
const SKEW_ODD: u64 = 10_000;
/// Longest wait for a block to compare the clock with.
const BLOCK: Duration = Duration::from_secs(15);

/// Bytes that this user may still write on the disk of `path`.
pub fn free(path: &Path) -> Option<u64> {
    let s = rustix::fs::statvfs(path).ok()?;
    s.f_bavail.checked_mul(s.f_frsize)
}

/// How fast a disk takes data.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Bytes a second, made durable at the end.
    pub write: u64,
    /// The slower half of small durable writes begins here.
    pub sync: Duration,
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Writes `size` bytes and some small ones, and removes them.
fn speed(dir: &Path, size: usize) -> std::io::Result<Speed> {
    let mut file = tempfile::Builder::new().prefix(".cairn-probe-").tempfile_in(dir)?;
    // Not zeros: some disks and file systems keep those for free.
    let chunk: Vec<u8> =
        (0..CHUNK.min(size.max(1))).map(|i| u8::try_from(i * 7919 % 251).unwrap_or(0)).collect();
    let begun = Instant::now();
    let mut written = 0usize;
    while written < size {
        file.write_all(&chunk)?;
        written += chunk.len();
    }
    file.as_file().sync_all()?;
    let took = micros(begun.elapsed());
    let mut syncs = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&chunk[..chunk.len().min(4096)])?;
        file.as_file().sync_data()?;
        syncs.push(begun.elapsed());
    }
    syncs.sort_unstable();
    let write = u64::try_from(written).unwrap_or(u64::MAX).saturating_mul(1_000_000) / took;
    Ok(Speed { write, sync: syncs.get(SYNCS / 2).copied().unwrap_or_default() })
}

fn find(level: Level, code: &'static str, cause: String, remedy: &'static str) -> Finding {
    Finding::new(level, code, cause, remedy)
}

/// Speed and health of the disk. `thorough`: with the long write of a first start.
pub async fn disk(dir: &Path, thorough: bool) -> Finding {
    let at = dir.to_owned();
    let size = if thorough { TRIAL } else { 4096 };
    let tried = tokio::task::spawn_blocking(move || speed(&at, size)).await;
    let tried = tried.map_err(|e| std::io::Error::other(e.to_string())).and_then(|r| r);
    judge_disk(tried, dir, thorough)
}

fn judge_disk(tried: std::io::Result<Speed>, dir: &Path, thorough: bool) -> Finding {
    let speed = match tried {
        Ok(speed) => speed,
        Err(e) if e.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
            let cause = format!(
                "the disk of {} is read-only: the system met errors on it, or it is mounted so",
                dir.display()
            );
            return find(
                Level::Bad,
                "disk.read_only",
                cause,
                "look into the kernel's log; replace the disk before it fails altogether",
            );
        }
        Err(e) => {
            let cause = format!("{} cannot be written: {e}", dir.display());
            return find(Level::Bad, "disk.error", cause, "check owner, mode, space and the kernel's log");
        }
    };
    let sync = format!(
        "{:.1} ms for a small durable write",
        f64::from(u32::try_from(micros(speed.sync)).unwrap_or(u32::MAX)) / 1000.0
    );
    let cause = match thorough {
        true => format!("the disk takes {} a second, {sync}", bytes(speed.write)),
        false => format!("the disk is writable, {sync}"),
    };
    match speed {
        s if s.sync > SLOW_SYNC => find(
            Level::Warning,
            "disk.slow",
            cause,
            "customers wait for it: use another disk, or one with a write cache that survives a power cut",
        ),
        s if thorough && s.write < SLOW_WRITE => find(
            Level::Warning,
            "disk.slow",
            cause,
            "offer another disk: repairs and uploads will time out here",
        ),
        _ => find(Level::Good, "disk.speed", cause, ""),
    }
}

/// Free space against what is still to be filled.
pub fn space(dir: &Path, unfilled: Option<u64>) -> Finding {
    let (Some(free), Some(unfilled)) = (free(dir), unfilled) else {
        return find(
            Level::Warning,
            "disk.space",
            "free space is unknown".into(),
            "check that the disk is mounted",
        );
    };
    let cause =
        format!("{} of the offer are not filled yet, the disk has {} free", bytes(unfilled), bytes(free));
    match free.checked_sub(unfilled) {
        None => find(
            Level::Bad,
            "disk.space",
            cause,
            "free some space, or offer less with `cairn set offer SIZE`: what does not fit is refused to customers",
        ),
        Some(rest) if rest < SPARE => {
            find(Level::Warning, "disk.space", cause, "keep a GiB for the system beside the offer")
        }
        Some(_) => find(Level::Good, "disk.space", cause, ""),
    }
}

/// This machine's clock against the newest block of the network.
pub async fn clock(client: &Client) -> Finding {
    let unknown = |cause: String| {
        find(
            Level::Warning,
            "clock.unknown",
            cause,
            "look whether the node is up; `timedatectl` shows whether time is kept",
        )
    };
    let first = match client.status().await {
        Ok(status) => status,
        Err(e) => return unknown(format!("the clock cannot be compared: {}", e.cause)),
    };
    let begun = Instant::now();
    while begun.elapsed() < BLOCK {
        match client.status().await {
            Ok(now) if now.height > first.height => {
                return judge_clock(now_ms().abs_diff(now.block_timestamp_ms));
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    unknown("no block came to compare the clock with".into())
}

fn judge_clock(apart: u64) -> Finding {
    let cause = format!("clock and newest block are {}.{:03} s apart", apart / 1000, apart % 1000);
    let remedy = "let the machine keep time: `timedatectl set-ntp true`";
    match apart {
        a if a > SKEW_BAD => find(Level::Bad, "clock.wrong", cause, remedy),
        a if a > SKEW_ODD => find(Level::Warning, "clock.wrong", cause, remedy),
        _ => find(Level::Good, "clock.right", cause, ""),
    }
}

/// What an enrolment looks at before it asks anything.
pub async fn machine(disk_dir: &Path, client: &Client) -> Result<Vec<Finding>> {
    let (disk, clock) = tokio::join!(disk(disk_dir, true), clock(client));
    Ok(vec![disk, clock])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_is_tried_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free(dir.path()).unwrap() > 0);
        let tried = disk(dir.path(), false).await;
        assert!(tried.level != Level::Bad, "{tried:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(disk(&dir.path().join("nothing"), false).await.code, "disk.error");
        assert_eq!(space(dir.path(), Some(u64::MAX)).level, Level::Bad);
        assert_eq!(space(&dir.path().join("nothing"), Some(1)).level, Level::Warning);
    }

    #[test]
    fn disks_and_clocks_are_judged() {
        let disk = |write, ms| {
            let speed = Speed { write, sync: Duration::from_millis(ms) };
            judge_disk(Ok(speed), Path::new("/d"), true).code
        };
        let codes = [disk(200_000_000, 3), disk(200_000_000, 300), disk(1_000_000, 3)];
        assert_eq!(codes, ["disk.speed", "disk.slow", "disk.slow"]);
        let failed = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(judge_disk(Err(failed), Path::new("/d"), false).code, "disk.read_only");
        let levels = [0, 20_000, 400_000].map(|apart| judge_clock(apart).level);
        assert_eq!(levels, [Level::Good, Level::Warning, Level::Bad]);
    }
}
