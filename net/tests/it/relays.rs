use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::PublicKey;
use cairn_net::quic::{Path, QuicConfig};
use cairn_net::relay::{self, Admit, Certificate, RelayConfig, ServeError};
use cairn_net::{NetError, Relay, RelayList, Transport};

use crate::help::*;

#[tokio::test]
async fn peers_without_any_direct_way_talk_through_the_relay_which_counts_their_bytes() {
    let (book, relay) = (book(), relay_on(loopback(), |_| {}).await);
    let relayed = |config: &mut QuicConfig| {
        config.direct = false;
        config.relays = list([&relay]);
    };
    let (b, _) = server(2, &book, relayed).await;
    let a = endpoint(1, &book, relayed).await;
    until("both at the relay", || a.home_relay().is_some() && b.home_relay().is_some()).await;
    assert!(a.bound().is_empty() && b.record().addrs.is_empty());
    let request = Bytes::from(vec![7; 300_000]);
    let answer = a.call(&b.key(), request.clone()).await.unwrap();
    assert!(answer[1..] == request[..]);
    assert!(
        matches!(a.stats_of(&b.key()).unwrap().path, Some(Path::Relay(url)) if url.starts_with(&relay.url()))
    );
    let usage = relay.usage();
    let of = |key: PublicKey| usage.iter().find(|usage| usage.key == key).unwrap();
    for key in [a.key(), b.key()] {
        assert!(
            of(key).received > 300_000 && of(key).sent > 300_000 && of(key).connections == 1,
            "{usage:?}"
        );
    }
    a.close().await;
    b.close().await;
    until("both gone", || relay.usage().iter().all(|usage| usage.connections == 0)).await;
    relay.close().await;
}

#[tokio::test]
async fn a_stranger_is_refused_with_the_reason_and_a_friend_is_not() {
    let (book, relay) = (book(), relay_on(loopback(), |_| {}).await);
    let stranger = endpoint(250, &book, |config| config.relays = list([&relay])).await;
    until("the refusal", || stranger.relay_refusal().is_some()).await;
    assert!(stranger.relay_refusal().unwrap().contains("register it first"));
    assert!(relay.refused() > 0 && relay.usage().is_empty());
    let friend = endpoint(1, &book, |config| config.relays = list([&relay])).await;
    until("the friend at the relay", || friend.home_relay().is_some()).await;
    assert_eq!(friend.relay_refusal(), None);
}

#[tokio::test]
async fn whoever_is_no_longer_admitted_is_cut_off() {
    struct Switch(AtomicBool);
    #[async_trait]
    impl Admit for Switch {
        async fn admit(&self, _: &PublicKey) -> Result<(), String> {
            if self.0.load(Ordering::SeqCst) { Ok(()) } else { Err("the device has left the network".into()) }
        }
    }
    let (book, switch) = (book(), Arc::new(Switch(AtomicBool::new(true))));
    let mut config = RelayConfig::new(loopback(), switch.clone());
    config.limits.recheck = Duration::from_millis(100);
    let relay = relay::serve(config).await.unwrap();
    let a = endpoint(1, &book, |config| config.relays = list([&relay])).await;
    until("at the relay", || a.home_relay().is_some()).await;
    switch.0.store(false, Ordering::SeqCst);
    until("cut off", || relay.usage().iter().all(|usage| usage.connections == 0)).await;
    until("refused", || a.relay_refusal().is_some_and(|reason| reason.contains("has left"))).await;
}

#[tokio::test]
async fn when_the_relay_dies_the_other_takes_over() {
    let book = book();
    let mut relays = vec![relay_on(loopback(), |_| {}).await, relay_on(loopback(), |_| {}).await];
    let both = list(&relays);
    let relayed = |config: &mut QuicConfig| {
        config.direct = false;
        config.relays = both.clone();
    };
    let (b, _) = server(2, &book, relayed).await;
    let a = endpoint(1, &book, relayed).await;
    until("both at a relay", || a.home_relay().is_some() && b.home_relay().is_some()).await;
    assert_eq!(answered(&a, b.key(), b"before").await[1..], b"before"[..]);
    let home = b.home_relay().unwrap();
    let dying = relays.iter().position(|relay| home.starts_with(&relay.url())).unwrap();
    let start = Instant::now();
    relays.remove(dying).close().await;
    assert_eq!(answered(&a, b.key(), b"after").await[1..], b"after"[..]);
    println!("fail-over to the other relay took {} ms", start.elapsed().as_millis());
    until("the other relay at home", || b.home_relay().is_some_and(|now| now != home)).await;
    let record = known(&book, b.key(), |record| record.relays[0] != home).await;
    assert_eq!(record.relays.len(), 2);
}

#[tokio::test]
async fn a_relay_that_comes_back_is_used_again() {
    let book = book();
    let first = relay_on(loopback(), |_| {}).await;
    let (addr, relays) = (first.addr(), list([&first]));
    let relayed = |config: &mut QuicConfig| {
        config.direct = false;
        config.relays = relays.clone();
    };
    let (b, _) = server(2, &book, relayed).await;
    let a = endpoint(1, &book, relayed).await;
    answered(&a, b.key(), b"before").await;
    first.close().await;
    assert!(a.call(&b.key(), Bytes::new()).await.is_err());
    let _again = relay_on(addr, |_| {}).await;
    assert_eq!(answered(&a, b.key(), b"after").await[1..], b"after"[..]);
}

#[tokio::test]
async fn relays_that_are_not_on_the_list_are_never_dialled() {
    let (book, listed, foreign) =
        (book(), relay_on(loopback(), |_| {}).await, relay_on(loopback(), |_| {}).await);
    let (b, _) = server(2, &book, |config| {
        config.direct = false;
        config.relays = list([&foreign]);
    })
    .await;
    until("at the foreign relay", || b.home_relay().is_some()).await;
    let a = endpoint(1, &book, |config| {
        config.relays = list([&listed]);
        config.limits.connect = Duration::from_secs(1);
    })
    .await;
    assert_eq!(a.call(&b.key(), Bytes::new()).await, Err(NetError::Down(b.key())));
    assert!(foreign.usage().iter().all(|usage| usage.key != a.key()));
}

#[tokio::test]
async fn a_relay_with_a_certificate_speaks_https_and_tells_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = Certificate { chain: dir.path().join("chain.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&certificate.chain, made.cert.pem()).unwrap();
    std::fs::write(&certificate.key, made.signing_key.serialize_pem()).unwrap();
    let relay = relay_on(loopback(), |config| {
        config.certificate = Some(certificate.clone());
        config.discovery = Some(loopback());
    })
    .await;
    assert!(relay.url().starts_with("https://127.0.0.1:"));
    let port = relay.discovery_addr().unwrap().port();
    let relays = RelayList::new([Relay { url: relay.url(), discovery: Some(port) }]).unwrap();
    let relays = relays.with_roots_file(&certificate.chain).unwrap();
    let book = book();
    let (b, _) = server(2, &book, |config| {
        config.direct = false;
        config.relays = relays.clone();
    })
    .await;
    let a = endpoint(1, &book, |config| config.relays = relays.clone()).await;
    assert_eq!(answered(&a, b.key(), b"x").await[1..], b"x"[..]);
    // Without trust in the certificate nobody gets through.
    let doubting = RelayList::new([Relay { url: relay.url(), discovery: None }]).unwrap();
    let c = endpoint(3, &book, |config| {
        config.relays = doubting;
        config.limits.connect = Duration::from_secs(1);
    })
    .await;
    assert_eq!(c.call(&b.key(), Bytes::new()).await, Err(NetError::Down(b.key())));
    assert_eq!(c.home_relay(), None);
}

#[tokio::test]
async fn a_relay_that_cannot_start_says_why() {
    let discovery = |config: &mut RelayConfig| config.discovery = Some(loopback());
    let mut config = RelayConfig::new(loopback(), Arc::new(Below200));
    discovery(&mut config);
    assert!(matches!(relay::serve(config).await.err(), Some(ServeError::DiscoveryWithoutCertificate)));
    let mut config = RelayConfig::new(loopback(), Arc::new(Below200));
    let missing = std::path::PathBuf::from("no-such-file.pem");
    config.certificate = Some(Certificate { chain: missing.clone(), key: missing });
    assert!(relay::serve(config).await.err().unwrap().to_string().contains("no-such-file.pem"));
}

#[tokio::test]
async fn what_is_no_websocket_is_answered_and_does_not_hang() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let relay = relay_on(loopback(), |_| {}).await;
    for (request, status) in [
        ("GET /ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "200"),
        ("GET /relay HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "400"),
        ("GET /elsewhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "404"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(relay.addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
}
