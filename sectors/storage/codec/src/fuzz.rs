//! Entry points for fuzzing: any bytes must come back as a value or an error, never as a panic.

use crate::keys::StorageKeys;
use crate::segment::{Held, SegmentMeta, open, repair};
use cairn_types::DeviceId;

/// Decodes metadata; what is accepted must encode to the same bytes.
pub fn segment_meta(data: &[u8]) {
    if let Ok(meta) = SegmentMeta::decode(data) {
        assert_eq!(meta.encode(), data, "an accepted encoding is canonical");
        let _ = meta.fragment_len();
    }
}

/// Decodes metadata from the front of `data` and answers every request for cells with the rest: opening and
/// repairing must refuse it.
pub fn open_with_garbage(data: &[u8]) {
    // 80 bytes and 32 a fragment; the count of hashes follows from n at bytes 66 and 67.
    let n = data.get(66).copied().map_or(0, usize::from);
    let Some((front, rest)) = data.split_at_checked(80 + 32 * n) else { return };
    let Ok(meta) = SegmentMeta::decode(front) else { return };
    let keys = StorageKeys::from_root(&[0; 32]);
    let devices: Vec<(u16, DeviceId)> =
        (0..meta.profile().n()).map(|slot| (slot, DeviceId([1; 32]))).collect();
    // A silent slot, short replies and replies of the right length, as the bytes happen to have it.
    let source = |slot: u16, _: u64, len: usize| {
        let pick = rest.get(usize::from(slot)).copied().unwrap_or(0);
        match pick % 4 {
            0 => None,
            1 => Some(rest.iter().copied().take(len).collect()),
            // Bounded, so that an input of a few bytes cannot ask for gigabytes.
            _ => (len <= 1 << 20).then(|| rest.iter().copied().cycle().take(len).collect::<Vec<u8>>()),
        }
    };
    let end = meta.plain_len();
    for range in [0..end, end / 2..end, 0..end.min(1)] {
        if let Ok(opened) = open(&keys, &meta, &devices, range.clone(), &source) {
            assert!(range.is_empty() && opened.plain.is_empty(), "garbage must not authenticate");
        }
    }
    let held: Vec<Held<'_>> =
        devices.iter().map(|(slot, device)| Held { slot: *slot, device: *device, padded: rest }).collect();
    let key = keys.repair.lease(meta.lease());
    let _ = repair(&held, &key, &meta, 0, &DeviceId([2; 32]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erasure::Profile;
    use crate::segment::SegmentId;
    use cairn_types::{Hash, LeaseId};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            segment_meta(&data);
            open_with_garbage(&data);
        }

        #[test]
        fn garbage_behind_valid_metadata_does_not_panic(
            a in 1u16..=8, b in 1u16..=8, len in 0u64..300_000, rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let profile = Profile::new(a.min(b), a.max(b)).unwrap();
            let hashes = vec![Hash([3; 32]); usize::from(profile.n())];
            let meta = SegmentMeta::new(SegmentId([1; 32]), LeaseId([2; 32]), profile, len, hashes).unwrap();
            segment_meta(&meta.encode());
            open_with_garbage(&[meta.encode(), rest].concat());
        }
    }
}
