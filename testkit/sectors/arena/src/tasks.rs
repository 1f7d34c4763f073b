//! What the epoch asks of each device.

use borsh::BorshSerialize;
use cairn_sector::{DeviceEntry, EpochContext, Task};
use cairn_types::{DeviceId, decode_bounded, encode};

use crate::{Arena, Offer};

/// Body of a task.
#[derive(BorshSerialize)]
enum Ask {
    /// A miner: open the commitment.
    Reveal,
    /// A validator: score the miners, beginning with the number drawn (so that not all begin with the same).
    Score { first: u64 },
}

/// One task per device.
pub fn tasks(c: &EpochContext<'_, Arena>, whom: Option<&DeviceId>) -> Vec<Task> {
    let task = |d: DeviceEntry| {
        let ask = match decode_bounded(&d.offer, 16).ok()? {
            Offer::Miner => Ask::Reveal,
            Offer::Validator { .. } => Ask::Score {
                first: c.seed.below("cairn/arena/first", &[d.id.as_ref()], u64::from(c.params.miners)),
            },
        };
        Some(Task { device: d.id, index: 0, body: encode(&ask) })
    };
    match whom {
        Some(id) => c.registry.device(id).and_then(task).into_iter().collect(),
        None => c.registry.devices().filter_map(task).collect(),
    }
}
