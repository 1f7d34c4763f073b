//! Which seats vote when: one voting scheme for each epoch of seats.

use crate::{
    block::Identity,
    keys::{self, Scheme, Seats, VotePublic},
    machine::Key,
};
use commonware_codec::{Copying, Decode as _, Encode as _, RangeCfg};
use commonware_consensus::types::{Epoch, FixedEpocher};
use commonware_cryptography::{
    bls12381::primitives::group::Private,
    certificate::{Provider, Scoped},
};
use commonware_utils::NZU64;
use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Epochs of seats whose schemes are kept: the present one, the one before (late messages), the next.
const KEPT: u64 = 3;

/// How the seats change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    /// Blocks of an epoch of seats, more than one. May never change over a chain's life.
    pub blocks: NonZeroU64,
    /// Where the state holds the seats of an epoch, from the last block of the epoch before on. One row for each
    /// epoch: a validator that catches up reads it when its state is of a later block.
    pub key: fn(u64) -> Key,
}

struct Inner {
    network: Vec<u8>,
    private: Private,
    rotation: Option<Rotation>,
    schemes: Mutex<Schemes>,
}

type Schemes = BTreeMap<Epoch, Arc<Scheme>>;

fn locked(schemes: &Mutex<Schemes>) -> MutexGuard<'_, Schemes> {
    schemes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The schemes of the epochs that are known here. Clones share them.
#[derive(Clone)]
pub(crate) struct Seating(Arc<Inner>);

impl Seating {
    /// Seats of epoch zero, and how they change; `None`: they sit for ever.
    pub(crate) fn new(network: &[u8], private: Private, first: Seats, rotation: Option<Rotation>) -> Self {
        let schemes = Mutex::default();
        let seating = Self(Arc::new(Inner { network: network.to_vec(), private, rotation, schemes }));
        seating.admit(Epoch::zero(), first);
        seating
    }

    /// Maps heights to epochs.
    pub(crate) fn epocher(&self) -> FixedEpocher {
        FixedEpocher::new(self.0.rotation.map_or(NZU64!(u64::MAX), |rotation| rotation.blocks))
    }

    /// Where the state holds the seats of an epoch; `None`: the first seats sit for ever.
    pub(crate) fn key(&self, epoch: Epoch) -> Option<Key> {
        self.0.rotation.map(|rotation| (rotation.key)(epoch.get()))
    }

    /// The seats of an epoch are known: from now on its votes and certificates can be checked. Who holds no seat
    /// gets a scheme that checks and does not sign.
    pub(crate) fn admit(&self, epoch: Epoch, seats: Seats) -> Arc<Scheme> {
        let scheme = keys::signer(&self.0.network, seats.clone(), self.0.private.clone())
            .unwrap_or_else(|| keys::verifier(&self.0.network, seats));
        let scheme = Arc::new(scheme);
        let mut schemes = locked(&self.0.schemes);
        schemes.insert(epoch, scheme.clone());
        let oldest = epoch.get().saturating_sub(KEPT);
        schemes.retain(|epoch, _| epoch.get() >= oldest);
        scheme
    }
}

impl Provider for Seating {
    type Scope = Epoch;
    type Scheme = Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        let schemes = locked(&self.0.schemes);
        // Seats that sit for ever have one epoch without end.
        schemes.get(&epoch).cloned().map(Scoped::scheme)
    }
}

/// The row that holds the seats of an epoch: (identity, vote key) pairs, a count before them.
pub(crate) fn encode(members: &[(Identity, VotePublic)]) -> Vec<u8> {
    members.to_vec().encode().to_vec()
}

/// Reads the row. `None`: no seats, or bytes that the machine should not have written.
pub(crate) fn decode(row: &[u8]) -> Option<Seats> {
    let config = (RangeCfg::from(1..=crate::light::MAX_SEATS), ((), ()));
    keys::seats(Vec::<(Identity, VotePublic)>::decode_cfg(Copying(row), &config).ok()?)
}
