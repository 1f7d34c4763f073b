//! The first state of a network, and its export and import.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::bls::{BlsPublic, BlsSignature};
use cairn_crypto::keys::PublicKey;
use cairn_crypto::lthash::LtHash;
use cairn_sector::{Sectors, Seed};
use cairn_types::{
    AccountId, Amount, Credits, Epoch, Height, NetworkId, Price, Rate, Refusal, SectorId, UNIT_KINDS, encode,
};
use std::collections::BTreeMap;

use crate::state::{Key, Run, State, Stop, Writes};
use crate::tables::{
    AccountRow, Accounts, Chain, ChainParams, ChainRow, Money, MoneyRow, SeatRow, Seats, SectorRow,
    SectorTable,
};

/// Largest supply in pebbles: 10^12 CRN. Far below overflow in any product the ledger forms.
pub const MAX_SUPPLY: u128 = 1_000_000_000_000 * 1_000_000_000;

/// Largest encoded parameters of a sector in bytes: the rows of a sector and of each of its epochs carry them beside other
/// fields, and a row has 64 KiB.
pub const MAX_SECTOR_PARAMS: usize = 32 * 1024;

/// A founder's file.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Genesis {
    /// Name of the network.
    pub name: String,
    /// Text before the `1` of addresses.
    pub hrp: String,
    /// Fork number; raised by an import.
    pub fork: u32,
    /// Governed numbers.
    pub params: ChainParams,
    /// Pebbles of a credit.
    pub price: Price,
    /// First holders.
    pub allocations: Vec<(AccountId, Amount)>,
    /// Credits given at the start, paid from the account's own allocation.
    pub credits: Vec<(AccountId, Credits)>,
    /// Seats with proofs of possession of their vote keys.
    pub seats: Vec<GenesisSeat>,
    /// Sectors.
    pub sectors: Vec<GenesisSector>,
}

/// A seat at genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GenesisSeat {
    /// Account.
    pub account: AccountId,
    /// Key of seat messages and of the peer connection.
    pub key: PublicKey,
    /// Key of seeds.
    pub vote: BlsPublic,
    /// Key with which the seat signs blocks, in the engine's encoding.
    pub consensus: [u8; 96],
    /// Proof that the seat holds the vote key.
    pub possession: BlsSignature,
}

/// A sector at genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GenesisSector {
    /// Sector.
    pub id: SectorId,
    /// Rules version.
    pub version: u16,
    /// Governed numbers.
    pub params: Vec<u8>,
    /// Rates of standing duties.
    pub pool_rates: [Rate; UNIT_KINDS],
    /// Most that an epoch draws from the pool.
    pub pool_limit: Amount,
    /// Capped price of work paid from bonds.
    pub bond_rates: [Rate; UNIT_KINDS],
}

fn bad(cause: String) -> Refusal {
    Refusal::with("genesis.invalid", cause, "mend the genesis file")
}

impl Genesis {
    /// The constant id: digest of everything but the fork number.
    pub fn network(&self) -> NetworkId {
        let constant = Self { fork: 0, ..self.clone() };
        NetworkId::derive("cairn/network", &[&encode(&constant)])
    }

    /// Refuses what could not work.
    pub fn check(&self, sectors: &Sectors) -> Result<(), Refusal> {
        self.params.check()?;
        let supply = self.allocations.iter().try_fold(0u128, |a, x| a.checked_add(x.1.0));
        if supply.is_none_or(|x| x == 0 || x > MAX_SUPPLY) {
            return Err(bad(format!("the supply must be 1 to {MAX_SUPPLY} pebbles")));
        }
        if self.price.0 == 0 || self.seats.len() != 1 {
            return Err(bad("a price above zero and one seat are needed (several seats need a quorum, which this version lacks)".into()));
        }
        if self.name.is_empty() || self.name.len() > 64 || self.hrp.is_empty() || self.hrp.len() > 16 {
            return Err(bad("the name needs 1 to 64 bytes, the address prefix 1 to 16".into()));
        }
        // Under another prefix no address could be written, and it is part of the network for ever.
        cairn_crypto::address::encode(&self.hrp, &AccountId::default()).map_err(|e| bad(e.to_string()))?;
        let distinct: BTreeMap<_, _> = self.allocations.iter().copied().collect();
        if distinct.len() != self.allocations.len() {
            return Err(bad("an account is allocated twice".into()));
        }
        for seat in &self.seats {
            crate::registry::check_key(&seat.key)?;
            seat.vote
                .pop_verify(&seat.possession)
                .map_err(|_| bad("a seat does not prove possession of its vote key".into()))?;
        }
        for x in &self.sectors {
            let size = x.params.len();
            if size > MAX_SECTOR_PARAMS {
                let cause = format!(
                    "the parameters of sector {} have {size} bytes, {MAX_SECTOR_PARAMS} are allowed",
                    x.id
                );
                return Err(bad(cause));
            }
            sectors.get(x.id, x.version)?.check(&x.params)?;
        }
        if !self.sectors.windows(2).all(|w| w[0].id < w[1].id) {
            return Err(bad("sectors must ascend by number".into()));
        }
        Ok(())
    }

    /// Rows of the first state.
    pub fn rows(&self, sectors: &Sectors) -> Result<Writes, Refusal> {
        self.check(sectors)?;
        let nothing: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
        let mut s = State::new(&nothing);
        match self.fill(&mut s).and_then(|()| s.check_rows()) {
            Ok(()) => s.keep(),
            Err(Stop::Refused(r)) => return Err(r),
            Err(Stop::Missing(_)) => return Err(bad("an empty state misses nothing".into())),
        }
        Ok(s.finish().0)
    }

    fn fill(&self, s: &mut State<'_>) -> Run<()> {
        let network = self.network();
        let chain = ChainRow {
            network,
            fork: self.fork,
            hrp: self.hrp.clone(),
            height: Height(0),
            epoch: Epoch(0),
            origin: Height(0),
            params: self.params.clone(),
            price: self.price,
            sectors: self.sectors.iter().map(|x| x.id).collect(),
            seats: u16::try_from(self.seats.len()).unwrap_or(u16::MAX),
            seed: (Epoch(0), Seed(network.0)),
        };
        s.put::<Chain>(&(), &chain);
        let supply: Amount = self.allocations.iter().map(|x| x.1).sum();
        s.put::<Money>(&(), &MoneyRow { genesis: supply, balances: supply, ..MoneyRow::default() });
        for (id, balance) in &self.allocations {
            s.put::<Accounts>(id, &AccountRow { balance: *balance, ..AccountRow::default() });
        }
        for (seat, i) in self.seats.iter().zip(0u16..) {
            s.put::<Seats>(
                &i,
                &SeatRow { account: seat.account, key: seat.key, vote: seat.vote, consensus: seat.consensus },
            );
        }
        for x in &self.sectors {
            s.put::<SectorTable>(&x.id, &x.row());
        }
        for (id, credits) in &self.credits {
            crate::bank::buy_credits(s, *id, *id, *credits, Amount(u128::MAX))?;
        }
        Ok(())
    }
}

impl GenesisSector {
    fn row(&self) -> SectorRow {
        let empty = LtHash::new().digest();
        SectorRow {
            version: self.version,
            params: self.params.clone(),
            pool_rates: self.pool_rates,
            pool_limit: self.pool_limit,
            pool: Amount::ZERO,
            bond_rates: self.bond_rates,
            registry: LtHash::new(),
            latest: None,
            memory_root: empty,
            tally_root: empty,
        }
    }
}

/// An exported state: the rows of every table at one height, sorted, under one digest.
///
/// Importing starts a new fork of the same network: balances, nonces, claim watermarks, duties and the sectors'
/// roots go on; transactions signed for the old fork no longer count.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Export {
    /// Format.
    pub version: u16,
    /// Height of the exported state.
    pub height: Height,
    /// All rows by key.
    pub rows: Vec<(Key, Vec<u8>)>,
    /// What the chain knows only the roots of, by sector, ascending.
    pub contents: Vec<Contents>,
}

/// What a sector's roots stand for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Contents {
    /// Sector.
    pub sector: SectorId,
    /// The sector's memory, ascending by key.
    pub memory: Vec<(Vec<u8>, Vec<u8>)>,
    /// Cumulative charges and earnings, ascending by key.
    pub tally: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Content digest of memory (domain `memory`) or of a tally (domain `tally`).
pub fn digest_contents(domain: &str, pairs: &[(Vec<u8>, Vec<u8>)]) -> LtHash {
    let mut d = LtHash::new();
    pairs.iter().for_each(|(k, v)| d.add(domain, k, v));
    d
}

impl Export {
    /// Digest to compare on both sides.
    pub fn digest(&self) -> cairn_types::Hash {
        cairn_types::Hash::derive("cairn/export", &[&encode(self)])
    }

    /// Refuses memory and tallies that are not those of the rows.
    fn check_contents(&self, s: &State<'_>) -> Run<()> {
        let sectors = crate::bank::chain(s)?.sectors;
        if !self.contents.iter().map(|x| x.sector).eq(sectors.iter().copied()) {
            return Err(bad("the export needs the contents of every sector, in order".into()).into());
        }
        for x in &self.contents {
            let row = s.need::<SectorTable>(&x.sector, crate::registry::unknown_sector(x.sector))?;
            let parts = [("memory", &x.memory, row.memory_root), ("tally", &x.tally, row.tally_root)];
            for (what, pairs, root) in parts {
                let ascends = pairs.windows(2).all(|w| w[0].0 < w[1].0);
                if !ascends || digest_contents(what, pairs).digest() != root {
                    return Err(bad(format!(
                        "the {what} of sector {} is not what the state's root says",
                        x.sector
                    ))
                    .into());
                }
            }
        }
        Ok(())
    }

    /// The first state of the next fork. Blocks start again at 1, the network's heights and epochs go on.
    pub fn import(mut self) -> Result<Writes, Refusal> {
        let rows: BTreeMap<Key, Vec<u8>> = std::mem::take(&mut self.rows).into_iter().collect();
        let invalid = crate::invariants::check(&rows);
        if let Err(e) = invalid {
            return Err(bad(format!("the export breaks an invariant: {e}")));
        }
        let mut s = State::new(&rows);
        let fork = |s: &mut State<'_>| -> Run<()> {
            self.check_contents(s)?;
            let mut c = crate::bank::chain(s)?;
            c.origin = c.height;
            c.fork = c.fork.checked_add(1).ok_or_else(|| bad("too many forks".into()))?;
            s.put::<Chain>(&(), &c);
            s.keep();
            Ok(())
        };
        if let Err(Stop::Refused(r)) = fork(&mut s) {
            return Err(r);
        }
        let (changed, _) = s.finish();
        let mut all: Writes = rows.into_iter().map(|(k, v)| (k, Some(v))).collect();
        all.extend(changed);
        Ok(all)
    }
}
