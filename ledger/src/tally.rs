//! The tally of a sector: cumulative work, charges and earnings, from settlement to settlement.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::lthash::LtHash;
use cairn_sector::{MemoryChange, RawMemory};
use cairn_types::{AccountId, Amount, Credits, Epoch, Hash, LeaseId, UNIT_KINDS, decode, encode};
use std::collections::{BTreeMap, BTreeSet};

/// Cumulative work and charge of one holder of one slot, since it got the slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DueTally {
    /// Units by kind.
    pub units: [u128; UNIT_KINDS],
    /// Credits charged for them so far.
    pub charged: Credits,
    /// The slot's generation: a holder that comes back, at other rates, starts from nothing.
    pub generation: u32,
}

/// Keys of the tally.
pub mod keys {
    use cairn_types::{AccountId, DeviceId, Hash, LeaseId};

    /// Work of a holder of a slot.
    pub fn due(lease: &LeaseId, slot: u16, device: &DeviceId) -> Vec<u8> {
        [b"d".as_slice(), lease.as_ref(), &slot.to_be_bytes(), device.as_ref()].concat()
    }
    /// Cumulative charge of a lease.
    pub fn charged(lease: &LeaseId) -> Vec<u8> {
        [b"c".as_slice(), lease.as_ref()].concat()
    }
    /// Cumulative earnings of an operator.
    pub fn earned(operator: &AccountId) -> Vec<u8> {
        [b"e".as_slice(), operator.as_ref()].concat()
    }
    /// First epoch of a row of epochs in which the escrow of a lease did not cover what was due.
    pub fn unpaid(lease: &LeaseId) -> Vec<u8> {
        [b"u".as_slice(), lease.as_ref()].concat()
    }
    /// A sale that was attributed or paid back.
    pub fn sale(sale: &Hash) -> Vec<u8> {
        [b"s".as_slice(), sale.as_ref()].concat()
    }
}

/// What a settlement makes of the tally, before it is compared with the tally before.
pub(crate) struct Next<'a> {
    /// Work of holders, by key.
    pub due: &'a BTreeMap<Vec<u8>, DueTally>,
    /// Cumulative earnings of operators.
    pub claims: &'a [(AccountId, Amount)],
    /// Leases with rows: since when the escrow has not covered what is due, if it does not.
    pub unpaid: &'a BTreeMap<LeaseId, Option<Epoch>>,
    /// Cumulative charges of every lease in the registry.
    pub charges: &'a [(LeaseId, Credits)],
    /// Sales decided in this settlement.
    pub decided: &'a BTreeSet<Hash>,
    /// Sales in the registry.
    pub sales: &'a BTreeSet<Hash>,
}

impl Next<'_> {
    /// New values; leases and sales that left the registry leave the tally.
    pub fn changes(&self, tally: &dyn RawMemory) -> Vec<MemoryChange<Vec<u8>>> {
        let mut out: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for (lease, charged) in self.charges {
            out.insert(keys::charged(lease), Some(encode(charged)));
        }
        for (operator, amount) in self.claims {
            out.insert(keys::earned(operator), Some(encode(amount)));
        }
        for (key, due) in self.due {
            out.insert(key.clone(), Some(encode(due)));
        }
        for (lease, since) in self.unpaid {
            out.insert(keys::unpaid(lease), since.map(|e| encode(&e)));
        }
        for id in self.decided {
            out.insert(keys::sale(id), Some(vec![1]));
        }
        let live: BTreeSet<Hash> = self.charges.iter().map(|c| Hash(c.0.0)).collect();
        for (prefix, known) in [(b"c", &live), (b"d", &live), (b"u", &live), (b"s", self.sales)] {
            let gone = |k: &[u8]| id_of(k).is_some_and(|id| !known.contains(&id));
            for (k, _) in tally.scan(prefix).filter(|(k, _)| gone(k)) {
                out.insert(k, None);
            }
        }
        // What does not change is not a change.
        out.into_iter().filter(|(k, v)| tally.get(k) != *v).collect()
    }
}

/// The lease or sale that a key begins with.
fn id_of(key: &[u8]) -> Option<Hash> {
    key.get(1..33).and_then(|b| b.try_into().ok()).map(Hash)
}

/// What a lease was charged before.
pub(crate) fn charged_before(tally: &dyn RawMemory, lease: &LeaseId) -> Credits {
    tally.get(&keys::charged(lease)).and_then(|v| decode(&v).ok()).unwrap_or_default()
}

/// The content digest after changes.
pub fn apply(
    digest: &LtHash,
    domain: &str,
    old: &dyn RawMemory,
    changes: &[MemoryChange<Vec<u8>>],
) -> LtHash {
    let mut d = digest.clone();
    for (key, value) in changes {
        if let Some(before) = old.get(key) {
            d.remove(domain, key, &before);
        }
        if let Some(after) = value {
            d.add(domain, key, after);
        }
    }
    d
}
