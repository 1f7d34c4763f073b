//! Answers that are believed because the seats signed them.

use crate::wire::{ProvenRow, octets};
use crate::{Client, ClientError};
use cairn_engine::light::{SeatSet, verify_certificate, verify_proof};
use cairn_ledger::state::{Key, Table, key_of};
use cairn_ledger::tables::SeatRow;
use cairn_types::{Height, NetworkId, encode};

/// The bytes that every vote of the seats is bound to.
pub fn engine_network(network: NetworkId, fork: u32) -> Vec<u8> {
    encode(&(network, fork))
}

/// The seats that a client trusts. Take them from the genesis file or from another source that you trust, not from
/// the node that is to be checked.
#[derive(Clone, Debug)]
pub struct TrustedSeats {
    set: SeatSet,
    origin: Height,
}

impl TrustedSeats {
    /// Seats of a network and fork, in any order.
    ///
    /// # Errors
    ///
    /// `client.seats` for keys that are no keys, appear twice, or for none or more than 1024 of them.
    pub fn new(network: NetworkId, fork: u32, seats: &[SeatRow]) -> Result<Self, ClientError> {
        let members: Vec<([u8; 32], [u8; 96])> = seats.iter().map(|s| (s.key.0, s.consensus)).collect();
        let set = SeatSet::new(&engine_network(network, fork), &members).map_err(|e| {
            ClientError::new("client.seats", e.to_string(), "take the seats from the genesis file")
        })?;
        Ok(Self { set, origin: Height(0) })
    }

    /// For a fork that goes on from an exported state: the height of that state. Heights of the network go on,
    /// headers of blocks count from the fork.
    #[must_use]
    pub fn after(self, origin: Height) -> Self {
        Self { origin, ..self }
    }
}

/// A value that more than two thirds of the seats vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    /// The value.
    pub value: T,
    /// Height of the block after which it held. The caller judges whether that is recent enough.
    pub height: Height,
    /// Milliseconds since the Unix epoch in that block, as its proposer set it.
    pub timestamp_ms: u64,
}

/// Checks an answer against the seats: certificate, height, proof.
pub(crate) fn check(
    key: Key,
    row: &ProvenRow,
    seats: &TrustedSeats,
) -> Result<Verified<Option<Vec<u8>>>, ClientError> {
    let Some(certificate) = &row.certificate else {
        return Err(ClientError::unproven("the node sent no certificate of the block"));
    };
    let block = verify_certificate(&seats.set, &octets(&row.block)?, &octets(certificate)?)
        .map_err(ClientError::unproven)?;
    let height = seats.origin.plus(block.header.height);
    if height.0 != row.height {
        let cause = format!("the block has height {height}, the answer says {}", row.height);
        return Err(ClientError::unproven(cause));
    }
    let value = row.value.as_deref().map(octets).transpose()?;
    verify_proof(key, value.as_deref(), &octets(&row.proof)?, block.state_root)
        .map_err(ClientError::unproven)?;
    Ok(Verified { value, height, timestamp_ms: block.header.timestamp_ms })
}

impl Client {
    /// A row, or its absence, as more than two thirds of the seats signed it.
    ///
    /// # Errors
    ///
    /// `client.unproven` when anything does not hold, `client.stale` when the block is older than one that this
    /// client verified before, and errors of transport.
    pub async fn get_verified<T: Table>(
        &self,
        key: &T::Key,
        seats: &TrustedSeats,
    ) -> Result<Verified<Option<T::Row>>, ClientError> {
        let state_key = key_of::<T>(key);
        let proven = check(state_key, &self.proven(state_key).await?, seats)?;
        self.note_height(proven.height)?;
        let value = proven.value.as_deref().map(|bytes| crate::client::row::<T>(key, bytes)).transpose()?;
        Ok(Verified { value, height: proven.height, timestamp_ms: proven.timestamp_ms })
    }
}
