//! The address of a network: its id, nodes to ask and relays to be reached through, as one text to hand on.
//!
//! `cairn:join/` and then bech32m (BIP-350) with the prefix `join` over a version byte and the borsh encoding of
//! [`JoinLink`]. Nobody has to be trusted for more than the id: whoever joins checks the genesis file against it.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{NetworkId, decode_bounded, encode};

/// What a link begins with.
pub const SCHEME: &str = "cairn:join/";
/// Prefix of the bech32m text.
const PREFIX: Hrp = Hrp::parse_unchecked("join");
/// Version of the format, the first byte.
const VERSION: u8 = 1;
/// Most bytes of a link before it becomes text: what a bech32m checksum is made for.
const MAX_BYTES: usize = 600;
/// Longest text looked at.
pub const MAX_TEXT: usize = 1_100;
/// Most nodes, and most relays.
pub const MAX_URLS: usize = 8;
/// Longest URL in bytes.
pub const MAX_URL: usize = 128;

/// Why a text is not a join link, or a link cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Something else altogether.
    #[error("the text does not begin with `cairn:join/`; paste the whole join link of the network")]
    NotALink,
    /// Too much for one link.
    #[error("the link is too long ({0} bytes); name fewer nodes and relays")]
    TooLong(usize),
    /// A typing error, or another format.
    #[error("not a valid join link ({0}); copy it again, a character is missing, added or changed")]
    Garbled(String),
    /// Made by a newer program.
    #[error("the link has format {0}, this program reads format 1; install the newest version")]
    Version(u8),
    /// Nodes or relays are not usable.
    #[error("{0}; ask for a new link")]
    Urls(String),
}

/// A network and the way to it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct JoinLink {
    /// Id of the network: the digest of its genesis.
    pub network: NetworkId,
    /// URLs of nodes' APIs, 1 to 8.
    pub nodes: Vec<String>,
    /// URLs of relays for those who cannot be reached directly, at most 8.
    pub relays: Vec<String>,
}

/// A URL of http or https with a host, and nothing that would not survive being copied.
fn check_url(url: &str) -> Result<(), JoinError> {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let fine = url.len() <= MAX_URL && url.bytes().all(|b| b.is_ascii_graphic());
    match host {
        Some(host) if fine && !host.is_empty() && !host.starts_with('/') => Ok(()),
        _ => {
            let shown: String = url.chars().take(40).collect();
            Err(JoinError::Urls(format!("{shown:?} is no URL such as http://127.0.0.1:7070")))
        }
    }
}

impl JoinLink {
    /// Refuses what cannot be written or used.
    ///
    /// # Errors
    /// No node, too many, or a URL that is none.
    pub fn check(&self) -> Result<(), JoinError> {
        if self.nodes.is_empty() || self.nodes.len() > MAX_URLS || self.relays.len() > MAX_URLS {
            let (n, r) = (self.nodes.len(), self.relays.len());
            let cause =
                format!("{n} nodes and {r} relays, where 1 to {MAX_URLS} and at most {MAX_URLS} are used");
            return Err(JoinError::Urls(cause));
        }
        self.nodes.iter().chain(&self.relays).try_for_each(|url| check_url(url))
    }

    /// The text.
    ///
    /// # Errors
    /// As [`Self::check`]; more than fits.
    pub fn text(&self) -> Result<String, JoinError> {
        self.check()?;
        let mut bytes = vec![VERSION];
        bytes.extend(encode(self));
        if bytes.len() > MAX_BYTES {
            return Err(JoinError::TooLong(bytes.len()));
        }
        let text = bech32::encode::<Bech32m>(PREFIX, &bytes).map_err(|_| JoinError::TooLong(bytes.len()))?;
        Ok(format!("{SCHEME}{text}"))
    }

    /// Reads a text; white space around it does not matter.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn parse(text: &str) -> Result<Self, JoinError> {
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return Err(JoinError::TooLong(text.len()));
        }
        let body = text.strip_prefix(SCHEME).ok_or(JoinError::NotALink)?;
        let checked =
            CheckedHrpstring::new::<Bech32m>(body).map_err(|e| JoinError::Garbled(e.to_string()))?;
        if checked.hrp() != PREFIX {
            return Err(JoinError::Garbled("it is an address of another kind".into()));
        }
        let bytes: Vec<u8> = checked.byte_iter().collect();
        let (version, rest) = bytes.split_first().ok_or_else(|| JoinError::Garbled("it is empty".into()))?;
        if *version != VERSION {
            return Err(JoinError::Version(*version));
        }
        let link: Self = decode_bounded(rest, MAX_BYTES).map_err(|e| JoinError::Garbled(e.to_string()))?;
        // One text per link: padding bits are zero, and what was read can be written.
        if link.text()?.eq_ignore_ascii_case(text) {
            Ok(link)
        } else {
            Err(JoinError::Garbled("padding bits are not zero".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link() -> JoinLink {
        JoinLink {
            network: NetworkId([7; 32]),
            nodes: vec!["http://127.0.0.1:7070".into(), "http://node.example:7070".into()],
            relays: vec!["http://127.0.0.1:7072".into()],
        }
    }

    /// Version, network, two nodes, one relay.
    const FROZEN: &str = "cairn:join/join1qyrswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswqsqqqqp2qqqqp58gars8ghj7vfjxuhrqt3s9ccn5desxucpsqqqqp58gars8ghj7mn0v3jjuetcv9khqmr98gmnqdesqyqqqqq4qqqqq6r5w3cr5te0xyerwt3s9cczuvf6xucrwvs3mcxrn";

    #[test]
    fn a_link_is_frozen() {
        assert_eq!(link().text().unwrap(), FROZEN);
        assert_eq!(JoinLink::parse(FROZEN), Ok(link()));
        assert_eq!(JoinLink::parse(&format!("  {FROZEN}\n")), Ok(link()));
    }

    #[test]
    fn what_cannot_be_joined_is_not_written() {
        let refused = |change: fn(&mut JoinLink)| {
            let mut link = link();
            change(&mut link);
            link.text().unwrap_err()
        };
        assert!(matches!(refused(|l| l.nodes.clear()), JoinError::Urls(_)));
        assert!(matches!(refused(|l| l.nodes = vec!["http://a".into(); 9]), JoinError::Urls(_)));
        assert!(matches!(refused(|l| l.relays = vec!["http://a".into(); 9]), JoinError::Urls(_)));
        for url in ["", "ftp://a", "http://", "http:///x", "http://a b", "http://a\n", "127.0.0.1:7070"] {
            let bad = JoinLink { nodes: vec![url.into()], ..link() };
            assert!(matches!(bad.text(), Err(JoinError::Urls(_))), "{url}");
        }
        let long = format!("http://{}", "a".repeat(120));
        assert!(matches!(JoinLink { nodes: vec![long; 6], ..link() }.text(), Err(JoinError::TooLong(_))));
    }

    #[test]
    fn other_texts_are_refused_with_a_remedy() {
        let of = |bytes: &[u8]| format!("{SCHEME}{}", bech32::encode::<Bech32m>(PREFIX, bytes).unwrap());
        assert_eq!(JoinLink::parse("https://example.org"), Err(JoinError::NotALink));
        assert_eq!(JoinLink::parse(&"x".repeat(2000)), Err(JoinError::TooLong(2000)));
        assert_eq!(JoinLink::parse(&of(&[2, 0, 0])), Err(JoinError::Version(2)));
        assert!(matches!(JoinLink::parse(&of(&[1, 0, 0])), Err(JoinError::Garbled(_))));
        assert!(matches!(JoinLink::parse(&of(&[])), Err(JoinError::Garbled(_))));
        // A count that promises more than there is.
        let mut greedy = vec![1; 33];
        greedy.extend([255, 255, 255, 255]);
        assert!(matches!(JoinLink::parse(&of(&greedy)), Err(JoinError::Garbled(_))));
        let mut longer = vec![VERSION];
        longer.extend(encode(&link()));
        longer.push(0);
        assert!(matches!(JoinLink::parse(&of(&longer)), Err(JoinError::Garbled(_))));
        let address = crate::address::encode("cairn", &Default::default()).unwrap();
        assert!(matches!(JoinLink::parse(&format!("{SCHEME}{address}")), Err(JoinError::Garbled(_))));
    }

    proptest! {
        #[test]
        fn one_changed_character_is_noticed(at in any::<prop::sample::Index>(), c in "[a-z0-9]") {
            let text = link().text().unwrap();
            let mut chars: Vec<char> = text.chars().collect();
            let i = SCHEME.len() + at.index(chars.len() - SCHEME.len());
            let new = c.chars().next().unwrap();
            if chars[i] != new {
                chars[i] = new;
                prop_assert!(JoinLink::parse(&chars.into_iter().collect::<String>()).is_err());
            }
        }
    }
}
