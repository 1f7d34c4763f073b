//! Rebuilding a fragment for a new device, without the content key.

use super::SegmentMeta;
use crate::CodecError;
use crate::erasure::layout::widen;
use crate::erasure::reconstruct;
use crate::keys::LeaseRepairKey;
use crate::pad;
use cairn_types::{DeviceId, Hash};

/// A padded fragment as its present holder sent it.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// Slot, which is also the fragment number.
    pub slot: u16,
    /// The device that the pad was made for.
    pub device: DeviceId,
    /// The bytes received; not trusted.
    pub padded: &'a [u8],
}

/// A rebuilt fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The fragment, padded for the new device.
    pub padded: Vec<u8>,
    /// BLAKE3 of `padded`: what the new operator co-signs.
    pub padded_root: Hash,
    /// Slots among those read whose bytes do not match their recorded hash.
    pub wrong: Vec<u16>,
}

/// Removes the pad and compares with the recorded hash; the fragment itself if it is right.
///
/// # Errors
/// A slot that is not below n. A wrong length or content is `Ok(None)`.
pub fn check_fragment(
    meta: &SegmentMeta,
    key: &LeaseRepairKey,
    held: &Held<'_>,
) -> Result<Option<Vec<u8>>, CodecError> {
    meta.profile().check_fragment(held.slot)?;
    if widen(held.padded.len()) != meta.fragment_len() {
        return Ok(None);
    }
    let mut bytes = held.padded.to_vec();
    pad::apply(&key.pad(meta.id(), held.slot, &held.device), 0, &mut bytes)?;
    let right = Hash(*blake3::hash(&bytes).as_bytes()) == meta.hashes()[usize::from(held.slot)];
    Ok(right.then_some(bytes))
}

/// Rebuilds the fragment of `target` for `device` from what others hold. Wrong fragments are set aside and
/// named; any k right ones suffice, or the target's own fragment alone (a move). The result is checked
/// against the recorded hash before it is padded. Memory: k + 2 fragments.
///
/// # Errors
/// Fewer than k right fragments, a slot twice or not below n, or a segment table that contradicts itself.
pub fn repair(
    held: &[Held<'_>],
    key: &LeaseRepairKey,
    meta: &SegmentMeta,
    target: u16,
    device: &DeviceId,
) -> Result<Repaired, CodecError> {
    let (profile, need) = (meta.profile(), usize::from(meta.profile().k()));
    profile.check_fragment(target)?;
    let mut seen = vec![false; usize::from(profile.n())];
    for h in held {
        profile.check_fragment(h.slot)?;
        if std::mem::replace(&mut seen[usize::from(h.slot)], true) {
            return Err(CodecError::DuplicateFragment { fragment: h.slot });
        }
    }
    let (mut good, mut wrong, mut own) = (Vec::new(), Vec::new(), None);
    let first = held.iter().filter(|h| h.slot == target);
    for h in first.chain(held.iter().filter(|h| h.slot != target)) {
        if good.len() == need || own.is_some() {
            break;
        }
        match check_fragment(meta, key, h)? {
            Some(bytes) if h.slot == target => own = Some(bytes),
            Some(bytes) => good.push((h.slot, bytes)),
            None => wrong.push(h.slot),
        }
    }
    let mut fragment = match own {
        Some(bytes) => bytes,
        None => {
            if good.len() < need {
                let have = u16::try_from(good.len()).unwrap_or(profile.k());
                return Err(CodecError::TooFewFragments { have, need: profile.k() });
            }
            let available: Vec<(u16, &[u8])> = good.iter().map(|(s, b)| (*s, &b[..])).collect();
            reconstruct(profile, meta.cipher_len(), &available, &[target])?.pop().unwrap_or_default()
        }
    };
    if Hash(*blake3::hash(&fragment).as_bytes()) != meta.hashes()[usize::from(target)] {
        return Err(CodecError::RebuiltMismatch { fragment: target });
    }
    pad::apply(&key.pad(meta.id(), target, device), 0, &mut fragment)?;
    let padded_root = Hash(*blake3::hash(&fragment).as_bytes());
    Ok(Repaired { padded: fragment, padded_root, wrong })
}
