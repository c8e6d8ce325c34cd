//! A hostile relay's close reason: what reaches the log of a peer.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use protocol::quic::{Answer, Hello, Role, to_line};
use protocol::text::{MAX_SHOWN, is_hidden};
use quic::client::Client;
use quic::identity::Identity;
use quic::lines::Lines;
use quic::{endpoint, shown};
use quinn::{Connection, Endpoint, Runtime as _, TokioRuntime, VarInt};
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(10);

fn relay() -> (Endpoint, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
    let identity = Identity::generate().unwrap();
    (endpoint::server(socket, &identity).unwrap(), at)
}

/// A close reason that clears the screen, sets the title and forges a line of the log.
fn reason() -> Vec<u8> {
    let mut reason = b"\x1b[2J\x1b]0;title\x07\r\nERROR forged\n\xff".to_vec();
    reason.extend([b'x'; 900]);
    reason
}

fn hello() -> Hello {
    Hello {
        role: Role::View,
        camera: None,
        token: None,
        stream: None,
        cookie: None,
        trial: None,
        original: false,
    }
}

fn close(connection: &Connection) {
    connection.close(VarInt::from_u32(9), &reason());
}

fn assert_one_short_line(text: &str) {
    assert!(!text.contains(is_hidden), "{text:?}");
    assert!(text.contains("\\u{1b}[2J"), "the reason is shown: {text:?}");
    assert!(text.chars().count() <= MAX_SHOWN + 2, "{text:?}");
}

#[tokio::test]
async fn a_relay_that_closes_before_its_answer_writes_no_line_of_its_own() {
    let (endpoint, at) = relay();
    let closing = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let _control = connection.accept_bi().await.unwrap();
        close(&connection);
        endpoint.wait_idle().await;
    });
    let mut client = Client::new(at, None).unwrap();
    let failure = client.open(at, &hello()).await.unwrap_err();
    assert_one_short_line(&failure.to_string());
    // As the log shows an error: with its sources.
    assert!(std::error::Error::source(&failure).is_none(), "{failure:?}");
    timeout(TIMEOUT, closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_relay_that_closes_later_writes_no_line_of_its_own() {
    let (endpoint, at) = relay();
    let serving = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (mut send, receive) = connection.accept_bi().await.unwrap();
        Lines::new(receive).next().await.unwrap();
        let answer = Answer {
            ok: true,
            refusal: None,
            cameras: Vec::new(),
            cookie: None,
        };
        send.write_all(&to_line(&answer)).await.unwrap();
        (connection, send, endpoint)
    });
    let mut client = Client::new(at, None).unwrap();
    let session = client.open(at, &hello()).await.unwrap();
    let (connection, _send, _endpoint) = serving.await.unwrap();
    close(&connection);
    let end = timeout(TIMEOUT, session.connection.closed()).await.unwrap();
    assert_one_short_line(&shown(&end));
}
