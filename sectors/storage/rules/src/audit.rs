//! Retrieval audits: who asks whom, what a report is worth, and what comes of it.
//!
//! Proving storage is not serving it. Each epoch the seed draws [`AUDITORS`] devices of other operators for each device
//! that committed to data; they fetch chunks like strangers and report. The median moves a smoothed score, the score a
//! price weight. Nothing here is a fault, a charge or a slash: `docs/explanation/retrieval-audits.md`.

use cairn_crypto::hash::blake3_derive;
use cairn_crypto::keys::Signature;
use cairn_sector::{Audit, DeviceEntry, Seed};
use cairn_types::{AccountId, DeviceId, Hash};

use crate::tasks::commitment;
use crate::types::{Median, Params, REBUILT, Retrieval, Seen};

/// Auditors drawn for each device.
pub const AUDITORS: usize = 3;
/// Reports without which there is no median.
pub const QUORUM: usize = 2;
/// Draws for a device before it has to do with fewer auditors: bounds the work whatever the registry holds.
const DRAWS: u32 = 128;
/// Medians kept for the operator to read.
pub const MEDIANS_KEPT: usize = 8;
/// A full score, and the price weight of a device that lists as dear as it looks; in millionths.
pub const FULL: u32 = 1_000_000;
/// Steps between a full score and none in which the price weight moves, so that a settlement names a device only when
/// its score went a sixteenth up or down.
const STEPS: u32 = 16;

/// A device that may be drawn.
struct Member {
    id: DeviceId,
    operator: AccountId,
    domains: Vec<Hash>,
    /// Sum of capacities up to and with this one, in chunks.
    until: u64,
}

/// Everybody who may be drawn in an epoch: whoever committed, as likely as its capacity is large. Capacity costs bond,
/// so a crowd of small devices is drawn no more often than one large one of the same bond.
pub struct Pool {
    members: Vec<Member>,
}

impl Pool {
    /// From the registry at the lock. O(devices) time and memory.
    pub fn new(devices: impl IntoIterator<Item = DeviceEntry>) -> Self {
        let mut members: Vec<Member> = Vec::new();
        let mut until = 0u64;
        for d in devices.into_iter().filter(|d| commitment(d).is_some()) {
            let Some(sum) = until.checked_add(d.capacity.0[REBUILT]) else { break };
            until = sum;
            members.push(Member { id: d.id, operator: d.operator, domains: d.domains, until });
        }
        Self { members }
    }

    /// The auditors of a device in the epoch of `seed`: at most [`AUDITORS`], all of different operators and none of the
    /// device's own. Those that share no declared failure domain with it come first. Nobody where the device committed to
    /// nothing, or where audits are off. At most [`DRAWS`] draws, each O(log devices).
    pub fn draw(&self, p: &Params, seed: &Seed, of: &DeviceEntry) -> Vec<DeviceId> {
        let holds = commitment(of).is_some_and(|tree| tree.total > 0);
        let total = self.members.last().map_or(0, |m| m.until);
        let (mut far, mut near): (Vec<&Member>, Vec<&Member>) = (Vec::new(), Vec::new());
        for i in (0..DRAWS).take_while(|_| p.audit_chunks > 0 && holds && total > 0) {
            let at = seed.below("cairn/storage/auditor/v1", &[&of.id.0, &i.to_le_bytes()], total);
            let Some(m) = self.members.get(self.members.partition_point(|m| m.until <= at)) else { continue };
            let apart = !m.domains.iter().any(|d| of.domains.contains(d));
            let list = if apart { &mut far } else { &mut near };
            if m.operator != of.operator && list.iter().all(|known| known.operator != m.operator) {
                list.push(m);
            }
            if far.len() == AUDITORS {
                break;
            }
        }
        let more: Vec<&Member> =
            near.into_iter().filter(|n| far.iter().all(|f| f.operator != n.operator)).collect();
        far.into_iter().chain(more).take(AUDITORS).map(|m| m.id).collect()
    }
}

/// See [`cairn_sector::Rules::audits`].
pub fn audits(p: &Params, seed: &Seed, devices: &[DeviceEntry]) -> Vec<Audit> {
    let pool = Pool::new(devices.iter().cloned());
    let of = |d: &DeviceEntry| {
        let device = d.id;
        pool.draw(p, seed, d).into_iter().map(move |auditor| Audit { device, auditor })
    };
    let mut out: Vec<Audit> = devices.iter().flat_map(of).collect();
    out.sort_unstable();
    out
}

/// The chunks that an [`crate::types::Ask`] with this signature asks for, of a tree of `total` chunks. They follow from
/// the signature alone: the device learns them with the question. Two may be equal.
pub fn positions(p: &Params, signature: &Signature, total: u64) -> Vec<u64> {
    let seed = Seed::from(blake3_derive("cairn/storage/audit-seed/v1", &[&signature.0]));
    (0..p.audit_chunks)
        .map(|i| seed.below("cairn/storage/audit-chunk/v1", &[&i.to_le_bytes()], total))
        .collect()
}

/// What a report is worth, in millionths: all for an answer within the governed time, half for each doubling beyond
/// it, nothing for none.
pub fn quality(p: &Params, seen: Seen) -> u32 {
    match seen {
        Seen::Served { log_ms } => {
            FULL.checked_shr(u32::from(log_ms.saturating_sub(p.audit_log_ms))).unwrap_or(0)
        }
        Seen::Wrong | Seen::Refused | Seen::Unreachable => 0,
    }
}

/// The middle one of the reports about a device. Of three it lies between two honest ones whatever one liar says; of two the
/// better counts, since a harm that only one of them saw is not shown. `None` below [`QUORUM`]. The order of the reports
/// carries nothing.
pub fn median(p: &Params, reports: &[Seen]) -> Option<(Seen, u32)> {
    let mut sorted = reports.to_vec();
    sorted.sort_unstable_by_key(|s| (std::cmp::Reverse(quality(p, *s)), *s));
    let middle = sorted.get(sorted.len().checked_sub(1)? / 2).filter(|_| sorted.len() >= QUORUM)?;
    Some((*middle, quality(p, *middle)))
}

/// Share of the gap to its aim that a score closes in an epoch, in millionths: `ln 2 / (half_life + ln 2 / 2)`, which is
/// `1 - 2^(-1/half_life)` to within 3 % for one epoch and 0.2 % from six on.
fn pace(half_life: u32) -> u64 {
    693_147_000 / (1000 * u64::from(half_life.max(1)) + 347)
}

/// The next score: moves towards `aim` and arrives there.
pub fn step(p: &Params, score: u32, aim: u32) -> u32 {
    let gap = u64::from(score.abs_diff(aim));
    let way = (gap * pace(p.audit_half_life)).div_ceil(u64::from(FULL)).min(gap);
    let way = u32::try_from(way).unwrap_or(0);
    if score < aim { score + way } else { score - way }
}

/// The price weight of a score, in millionths: 1,000,000 for a full one, `audit_surcharge_ppm` more for none, in
/// sixteenths between. A gap of less than half a sixteenth weighs nothing.
pub fn weight(p: &Params, score: u32) -> u32 {
    let gap = u64::from(FULL.saturating_sub(score));
    let full = u64::from(FULL);
    let steps = (gap * u64::from(STEPS) + full / 2) / full;
    let more = u64::from(p.audit_surcharge_ppm) * steps / u64::from(STEPS);
    u32::try_from(full + more).unwrap_or(u32::MAX)
}

/// What an epoch makes of a device's record. `None` stands for a full score, before and after. Without a median a device
/// that committed to data stays where it is; one that committed to none heals, since nobody audits it, and so does everybody
/// where audits are off.
pub fn next(
    p: &Params,
    before: Option<Retrieval>,
    median: Option<Median>,
    committed: Option<u64>,
) -> Option<Retrieval> {
    let mut r = before.unwrap_or(Retrieval { score: FULL, weight: FULL, medians: Vec::new() });
    match (median, committed) {
        (Some(m), _) => {
            r.score = step(p, r.score, m.quality);
            r.medians.push(m);
            let old = r.medians.len().saturating_sub(MEDIANS_KEPT);
            r.medians.drain(..old);
        }
        (None, total) if total == Some(0) || p.audit_chunks == 0 => r.score = step(p, r.score, FULL),
        (None, _) => {}
    }
    r.weight = weight(p, r.score);
    (r.score < FULL).then_some(r)
}

#[cfg(test)]
mod tests;
