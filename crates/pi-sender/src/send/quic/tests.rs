//! The connection against a relay of quinn: it follows the address, and knows a refusal from a failure.

use std::net::UdpSocket;

use protocol::quic::{Answer, Pong, Refusal, Role, ServerMessage};
use quic::endpoint;
use quic::identity::Identity;
use quic::lines::Lines;
use quinn::{Endpoint, Runtime as _, TokioRuntime};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

struct Relay {
    endpoint: Endpoint,
    at: SocketAddr,
    identity: Identity,
}

impl Relay {
    fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    fn start_at(at: &str) -> Self {
        let socket = UdpSocket::bind(at).unwrap();
        let at = socket.local_addr().unwrap();
        let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
        let identity = Identity::generate().unwrap();
        let endpoint = endpoint::server(socket, &identity).unwrap();
        Self {
            endpoint,
            at,
            identity,
        }
    }

    /// Accepts or refuses one sender, and returns its connection.
    async fn accept(&self, refusal: Option<Refusal>) -> quinn::Connection {
        let connection = self.endpoint.accept().await.unwrap().await.unwrap();
        let (mut control_send, control_recv) = connection.accept_bi().await.unwrap();
        let mut lines = Lines::new(control_recv);
        lines.next().await.unwrap();
        let answer = Answer {
            ok: refusal.is_none(),
            refusal,
            cameras: Vec::new(),
            cookie: None,
        };
        control_send
            .write_all(&protocol::quic::to_line(&answer))
            .await
            .unwrap();
        endpoint::widen_windows(&connection, 1 << 20);
        // Both halves stay open as long as the test does.
        tokio::spawn(async move {
            let _control_send = control_send;
            while lines.next().await.is_ok() {}
        });
        connection
    }
}

fn config(address: RelayAddress, pinned: Option<Key>) -> ConnectionConfig {
    ConnectionConfig {
        address,
        clock: SharedLabelClock::new(),
        hello: Hello {
            role: Role::Send,
            camera: Some("yard".to_owned()),
            token: None,
            stream: None,
            cookie: None,
            trial: None,
            original: false,
        },
        pinned,
        wait_for_upgrade: false,
        proof: SharedProof::default(),
        quality: watch::channel(None).1,
        health: crate::health::watch(),
        http: None,
    }
}

async fn up(sender: &mut QuicSender) {
    let up = sender
        .state
        .wait_for(|state| matches!(state, QuicConnectionState::Up(_)));
    timeout(TIMEOUT, up).await.unwrap().unwrap();
}

async fn arrives(sender: &QuicSender, number: u64, connection: &quinn::Connection) {
    sender.offer(number, Bytes::from_static(b"frame"), Instant::now());
    let mut stream = timeout(TIMEOUT, connection.accept_uni())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stream.read_to_end(100).await.unwrap(), b"frame");
}

#[tokio::test]
async fn the_link_follows_the_relay_to_another_address() {
    let (first, second) = (Relay::start(), Relay::start());
    let address = RelayAddress::known(&[first.at]);
    let mut sender = QuicSender::start(config(address.clone(), None));
    let connection = first.accept(None).await;
    up(&mut sender).await;
    arrives(&sender, 1, &connection).await;
    address.set(&[second.at]);
    let connection = second.accept(None).await;
    up(&mut sender).await;
    arrives(&sender, 2, &connection).await;
    assert_eq!(sender.stats().sent, 2);
}

/// Returns how long a sender of a name with these addresses takes to connect to the relay.
async fn connects(addresses: &[SocketAddr], relay: &Relay) -> Duration {
    let mut sender = QuicSender::start(config(RelayAddress::known(addresses), None));
    let began = Instant::now();
    let connection = relay.accept(None).await;
    up(&mut sender).await;
    arrives(&sender, 1, &connection).await;
    began.elapsed()
}

#[tokio::test]
async fn of_a_names_addresses_the_one_that_answers_is_used() {
    for (alive, dead) in [("127.0.0.1:0", "[::1]:0"), ("[::1]:0", "127.0.0.1:0")] {
        let relay = Relay::start_at(alive);
        let silent = UdpSocket::bind(dead).unwrap();
        let other = silent.local_addr().unwrap();
        let took = connects(&[other, relay.at], &relay).await;
        assert!((1.4..3.0).contains(&took.as_secs_f64()), "{alive} {took:?}");
        drop(silent);
        let took = connects(&[other, relay.at], &relay).await;
        assert!(took.as_secs_f64() < 1.0, "a port that refuses: {took:?}");
        let took = connects(&[relay.at, other], &relay).await;
        assert!(took.as_secs_f64() < 1.0, "the system's order: {took:?}");
    }
}

#[tokio::test]
async fn where_no_address_answers_the_relay_that_starts_is_found() {
    let later = Relay::start_at("[::1]:0");
    let at = later.at;
    drop(later);
    let other = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut sender = QuicSender::start(config(RelayAddress::known(&[at, other]), None));
    let mut state = sender.state.clone();
    let tried = async {
        for _ in 0..2 {
            state
                .wait_for(|state| *state == QuicConnectionState::Connecting)
                .await
                .unwrap();
            state
                .wait_for(|state| *state == QuicConnectionState::Down)
                .await
                .unwrap();
        }
    };
    timeout(TIMEOUT, tried).await.unwrap();
    let relay = Relay::start_at(&at.to_string());
    let connection = relay.accept(None).await;
    up(&mut sender).await;
    arrives(&sender, 1, &connection).await;
}

#[tokio::test]
async fn a_connection_is_kept_when_the_names_addresses_change_their_order() {
    let (relay, other) = (Relay::start(), Relay::start());
    let address = RelayAddress::known(&[relay.at, other.at]);
    let mut sender = QuicSender::start(config(address.clone(), None));
    let connection = relay.accept(None).await;
    up(&mut sender).await;
    address.set(&[other.at, relay.at]);
    let moved = timeout(Duration::from_millis(300), other.endpoint.accept()).await;
    assert!(moved.is_err());
    arrives(&sender, 1, &connection).await;
}

#[tokio::test]
async fn a_relay_that_is_not_the_tickets_is_refused_for_good() {
    let (relay, other) = (Relay::start(), Relay::start());
    let address = RelayAddress::known(&[relay.at]);
    let sender = QuicSender::start(config(address, Some(other.identity.fingerprint())));
    let mut state = sender.state.clone();
    let endpoint = relay.endpoint.clone();
    let incoming = tokio::spawn(async move { endpoint.accept().await.unwrap().await.is_ok() });
    let refused = state.wait_for(|state| matches!(state, QuicConnectionState::Refused(_)));
    let refused = timeout(TIMEOUT, refused).await.unwrap().unwrap().clone();
    assert!(
        format!("{refused:?}").contains("not the ticket's"),
        "{refused:?}"
    );
    assert!(!incoming.await.unwrap());
}

#[tokio::test]
async fn a_name_that_is_taken_is_requested_again() {
    let relay = Relay::start();
    let address = RelayAddress::known(&[relay.at]);
    let mut sender = QuicSender::start(config(address, None));
    let refused = relay.accept(Some(Refusal::Taken)).await;
    let connection = relay.accept(None).await;
    up(&mut sender).await;
    arrives(&sender, 1, &connection).await;
    drop(refused);
}

#[tokio::test]
async fn nothing_is_said_before_the_relay_asks() {
    let relay = Relay::start();
    let address = RelayAddress::known(&[relay.at]);
    let mut sender = QuicSender::start(ConnectionConfig {
        wait_for_upgrade: true,
        ..config(address, None)
    });
    let silence = timeout(Duration::from_millis(300), relay.endpoint.accept()).await;
    assert!(silence.is_err());
    sender.upgrade(Offer { cookie: None });
    relay.accept(None).await;
    up(&mut sender).await;
}

#[tokio::test]
async fn the_end_waits_for_the_last_frame() {
    let relay = Relay::start();
    let address = RelayAddress::known(&[relay.at]);
    let mut sender = QuicSender::start(config(address, None));
    let connection = relay.accept(None).await;
    up(&mut sender).await;
    sender.offer(1, vec![7; 60_000].into(), Instant::now());
    let (stats, stream) = tokio::join!(sender.close(), async {
        let mut stream = connection.accept_uni().await.unwrap();
        stream.read_to_end(100_000).await.unwrap().len()
    });
    assert_eq!((stats.sent, stream), (1, 60_000));
}

#[tokio::test]
async fn the_senders_version_and_machine_reach_the_relay() {
    let relay = Relay::start();
    let address = RelayAddress::known(&[relay.at]);
    let _sender = QuicSender::start(config(address, None));
    let connection = relay.endpoint.accept().await.unwrap().await.unwrap();
    let (mut control_send, control_recv) = connection.accept_bi().await.unwrap();
    let mut lines = Lines::new(control_recv);
    lines.next().await.unwrap();
    let answer = Answer {
        ok: true,
        refusal: None,
        cameras: Vec::new(),
        cookie: None,
    };
    let answer = protocol::quic::to_line(&answer);
    control_send.write_all(&answer).await.unwrap();
    let version = async {
        loop {
            let line = lines.next().await.unwrap();
            match protocol::quic::from_line(&line) {
                Some(ClientMessage::SenderInfo(info)) => return info.health.version,
                Some(ClientMessage::Ping(ping)) => {
                    let pong = ServerMessage::Pong(Pong {
                        t1: ping.t1,
                        t2: ping.t1,
                        t3: ping.t1,
                    });
                    let pong = protocol::quic::to_line(&pong);
                    control_send.write_all(&pong).await.unwrap();
                }
                None => {}
            }
        }
    };
    let version = timeout(TIMEOUT, version).await.unwrap();
    assert_eq!(version.unwrap().as_str(), env!("CARGO_PKG_VERSION"));
}
