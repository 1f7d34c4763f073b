//! Entry points for fuzzing: each decodes arbitrary bytes. None may panic.

use cairn_types::NetworkId;

use crate::record::PeerRecord;
use crate::relays::parse_relay;

/// A peer record: decoded, checked, and encoded to the same bytes again.
pub fn record(data: &[u8]) {
    if let Ok(record) = PeerRecord::from_bytes(data) {
        assert_eq!(record.to_bytes(), data, "a record has one encoding");
        let _ = record.verify(&record.network, record.issued);
        let _ = record.verify(&NetworkId([0; 32]), u64::MAX);
    }
}

/// A relay's URL.
pub fn relay_url(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = parse_relay(text);
    }
}

/// An entry point and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All entry points by name, for a fuzzing driver.
pub const TARGETS: &[Target] = &[("record", record), ("relay_url", relay_url)];

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_crypto::SecretKey;
    use proptest::prelude::*;
    use std::time::Duration;

    fn corpus() -> Vec<Vec<u8>> {
        let addrs = ["127.0.0.1:4400".parse().unwrap(), "[2001:db8::7]:1".parse().unwrap()];
        let relays = ["http://relay".to_owned()];
        let life = Duration::from_secs(60);
        let record =
            PeerRecord::sign(NetworkId([9; 32]), &SecretKey::from_seed(&[7; 32]), relays, addrs, 1_000, life);
        vec![record.to_bytes(), b"https://user@relay.example:8443/path?query#part".to_vec()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..2500)) {
            for (_, target) in TARGETS {
                target(&data);
            }
        }

        #[test]
        fn mutated_inputs_never_panic(
            which in any::<prop::sample::Index>(),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            shorten in any::<bool>(),
        ) {
            let all = corpus();
            let mut data = which.get(&all).clone();
            for (at, byte) in edits {
                let at = at.index(data.len());
                data[at] = byte;
            }
            if shorten {
                data.truncate(cut.index(data.len()));
            }
            for (_, target) in TARGETS {
                target(&data);
            }
        }
    }
}
