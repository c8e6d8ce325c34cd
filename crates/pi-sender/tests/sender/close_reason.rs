//! A relay that closes with a hostile reason, and the sender's log.

use std::net::UdpSocket;

use protocol::quic::{Answer, to_line};
use quic::endpoint;
use quic::identity::Identity;
use quic::lines::Lines;
use quinn::{Connection, Endpoint, Runtime as _, TokioRuntime, VarInt};

use crate::support::{TIMEOUT, sender_to, stop};

const REASON: &[u8] = b"\x1b[2J\r\n2026-01-01T00:00:00Z ERROR forged line";

/// Accepts a sender, with or without an answer to its hello, and closes.
async fn accept_and_close(relay: &Endpoint, answered: bool) -> Option<Connection> {
    let connection = relay.accept().await?.await.ok()?;
    let (mut send, receive) = connection.accept_bi().await.ok()?;
    let mut lines = Lines::new(receive);
    lines.next().await.ok()?;
    if answered {
        let answer = Answer {
            ok: true,
            refusal: None,
            cameras: Vec::new(),
            cookie: None,
        };
        send.write_all(&to_line(&answer)).await.ok()?;
        endpoint::widen_windows(&connection, 1 << 20);
        connection.accept_uni().await.ok()?;
    }
    connection.close(VarInt::from_u32(9), REASON);
    Some(connection)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_reason_forges_no_line_of_the_log() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
    let relay = endpoint::server(socket, &Identity::generate().unwrap()).unwrap();
    let serving = tokio::spawn(async move {
        for answered in [true, false].into_iter().cycle() {
            accept_and_close(&relay, answered).await;
        }
    });
    let running = sender_to(at, "demo", &["--transport", "quic"])
        .env("RUST_LOG", "debug")
        .start();
    running.wait_for_line("the connection to the relay is lost", TIMEOUT);
    running.wait_for_line("no QUIC connection to the relay", TIMEOUT);
    serving.abort();
    let done = stop(running);
    assert!(done.stderr.contains("ERROR forged line"), "{}", done.stderr);
    for line in done.stderr.lines() {
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(!line.starts_with("2026-01-01T"), "{line:?}");
    }
}
