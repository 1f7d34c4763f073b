use super::*;
use proptest::prelude::*;

fn key(b: u8) -> SegmentKey {
    SegmentKey::from_bytes([b; 32])
}

fn data(len: usize) -> Vec<u8> {
    (0u32..).map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 24).unwrap()).take(len).collect()
}

fn len64(v: &[u8]) -> u64 {
    u64::try_from(v.len()).unwrap()
}

#[test]
fn round_trips_at_every_record_boundary() {
    for len in [0, 1, 15, 16, RECORD_PLAIN - 1, RECORD_PLAIN, RECORD_PLAIN + 1, 3 * RECORD_PLAIN, 200_001] {
        let plain = data(len);
        let cipher = encrypt(&key(1), &plain).unwrap();
        assert_eq!(cipher_len(len64(&plain)), Some(len64(&cipher)), "length {len}");
        assert_eq!(plain_len(len64(&cipher)), Some(len64(&plain)), "length {len}");
        assert_eq!(decrypt(&key(1), &cipher).unwrap(), plain, "length {len}");
    }
}

#[test]
fn the_format_is_frozen() {
    // Computed by an independent AES-GCM (Python's cryptography package).
    assert_eq!(hex::encode(encrypt(&key(0), b"").unwrap()), "8486364fc8409762f6e6232b65376b97");
    assert_eq!(
        hex::encode(encrypt(&key(7), b"cairn").unwrap()),
        "5329d0125ad3d6ab4e8e695b2a6fcad55e8a5beaab"
    );
    let two = encrypt(&key(7), &data(RECORD_PLAIN + 3)).unwrap();
    assert_eq!(
        hex::encode(&two[RECORD - TAG..]),
        "a3f7822c7c67f5ed68563bea15bd17b3be43427129d5287ec2cfd9fb2f564a97c39004"
    );
}

#[test]
fn a_cut_off_stream_is_refused() {
    let cipher = encrypt(&key(1), &data(3 * RECORD_PLAIN)).unwrap();
    for keep in [0, 1, 15, 16, RECORD, 2 * RECORD, 3 * RECORD - 1] {
        assert!(decrypt(&key(1), &cipher[..keep]).is_err(), "kept {keep}");
    }
}

#[test]
fn swapped_repeated_and_appended_records_are_refused() {
    let cipher = encrypt(&key(1), &data(3 * RECORD_PLAIN)).unwrap();
    let mut swapped = cipher.clone();
    swapped[..RECORD].copy_from_slice(&cipher[RECORD..2 * RECORD]);
    swapped[RECORD..2 * RECORD].copy_from_slice(&cipher[..RECORD]);
    assert_eq!(decrypt(&key(1), &swapped), Err(CodecError::Unauthentic { record: 0 }));
    let mut extended = cipher.clone();
    extended.extend_from_slice(&cipher[..RECORD]);
    assert!(decrypt(&key(1), &extended).is_err());
    let mut tail = cipher.clone();
    tail.push(0);
    assert!(decrypt(&key(1), &tail).is_err());
}

#[test]
fn a_record_of_another_segment_is_refused() {
    let mut a = encrypt(&key(1), &data(2 * RECORD_PLAIN)).unwrap();
    let b = encrypt(&key(2), &data(2 * RECORD_PLAIN)).unwrap();
    a[RECORD..].copy_from_slice(&b[RECORD..]);
    assert_eq!(decrypt(&key(1), &a), Err(CodecError::Unauthentic { record: 1 }));
}

#[test]
fn a_single_record_opens_alone_and_only_in_its_place() {
    let plain = data(2 * RECORD_PLAIN + 10);
    let cipher = encrypt(&key(1), &plain).unwrap();
    let second = &cipher[RECORD..2 * RECORD];
    assert_eq!(decrypt_record(&key(1), 1, false, second).unwrap(), &plain[RECORD_PLAIN..2 * RECORD_PLAIN]);
    assert!(decrypt_record(&key(1), 1, true, second).is_err());
    assert!(decrypt_record(&key(1), 2, false, second).is_err());
    assert!(decrypt_record(&key(1), 1 + (1 << 32), false, second).is_err());
    assert_eq!(decrypt_record(&key(1), 2, true, &cipher[2 * RECORD..]).unwrap(), &plain[2 * RECORD_PLAIN..]);
}

#[test]
fn lengths_that_no_plaintext_has_are_known() {
    assert_eq!(plain_len(0), None);
    assert_eq!(plain_len(15), None);
    assert_eq!(plain_len(16), Some(0));
    assert_eq!(plain_len(65_536), Some(65_520));
    assert_eq!(plain_len(65_536 + 16), None);
    assert_eq!(plain_len(65_536 + 17), Some(65_521));
    assert_eq!(cipher_len(u64::MAX), None);
    assert_eq!(plain_len(u64::MAX), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pieces_give_the_same_bytes_as_the_whole(
        len in 0usize..200_000, cuts in proptest::collection::vec(0usize..200_000, 0..5),
    ) {
        let plain = data(len);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(len)).chain([0, len]).collect();
        cuts.sort_unstable();
        let mut encryptor = Encryptor::new(&key(3)).unwrap();
        let mut out = Vec::new();
        for w in cuts.windows(2) {
            encryptor.push(&plain[w[0]..w[1]], &mut out).unwrap();
        }
        encryptor.finish(&mut out).unwrap();
        prop_assert_eq!(out, encrypt(&key(3), &plain).unwrap());
    }

    #[test]
    fn any_flipped_bit_is_refused(len in 0usize..140_000, at in any::<usize>(), bit in 0u8..8) {
        let mut cipher = encrypt(&key(3), &data(len)).unwrap();
        let at = at % cipher.len();
        cipher[at] ^= 1 << bit;
        prop_assert!(decrypt(&key(3), &cipher).is_err());
    }

    #[test]
    fn the_record_range_covers_the_plain_range(start in 0u64..1_000_000, len in 1u64..500_000) {
        let records = record_range(&(start..start + len));
        prop_assert!(records.start * 65_520 <= start && start < (records.start + 1) * 65_520);
        prop_assert!((records.end - 1) * 65_520 < start + len && start + len <= records.end * 65_520);
    }
}
