//! Prints how fast the primitives are on this machine: `cargo run --release -p cairn-crypto --example crypto_speed`.

use cairn_crypto::merkle::chunk::{
    ChunkProof, Outboard, chunk_count, group_range, prove_chunk, verify_chunk,
};
use cairn_crypto::merkle::sum::{self, SumProof, SumTree};
use cairn_crypto::{BlsSecret, LtHash, SecretKey, Seed, keys};
use cairn_types::Hash;
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

/// Challenges to an operator in one epoch.
const CHALLENGES: u64 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    ed25519()?;
    bls()?;
    storage_proofs()?;
    let mut set = LtHash::new();
    per_item("lthash add (32 B key, 100 B value)", 20_000, |i| {
        set.add("speed", &[7; 32], &[i.to_le_bytes()[0]; 100]);
        Ok(())
    })
}

/// Times `n` calls and prints microseconds a call and calls a second.
fn per_item(
    what: &str,
    n: u32,
    mut f: impl FnMut(u32) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    for i in 0..n {
        f(i)?;
    }
    let each = start.elapsed().as_secs_f64() / f64::from(n);
    println!("{what:<58} {:>10.2} us {:>12.0} /s", each * 1e6, 1.0 / each);
    Ok(())
}

fn ed25519() -> Result<(), Box<dyn Error>> {
    let signers: Vec<SecretKey> = (0..=255u8).map(|i| SecretKey::from_seed(&[i; 32])).collect();
    let message = [5u8; 120];
    per_item("ed25519 sign", 5000, |_| {
        black_box(signers[0].sign("speed", &message));
        Ok(())
    })?;
    let (key, signature) = (signers[0].public(), signers[0].sign("speed", &message));
    per_item("ed25519 verify, single", 5000, |_| Ok(key.verify("speed", &message, &signature)?))?;
    let items: Vec<keys::BatchItem<'_>> =
        signers.iter().map(|s| (s.public(), "speed", &message[..], s.sign("speed", &message))).collect();
    for size in [16usize, 64, 256] {
        let start = Instant::now();
        let rounds = 4096 / size;
        for _ in 0..rounds {
            if !keys::verify_batch(&items[..size], &[1; 32]) {
                return Err("a valid batch was refused".into());
            }
        }
        let each = start.elapsed().as_secs_f64() / 4096.0;
        println!(
            "{:<58} {:>10.2} us {:>12.0} /s",
            format!("ed25519 verify, batch of {size}, each"),
            each * 1e6,
            1.0 / each
        );
    }
    Ok(())
}

fn bls() -> Result<(), Box<dyn Error>> {
    let secret = BlsSecret::from_seed(&[7; 32]);
    let (key, signature) = (secret.public(), secret.sign("speed", b"epoch"));
    per_item("bls sign", 500, |_| {
        black_box(secret.sign("speed", b"epoch"));
        Ok(())
    })?;
    per_item("bls verify (key and signature decoded and checked)", 500, |_| {
        Ok(key.verify("speed", b"epoch", &signature)?)
    })
}

/// An operator with 10^6 fragments answers 20 challenges. The chunk proofs come from a real fragment of 64 MiB.
fn storage_proofs() -> Result<(), Box<dyn Error>> {
    let fragment: Vec<u8> =
        (0..64u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect();
    let start = Instant::now();
    let outboard = Outboard::of(&fragment)?;
    println!("{:<58} {:>10.2} ms", "outboard of 64 MiB", start.elapsed().as_secs_f64() * 1e3);
    let len = outboard.fragment_len();
    let chunks = chunk_count(len);

    let start = Instant::now();
    let leaf = |i: u64| (Hash::derive("leaf", &[&i.to_le_bytes()]), chunks);
    let tree = SumTree::from_leaves((0..1_000_000).map(leaf))?;
    println!(
        "{:<58} {:>10.2} ms",
        "sum tree of 10^6 leaves (leaf hashes included)",
        start.elapsed().as_secs_f64() * 1e3
    );
    let root = tree.root();

    let draw = |i: u64| Seed([3; 32]).below("challenge", &[&i.to_le_bytes()], root.total);
    let start = Instant::now();
    let mut answers: Vec<(u64, SumProof, ChunkProof)> = Vec::new();
    for position in (0..CHALLENGES).map(draw) {
        let place = tree.prove_at(position)?;
        let range = group_range(len, place.offset_in_leaf)?;
        let group = &fragment[usize::try_from(range.start)?..usize::try_from(range.end)?];
        let chunk = prove_chunk(&outboard, place.offset_in_leaf, group)?;
        answers.push((position, place, chunk));
    }
    println!(
        "{:<58} {:>10.2} us",
        "prove 20 challenges (data in memory)",
        start.elapsed().as_secs_f64() * 1e6
    );
    let bytes = borsh::to_vec(&answers)?.len();
    println!("{:<58} {:>10} bytes", "size of the 20 answers", bytes);

    per_item("verify 1 chunk of 64 MiB", 20_000, |i| {
        let (_, place, chunk) = &answers[usize::try_from(i % 20)?];
        black_box(verify_chunk(&outboard.root(), len, place.offset_in_leaf, chunk)?);
        Ok(())
    })?;
    verify_deep()?;
    per_item("verify 20 challenges (sum tree of 10^6 and chunk)", 2000, |_| {
        for (position, place, chunk) in &answers {
            let index = sum::verify(&root, *position, place)?;
            black_box(verify_chunk(&outboard.root(), len, index, chunk)?);
        }
        Ok(())
    })
}

/// A chunk of a fragment of 1 GiB, hashed as it is made.
fn verify_deep() -> Result<(), Box<dyn Error>> {
    let mib = vec![9u8; 1 << 20];
    let mut builder = cairn_crypto::merkle::chunk::OutboardBuilder::new();
    for _ in 0..1024 {
        builder.update(&mib)?;
    }
    let outboard = builder.finish();
    let proof = prove_chunk(&outboard, 777_777, &mib[..16 << 10])?;
    per_item("verify 1 chunk of 1 GiB", 20_000, |_| {
        black_box(verify_chunk(&outboard.root(), 1 << 30, 777_777, &proof)?);
        Ok(())
    })
}
