use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cairn_net::quic::{ALPN, Endpoint};
use cairn_net::{MAX_MESSAGE, MemoryBook, Transport};
use iroh::endpoint::{Builder, Connection, RecvStream, SendStream};
use iroh::{EndpointAddr, TransportAddr};

use crate::help::*;

/// A peer that speaks QUIC and none of our protocol.
async fn enemy(victim: &Endpoint) -> (iroh::Endpoint, Connection) {
    let socket = Builder::empty()
        .crypto_provider(iroh_relay::tls::default_provider())
        .secret_key(iroh::SecretKey::from_bytes(&[66; 32]))
        .clear_ip_transports()
        .bind_addr(loopback())
        .unwrap()
        .bind()
        .await
        .unwrap();
    let connection = connect(&socket, victim).await;
    (socket, connection)
}

async fn connect(socket: &iroh::Endpoint, victim: &Endpoint) -> Connection {
    let id = iroh::PublicKey::from_bytes(&victim.key().0).unwrap();
    let addr = EndpointAddr::from_parts(id, victim.bound().into_iter().map(TransportAddr::Ip));
    socket.connect(addr, ALPN).await.unwrap()
}

struct Field {
    book: Arc<MemoryBook>,
    victim: Endpoint,
    echo: Arc<Echo>,
    friend: Endpoint,
}

async fn field() -> Field {
    let book = book();
    let (victim, echo) = server(1, &book, |config| {
        config.limits.pause = Duration::from_millis(500);
        config.limits.transfer = Duration::from_secs(2);
    })
    .await;
    let friend = endpoint(2, &book, |_| {}).await;
    known(&book, victim.key(), |record| !record.addrs.is_empty()).await;
    answered(&friend, victim.key(), b"hello").await;
    Field { book, victim, echo, friend }
}

impl Field {
    /// The friend's calls must all be answered, while the enemy does what it does.
    async fn friend_is_served(&self) {
        for _ in 0..20 {
            let answer = self.friend.call(&self.victim.key(), Bytes::from_static(b"friend")).await;
            assert_eq!(answer.unwrap()[1..], b"friend"[..]);
        }
        assert!(!self.book.is_empty());
    }
}

#[tokio::test]
async fn a_huge_length_costs_the_connection_and_reserves_nothing() {
    let field = field().await;
    for length in [u32::MAX, u32::try_from(MAX_MESSAGE).unwrap() + 1] {
        let (_socket, connection) = enemy(&field.victim).await;
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(&length.to_le_bytes()).await.unwrap();
        let closed = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
        assert!(format!("{closed:?}").contains("protocol broken"), "{closed:?}");
        field.friend_is_served().await;
    }
    assert_eq!(field.echo.calls.load(Ordering::SeqCst), 41);
}

#[tokio::test]
async fn a_message_that_breaks_off_costs_the_connection() {
    let field = field().await;
    for part in [&b"\x05"[..], b"\x05\x00\x00\x00abc", b"not our protocol at all"] {
        let (_socket, connection) = enemy(&field.victim).await;
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(part).await.unwrap();
        send.finish().unwrap();
        tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
    }
    field.friend_is_served().await;
    assert_eq!(field.echo.calls.load(Ordering::SeqCst), 21);
}

#[tokio::test]
async fn a_thousand_half_open_streams_hold_up_nobody_else() {
    let field = field().await;
    let (_socket, connection) = enemy(&field.victim).await;
    let opening = connection.clone();
    // Each announces a large request and sends next to nothing. The victim admits 32 and cuts them for slowness; an
    // enemy that ignores the cut gets no further stream.
    let flood = tokio::spawn(async move {
        let mut kept = Vec::new();
        for _ in 0..1000 {
            let Ok((mut send, recv)) = opening.open_bi().await else { return kept };
            let _ = send.write_all(&(8u32 << 20).to_le_bytes()).await;
            kept.push((send, recv));
        }
        kept
    });
    field.friend_is_served().await;
    until("streams to be cut", || {
        field.victim.stats().iter().any(|peer| peer.inbound && peer.failures == 32)
    })
    .await;
    field.friend_is_served().await;
    flood.abort();
    assert_eq!(field.echo.calls.load(Ordering::SeqCst), 41);
}

#[tokio::test]
async fn one_key_has_few_connections_and_leaves_room_for_others() {
    let field = field().await;
    let (socket, first) = enemy(&field.victim).await;
    let mut all = vec![first];
    for _ in 0..30 {
        all.push(connect(&socket, &field.victim).await);
    }
    until("the surplus to be closed", || {
        all.iter().filter(|connection| connection.close_reason().is_none()).count() == 4
    })
    .await;
    field.friend_is_served().await;
}

#[tokio::test]
async fn one_keys_large_requests_leave_memory_for_others() {
    let book = book();
    let (victim, _) = server(1, &book, |config| {
        // Room for four requests of the largest size; one key may fill one place.
        config.limits.message_bytes = 4 * MAX_MESSAGE;
        config.limits.pause = Duration::from_secs(60);
        config.limits.transfer = Duration::from_secs(60);
    })
    .await;
    let friend = endpoint(2, &book, |_| {}).await;
    known(&book, victim.key(), |record| !record.addrs.is_empty()).await;
    let (_socket, connection) = enemy(&victim).await;
    let mut kept = Vec::new();
    for _ in 0..16 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&u32::try_from(MAX_MESSAGE).unwrap().to_le_bytes()).await.unwrap();
        send.write_all(&[7; 1000]).await.unwrap();
        kept.push((send, recv));
    }
    let large = Bytes::from(vec![1; MAX_MESSAGE - 1]);
    let answer = friend.call(&victim.key(), large.clone()).await.unwrap();
    assert!(answer[1..] == large[..]);
}

/// Asks for `count` large answers and takes none of them.
async fn ask_and_leave(connection: &Connection, count: usize) -> Vec<(SendStream, RecvStream)> {
    let length = u32::try_from(MAX_MESSAGE - 1).unwrap();
    let mut kept = Vec::new();
    for _ in 0..count {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&length.to_le_bytes()).await.unwrap();
        send.write_all(&vec![5; MAX_MESSAGE - 1]).await.unwrap();
        kept.push((send, recv));
    }
    kept
}

#[tokio::test]
async fn answers_that_nobody_takes_hold_up_nobody_else() {
    let book = book();
    let (victim, echo) = server(1, &book, |config| {
        // One request in work at a time: whoever kept that turn while its answer waits would keep everybody waiting.
        config.limits.requests = 1;
        config.limits.pause = Duration::from_secs(3600);
        config.limits.transfer = Duration::from_secs(3600);
    })
    .await;
    let friend = endpoint(2, &book, |_| {}).await;
    known(&book, victim.key(), |record| !record.addrs.is_empty()).await;
    let (_socket, connection) = enemy(&victim).await;
    let _kept = ask_and_leave(&connection, 8).await;
    until("the enemy's requests to be worked off", || echo.calls.load(Ordering::SeqCst) == 8).await;
    let answer = friend.call(&victim.key(), Bytes::from_static(b"friend")).await.unwrap();
    assert_eq!(answer[1..], b"friend"[..]);
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_cut() {
    let field = field().await;
    let (_socket, connection) = enemy(&field.victim).await;
    let _kept = ask_and_leave(&connection, 1).await;
    until("the stream to be cut", || {
        field.victim.stats().iter().any(|peer| peer.inbound && peer.failures == 1)
    })
    .await;
    assert!(connection.close_reason().is_none());
}

#[tokio::test]
async fn another_version_of_the_protocol_is_refused_in_the_handshake() {
    let field = field().await;
    let (socket, _connection) = enemy(&field.victim).await;
    let id = iroh::PublicKey::from_bytes(&field.victim.key().0).unwrap();
    let addr = EndpointAddr::from_parts(id, field.victim.bound().into_iter().map(TransportAddr::Ip));
    assert!(socket.connect(addr, b"cairn/2").await.is_err());
    field.friend_is_served().await;
}
