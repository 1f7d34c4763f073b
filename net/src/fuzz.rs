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
