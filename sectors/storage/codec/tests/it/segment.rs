use cairn_storage_codec::segment::{Held, MAX_PLAIN, SealedSegment, Sealer, open, plan, repair, seal};
use cairn_storage_codec::{CodecError, Profile, SegmentId, SegmentMeta, StorageKeys};
use cairn_types::{DeviceId, Hash, LeaseId};
use proptest::prelude::*;

const ID: SegmentId = SegmentId([1; 32]);
const LEASE: LeaseId = LeaseId([2; 32]);

fn keys() -> StorageKeys {
    StorageKeys::from_root(&[7; 32])
}

fn device(slot: u16) -> DeviceId {
    DeviceId::derive("test", &[&slot.to_le_bytes()])
}

fn devices(n: u16) -> Vec<(u16, DeviceId)> {
    (0..n).map(|s| (s, device(s))).collect()
}

fn data(len: usize) -> Vec<u8> {
    (0u32..).map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 24).unwrap()).take(len).collect()
}

fn sealed(k: u16, n: u16, plain: &[u8]) -> SealedSegment {
    seal(&keys(), Profile::new(k, n).unwrap(), ID, plain, &devices(n), LEASE).unwrap()
}

/// Operators that may be gone (`None`) or hold other bytes than they were given.
struct Shelf(Vec<Option<Vec<u8>>>);

impl cairn_storage_codec::segment::FragmentSource for Shelf {
    fn cell(&self, slot: u16, offset: u64, len: usize) -> Option<Vec<u8>> {
        let fragment = self.0[usize::from(slot)].as_ref()?;
        let at = usize::try_from(offset).unwrap();
        Some(fragment.get(at..at + len).unwrap_or_default().to_vec())
    }
}

fn shelf(s: &SealedSegment) -> Shelf {
    Shelf(s.fragments.iter().cloned().map(Some).collect())
}

/// Plaintext, missing slots, wrong slots.
type Read = (Vec<u8>, Vec<u16>, Vec<u16>);

fn read(s: &SealedSegment, shelf: &Shelf, range: std::ops::Range<u64>) -> Result<Read, CodecError> {
    let n = s.meta.profile().n();
    open(&keys(), &s.meta, &devices(n), range, shelf).map(|o| (o.plain, o.missing, o.wrong))
}

#[test]
fn a_sealed_segment_is_frozen() {
    // The first two were also computed by independent HKDF, AES-GCM and AES-CTR (Python).
    let s = sealed(2, 4, b"a bakery keeps its ledgers here");
    let fragments: Vec<String> = s.fragments.iter().map(hex::encode).collect();
    assert_eq!(
        fragments,
        [
            "326d3a13ae9eb1496b973cf5ae25f48274f9443ed0cd91a8",
            "f4e15827b8c2a5a8f1502efa6ed17c1eda60a2131a4b3b30",
            "5d42d50eac557efb937695323e6acb0d3f4d752a58e047b3",
            "7318046661f83fcfcc4bdbbe4b12d638be1cabfc944bf42d",
        ]
    );
    assert_eq!(
        hex::encode(s.meta.encode()),
        concat!(
            "0101010101010101010101010101010101010101010101010101010101010101",
            "0202020202020202020202020202020202020202020202020202020202020202",
            "020004002f0000001f00000004000000",
            "b1a5b8e89c598ee8bcaf1f885f195a4152afb697fc5e7db1aacaa94606dbc3db",
            "c3b8b39fe8d24eb63910a15a25802d3bb431ef84d375e55f95421dd5b582df0c",
            "ac1a60d4c5732a90f656e5e04c4e5b7a2d72caffe7b3321793ba25dae8b910ec",
            "0f659ddfdbe987e45658dbdb9b4be79a31d4b68b7deb61877b76bedcb5051b0b"
        )
    );
    assert_eq!(SegmentMeta::decode(&s.meta.encode()).unwrap(), s.meta);
}

#[test]
fn roots_and_hashes_are_those_of_the_bytes() {
    let s = sealed(3, 7, &data(500_000));
    for (fragment, root) in s.fragments.iter().zip(&s.padded_roots) {
        assert_eq!(Hash(*blake3::hash(fragment).as_bytes()), *root);
    }
    let distinct: std::collections::BTreeSet<_> = s.fragments.iter().collect();
    assert_eq!(distinct.len(), 7);
}

#[test]
fn copies_of_a_replicated_segment_all_differ() {
    let s = sealed(1, 3, &data(1000));
    assert_ne!(s.fragments[0], s.fragments[1]);
    assert_eq!(s.meta.hashes()[0], s.meta.hashes()[1]);
}

#[test]
fn metadata_that_contradicts_itself_is_refused() {
    let good = sealed(2, 4, &data(100)).meta.encode();
    for at in [65, 66, 68, 72, 76] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(matches!(SegmentMeta::decode(&bad), Err(CodecError::BadMeta(_))), "byte {at}");
    }
    assert!(SegmentMeta::decode(&good[..good.len() - 1]).is_err());
    assert!(SegmentMeta::decode(&[&good[..], &[0]].concat()).is_err());
    let hashes = vec![Hash([0; 32]); 4];
    let new = |len| SegmentMeta::new(ID, LEASE, Profile::new(2, 4).unwrap(), len, hashes.clone());
    assert_eq!(new(MAX_PLAIN).unwrap().cipher_len(), 64 << 20);
    assert!(matches!(new(MAX_PLAIN + 1), Err(CodecError::TooLarge { .. })));
}

#[test]
fn one_byte_costs_one_cell() {
    let s = sealed(4, 10, &data(1_000_000));
    let asked = std::cell::RefCell::new(Vec::new());
    let full = shelf(&s);
    let source = |slot, offset, len| {
        asked.borrow_mut().push((slot, offset, len));
        cairn_storage_codec::segment::FragmentSource::cell(&full, slot, offset, len)
    };
    let got = open(&keys(), &s.meta, &devices(10), 400_000..400_001, &source).unwrap();
    assert_eq!(got.plain, data(1_000_000)[400_000..400_001]);
    assert_eq!(*asked.borrow(), [(2, 65_536, 65_536)]);
    let planned = plan(&s.meta, &(400_000..400_001)).unwrap();
    assert_eq!((planned[0].fragment, planned[0].offset, planned[0].len), (2, 65_536, 65_536));
}

#[test]
fn a_wrong_data_cell_is_named_and_read_around() {
    let plain = data(1_000_000);
    let s = sealed(4, 10, &plain);
    let mut shelf = shelf(&s);
    shelf.0[2].as_mut().unwrap()[70_000] ^= 1;
    let (got, missing, wrong) = read(&s, &shelf, 0..1_000_000).unwrap();
    assert!(got == plain && missing.is_empty());
    assert_eq!(wrong, [2]);
}

#[test]
fn a_wrong_byte_in_the_short_last_stripe_is_found_by_hash() {
    let plain = data(10_000);
    let s = sealed(4, 10, &plain);
    let mut shelf = shelf(&s);
    shelf.0[1].as_mut().unwrap()[7] ^= 0x80;
    shelf.0[3] = None;
    shelf.0[4].as_mut().unwrap()[9] ^= 1;
    let (got, missing, wrong) = read(&s, &shelf, 0..10_000).unwrap();
    assert!(got == plain);
    assert_eq!((missing, wrong), (vec![3], vec![1, 4]));
}

#[test]
fn n_minus_k_silent_or_lying_operators_do_no_harm() {
    let plain = data(700_000);
    let s = sealed(4, 10, &plain);
    for lying in [false, true] {
        // All data operators and two of parity.
        let mut shelf = shelf(&s);
        for slot in [0, 1, 2, 3, 5, 6] {
            let held = &mut shelf.0[slot];
            *held = lying.then(|| held.as_ref().unwrap().iter().map(|b| !b).collect());
        }
        let (got, missing, wrong) = read(&s, &shelf, 0..700_000).unwrap();
        assert!(got == plain, "lying: {lying}");
        let named = if lying { wrong } else { missing };
        assert_eq!(named, [0, 1, 2, 3, 5, 6], "lying: {lying}");
    }
}

#[test]
fn a_long_degraded_read_crosses_batches() {
    let plain = data(9_000_000);
    let s = sealed(3, 6, &plain);
    let mut shelf = shelf(&s);
    shelf.0[1] = None;
    shelf.0[0].as_mut().unwrap()[2_000_000] ^= 1;
    let (got, missing, wrong) = read(&s, &shelf, 100_001..8_999_999).unwrap();
    assert!(got == plain[100_001..8_999_999]);
    assert_eq!((missing, wrong), (vec![1], vec![0]));
    // A lying parity operator too: only the hashes of whole fragments tell.
    shelf.0[3].as_mut().unwrap()[2_500_000] ^= 1;
    let (got, _, wrong) = read(&s, &shelf, 100_001..8_999_999).unwrap();
    assert!(got == plain[100_001..8_999_999]);
    assert_eq!(wrong, [0, 3]);
}

#[test]
fn one_operator_too_few_is_a_clear_error() {
    let s = sealed(4, 10, &data(700_000));
    let mut shelf = shelf(&s);
    shelf.0[..7].iter_mut().for_each(|f| *f = None);
    assert_eq!(read(&s, &shelf, 0..1), Err(CodecError::TooFewFragments { have: 3, need: 4 }));
}

#[test]
fn a_reply_of_another_length_is_wrong() {
    let s = sealed(2, 4, &data(100));
    let mut shelf = shelf(&s);
    shelf.0[0].as_mut().unwrap().pop();
    let (got, _, wrong) = read(&s, &shelf, 0..100).unwrap();
    assert_eq!((got, wrong), (data(100), vec![0]));
}

#[test]
fn other_keys_read_nothing() {
    let s = sealed(2, 4, &data(100));
    let other = StorageKeys::from_root(&[8; 32]);
    let got = open(&other, &s.meta, &devices(4), 0..100, &shelf(&s));
    assert_eq!(got, Err(CodecError::TooFewFragments { have: 0, need: 2 }));
    // Right pads, wrong content key: the fragments are in order and still nothing is shown.
    let mixed = StorageKeys { repair: keys().repair, ..other };
    let got = open(&mixed, &s.meta, &devices(4), 0..100, &shelf(&s));
    assert_eq!(got, Err(CodecError::Unauthentic { record: 0 }));
}

#[test]
fn a_wrong_content_key_is_not_blamed_on_the_operators() {
    // Full stripes, so each tag seems to convict a data operator, and parity alone would not suffice.
    let s = sealed(2, 3, &data(300_000));
    let mixed = StorageKeys { repair: keys().repair, ..StorageKeys::from_root(&[8; 32]) };
    let got = open(&mixed, &s.meta, &devices(3), 0..300_000, &shelf(&s));
    assert_eq!(got, Err(CodecError::Unauthentic { record: 0 }));
}

#[test]
fn ranges_outside_the_segment_are_refused() {
    let s = sealed(2, 4, &data(100));
    assert!(matches!(read(&s, &shelf(&s), 0..101), Err(CodecError::BadRange { .. })));
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 5..4;
    assert!(matches!(read(&s, &shelf(&s), reversed), Err(CodecError::BadRange { .. })));
    assert_eq!(read(&s, &shelf(&s), 100..100).unwrap().0, b"");
}

#[test]
fn sealing_needs_a_device_for_each_slot() {
    let profile = Profile::new(2, 4).unwrap();
    let seal = |slots: &[(u16, DeviceId)]| seal(&keys(), profile, ID, b"x", slots, LEASE).unwrap_err();
    assert_eq!(seal(&devices(3)), CodecError::SlotWithoutDevice { slot: 3 });
    assert_eq!(seal(&devices(5)), CodecError::NoSuchFragment { fragment: 4, n: 4 });
    assert_eq!(seal(&[(0, device(0)), (0, device(1))]), CodecError::DuplicateFragment { fragment: 0 });
}

fn held<'a>(s: &'a SealedSegment, slots: &[u16]) -> Vec<Held<'a>> {
    slots
        .iter()
        .map(|slot| Held { slot: *slot, device: device(*slot), padded: &s.fragments[usize::from(*slot)] })
        .collect()
}

#[test]
fn repair_needs_no_content_key_and_gives_the_bytes_that_sealing_would() {
    let plain = data(700_000);
    let s = sealed(4, 10, &plain);
    let key = keys().repair.lease(&LEASE);
    let newcomer = DeviceId([9; 32]);
    for target in [1, 8] {
        let done = repair(&held(&s, &[0, 2, 3, 4, 5]), &key, &s.meta, target, &newcomer).unwrap();
        let mut slots = devices(10);
        slots[usize::from(target)].1 = newcomer;
        let resealed = seal(&keys(), s.meta.profile(), ID, &plain, &slots, LEASE).unwrap();
        assert!(done.padded == resealed.fragments[usize::from(target)]);
        assert_eq!(done.padded_root, resealed.padded_roots[usize::from(target)]);
        assert!(done.wrong.is_empty());
        assert_ne!(done.padded, s.fragments[usize::from(target)]);
    }
}

#[test]
fn repair_sets_liars_aside_and_names_them() {
    let s = sealed(4, 10, &data(100_000));
    let key = keys().repair.lease(&LEASE);
    let lie = vec![0; s.fragments[0].len()];
    let mut from = held(&s, &[0, 2, 3, 4, 5, 6]);
    from[0].padded = &lie;
    from[1].padded = &lie[1..];
    let done = repair(&from, &key, &s.meta, 1, &device(1)).unwrap();
    assert!(done.padded == s.fragments[1]);
    assert_eq!(done.wrong, [0, 2]);
    let few = repair(&from[..5], &key, &s.meta, 1, &device(1));
    assert_eq!(few, Err(CodecError::TooFewFragments { have: 3, need: 4 }));
}

#[test]
fn a_fragment_moves_to_a_new_device_from_its_holder_alone() {
    let s = sealed(4, 10, &data(100_000));
    let key = keys().repair.lease(&LEASE);
    let there = repair(&held(&s, &[7]), &key, &s.meta, 7, &DeviceId([9; 32])).unwrap();
    assert_ne!(there.padded, s.fragments[7]);
    let moved = Held { slot: 7, device: DeviceId([9; 32]), padded: &there.padded };
    assert!(repair(&[moved], &key, &s.meta, 7, &device(7)).unwrap().padded == s.fragments[7]);
}

#[test]
fn repair_with_the_key_of_another_lease_yields_nothing() {
    let s = sealed(2, 4, &data(1000));
    let key = keys().repair.lease(&LeaseId([3; 32]));
    let got = repair(&held(&s, &[0, 1]), &key, &s.meta, 2, &device(2));
    assert_eq!(got, Err(CodecError::TooFewFragments { have: 0, need: 2 }));
}

#[test]
fn more_than_a_segment_is_refused_while_streaming() {
    let mut sealer = Sealer::new(&keys(), Profile::new(1, 1).unwrap(), ID, LEASE, &devices(1)).unwrap();
    let piece = vec![0; 1 << 20];
    let mut sink = |_: u16, _: u64, _: &[u8]| ();
    for _ in 0..63 {
        sealer.push(&piece, &mut sink).unwrap();
    }
    assert!(matches!(sealer.push(&piece, &mut sink), Err(CodecError::TooLarge { .. })));
}

fn case() -> impl Strategy<Value = (u16, u16, usize, Vec<u16>)> {
    (1u16..=20, 0u16..=20, 0usize..700_000).prop_flat_map(|(k, extra, len)| {
        let order: Vec<u16> = (0..k + extra).collect();
        (Just(k), Just(k + extra), Just(len), Just(order).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_range_is_read_with_n_minus_k_gone_or_lying(
        (k, n, len, order) in case(), a in any::<u64>(), b in any::<u64>(), lies in any::<u64>(),
    ) {
        let plain = data(len);
        let s = sealed(k, n, &plain);
        let mut shelf = shelf(&s);
        for slot in &order[..usize::from(n - k)] {
            let held = &mut shelf.0[usize::from(*slot)];
            if lies >> slot & 1 == 1 {
                let at = usize::from(*slot) * 7919 % held.as_ref().unwrap().len();
                held.as_mut().unwrap()[at] ^= 0x10;
            } else {
                *held = None;
            }
        }
        let end = u64::try_from(len).unwrap() + 1;
        let range = (a % end).min(b % end)..(a % end).max(b % end);
        let (got, _, wrong) = read(&s, &shelf, range.clone()).unwrap();
        let want = &plain[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        prop_assert!(got == want);
        // Nobody honest is ever named.
        prop_assert!(wrong.iter().all(|w| order[..usize::from(n - k)].contains(w)));
    }

    #[test]
    fn pieces_pushed_give_the_same_segment(len in 0usize..400_000, step in 1usize..150_000, k in 1u16..5) {
        let plain = data(len);
        let whole = sealed(k, k + 2, &plain);
        let profile = Profile::new(k, k + 2).unwrap();
        let mut sealer = Sealer::new(&keys(), profile, ID, LEASE, &devices(k + 2)).unwrap();
        let mut fragments = vec![Vec::new(); usize::from(k + 2)];
        let mut sink = |slot: u16, offset: u64, cell: &[u8]| {
            let fragment: &mut Vec<u8> = &mut fragments[usize::from(slot)];
            assert_eq!(u64::try_from(fragment.len()).unwrap(), offset);
            fragment.extend_from_slice(cell);
        };
        for piece in plain.chunks(step) {
            sealer.push(piece, &mut sink).unwrap();
        }
        let done = sealer.finish(&mut sink).unwrap();
        prop_assert!(fragments == whole.fragments);
        prop_assert_eq!(done.meta, whole.meta);
        prop_assert_eq!(done.padded_roots, whole.padded_roots);
    }
}
