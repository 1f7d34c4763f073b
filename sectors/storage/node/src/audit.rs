//! The auditor's side of a retrieval audit: ask, measure, check.

use cairn_net::{NetError, Transport};
use cairn_sector::DeviceEntry;
use cairn_storage_codec::wire::{AuditAsk, Reply, Request, decode_reply, encode_request};
use cairn_storage_rules::audit::positions;
use cairn_storage_rules::prove::verify_leaf;
use cairn_storage_rules::types::{Ask, Commitment, LeafProof, Params, Seen};
use cairn_types::{DeviceId, Epoch, NetworkId, decode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::service::Identity;

/// Asks devices for chunks under this device's key. Share it by cloning.
#[derive(Clone)]
pub struct Auditor {
    identity: Arc<Identity>,
    transport: Arc<dyn Transport>,
    network: NetworkId,
    params: Params,
}

impl Auditor {
    /// For the device of `identity`.
    pub fn new(
        identity: Arc<Identity>,
        transport: Arc<dyn Transport>,
        network: NetworkId,
        params: Params,
    ) -> Self {
        Self { identity, transport, network, params }
    }

    /// Who asks.
    pub fn device(&self) -> DeviceId {
        self.identity.device
    }

    /// One audit of a device as the lock of `epoch` showed it, its commitment included. `None`: it committed to nothing, so
    /// that there is nothing to ask.
    ///
    /// The time is from the question to the last byte of the answer; checking it does not count.
    pub async fn audit(&self, epoch: Epoch, device: &DeviceEntry) -> Option<Seen> {
        let commitment: Commitment = decode(device.commitment.as_ref()?).ok()?;
        if commitment.tree.total == 0 {
            return None;
        }
        let ask = Ask { network: self.network, epoch, device: device.id, auditor: self.identity.device };
        let signature = ask.sign(&self.identity.key);
        let question = encode_request(&Request::Audit(AuditAsk { ask, signature }));
        let begun = Instant::now();
        let answer = self.transport.call(&device.key, question.into()).await;
        let took = begun.elapsed();
        let proofs = match answer.as_ref().map(decode_reply) {
            Ok(Ok(Ok(Reply::Audited(proofs)))) => proofs,
            Ok(Ok(Err(refusal))) => {
                tracing::debug!(device = %device.id, %refusal, "storage.audit.refused");
                return Some(Seen::Refused);
            }
            Ok(_) | Err(NetError::TooLarge { .. }) => return Some(Seen::Wrong),
            Err(_) => return Some(Seen::Unreachable),
        };
        let wanted = positions(&self.params, &signature, commitment.tree.total);
        Some(self.examine(device, &commitment, &wanted, &proofs, took))
    }

    fn examine(
        &self,
        device: &DeviceEntry,
        commitment: &Commitment,
        wanted: &[u64],
        proofs: &[Option<LeafProof>],
        took: Duration,
    ) -> Seen {
        let leads = |(at, proof): (&u64, &Option<LeafProof>)| {
            let fits = |p| verify_leaf(&self.network, &device.id, &commitment.tree, *at, p).is_ok();
            proof.as_ref().is_none_or(fits)
        };
        if proofs.len() > wanted.len() || !wanted.iter().zip(proofs).all(leads) {
            return Seen::Wrong;
        }
        if proofs.len() < wanted.len() || proofs.iter().any(Option::is_none) {
            return Seen::Refused;
        }
        Seen::Served { log_ms: log_ms(took) }
    }
}

/// The smallest power of two of milliseconds that is not below a time.
fn log_ms(took: Duration) -> u8 {
    let ms = u64::try_from(took.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
    u8::try_from(u64::BITS - (ms - 1).leading_zeros()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_as_the_next_power_of_two() {
        let of = |ms| log_ms(Duration::from_millis(ms));
        assert_eq!(
            [of(0), of(1), of(2), of(3), of(4), of(5), of(1024), of(1025)],
            [0, 0, 1, 2, 2, 3, 10, 11]
        );
        assert_eq!(log_ms(Duration::from_micros(1001)), 1);
        assert_eq!(log_ms(Duration::MAX), 64);
    }
}
