use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::PublicKey;
use cairn_net::quic::{BindError, Endpoint, Path, QuicConfig};
use cairn_net::{AddressBook, MAX_MESSAGE, NetError, PeerRecord, Transport, now_ms};

use crate::help::*;

#[tokio::test]
async fn two_endpoints_ask_and_answer_each_other_under_their_keys() {
    let book = book();
    let (a, _) = server(1, &book, |_| {}).await;
    let (b, _) = server(2, &book, |_| {}).await;
    known(&book, b.key(), |record| !record.addrs.is_empty()).await;
    let answer = a.call(&b.key(), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(answer[..], [&a.key().0[..1], b"x"].concat());
    known(&book, a.key(), |record| !record.addrs.is_empty()).await;
    let answer = b.call(&a.key(), Bytes::new()).await.unwrap();
    assert_eq!(answer[..], b.key().0[..1]);
    let stats = a.stats_of(&b.key()).unwrap();
    assert_eq!(stats.path, Some(Path::Direct(b.bound()[0])));
    assert_eq!((stats.calls, stats.failures, stats.sent, stats.received), (1, 0, 1, 2));
    assert!(b.stats().iter().any(|peer| peer.inbound && peer.key == a.key() && peer.calls == 1));
    a.close().await;
    b.close().await;
}

#[tokio::test]
async fn the_largest_messages_pass_and_larger_ones_are_refused_both_ways() {
    let book = book();
    let (b, echo) = server(2, &book, |_| {}).await;
    let a = endpoint(1, &book, |_| {}).await;
    known(&book, b.key(), |record| !record.addrs.is_empty()).await;
    let large: Bytes = (0..MAX_MESSAGE - 1).map(|i| i as u8).collect();
    let answer = a.call(&b.key(), large.clone()).await.unwrap();
    assert!(answer[1..] == large[..]);
    let over = a.call(&b.key(), vec![0; MAX_MESSAGE + 1].into()).await;
    assert_eq!(over, Err(NetError::TooLarge { got: MAX_MESSAGE + 1, limit: MAX_MESSAGE }));
    assert_eq!(echo.calls.load(Ordering::SeqCst), 1);
    // The echo is a byte longer than the request: the answering side refuses to send it.
    let over = a.call(&b.key(), vec![0; MAX_MESSAGE].into()).await;
    assert_eq!(over, Err(NetError::Lost(b.key())));
    assert_eq!(answered(&a, b.key(), b"still").await[1..], b"still"[..]);
}

#[tokio::test]
async fn nobody_is_found_without_a_record_that_their_key_signed_for_this_network() {
    struct Liar(PeerRecord);
    #[async_trait]
    impl AddressBook for Liar {
        async fn lookup(&self, _: &PublicKey) -> Option<PeerRecord> {
            Some(self.0.clone())
        }
    }
    let book = book();
    let (b, echo) = server(2, &book, |_| {}).await;
    let good = known(&book, b.key(), |record| !record.addrs.is_empty()).await;
    let mut forged = good.clone();
    forged.issued += 1;
    let stranger =
        PeerRecord::sign(NETWORK, &secret(3), [], good.addrs.clone(), now_ms(), Duration::from_secs(60));
    let foreign = PeerRecord::sign(
        cairn_types::NetworkId([1; 32]),
        &secret(2),
        [],
        good.addrs.clone(),
        now_ms(),
        Duration::from_secs(60),
    );
    for lie in [forged, stranger, foreign] {
        let config = QuicConfig::new(NETWORK, secret(1), loopback(), Arc::new(Liar(lie)));
        let a = Endpoint::bind(config).await.unwrap();
        assert_eq!(a.call(&b.key(), Bytes::new()).await, Err(NetError::UnknownPeer(b.key())));
    }
    let a = endpoint(1, &book, |_| {}).await;
    let nobody = secret(77).public();
    assert_eq!(a.call(&nobody, Bytes::new()).await, Err(NetError::UnknownPeer(nobody)));
    assert_eq!(echo.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn somebody_else_at_the_address_is_not_taken_for_the_peer() {
    let book = book();
    let (thief, echo) = server(3, &book, |_| {}).await;
    let there = known(&book, thief.key(), |record| !record.addrs.is_empty()).await.addrs;
    let record = PeerRecord::sign(NETWORK, &secret(2), [], there, now_ms(), Duration::from_secs(60));
    book.insert(record.clone()).unwrap();
    let a = endpoint(1, &book, |_| {}).await;
    assert_eq!(a.call(&record.key, Bytes::from_static(b"secret")).await, Err(NetError::Down(record.key)));
    assert_eq!(echo.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_peer_that_restarts_on_another_port_is_found_again_through_its_new_record() {
    let book = book();
    let a = endpoint(1, &book, |config| config.limits.silence = Duration::from_secs(2)).await;
    let (b, _) = server(2, &book, |_| {}).await;
    let old = known(&book, b.key(), |record| !record.addrs.is_empty()).await;
    assert_eq!(answered(&a, b.key(), b"one").await[1..], b"one"[..]);
    // A crash: nobody is told.
    let key = b.key();
    std::mem::forget(b.clone());
    b.close().await;
    let (b, _) = server(2, &book, |_| {}).await;
    let new = known(&book, key, |record| record.addrs != old.addrs && !record.addrs.is_empty()).await;
    assert!(new.issued > old.issued);
    assert_eq!(answered(&a, key, b"two").await[1..], b"two"[..]);
    b.close().await;
}

#[tokio::test]
async fn a_slow_peer_meets_the_deadline_and_what_it_did_is_dropped() {
    let book = book();
    let (b, echo) = server(2, &book, |_| {}).await;
    let after = Duration::from_millis(400);
    let a = endpoint(1, &book, |config| config.deadline = after).await;
    known(&book, b.key(), |record| !record.addrs.is_empty()).await;
    answered(&a, b.key(), b"open").await;
    let slow = a.call(&b.key(), Bytes::from_static(b"wait")).await;
    assert_eq!(slow, Err(NetError::Timeout { peer: b.key(), after }));
    until("the request to be dropped", || echo.dropped.load(Ordering::SeqCst) == 1).await;
    assert_eq!(answered(&a, b.key(), b"next").await[1..], b"next"[..]);
}

#[tokio::test]
async fn one_key_has_a_bounded_number_of_requests_in_work_and_the_rest_wait() {
    let book = book();
    let (b, echo) = server(2, &book, |config| config.limits.streams_per_key = 3).await;
    let a = endpoint(1, &book, |_| {}).await;
    known(&book, b.key(), |record| !record.addrs.is_empty()).await;
    let key = b.key();
    let calls = (0..40).map(|_| a.call(&key, Bytes::from_static(b"pause")));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(echo.most.load(Ordering::SeqCst) <= 3);
    assert_eq!(b.stats().iter().filter(|peer| peer.inbound).count(), 1);
}

#[tokio::test]
async fn an_unreachable_peer_is_down_and_not_tried_again_at_once() {
    let book = book();
    let gone = PeerRecord::sign(
        NETWORK,
        &secret(2),
        [],
        [([127, 0, 0, 1], 9).into()],
        now_ms(),
        Duration::from_secs(60),
    );
    book.insert(gone.clone()).unwrap();
    let a = endpoint(1, &book, |config| {
        config.limits.connect = Duration::from_millis(300);
        config.limits.retry = Duration::from_secs(3600);
        // Would be hit if the second call dialled again.
        config.deadline = Duration::from_secs(30);
    })
    .await;
    assert_eq!(a.call(&gone.key, Bytes::new()).await, Err(NetError::Down(gone.key)));
    let calls = (0..1000).map(|_| a.call(&gone.key, Bytes::new()));
    let failed = futures::future::join_all(calls).await;
    assert!(failed.iter().all(|answer| *answer == Err(NetError::Down(gone.key))));
    assert_eq!(a.stats_of(&gone.key).unwrap().failures, 1001);
}

#[tokio::test]
async fn idle_connections_are_closed_and_opened_again() {
    let book = book();
    let (b, _) = server(2, &book, |_| {}).await;
    let a = endpoint(1, &book, |config| config.limits.idle = Duration::from_millis(200)).await;
    known(&book, b.key(), |record| !record.addrs.is_empty()).await;
    answered(&a, b.key(), b"one").await;
    until("the connection to be closed", || !b.stats().iter().any(|peer| peer.inbound)).await;
    assert_eq!(answered(&a, b.key(), b"two").await[1..], b"two"[..]);
}

#[tokio::test]
async fn a_record_is_renewed_before_it_expires() {
    let book = book();
    let a = endpoint(1, &book, |config| config.record_life = Duration::from_secs(1)).await;
    let first = known(&book, a.key(), |record| !record.addrs.is_empty()).await;
    let next = known(&book, a.key(), |record| record.issued > first.issued).await;
    assert_eq!(next.addrs, first.addrs);
    assert_eq!(next.verify(&NETWORK, now_ms()), Ok(()));
}

#[tokio::test]
async fn an_endpoint_that_could_reach_nobody_does_not_start() {
    let mut config = QuicConfig::new(NETWORK, secret(1), loopback(), book());
    config.direct = false;
    assert!(matches!(Endpoint::bind(config).await.err(), Some(BindError::NoWay)));
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = QuicConfig::new(NETWORK, secret(1), taken.local_addr().unwrap(), book());
    let error = Endpoint::bind(config).await.err().unwrap();
    assert!(error.to_string().contains(&taken.local_addr().unwrap().to_string()), "{error}");
}
