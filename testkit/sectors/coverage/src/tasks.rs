//! The challenge of the epoch: send this payload as a beacon.

use cairn_sector::{EpochContext, Seed, Task};
use cairn_types::DeviceId;

use crate::Coverage;

/// Payload of a device's beacon in the epoch of the seed. Unknown to everybody before the seed.
pub fn payload(seed: &Seed, device: &DeviceId) -> [u8; 16] {
    let draw = seed.draw("cairn/coverage/payload", &[device.as_ref()]);
    let mut out = [0; 16];
    out.copy_from_slice(&draw[..16]);
    out
}

/// One task per device of the registry; its body is the payload.
pub fn tasks(c: &EpochContext<'_, Coverage>, whom: Option<&DeviceId>) -> Vec<Task> {
    let task = |device: DeviceId| Task { device, index: 0, body: payload(&c.seed, &device).to_vec() };
    match whom {
        Some(id) => c.registry.device(id).map(|d| task(d.id)).into_iter().collect(),
        None => c.registry.devices().map(|d| task(d.id)).collect(),
    }
}
