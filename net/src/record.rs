//! What a peer says about where it can be reached, signed with its device key.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::{PublicKey, SecretKey, Signature};
use cairn_types::{NetworkId, decode_bounded, encode};

/// Domain of a record's signature.
pub const RECORD_DOMAIN: &str = "cairn/peer-record";
/// Most bytes of an encoded record.
pub const MAX_RECORD: usize = 2048;
/// Most relays in a record.
pub const MAX_RELAYS: usize = 4;
/// Most addresses in a record.
pub const MAX_ADDRS: usize = 16;
/// Longest relay URL, in bytes.
pub const MAX_RELAY_URL: usize = 256;
/// How long a record may be valid: seven days.
pub const MAX_RECORD_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far the issuer's clock may run ahead of ours: ten minutes.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(600);

/// Why a record is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not the bytes of a record.
    #[error("not a peer record ({0}); ask the peer's node for a fresh one")]
    Malformed(String),
    /// Of another network.
    #[error("the peer record is of another network; look the device up on this network's node")]
    OtherNetwork,
    /// Of another key than the one asked for.
    #[error("the peer record is of key {got:?}, asked was {want:?}; the book mixes its entries up")]
    OtherKey {
        /// Key in the record.
        got: PublicKey,
        /// Key that was asked for.
        want: PublicKey,
    },
    /// Over a limit or with a value that no peer can have.
    #[error("the peer record is outside its limits: {0}; the peer must publish a new one")]
    Limits(&'static str),
    /// Valid no more, or not yet.
    #[error("the peer record is not valid now ({0}); wait for the peer's next one and check both clocks")]
    Time(&'static str),
    /// Not signed by its key.
    #[error("the signature of the peer record does not fit; somebody changed it on the way")]
    Signature,
}

/// Where a device can be reached. The newest `issued` of a key wins.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PeerRecord {
    /// The network it is for.
    pub network: NetworkId,
    /// The device key, which is also its endpoint id.
    pub key: PublicKey,
    /// URLs of its relays, the one it is connected to first; at most [`MAX_RELAYS`].
    pub relays: Vec<String>,
    /// Addresses under which it may answer directly; at most [`MAX_ADDRS`].
    pub addrs: Vec<SocketAddr>,
    /// When it was made: milliseconds since 1970. Rises with every record of a key.
    pub issued: u64,
    /// Until when it may be used: milliseconds since 1970, at most [`MAX_RECORD_LIFE`] after `issued`.
    pub expires: u64,
    /// By `key` under [`RECORD_DOMAIN`], over the bytes of all fields before.
    pub signature: Signature,
}

impl PeerRecord {
    /// Makes and signs a record that is valid for `life` (at most [`MAX_RECORD_LIFE`]) from `issued` on. What exceeds
    /// the limits is left out, from the end.
    pub fn sign(
        network: NetworkId,
        secret: &SecretKey,
        relays: impl IntoIterator<Item = String>,
        addrs: impl IntoIterator<Item = SocketAddr>,
        issued: u64,
        life: Duration,
    ) -> Self {
        let relays = relays.into_iter().filter(|url| relay_is_fine(url)).take(MAX_RELAYS).collect();
        let addrs = addrs.into_iter().filter(address_is_fine).take(MAX_ADDRS).collect();
        let expires = issued.saturating_add(millis(life.min(MAX_RECORD_LIFE)));
        let key = secret.public();
        let mut record = Self { network, key, relays, addrs, issued, expires, signature: Signature([0; 64]) };
        record.signature = secret.sign(RECORD_DOMAIN, &record.signed_bytes());
        record
    }

    fn signed_bytes(&self) -> Vec<u8> {
        encode(&(&self.network, &self.key, &self.relays, &self.addrs, self.issued, self.expires))
    }

    /// Canonical bytes, at most [`MAX_RECORD`].
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a record; says nothing of its truth, see [`Self::verify`].
    ///
    /// # Errors
    /// [`RecordError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        decode_bounded(bytes, MAX_RECORD).map_err(|e| RecordError::Malformed(e.to_string()))
    }

    /// True if the record holds for `network` at `now` (milliseconds since 1970) and its key signed it.
    ///
    /// # Errors
    /// [`RecordError`], the cheap checks first.
    pub fn verify(&self, network: &NetworkId, now: u64) -> Result<(), RecordError> {
        if self.network != *network {
            return Err(RecordError::OtherNetwork);
        }
        self.check_limits()?;
        if self.issued > now.saturating_add(millis(MAX_CLOCK_SKEW)) {
            return Err(RecordError::Time("it is from the future"));
        }
        if self.expires <= now {
            return Err(RecordError::Time("it has expired"));
        }
        self.key
            .verify(RECORD_DOMAIN, &self.signed_bytes(), &self.signature)
            .map_err(|_| RecordError::Signature)
    }

    fn check_limits(&self) -> Result<(), RecordError> {
        if self.relays.len() > MAX_RELAYS {
            return Err(RecordError::Limits("more than 4 relays"));
        }
        if self.addrs.len() > MAX_ADDRS {
            return Err(RecordError::Limits("more than 16 addresses"));
        }
        if !self.relays.iter().all(|url| relay_is_fine(url)) {
            return Err(RecordError::Limits("a relay is not an http or https URL of at most 256 bytes"));
        }
        if !self.addrs.iter().all(address_is_fine) {
            return Err(RecordError::Limits("an address that nobody can have"));
        }
        let relays: BTreeSet<&String> = self.relays.iter().collect();
        let addrs: BTreeSet<&SocketAddr> = self.addrs.iter().collect();
        if relays.len() != self.relays.len() || addrs.len() != self.addrs.len() {
            return Err(RecordError::Limits("an entry stands twice"));
        }
        if self.expires <= self.issued || self.expires - self.issued > millis(MAX_RECORD_LIFE) {
            return Err(RecordError::Limits("it must be valid for more than nothing and at most 7 days"));
        }
        Ok(())
    }
}

/// `http://` or `https://`, printable, short. What the URL means is decided by whoever dials it.
fn relay_is_fine(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty())
        && url.len() <= MAX_RELAY_URL
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Unspecified, multicast and broadcast addresses and port 0 are nobody's.
fn address_is_fine(addr: &SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let broadcast = matches!(ip, std::net::IpAddr::V4(v4) if v4.is_broadcast());
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// Milliseconds since 1970 by this machine's clock; 0 before.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(millis).unwrap_or(0)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_crypto::SecretKey;

    const NETWORK: NetworkId = NetworkId([9; 32]);
    const NOW: u64 = 1_800_000_000_000;

    fn secret() -> SecretKey {
        SecretKey::from_seed(&[7; 32])
    }

    fn record() -> PeerRecord {
        let relays = ["https://relay.example:8443".to_owned(), "http://10.0.0.1:3340".to_owned()];
        let addrs = ["192.0.2.7:4400".parse().unwrap(), "[2001:db8::7]:4400".parse().unwrap()];
        PeerRecord::sign(NETWORK, &secret(), relays, addrs, NOW, Duration::from_secs(3600))
    }

    /// Signs whatever the fields say, as a dishonest peer can.
    fn signed(mut record: PeerRecord) -> PeerRecord {
        record.signature = secret().sign(RECORD_DOMAIN, &record.signed_bytes());
        record
    }

    #[test]
    fn the_bytes_of_a_record_are_frozen() {
        let frozen = include_str!("../fixtures/peer_record.hex").trim();
        let bytes: String = record().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(bytes, frozen);
        assert_eq!(PeerRecord::from_bytes(&record().to_bytes()), Ok(record()));
    }

    #[test]
    fn a_fresh_record_holds_and_a_stale_one_does_not() {
        assert_eq!(record().verify(&NETWORK, NOW), Ok(()));
        assert_eq!(record().verify(&NETWORK, NOW - 600_000), Ok(()));
        assert!(matches!(record().verify(&NETWORK, NOW - 600_001), Err(RecordError::Time(_))));
        assert_eq!(record().verify(&NETWORK, NOW + 3_599_999), Ok(()));
        assert!(matches!(record().verify(&NETWORK, NOW + 3_600_000), Err(RecordError::Time(_))));
        assert_eq!(record().verify(&NetworkId([8; 32]), NOW), Err(RecordError::OtherNetwork));
    }

    #[test]
    fn whoever_changes_a_field_breaks_the_signature() {
        let changes: [fn(&mut PeerRecord); 5] = [
            |r| r.addrs[0].set_port(9),
            |r| r.relays[0] = "https://evil.example".into(),
            |r| r.issued += 1,
            |r| r.expires -= 1,
            |r| r.key = SecretKey::from_seed(&[8; 32]).public(),
        ];
        for change in changes {
            let mut changed = record();
            change(&mut changed);
            assert_eq!(changed.verify(&NETWORK, NOW), Err(RecordError::Signature));
        }
    }

    #[test]
    fn limits_hold_even_for_what_is_signed() {
        let changes: [fn(&mut PeerRecord); 9] = [
            |r| r.relays = (0..5).map(|i| format!("http://relay{i}")).collect(),
            |r| r.relays = vec!["ftp://relay".into()],
            |r| r.relays = vec!["http://".into()],
            |r| r.relays = vec![format!("http://{}", "a".repeat(250))],
            |r| r.relays = vec!["http://one".into(), "http://one".into()],
            |r| r.addrs = (1..18).map(|port| ([10, 0, 0, 1], port).into()).collect(),
            |r| r.addrs = vec![([0, 0, 0, 0], 7).into()],
            |r| r.addrs = vec![([10, 0, 0, 1], 0).into()],
            |r| r.expires = r.issued + millis(MAX_RECORD_LIFE) + 1,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = record();
            change(&mut changed);
            let verdict = signed(changed).verify(&NETWORK, NOW);
            assert!(matches!(verdict, Err(RecordError::Limits(_))), "{number}: {verdict:?}");
        }
    }

    #[test]
    fn the_largest_record_fits_and_longer_bytes_are_refused() {
        let relays = (0..9).map(|i| format!("http://{}{i}", "a".repeat(MAX_RELAY_URL - 8)));
        let addrs = (1..40).map(|port| SocketAddr::from(([1, 2, 3, 4, 5, 6, 7, 8], port)));
        let large = PeerRecord::sign(NETWORK, &secret(), relays, addrs, NOW, MAX_RECORD_LIFE * 2);
        assert_eq!(large.verify(&NETWORK, NOW), Ok(()));
        assert_eq!((large.relays.len(), large.addrs.len()), (MAX_RELAYS, MAX_ADDRS));
        assert!(large.to_bytes().len() <= MAX_RECORD);
        assert!(matches!(PeerRecord::from_bytes(&[0; MAX_RECORD + 1]), Err(RecordError::Malformed(_))));
    }
}
