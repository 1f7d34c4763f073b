//! Put and get of 1 MiB fragments on a real disk: `cargo run --release --example disk_speed -- DIR`.

use cairn_storage_codec::segment::SegmentId;
use cairn_storage_node::Store;
use cairn_storage_node::disk::{Reads, RealDisk};
use cairn_storage_node::store::{Quota, SlotKey};
use cairn_storage_rules::types::Fragment;
use cairn_types::{Hash, LeaseId};
use std::sync::Arc;
use std::time::Instant;

const COUNT: u8 = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: speed DIR (a fresh directory)")?;
    let store = Arc::new(Store::open(Arc::new(RealDisk::new(dir)?), 8 << 30)?);
    let quota = Quota { reserve: 8 << 30, exposure: 8 << 30, reads: Reads::Soon };
    for threads in [1u8, 8] {
        let key = SlotKey { lease: LeaseId([threads; 32]), slot: 0, generation: 0 };
        let data: Vec<Vec<u8>> = (0..COUNT).map(|n| vec![n; 1 << 20]).collect();
        let data = Arc::new(data);
        let run = |name: &str, job: fn(&Store, &SlotKey, &Quota, u8, &[u8])| {
            let start = Instant::now();
            std::thread::scope(|s| {
                for t in 0..threads {
                    let (store, data) = (store.clone(), data.clone());
                    s.spawn(move || {
                        for n in (0..COUNT).filter(|n| n % threads == t) {
                            job(&store, &key, &quota, n, &data[usize::from(n)]);
                        }
                    });
                }
            });
            let mib = f64::from(COUNT) / start.elapsed().as_secs_f64();
            println!("{name} of 1 MiB fragments, {threads} at a time: {:.0} MB/s", mib * 1.048_576);
        };
        run("put (durable)", |store, key, quota, n, data| {
            let fragment = Fragment { root: Hash(*blake3::hash(data).as_bytes()), len: 1 << 20 };
            store.put(key, &SegmentId([n; 32]), &fragment, 0, data, quota).expect("room for the run");
        });
        run("get (page cache)", |store, key, _, n, data| {
            let bytes = store.get(key, &SegmentId([n; 32]), 0, 1 << 20).expect("put before");
            assert_eq!(bytes.len(), data.len());
        });
    }
    Ok(())
}
