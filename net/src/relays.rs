//! The relays that an endpoint may use: named by the network or the operator, never by a library's default.

use std::path::Path;

use iroh::{RelayMap, RelayMode, RelayUrl};
use iroh_relay::RelayQuicConfig;
use iroh_relay::tls::CaTlsConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::record::MAX_RELAY_URL;

/// Most relays that an endpoint considers.
pub const MAX_RELAY_LIST: usize = 16;
/// Most certificates read from one file.
const MAX_ROOTS: usize = 64;

/// Why a list of relays cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// Not a URL that a relay can have.
    #[error("{0:?} is no relay URL; write http://host:port or https://host:port and nothing behind it")]
    Url(String),
    /// Too many.
    #[error(
        "{0} relays are more than the {MAX_RELAY_LIST} that an endpoint considers; name the nearest ones"
    )]
    TooMany(usize),
    /// A file of certificates that cannot be used.
    #[error("{0} holds no usable certificate ({1}); it must be PEM with at least one CERTIFICATE")]
    Roots(String, String),
}

/// One relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Where it listens: `http://host:port` or `https://host:port`.
    pub url: String,
    /// UDP port on the same host that tells an endpoint which address it is seen under; without one, hole punching
    /// works only for peers that know their address anyway.
    pub discovery: Option<u16>,
}

/// Relays in order of preference is not asked for: the endpoint measures and takes the nearest that answers.
#[derive(Debug, Clone, Default)]
pub struct RelayList {
    relays: Vec<(RelayUrl, Option<u16>)>,
    roots: Vec<CertificateDer<'static>>,
}

impl RelayList {
    /// No relay: peers are reached directly or not at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// A list of relays; an empty one is [`Self::none`].
    ///
    /// # Errors
    /// [`RelayError`] for the first entry that is no relay's URL, or when there are more than [`MAX_RELAY_LIST`].
    pub fn new(relays: impl IntoIterator<Item = Relay>) -> Result<Self, RelayError> {
        let relays = relays
            .into_iter()
            .map(|relay| Ok((parse_relay(&relay.url)?, relay.discovery)))
            .collect::<Result<Vec<_>, RelayError>>()?;
        if relays.len() > MAX_RELAY_LIST {
            return Err(RelayError::TooMany(relays.len()));
        }
        Ok(Self { relays, roots: Vec::new() })
    }

    /// Trusts these certificates for relays besides the usual authorities: DER, self-signed ones included. What passes
    /// through a relay is encrypted from peer to peer in any case.
    #[must_use]
    pub fn with_roots(mut self, roots: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.roots.extend(roots.into_iter().map(CertificateDer::from));
        self
    }

    /// As [`Self::with_roots`], from a PEM file.
    ///
    /// # Errors
    /// [`RelayError::Roots`].
    pub fn with_roots_file(self, path: &Path) -> Result<Self, RelayError> {
        let unusable = |why: String| RelayError::Roots(path.display().to_string(), why);
        let certificates = CertificateDer::pem_file_iter(path)
            .map_err(|e| unusable(e.to_string()))?
            .take(MAX_ROOTS)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| unusable(e.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("nothing in it".into()));
        }
        Ok(self.with_roots(certificates.into_iter().map(|certificate| certificate.to_vec())))
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    /// The URLs, as records carry them.
    pub fn urls(&self) -> impl Iterator<Item = String> + '_ {
        self.relays.iter().map(|(url, _)| url.to_string())
    }

    /// The listed relay with this URL. Only listed relays are ever dialled: a peer's record must not make us talk
    /// to hosts of its choice.
    pub(crate) fn find(&self, url: &str) -> Option<RelayUrl> {
        let url = parse_relay(url).ok()?;
        self.relays.iter().find(|(listed, _)| *listed == url).map(|(listed, _)| listed.clone())
    }

    pub(crate) fn configs(&self) -> impl Iterator<Item = iroh::RelayConfig> + '_ {
        self.relays
            .iter()
            .map(|(url, port)| iroh::RelayConfig::new(url.clone(), port.map(RelayQuicConfig::new)))
    }

    pub(crate) fn mode(&self) -> RelayMode {
        if self.is_empty() {
            RelayMode::Disabled
        } else {
            RelayMode::Custom(RelayMap::from_iter(self.configs()))
        }
    }

    pub(crate) fn trust(&self) -> CaTlsConfig {
        CaTlsConfig::embedded().with_extra_roots(self.roots.iter().cloned())
    }
}

/// A host, a scheme, perhaps a port: nothing that could name another service on that host.
pub(crate) fn parse_relay(text: &str) -> Result<RelayUrl, RelayError> {
    let bad = || RelayError::Url(text.chars().take(80).collect());
    if text.len() > MAX_RELAY_URL {
        return Err(bad());
    }
    let url: RelayUrl = text.parse().map_err(|_| bad())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    let known =
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
    if bare && nobody && known { Ok(url) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(url: &str) -> Relay {
        Relay { url: url.into(), discovery: None }
    }

    #[test]
    fn only_bare_urls_are_relays() {
        for good in ["http://127.0.0.1:3340", "https://relay.example/", "https://[2001:db8::1]:443"] {
            assert!(parse_relay(good).is_ok(), "{good}");
        }
        let long = format!("http://{}", "a".repeat(MAX_RELAY_URL));
        for bad in
            ["", "relay", "ftp://relay", "http://a/b", "http://a/?b", "http://u:p@a", "http://a/#b", &long]
        {
            assert!(matches!(parse_relay(bad), Err(RelayError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn a_list_finds_its_relays_however_they_are_written_and_no_others() {
        let list = RelayList::new([relay("http://10.0.0.1:80")]).unwrap();
        assert!(list.find("http://10.0.0.1/").is_some());
        assert!(list.find("http://10.0.0.2/").is_none());
        assert!(list.find("nonsense").is_none());
        assert_eq!(RelayList::none().mode(), RelayMode::Disabled);
        let many = (0..17).map(|i| relay(&format!("http://relay{i}")));
        assert_eq!(RelayList::new(many).err(), Some(RelayError::TooMany(17)));
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = RelayList::none().with_roots_file(file.path()).err().unwrap();
        assert!(error.to_string().contains(&file.path().display().to_string()));
    }
}
