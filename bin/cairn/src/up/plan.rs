//! What an operator offers, what that binds and what it may bring.

use anyhow::Result;
use cairn_client::{Client, wire::Market};
use cairn_ledger::tables::{ChainRow, SectorTable};
use cairn_sector::Rules as _;
use cairn_storage_rules::Storage;
use cairn_storage_rules::admit::admit;
use cairn_storage_rules::types::{Offer, Params};
use cairn_types::{Amount, Hash, NetworkId, PPM, Rate, Refusal, decode};

use crate::args::parse_size;
use crate::config::Config;
use crate::devnet::genesis::{AT_REST, EGRESS};
use crate::output::{Failure, bytes};
use crate::price::{Per, dollars, micro_dollars, parse_dollars, rate};

/// Market price for storing while nobody offers: about 1.5 $ a TB-month to the operator.
const USUAL: Rate = Rate(592);
/// Market price for serving: 7 $ a TB.
const USUAL_EGRESS: Rate = Rate(7_168_000_000);
/// KiB a second that may be paid for as served: a line of 1 Gbit/s. More is served, and not paid.
const UPLINK: u32 = 122_070;
/// Largest offer that is suggested on a devnet, whose bonds are dear.
const DEVNET_OFFER: u64 = 4 << 30;
/// Name of a network of worthless keys.
const DEVNET: &str = "devnet";

/// What the network says.
pub struct Facts {
    /// Its row.
    pub chain: ChainRow,
    /// Governed numbers of storage.
    pub storage: Params,
    /// What is on offer.
    pub market: Market,
    /// A network of worthless keys, with prices at which a minute shows money.
    pub devnet: bool,
}

/// What is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes.
    pub size: u64,
    /// For storing.
    pub at_rest: Rate,
    /// For serving.
    pub egress: Rate,
    /// Region.
    pub region: u16,
    /// Where it stands.
    pub site: Hash,
}

fn refused(r: Refusal) -> anyhow::Error {
    Failure::new(r.code, r.cause, r.remedy)
}

/// Governed numbers of storage in force.
pub async fn storage_params(client: &Client) -> Result<Params> {
    let row = client.get::<SectorTable>(&Storage::ID).await?.ok_or_else(|| {
        Failure::new("up.sector", "the network has no storage", "join a network with storage")
    })?;
    Ok(decode(&row.params).map_err(|e| {
        Failure::new(
            "up.version",
            format!("the network's numbers cannot be read: {e}"),
            "install the version that the network runs",
        )
    })?)
}

impl Facts {
    /// Asks a node.
    pub async fn ask(client: &Client) -> Result<Self> {
        let name = client.status().await?.name;
        Ok(Self {
            chain: client.chain().await?,
            storage: storage_params(client).await?,
            market: client.market(Storage::ID).await?,
            devnet: name == DEVNET,
        })
    }

    /// `90 %`.
    pub fn share(&self) -> String {
        format!("{} %", self.share_ppm() / 10_000)
    }

    fn share_ppm(&self) -> u64 {
        let p = &self.chain.params;
        PPM.saturating_sub(p.burn_ppm + p.stakers_ppm + p.treasury_ppm)
    }

    /// How much of what is offered is leased.
    pub fn fullness(&self) -> String {
        let first = |v: &[String]| v.first().and_then(|t| t.parse::<u128>().ok());
        match (first(&self.market.reserved), first(&self.market.capacity)) {
            (Some(used), Some(all)) if all > 0 => {
                format!("{} % leased on {} devices", used.saturating_mul(100) / all, self.market.devices)
            }
            _ => "unknown, nobody offers".into(),
        }
    }

    /// Devices that do not fail together.
    pub fn domains(&self) -> u16 {
        u16::try_from(self.market.domains).unwrap_or(u16::MAX)
    }

    /// The middle of what others ask, else what is usual.
    pub fn suggested_rate(&self) -> Rate {
        let median = self.market.median_rate.as_ref().and_then(|t| t.parse().ok()).map(Rate);
        median.unwrap_or(if self.devnet { AT_REST } else { USUAL })
    }

    fn egress(&self) -> Rate {
        if self.devnet { EGRESS } else { USUAL_EGRESS }
    }

    /// Half of the free space, within what the network takes.
    pub fn suggested_size(&self, free: u64) -> u64 {
        let most = if self.devnet { DEVNET_OFFER } else { u64::MAX };
        let (low, high) = self.sizes();
        let half = (free / 2).min(most);
        // A round number is easier to remember.
        let round =
            if half >= 10_000_000_000 { half / 1_000_000_000 * 1_000_000_000 } else { half >> 20 << 20 };
        round.clamp(low, high.max(low))
    }

    fn sizes(&self) -> (u64, u64) {
        let kib = |chunks: u64| chunks.saturating_mul(1024);
        (kib(self.storage.min_capacity_chunks), kib(self.storage.max_capacity_chunks))
    }

    /// Refuses a size that the network does not take or the disk does not have.
    pub fn check_size(&self, size: u64, free: u64) -> Result<u64, String> {
        let (low, high) = self.sizes();
        if !(low..=high).contains(&size) {
            return Err(format!("{} is outside {} to {}", bytes(size), bytes(low), bytes(high)));
        }
        if size > free {
            return Err(format!("{} is more than the {} that are free", bytes(size), bytes(free)));
        }
        Ok(size)
    }
}

impl Plan {
    /// What a configuration says.
    pub fn of(config: &Config, facts: &Facts) -> Result<Self> {
        let missing = || Failure::new("config.missing", "no `offer` is configured", "`cairn set offer SIZE`");
        let size = config.offer.as_deref().ok_or_else(missing)?;
        let size =
            parse_size(size).map_err(|e| Failure::new("config.invalid", e, "write a size such as 500GB"))?;
        let priced = |text: &Option<String>, per, other: Rate| {
            text.as_deref().and_then(parse_dollars).map_or(other, |micro| rate(per, micro))
        };
        Ok(Self {
            size,
            at_rest: priced(&config.price, Per::Month, facts.suggested_rate()),
            egress: priced(&config.egress, Per::Served, facts.egress()),
            region: config.region.unwrap_or(1),
            site: site(&facts.chain.network, config.site.as_deref().unwrap_or_default()),
        })
    }

    /// As the chain takes it.
    pub fn offer(&self) -> Offer {
        Offer {
            capacity_chunks: self.size / 1024,
            at_rest: self.at_rest,
            egress: self.egress,
            uplink_kib: UPLINK,
            class: 0,
            region: self.region,
            domains: vec![self.site],
        }
    }

    /// What has to be set aside, and as much again, so that one loss does not end the business.
    pub fn bond(&self, facts: &Facts) -> Result<Amount> {
        let admission = admit(&facts.storage, &self.offer()).map_err(refused)?;
        Ok(Amount(facts.chain.price.pebbles_ceil(admission.bond).0.saturating_mul(2)))
    }

    /// Least and most micro-dollars of fees in a month of 30 days.
    pub fn month(&self, facts: &Facts) -> (u128, u128) {
        let per_tb = micro_dollars(Per::Month, self.at_rest);
        let full = per_tb.saturating_mul(u128::from(self.size)) / 1_000_000_000_000;
        (0, full.saturating_mul(u128::from(facts.share_ppm())) / u128::from(PPM))
    }

    /// Prices as the configuration writes them.
    pub fn written(&self, config: Config) -> Config {
        Config {
            offer: Some(self.size.to_string()),
            price: Some(dollars(micro_dollars(Per::Month, self.at_rest))),
            egress: Some(dollars(micro_dollars(Per::Served, self.egress))),
            region: Some(self.region),
            ..config
        }
    }
}

/// Operators that name the same site fail together. The text itself is not published, only its digest.
fn site(network: &NetworkId, text: &str) -> Hash {
    Hash::derive("cairn/site", &[network.as_ref(), text.as_bytes()])
}

/// This machine: two operators on it share its power cord.
pub fn machine() -> String {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if id.trim().is_empty() { "unnamed machine".to_owned() } else { format!("machine {}", id.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devnet::genesis::{PRICE, params, storage_params};
    use cairn_types::{Epoch, Height};
    use std::time::Duration;

    pub fn facts(devnet: bool) -> Facts {
        let epoch = Duration::from_secs(10);
        let chain = ChainRow {
            network: NetworkId([3; 32]),
            fork: 0,
            hrp: "cairn".into(),
            height: Height(1),
            epoch: Epoch(0),
            origin: Height(0),
            params: params(epoch),
            price: PRICE,
            sectors: vec![Storage::ID],
            seats: 1,
            seed: (Epoch(0), cairn_sector::Seed([0; 32])),
        };
        Facts { chain, storage: storage_params(epoch), market: Market::default(), devnet }
    }

    #[test]
    fn a_plan_survives_being_written_and_read() {
        let facts = facts(true);
        let plan = Plan {
            size: 4 << 30,
            at_rest: facts.suggested_rate(),
            egress: facts.egress(),
            region: 1,
            site: site(&facts.chain.network, "here"),
        };
        let config = plan.written(Config { site: Some("here".into()), ..Config::default() });
        assert_eq!(Plan::of(&config, &facts).unwrap(), plan);
        // 4 GiB at 10 $ a GiB, twice; a dollar is a CRN here.
        assert_eq!(plan.bond(&facts).unwrap(), Amount(80 * crate::devnet::genesis::CRN));
        let (low, high) = plan.month(&facts);
        assert!(low == 0 && high > 0);
        assert!(Plan::of(&Config::default(), &facts).is_err());
    }

    #[test]
    fn suggestions_stay_within_network_and_disk() {
        let real = facts(false);
        assert_eq!(real.suggested_size(1_999_000_000_000), 999_000_000_000);
        assert_eq!(facts(true).suggested_size(1_000_000_000_000), DEVNET_OFFER);
        assert!(real.check_size(10, 1 << 40).is_err());
        assert!(real.check_size(1 << 40, 1 << 30).unwrap_err().contains("free"));
        let mut market = facts(false);
        market.market.median_rate = Some("700".into());
        assert_eq!((market.suggested_rate(), real.suggested_rate()), (Rate(700), USUAL));
        assert_eq!(real.fullness(), "unknown, nobody offers");
        assert_ne!(site(&real.chain.network, "a"), site(&real.chain.network, "b"));
    }
}
