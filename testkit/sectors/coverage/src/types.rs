//! Frozen types. Changing an encoding is a new VERSION.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::{SecretKey, Signature};
use cairn_sector::SortKey;
use cairn_types::{Cell, DeviceId, Epoch, Hash, NetworkId, encode};

/// Domain under which a beaconer signs its beacon.
pub const BEACON_DOMAIN: &str = "cairn/coverage/beacon";
/// Domain under which a witness signs a receipt.
pub const RECEIPT_DOMAIN: &str = "cairn/coverage/witness";

/// A place on the sector's own square grid, packed into a [`Cell`]: row in the upper 32 bits, column in the lower.
/// A real sector would use H3; tests need neighbourhoods that are easy to count. Rows and columns start at 1, so
/// that zero stays "no cell".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grid {
    /// Row, `1..`.
    pub row: u32,
    /// Column, `1..`.
    pub column: u32,
}

impl Grid {
    /// Unpacks a cell; `None` for row or column 0.
    pub fn of(cell: Cell) -> Option<Self> {
        let row = u32::try_from(cell.0 >> 32).ok()?;
        let column = u32::try_from(cell.0 & u64::from(u32::MAX)).ok()?;
        (row > 0 && column > 0).then_some(Self { row, column })
    }
    /// Packs the place.
    pub fn cell(self) -> Cell {
        Cell(u64::from(self.row) << 32 | u64::from(self.column))
    }
    /// Chebyshev distance in cells: diagonal neighbours are 1 apart.
    pub fn distance(self, other: Self) -> u32 {
        self.row.abs_diff(other.row).max(self.column.abs_diff(other.column))
    }
}

/// What a device offers: to stand at a place.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// Its place, see [`Grid`].
    pub cell: Cell,
    /// Digest of the radio's serial number: admitted once in the sector.
    pub serial: Hash,
    /// Code of the site, shared by devices under one roof.
    pub site: u64,
}

/// There are no leases in this sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Order;

/// Nothing is committed before the seed: a beacon answers the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Commitment;

/// A receipt: "I heard this beacon". Submitted by the witness.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Evidence {
    /// Cell of the beaconer; sorts the evidence by place and is checked against the registry.
    pub cell: Cell,
    /// Who sent the beacon.
    pub beaconer: DeviceId,
    /// Who heard it.
    pub witness: DeviceId,
    /// Epoch of the beacon.
    pub epoch: Epoch,
    /// Payload of the beacon, drawn from the seed: see [`crate::payload`].
    pub payload: [u8; 16],
    /// The beaconer's signature, heard over the air: shows that the witness did not merely compute the payload.
    pub beacon: Signature,
    /// Signal level in tenths of dBm.
    pub level: i16,
    /// The witness's signature over everything above.
    pub signature: Signature,
}

impl Evidence {
    /// Sorted by the beaconer's cell, beaconer, witness: receipts of one beacon are neighbours in the stream.
    pub fn sort_key(&self) -> SortKey {
        let mut key = memory_key(self.cell, &self.beaconer);
        key.extend_from_slice(self.witness.as_ref());
        SortKey::new(key)
    }

    /// Signs a receipt for a beacon that was heard.
    pub fn sign(mut self, network: &NetworkId, key: &SecretKey) -> Self {
        self.signature = key.sign(RECEIPT_DOMAIN, &receipt_bytes(network, &self));
        self
    }
}

/// Bytes of the beacon under [`BEACON_DOMAIN`].
pub fn beacon_bytes(network: &NetworkId, epoch: Epoch, beaconer: &DeviceId, payload: &[u8; 16]) -> Vec<u8> {
    encode(&(network, epoch, beaconer, payload))
}

/// Bytes of the receipt under [`RECEIPT_DOMAIN`]: the network and all fields but the signature.
pub fn receipt_bytes(network: &NetworkId, e: &Evidence) -> Vec<u8> {
    encode(&(network, e.cell, e.beaconer, e.witness, e.epoch, e.payload, e.beacon, e.level))
}

/// Key of a device's sightings in the memory: cell (big endian), device. Sales scan it by cell, judging walks it
/// beside the evidence, which has the same order.
pub fn memory_key(cell: Cell, device: &DeviceId) -> Vec<u8> {
    let mut key = cell.0.to_be_bytes().to_vec();
    key.extend_from_slice(device.as_ref());
    key
}

/// One neighbour that saw a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sighting {
    /// Who.
    pub witness: DeviceId,
    /// When last.
    pub last: Epoch,
    /// How often: one more per epoch with, one less per epoch without; at most 255.
    pub count: u8,
}

/// What is remembered of one device at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sightings {
    /// Epochs in which its beacon was witnessed: one more with, one less without; at most the window.
    pub covered: u16,
    /// The same for epochs in which it was paid in full. Weight in pooled sales.
    pub full: u16,
    /// Who saw it, ascending by witness; at most [`Sightings::MAX`].
    pub seen: Vec<Sighting>,
}

impl Sightings {
    /// Most neighbours remembered per device. 16 x 41 bytes + 8 stay below the limit of 1,024.
    pub const MAX: usize = 16;
}

/// A pooled sale: the coverage data of a rectangle of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sale {
    /// The corner with the lowest row and column.
    pub corner: Cell,
    /// Rows, `1..`.
    pub rows: u16,
    /// Columns, `1..`.
    pub columns: u16,
}

/// A dispute: a receipt that no honest device signs.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Claim {
    /// The receipt, signed by the accused.
    pub receipt: Evidence,
}

/// The accused has nothing to answer: the signature speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Answer;
