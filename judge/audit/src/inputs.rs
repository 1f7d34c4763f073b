//! Everything that an epoch of a sector is judged from, and the judging.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::lthash::LtHash;
use cairn_ledger::genesis::digest_contents;
use cairn_ledger::registry::{digest_device, digest_lease, digest_posting, digest_sale};
use cairn_ledger::settle::{self, Settled};
use cairn_ledger::tables::Terms;
use cairn_sector::{DeviceEntry, LeaseEntry, SaleEntry, Sectors, Seed};
use cairn_types::{DeviceId, Epoch, Hash, NetworkId, Price, Refusal, SectorId};

use crate::bundle::{Bundle, SignedBundle, bundle_hash};
use crate::evidence::Evidence;
use crate::registry::{MemoryMap, PackRegistry};

/// What a device posted about the epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Posting {
    /// Device; it may have been registered after the lock.
    pub device: DeviceId,
    /// Commitment, before the lock.
    pub commitment: Option<Vec<u8>>,
    /// Digest of answers.
    pub answers: Option<Hash>,
    /// Hash of its certified bundle.
    pub bundle: Option<Hash>,
}

/// What an epoch of a sector is judged from. Lists ascend by id or key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Inputs {
    /// Network.
    pub network: NetworkId,
    /// Sector.
    pub sector: SectorId,
    /// Epoch.
    pub epoch: Epoch,
    /// Its seed.
    pub seed: Seed,
    /// Pebbles of a credit at the lock.
    pub price: Price,
    /// Governed numbers at the lock.
    pub terms: Terms,
    /// Devices at the lock, without commitments and answers.
    pub devices: Vec<DeviceEntry>,
    /// Leases at the lock.
    pub leases: Vec<LeaseEntry>,
    /// Sales that wait for attribution at the lock.
    pub sales: Vec<SaleEntry>,
    /// What devices posted; at least one thing each.
    pub postings: Vec<Posting>,
    /// Certified bundles as they were uploaded, in the order of the postings that name them.
    pub bundles: Vec<Vec<u8>>,
    /// Sector memory before.
    pub memory: Vec<(Vec<u8>, Vec<u8>)>,
    /// Cumulative charges and earnings before.
    pub tally: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Content digests of the inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Devices, leases and sales.
    pub registry: Hash,
    /// Commitments.
    pub commitments: Hash,
    /// Answer digests.
    pub answers: Hash,
    /// Certified bundles.
    pub evidence: Hash,
}

impl Inputs {
    /// Content digests, computed as the chain computes them.
    pub fn roots(&self) -> Roots {
        let mut registry = LtHash::new();
        self.devices.iter().for_each(|e| digest_device(&mut registry, e, true));
        self.leases.iter().for_each(|e| digest_lease(&mut registry, e, true));
        self.sales.iter().for_each(|e| digest_sale(&mut registry, e, true));
        let (mut commitments, mut answers, mut evidence) = (LtHash::new(), LtHash::new(), LtHash::new());
        for p in &self.postings {
            if let Some(x) = &p.commitment {
                digest_posting(&mut commitments, "commitment", &p.device, x);
            }
            if let Some(x) = &p.answers {
                digest_posting(&mut answers, "answers", &p.device, x.as_ref());
            }
            if let Some(x) = &p.bundle {
                digest_posting(&mut evidence, "bundle", &p.device, x.as_ref());
            }
        }
        Roots {
            registry: registry.digest(),
            commitments: commitments.digest(),
            answers: answers.digest(),
            evidence: evidence.digest(),
        }
    }

    /// The certified bundles, opened: each must be the one whose hash was certified, and of this epoch.
    pub fn open_bundles(&self) -> Result<Vec<Bundle>, Refusal> {
        let mut bytes = self.bundles.iter();
        let mut out = Vec::new();
        for (device, hash) in self.postings.iter().filter_map(|p| Some((p.device, p.bundle?))) {
            let wrong = |why: &str| {
                Refusal::with(
                    "bundle.certified",
                    format!("the bundle of device {device} {why}"),
                    "get the pack again from another holder",
                )
            };
            let found = bytes.next().ok_or_else(|| wrong("is missing"))?;
            if bundle_hash(found) != hash {
                return Err(wrong("does not match the certified hash"));
            }
            // The device chose what it posted: bytes that are no bundle of this epoch hold no evidence.
            match SignedBundle::decode(found) {
                Ok(x) if self.owns(&x.bundle, &device) => out.push(x.bundle),
                _ => {}
            }
        }
        match bytes.next() {
            Some(_) => Err(Refusal::new(
                "bundle.surplus",
                "there are more bundles than certified hashes",
                "get the pack again",
            )),
            None => Ok(out),
        }
    }

    fn owns(&self, b: &Bundle, device: &DeviceId) -> bool {
        b.network == self.network && b.sector == self.sector && b.epoch == self.epoch && b.device == *device
    }

    /// Judges and settles: the pure function behind every vote and every audit.
    pub fn settle(&self, sectors: &Sectors) -> Result<Settled, Refusal> {
        let rules = sectors.get(self.sector, self.terms.version)?;
        let bundles = self.open_bundles()?;
        let evidence = Evidence::new(rules.as_ref(), &bundles);
        let roots = self.roots();
        let (memory, tally) = (MemoryMap::new(&self.memory), MemoryMap::new(&self.tally));
        let registry = PackRegistry::of(self);
        settle::settle(
            rules.as_ref(),
            &settle::Inputs {
                network: self.network,
                sector: self.sector,
                epoch: self.epoch,
                seed: self.seed,
                price: self.price,
                roots: [roots.registry, roots.commitments, roots.answers, roots.evidence],
                terms: &self.terms,
                registry: &registry,
                evidence: &evidence,
                memory: &memory,
                memory_digest: digest_contents("memory", &self.memory),
                tally: &tally,
                tally_digest: digest_contents("tally", &self.tally),
            },
        )
    }
}
