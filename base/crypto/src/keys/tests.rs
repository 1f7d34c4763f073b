use super::*;
use proptest::prelude::*;

/// Points of small order, canonical and not (the eight torsion points and their odd encodings, RFC 7748 / ZIP-215).
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

#[test]
fn a_signature_is_frozen() {
    let sk = key(7);
    assert_eq!(sk.public().to_string(), "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
    assert_eq!(
        sk.sign("cairn/test", b"message").to_string(),
        "8b8bfebf30163437571d26f6cb17529a349330d1936545be406414397753c93f90773f8aa944e37ce98125c6349b6645a0ddb39c1764ba54d411e4d3ec986f0d"
    );
    assert_eq!(borsh::to_vec(&sk.public()).unwrap().len(), 32);
    assert_eq!(borsh::to_vec(&sk.sign("d", b"")).unwrap().len(), 64);
}

#[test]
fn rfc_8032_first_key_is_derived_from_its_seed() {
    let mut seed = [0; 32];
    hex::decode_to_slice("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", &mut seed)
        .unwrap();
    let public = SecretKey::from_seed(&seed).public().to_string();
    assert_eq!(public, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
}

#[test]
fn a_signature_of_one_domain_is_invalid_in_another() {
    let sk = key(1);
    let sig = sk.sign("ab", b"c");
    assert_eq!(sk.public().check(), Ok(()));
    assert_eq!(sk.public().verify("ab", b"c", &sig), Ok(()));
    assert_eq!(sk.public().verify("a", b"bc", &sig), Err(SignatureError::Invalid));
    assert_eq!(key(2).public().verify("ab", b"c", &sig), Err(SignatureError::Invalid));
}

#[test]
fn bytes_that_are_no_point_are_a_bad_key() {
    let mut bad = [0u8; 32];
    bad[0] = 2;
    assert_eq!(PublicKey(bad).check(), Err(SignatureError::BadKey));
    assert_eq!(PublicKey(bad).verify("d", b"", &Signature([0; 64])), Err(SignatureError::BadKey));
    assert!(!verify_batch(&[(PublicKey(bad), "d", b"", Signature([0; 64]))], &[0; 32]));
}

#[test]
fn debug_never_shows_the_secret() {
    let text = format!("{:?}", key(0xa5));
    assert!(!text.contains("a5a5"), "{text}");
}

#[test]
fn single_and_batch_agree_on_small_order_points() {
    let points: Vec<[u8; 32]> = SMALL_ORDER
        .iter()
        .map(|t| {
            let mut p = [0; 32];
            hex::decode_to_slice(t, &mut p).unwrap();
            p
        })
        .collect();
    for a in &points {
        for r in &points {
            // S = 0: valid under ZIP-215 for every pair, since the cofactor kills both points.
            let mut sig = [0u8; 64];
            sig[..32].copy_from_slice(r);
            let single = PublicKey(*a).verify("Zcash", b"x", &Signature(sig)).is_ok();
            assert_eq!(PublicKey(*a).check(), Err(SignatureError::WeakKey));
            assert!(single, "{} {}", hex::encode(a), hex::encode(r));
            assert!(verify_batch(&[(PublicKey(*a), "Zcash", b"x", Signature(sig))], &[1; 32]));
        }
    }
}

#[test]
fn an_s_that_is_not_canonical_is_refused_by_both() {
    // The group order, little endian: S = S + order must not be a second valid signature.
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut order_bytes = [0u8; 32];
    hex::decode_to_slice(order, &mut order_bytes).unwrap();
    let sk = key(3);
    let mut sig = sk.sign("d", b"m");
    let mut carry = 0u16;
    for (s, o) in sig.0[32..].iter_mut().zip(order_bytes) {
        let sum = u16::from(*s) + u16::from(o) + carry;
        *s = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(sk.public().verify("d", b"m", &sig), Err(SignatureError::Invalid));
    assert!(!verify_batch(&[(sk.public(), "d", b"m", sig)], &[9; 32]));
}

#[test]
fn an_empty_batch_is_valid() {
    assert!(verify_batch(&[], &[0; 32]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn batch_agrees_with_single(
        items in proptest::collection::vec((0u8..4, 0u8..3, any::<[u8; 4]>(), any::<bool>(), 0usize..64), 1..12),
        seed in any::<[u8; 32]>(),
    ) {
        let domains = ["a", "bb", "ccc"];
        let made: Vec<(PublicKey, &str, [u8; 4], Signature)> = items.iter().map(|(k, d, m, spoil, at)| {
            let domain = domains[usize::from(*d)];
            let mut sig = key(*k).sign(domain, m);
            if *spoil && *at % 5 == 0 {
                sig.0[*at] ^= 1;
            }
            (key(*k).public(), domain, *m, sig)
        }).collect();
        let all = made.iter().all(|(k, d, m, s)| k.verify(d, m, s).is_ok());
        let batch: Vec<BatchItem<'_>> = made.iter().map(|(k, d, m, s)| (*k, *d, &m[..], *s)).collect();
        prop_assert_eq!(verify_batch(&batch, &seed), all);
    }
}
