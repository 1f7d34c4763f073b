use super::*;
use proptest::prelude::*;

fn p(k: u16, n: u16) -> Profile {
    Profile::new(k, n).unwrap()
}

fn data(len: usize, seed: u32) -> Vec<u8> {
    (seed..).map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 24).unwrap()).take(len).collect()
}

fn numbered(fragments: &[Vec<u8>]) -> Vec<(u16, &[u8])> {
    (0u16..).zip(fragments.iter().map(Vec::as_slice)).collect()
}

fn len64(v: &[u8]) -> u64 {
    u64::try_from(v.len()).unwrap()
}

#[test]
fn profiles_outside_the_bounds_are_refused() {
    for (k, n) in [(0, 1), (0, 0), (3, 2), (1, 65), (65, 65)] {
        assert_eq!(Profile::new(k, n), Err(CodecError::BadProfile { k, n }));
        assert!(borsh::from_slice::<Profile>(&borsh::to_vec(&(k, n)).unwrap()).is_err());
    }
    assert_eq!(borsh::from_slice::<Profile>(&[16, 0, 36, 0]).unwrap(), p(16, 36));
}

#[test]
fn the_code_is_frozen() {
    // A later version of the library, or another choice of rate inside it, must not change stored bytes.
    let mut hash = blake3::Hasher::new();
    for (k, n) in [(1, 3), (2, 4), (3, 7), (4, 10), (8, 20), (16, 36), (29, 64)] {
        let segment = data(200_000, u32::from(k));
        for f in encode(p(k, n), &segment).unwrap() {
            hash.update(&f);
        }
    }
    assert_eq!(
        hash.finalize().to_hex().as_str(),
        "273a0634f7a134232a65ec6142aa8434830ee2e3a9cfe6dde574a6f8f8c77195"
    );
    let small = encode(p(2, 4), b"cairn").unwrap();
    assert_eq!(
        small.iter().map(hex::encode).collect::<Vec<_>>(),
        ["63616972", "6e000000", "db85efd7", "d6e486a5"]
    );
}

#[test]
fn a_small_segment_costs_about_n_over_k() {
    assert_eq!(fragment_len(p(16, 36), 10_240), 640);
    assert_eq!(fragment_len(p(16, 36), 1), 2);
    assert_eq!(fragment_len(p(16, 36), 0), 0);
    assert_eq!(fragment_len(p(16, 36), 64 << 20), 4 << 20);
    assert_eq!(fragment_len(p(2, 4), (64 << 20) + 3), (32 << 20) + 2);
}

#[test]
fn absurd_lengths_do_not_overflow() {
    for (k, n) in [(1, 1), (1, 64), (16, 36), (64, 64)] {
        for len in [u64::MAX, u64::MAX - 65_535, u64::MAX / 2] {
            let layout = Layout::new(p(k, n), len);
            assert!(layout.fragment_len() >= len / u64::from(k));
            assert_eq!(layout.stripe_range(layout.stripes() - 1).end, len);
            assert_eq!(layout.locate(&(len - 1..len)).unwrap().len(), 1);
        }
    }
}

#[test]
fn an_empty_segment_has_empty_fragments() {
    let fragments = encode(p(2, 4), b"").unwrap();
    assert_eq!(fragments, vec![Vec::<u8>::new(); 4]);
    assert_eq!(decode(p(2, 4), 0, &numbered(&fragments)[2..]).unwrap(), b"");
}

#[test]
fn one_fragment_short_is_a_clear_error() {
    let segment = data(300_000, 1);
    let fragments = encode(p(4, 10), &segment).unwrap();
    let three = &numbered(&fragments)[7..];
    assert_eq!(decode(p(4, 10), 300_000, three), Err(CodecError::TooFewFragments { have: 3, need: 4 }));
}

#[test]
fn wrong_lengths_numbers_and_repetitions_are_refused() {
    let segment = data(10_000, 1);
    let fragments = encode(p(2, 4), &segment).unwrap();
    let good = numbered(&fragments);
    let short = [(0, &fragments[0][..10]), good[1]];
    assert!(matches!(
        decode(p(2, 4), 10_000, &short),
        Err(CodecError::BadFragmentLength { fragment: 0, .. })
    ));
    assert_eq!(
        decode(p(2, 4), 10_000, &[good[1], good[1]]),
        Err(CodecError::DuplicateFragment { fragment: 1 })
    );
    let far = [good[0], (4, &fragments[1][..])];
    assert_eq!(decode(p(2, 4), 10_000, &far), Err(CodecError::NoSuchFragment { fragment: 4, n: 4 }));
    assert_eq!(
        reconstruct(p(2, 4), 10_000, &good, &[9]),
        Err(CodecError::NoSuchFragment { fragment: 9, n: 4 })
    );
}

#[test]
fn a_coder_is_usable_after_an_error() {
    let segment = data(2 * CELL, 1);
    let fragments = encode(p(2, 4), &segment).unwrap();
    let mut coder = StripeCoder::new(p(2, 4));
    let odd = [1u8; 3];
    assert!(coder.recover(&[(2, &odd), (3, &odd)], &[0], |_, _| ()).is_err());
    let mut got = Vec::new();
    coder.recover(&numbered(&fragments)[2..], &[1], |_, c| got.extend_from_slice(c)).unwrap();
    assert_eq!(got, fragments[1]);
}

#[test]
fn stripes_decoded_together_equal_the_segment() {
    // 3 MiB in 2/4 are 24 full stripes and a short one: one batch with its tail.
    let segment = data((3 << 20) + 77, 5);
    let fragments = encode(p(2, 4), &segment).unwrap();
    let kept = &numbered(&fragments)[2..];
    assert!(decode(p(2, 4), len64(&segment), kept).unwrap() == segment);
    assert!(
        reconstruct(p(2, 4), len64(&segment), kept, &[1, 0]).unwrap()
            == [&fragments[1][..], &fragments[0][..]]
    );
    // 5 MiB in 1/2 take more than one batch.
    let copies = encode(p(1, 2), &data(5 << 20, 6)).unwrap();
    assert!(decode(p(1, 2), 5 << 20, &[(1, &copies[1])]).unwrap() == data(5 << 20, 6));
    let long = data(9 << 20, 7);
    let fragments = encode(p(3, 5), &long).unwrap();
    assert!(decode(p(3, 5), len64(&long), &numbered(&fragments)[2..]).unwrap() == long);
}

fn case() -> impl Strategy<Value = (Profile, Vec<u8>, Vec<u16>)> {
    (1u16..=64, 1u16..=64, 0usize..400_000, any::<u32>(), 0usize..3).prop_flat_map(
        |(a, b, len, seed, round)| {
            let profile = p(a.min(b), a.max(b));
            // Every third case ends exactly at a cell or stripe boundary.
            let len = if round == 0 { len.next_multiple_of(CELL) } else { len };
            let order: Vec<u16> = (0..profile.n()).collect();
            (Just(profile), Just(data(len, seed)), Just(order).prop_shuffle())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_k_of_n_give_back_the_segment_and_every_fragment((profile, segment, order) in case()) {
        let fragments = encode(profile, &segment).unwrap();
        prop_assert_eq!(fragments.len(), usize::from(profile.n()));
        prop_assert!(fragments.iter().all(|f| len64(f) == fragment_len(profile, len64(&segment))));
        let (kept, lost) = order.split_at(usize::from(profile.k()));
        let kept: Vec<(u16, &[u8])> = kept.iter().map(|f| (*f, &fragments[usize::from(*f)][..])).collect();
        prop_assert_eq!(&decode(profile, len64(&segment), &kept).unwrap(), &segment);
        let rebuilt = reconstruct(profile, len64(&segment), &kept, lost).unwrap();
        for (f, bytes) in lost.iter().zip(&rebuilt) {
            prop_assert_eq!(bytes, &fragments[usize::from(*f)]);
        }
    }

    #[test]
    fn located_pieces_are_the_range((profile, segment, _) in case(), a in any::<u64>(), b in any::<u64>()) {
        let len = len64(&segment);
        let (a, b) = (a % (len + 1), b % (len + 1));
        let range = a.min(b)..a.max(b);
        let fragments = encode(profile, &segment).unwrap();
        let mut got = Vec::new();
        for piece in locate(profile, len, &range).unwrap() {
            let at = usize::try_from(piece.offset).unwrap();
            prop_assert!(piece.fragment < profile.k());
            prop_assert!(at / CELL == (at + piece.len - 1) / CELL, "a piece crosses a cell");
            got.extend_from_slice(&fragments[usize::from(piece.fragment)][at..at + piece.len]);
        }
        let want = &segment[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        prop_assert_eq!(got, want);
        prop_assert!(locate(profile, len, &(0..len + 1)).is_err());
    }

    #[test]
    fn one_cell_comes_back_from_k_others((profile, segment, order) in case(), pick in any::<u64>()) {
        let layout = Layout::new(profile, len64(&segment));
        prop_assume!(layout.stripes() > 0);
        let stripe = pick % layout.stripes();
        let at = usize::try_from(layout.cell_offset(stripe)).unwrap();
        let fragments = encode(profile, &segment).unwrap();
        let cell = |f: u16| &fragments[usize::from(f)][at..at + layout.cell_len(stripe)];
        let kept: Vec<(u16, &[u8])> =
            order[..usize::from(profile.k())].iter().map(|f| (*f, cell(*f))).collect();
        let want = order[order.len() - 1];
        let got = reconstruct_cell(profile, len64(&segment), stripe, &kept, want).unwrap();
        prop_assert_eq!(&got[..], cell(want));
    }
}
