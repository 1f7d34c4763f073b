//! The demo: a real job done, broken, repaired, paid and verified before your eyes. Every claim is checked; the first
//! one that is not true ends the demo with a failure.

use anyhow::{Context, Result};
use cairn_audit::verify;
use cairn_client::Client;
use cairn_crypto::hash::sha256;
use cairn_ledger::settlement::Settlement;
use cairn_ledger::tables::{Devices, Leases, Phase, SectorEpochs};
use cairn_sector::Source;
use cairn_storage_rules::types;
use cairn_types::{Amount, Credits, DeviceId, DutyId, Epoch, Hash, LeaseId, decode};
use reqwest::{Body, Method};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::genesis::sectors;
use crate::audit::chain_id;
use crate::output::{Failure, Out, bytes};
use crate::s3::S3;
use crate::status::STORAGE;

/// Bytes of the big object without a file of the user's.
const BIG: usize = 64 << 20;
/// Small objects.
const SMALL: usize = 200;

/// What the demo needs of the devnet.
pub struct Stage {
    /// Client of the node.
    pub client: Client,
    /// Endpoint.
    pub s3: S3,
    /// The customer's recovery phrase.
    pub phrase: String,
    /// Where it is shown.
    pub out: Out,
}

struct Show {
    stage: Stage,
    begun: Instant,
    objects: BTreeMap<String, Vec<u8>>,
}

/// Pseudo-random bytes: compress badly, come out the same on every run.
fn noise(label: &str, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut block = sha256("cairn/demo", &[label.as_bytes()]).0;
    while out.len() < len {
        // Every 64 KiB from a fresh digest, in between a cheap generator: the demo is not about hashing.
        let mut x = u64::from_le_bytes([
            block[0], block[1], block[2], block[3], block[4], block[5], block[6], block[7],
        ]) | 1;
        for _ in 0..8192 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            out.extend_from_slice(&x.to_le_bytes());
        }
        block = sha256("cairn/demo", &[&block]).0;
    }
    out.truncate(len);
    out
}

fn untrue(what: impl Into<String>) -> anyhow::Error {
    Failure::new("demo.untrue", what, "run it again with CAIRN_LOG=debug and report the output")
}

/// Runs the demo.
pub async fn run(stage: Stage, file: Option<&str>) -> Result<()> {
    let mut show = Show { stage, begun: Instant::now(), objects: BTreeMap::new() };
    show.store(file).await?;
    show.read_back("read back through S3").await?;
    let first = show.settlement().await?;
    show.faults().await?;
    show.recover().await?;
    show.recompute(first).await?;
    show.money().await?;
    show.say("done", "every statement above was checked");
    let seconds = show.begun.elapsed().as_secs();
    show.stage.out.answer(&json!({"demo": "every statement was checked", "seconds": seconds}), String::new);
    Ok(())
}

impl Show {
    fn say(&self, what: &str, text: impl AsRef<str>) {
        let t = self.begun.elapsed();
        self.stage.out.tell(&format!(
            "{:>3}.{} s  {what:<9} {}",
            t.as_secs(),
            t.subsec_millis() / 100,
            text.as_ref()
        ));
    }

    async fn put(&self, key: &str, data: Vec<u8>) -> Result<()> {
        let len = u64::try_from(data.len()).unwrap_or(0);
        self.stage.s3.send(Method::PUT, &format!("/demo/{key}"), &[], Some((Body::from(data), len))).await?;
        Ok(())
    }

    async fn store(&mut self, file: Option<&str>) -> Result<()> {
        self.stage.s3.send(Method::PUT, "/demo", &[], None).await?;
        let (name, big) = match file {
            Some(path) => {
                let data = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
                let name = std::path::Path::new(path).file_name().map(|n| n.to_string_lossy().into_owned());
                (name.unwrap_or_else(|| "file".into()), data)
            }
            None => ("big.bin".to_owned(), noise("big", BIG)),
        };
        let begun = Instant::now();
        self.put(&name, big.clone()).await?;
        let took = begun.elapsed();
        self.say(
            "stored",
            format!(
                "{name}, {}, in {:.2} s, acknowledged after fsync at the operators",
                bytes(big.len() as u64),
                took.as_secs_f64()
            ),
        );
        self.objects.insert(name, big);
        let begun = Instant::now();
        for i in 0..SMALL {
            let (key, data) = (format!("small/{i:03}"), noise(&format!("small {i}"), 100 + i * 97));
            self.objects.insert(key, data);
        }
        let small: Vec<(String, Vec<u8>)> = self
            .objects
            .iter()
            .filter(|o| o.0.starts_with("small/"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        for group in small.chunks(25) {
            futures::future::try_join_all(group.iter().map(|(k, v)| self.put(k, v.clone()))).await?;
        }
        self.say(
            "stored",
            format!("{SMALL} small objects in {:.2} s, packed", begun.elapsed().as_secs_f64()),
        );
        Ok(())
    }

    async fn read_back(&self, how: &str) -> Result<()> {
        let begun = Instant::now();
        let mut total = 0;
        for (key, data) in &self.objects {
            let got =
                self.stage.s3.send(Method::GET, &format!("/demo/{key}"), &[], None).await?.bytes().await?;
            if got.as_ref() != data.as_slice() {
                return Err(untrue(format!("{key} came back altered")));
            }
            total += data.len() as u64;
        }
        self.say(
            "read",
            format!(
                "{how}: {} objects, {} byte for byte, {:.2} s",
                self.objects.len(),
                bytes(total),
                begun.elapsed().as_secs_f64()
            ),
        );
        Ok(())
    }

    /// Polls until `check` gives something, or the deadline passes.
    async fn until<T, F: std::future::Future<Output = Result<Option<T>>>>(
        &self,
        what: &str,
        seconds: u64,
        mut check: impl FnMut() -> F,
    ) -> Result<T> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(found) = check().await? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(untrue(format!("{what}: not within {seconds} s")));
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// A settlement in which everything that was stored is paid for: what rests is the same as in the one before.
    async fn settlement(&self) -> Result<Epoch> {
        let client = &self.stage.client;
        let at_rest = async |e: u64| -> Result<Option<(u64, Settlement)>> {
            let found = client.settlement(STORAGE, Epoch(e)).await?;
            Ok(found.map(|(s, lines)| (lines.iter().map(|l| l.row.units.0[types::AT_REST]).sum(), s)))
        };
        let (epoch, s) = self
            .until("a paid settlement", 60, || async {
                let now = client.status().await?.epoch;
                for e in 1..now {
                    if let (Some(a), Some(b)) = (at_rest(e - 1).await?, at_rest(e).await?)
                        && a.0 > 0
                        && a.0 == b.0
                    {
                        return Ok(Some((Epoch(e), b.1)));
                    }
                }
                Ok(None)
            })
            .await?;
        self.say(
            "settled",
            format!(
                "epoch {epoch}: {} rows judged, {} charged, operators earn {}",
                s.rows.1, s.charged, s.earned
            ),
        );
        Ok(epoch)
    }

    /// The devnet's facts: (name, device) of operators, leases of the customer.
    async fn facts(&self) -> Result<(Vec<(String, DeviceId)>, Vec<LeaseId>)> {
        let facts = self.stage.client.devnet("facts", &json!({})).await?;
        let operators = facts["operators"].as_array().into_iter().flatten().filter_map(|o| {
            Some((o["name"].as_str()?.to_owned(), DeviceId::from_hex(o["device"].as_str()?)?))
        });
        let leases =
            facts["leases"].as_array().into_iter().flatten().filter_map(|l| LeaseId::from_hex(l.as_str()?));
        Ok((operators.collect(), leases.collect()))
    }

    /// Slots of the customer's leases held by a device.
    async fn held(&self, leases: &[LeaseId], device: &DeviceId) -> Result<usize> {
        let mut n = 0;
        for id in leases {
            if let Some(row) = self.stage.client.get::<Leases>(id).await? {
                n += row.entry.slots.iter().filter(|s| s.device == *device).count();
            }
        }
        Ok(n)
    }

    /// One operator dies, another drops its data.
    async fn faults(&self) -> Result<()> {
        let (operators, leases) = self.facts().await?;
        let mut busy = Vec::new();
        for (name, device) in &operators {
            let n = self.held(&leases, device).await?;
            if n > 0 {
                busy.push((name.clone(), *device, n));
            }
        }
        let (Some(dead), Some(cheat)) = (busy.first().cloned(), busy.last().cloned()) else {
            return Err(untrue("nobody holds the customer's data"));
        };
        if dead.1 == cheat.1 {
            return Err(untrue("one operator holds everything"));
        }
        self.stage.client.devnet("crash", &json!({"operator": dead.0})).await?;
        self.stage.client.devnet("cheat", &json!({"operator": cheat.0, "which": "dropped-data"})).await?;
        self.say(
            "broken",
            format!("{} lost its power, {} deletes what it stores and goes on taking money", dead.0, cheat.0),
        );
        self.read_back("with both gone").await?;
        // From here on nobody but the network is left to notice.
        self.stage.client.devnet("lose-gateway", &json!({})).await?;
        self.say("lost", "the gateway and its disk are gone as well: index, keys, everything");
        let client = &self.stage.client;
        let locked = self
            .until("a locked bond", 60, || async {
                let row = client.get::<Devices>(&cheat.1).await?;
                Ok(row.map(|r| r.locked).filter(|l| *l > Amount(0)))
            })
            .await?;
        self.say(
            "locked",
            format!("{locked} of the bond of {}: the draw found that its data is gone", cheat.0),
        );
        self.until("slots handed over", 60, || async {
            Ok((self.held(&leases, &dead.1).await? + self.held(&leases, &cheat.1).await? == 0).then_some(()))
        })
        .await?;
        self.say(
            "moved",
            format!(
                "{} slots of both now belong to spare operators, chosen by price, place and seed",
                dead.2 + cheat.2
            ),
        );
        let (slots, paid) = self.until("the rebuild", 60, || self.rebuilt(&leases)).await?;
        self.say(
            "repaired",
            format!("{slots} slots proven again by their new holders; {paid} rebuilds paid from the losers' bonds, by agents that cannot read the data"),
        );
        Ok(())
    }

    /// Data slots that changed hands, once each new holder proved what it holds: (slots, rebuilds paid from bonds).
    async fn rebuilt(&self, leases: &[LeaseId]) -> Result<Option<(usize, usize)>> {
        let client = &self.stage.client;
        let mut moved = Vec::new();
        for id in leases {
            let Some(row) = client.get::<Leases>(id).await? else { continue };
            let order: types::Order = decode(&row.entry.order)?;
            if order.kind == types::Kind::Data {
                let slots = (0u16..).zip(&row.entry.slots).filter(|(_, s)| s.generation > 0);
                moved.extend(slots.map(|(i, s)| (DutyId::Lease { lease: *id, slot: i }, s.device)));
            }
        }
        let now = client.status().await?.epoch;
        let (mut proven, mut paid) = (BTreeSet::new(), 0);
        for e in now.saturating_sub(12)..now {
            let Some((_, lines)) = client.settlement(STORAGE, Epoch(e)).await? else { continue };
            for line in &lines {
                let Some(duty) = line.row.duty else { continue };
                if line.row.units.0[types::AT_REST] > 0 && moved.contains(&(duty, line.row.payee)) {
                    proven.insert(duty);
                }
                if matches!(line.row.source, Source::Bond { .. }) && line.granted > Amount(0) {
                    paid += 1;
                }
            }
        }
        let done = !moved.is_empty() && proven.len() == moved.len() && paid > 0;
        Ok(done.then_some((moved.len(), paid)))
    }

    async fn recover(&self) -> Result<()> {
        let answer = self.stage.client.devnet("recover", &json!({"phrase": self.stage.phrase})).await?;
        self.say(
            "recovered",
            format!(
                "{} buckets, {} objects from 24 words and the network",
                answer["buckets"], answer["objects"]
            ),
        );
        if answer["objects"].as_u64() != u64::try_from(self.objects.len()).ok() {
            return Err(untrue("not all objects came back"));
        }
        self.read_back("after recovery").await
    }

    /// Export, verify, alter, verify again.
    async fn recompute(&self, epoch: Epoch) -> Result<()> {
        let id = chain_id(&self.stage.client, STORAGE, epoch).await?;
        let pack = self.stage.client.pack(STORAGE, epoch).await?;
        let report = verify(&pack, &id, &sectors()).map_err(|f| untrue(f.to_string()))?;
        self.say(
            "verified",
            format!(
                "epoch {epoch} from a pack of {}: {} rows come out the same",
                bytes(pack.len() as u64),
                report.rows
            ),
        );
        let mut altered = pack.to_vec();
        let at = altered.len() / 2;
        altered[at] ^= 1;
        match verify(&altered, &id, &sectors()) {
            Ok(_) => Err(untrue("an altered pack was accepted")),
            Err(finding) => {
                self.say("refused", format!("the same pack with one bit turned: {finding}"));
                Ok(())
            }
        }
    }

    /// Who paid, who earned.
    async fn money(&self) -> Result<()> {
        let client = &self.stage.client;
        let mut settled: Vec<(Epoch, Hash)> = Vec::new();
        let mut paid = Credits(0);
        let mut earned = Amount(0);
        for e in 0..=client.status().await?.epoch {
            let Some(row) = client.get::<SectorEpochs>(&(Epoch(e), STORAGE)).await? else { continue };
            let (Phase::Final, Some(s)) = (row.phase, row.settlement) else { continue };
            settled.push((Epoch(e), s.id()));
            paid = paid.saturating_add(s.charged);
            earned = earned.saturating_add(s.earned);
        }
        self.say(
            "money",
            format!(
                "the customer paid {paid} in {} epochs, all of it for storage; nothing was minted",
                settled.len()
            ),
        );
        self.say(
            "money",
            format!("operators earned {earned} (90 %); 4 % burned, 4 % to stakers, 2 % to the treasury"),
        );
        if paid == Credits(0) || earned == Amount(0) {
            return Err(untrue("nobody paid or nobody earned"));
        }
        Ok(())
    }
}
