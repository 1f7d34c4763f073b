//! Prints what each stage does in GB (10^9 bytes) of user data per second of CPU time on one core: the median
//! of five runs over one full segment. CPU time because other work on the machine would blur the clock. `cargo run --release -p cairn-storage-codec --example codec_speed`

use cairn_storage_codec::erasure::{Profile, decode, encode};
use cairn_storage_codec::keys::{PadKey, SegmentKey};
use cairn_storage_codec::segment::{
    FragmentSource, Held, MAX_PLAIN, SealedSegment, Sealer, open, repair, seal,
};
use cairn_storage_codec::{CodecError, SegmentId, StorageKeys, pad, stream};
use cairn_types::{DeviceId, LeaseId};
use std::time::Instant;

/// Slots below `gone` do not answer.
struct Memory<'a> {
    fragments: &'a [Vec<u8>],
    gone: usize,
}

impl FragmentSource for Memory<'_> {
    fn cell(&self, slot: u16, offset: u64, len: usize) -> Option<Vec<u8>> {
        let (slot, at) = (usize::from(slot), usize::try_from(offset).ok()?);
        (slot >= self.gone).then(|| self.fragments[slot][at..at + len].to_vec())
    }
}

/// Nanoseconds that this thread ran, page faults included; `None` where the system does not tell.
fn cpu_nanos() -> Option<f64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

fn row(name: &str, bytes: usize, mut work: impl FnMut() -> Result<(), CodecError>) -> Result<(), CodecError> {
    let mut rates = Vec::new();
    for _ in 0..5 {
        let (start, cpu) = (Instant::now(), cpu_nanos());
        work()?;
        let wall = start.elapsed().as_secs_f64() * 1e9;
        let nanos = cpu_nanos().zip(cpu).map_or(wall, |(end, start)| end - start);
        rates.push(bytes as f64 / nanos);
    }
    rates.sort_by(f64::total_cmp);
    println!("| {name} | {:.2} |", rates[2]);
    Ok(())
}

fn profile_rows(keys: &StorageKeys, plain: &[u8], k: u16, n: u16) -> Result<(), CodecError> {
    let profile = Profile::new(k, n)?;
    let (id, lease) = (SegmentId([1; 32]), LeaseId([2; 32]));
    let devices: Vec<(u16, DeviceId)> = (0..n).map(|s| (s, DeviceId([3; 32]))).collect();
    let bytes = plain.len();
    row(&format!("encode {k}/{n}"), bytes, || encode(profile, plain).map(drop))?;
    let fragments = encode(profile, plain)?;
    let kept: Vec<(u16, &[u8])> =
        (0u16..).zip(&fragments).skip(usize::from(n - k)).map(|(f, b)| (f, &b[..])).collect();
    let len = plain.len() as u64;
    row(&format!("decode {k}/{n}, first {} lost", n - k), bytes, || decode(profile, len, &kept).map(drop))?;
    drop(fragments);
    row(&format!("whole seal {k}/{n}"), bytes, || seal(keys, profile, id, plain, &devices, lease).map(drop))?;
    row(&format!("streaming seal {k}/{n}, cells dropped"), bytes, || {
        let mut sealer = Sealer::new(keys, profile, id, lease, &devices)?;
        let mut sink = |_: u16, _: u64, cell: &[u8]| {
            std::hint::black_box(cell);
        };
        sealer.push(plain, &mut sink)?;
        sealer.finish(&mut sink).map(drop)
    })?;
    let SealedSegment { fragments, meta, .. } = seal(keys, profile, id, plain, &devices, lease)?;
    for gone in [0, usize::from(n - k)] {
        let source = Memory { fragments: &fragments, gone };
        row(&format!("whole open {k}/{n}, first {gone} lost"), bytes, || {
            open(keys, &meta, &devices, 0..len, &source).map(drop)
        })?;
    }
    let held: Vec<Held<'_>> = (0u16..)
        .zip(&fragments)
        .skip(usize::from(n - k))
        .map(|(slot, padded)| Held { slot, device: DeviceId([3; 32]), padded })
        .collect();
    let key = keys.repair.lease(&lease);
    row(&format!("repair fragment 0 of {k}/{n}, from the last {k}"), bytes, || {
        repair(&held, &key, &meta, 0, &DeviceId([4; 32])).map(drop)
    })
}

fn main() -> Result<(), CodecError> {
    let plain: Vec<u8> = (0..MAX_PLAIN).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let keys = StorageKeys::from_root(&[7; 32]);
    let key = SegmentKey::from_bytes([1; 32]);
    println!("| stage | GB/s of user data, CPU time |\n|---|---|");
    row("encrypt", plain.len(), || stream::encrypt(&key, &plain).map(drop))?;
    let cipher = stream::encrypt(&key, &plain)?;
    let mut reused = Vec::with_capacity(cipher.len());
    row("encrypt into a reused buffer", plain.len(), || {
        reused.clear();
        let mut encryptor = stream::Encryptor::new(&key)?;
        encryptor.push(&plain, &mut reused)?;
        encryptor.finish(&mut reused)
    })?;
    row("decrypt", plain.len(), || stream::decrypt(&key, &cipher).map(drop))?;
    let mut padded = cipher.clone();
    row("pad (bytes of fragment)", plain.len(), || pad::apply(&PadKey::from_bytes([1; 32]), 0, &mut padded))?;
    row("BLAKE3 (bytes of fragment)", plain.len(), || {
        std::hint::black_box(blake3::hash(&padded));
        Ok(())
    })?;
    for (k, n) in [(2, 4), (4, 10), (8, 20), (16, 36)] {
        profile_rows(&keys, &plain, k, n)?;
    }
    Ok(())
}
