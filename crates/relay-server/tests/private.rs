//! A private relay: its tickets, and what peers without one get on QUIC and UDP.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod process;
    pub(crate) mod quic;
}

use std::fs::{self, Permissions};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use common::process::{MS, RELAY, SOON, report, stop};
use common::quic::{frame, hello, open, start};
use protocol::control::{Control, LeaseVerdict, Question};
use protocol::datagram::{Datagram, classify};
use protocol::quic::{Refusal, Role};
use protocol::ticket::{Key, Ticket};
use quic::client::ConnectFailure;
use testkit::jpeg::Sketch;
use testkit::process::{Program, Running};

/// Returns the sender's and the viewer's ticket as the log prints them.
fn tickets(relay: &Running) -> [Ticket; 2] {
    ["pi-sender --server '", "viewer --server '"].map(|start| {
        let line = relay.wait_for_line(start, SOON);
        let ticket = line
            .split_once(start)
            .unwrap()
            .1
            .split_once('\'')
            .unwrap()
            .0;
        ticket.parse().unwrap()
    })
}

fn private(state: &Path, flags: &[&str]) -> (Running, SocketAddr) {
    let state = state.to_str().unwrap();
    start(&[&["--private", "--state", state], flags].concat())
}

#[tokio::test]
async fn a_private_relay_lets_in_its_tickets_and_says_to_everybody_else_why_not() {
    let state = tempfile::tempdir().unwrap();
    let (relay, at) = private(state.path(), &[]);
    let [send, view] = tickets(&relay);
    assert_eq!(send.host.to_string(), at.to_string());
    let pinned = Some(view.fingerprint);
    let connect = async |role, token: Option<&Key>| {
        let hello = hello(role, Some("yard"), token.map(Key::to_string));
        open(at, &hello, pinned).await
    };
    assert!(connect(Role::Send, Some(&send.token)).await.is_ok());
    assert!(connect(Role::View, Some(&view.token)).await.is_ok());
    for (role, token, why) in [
        (Role::View, None, Refusal::Private),
        (Role::Send, None, Refusal::Private),
        (Role::View, Some(&send.token), Refusal::Role),
        (Role::Send, Some(&view.token), Refusal::Role),
        (Role::View, Some(&Key([1; 32])), Refusal::Token),
    ] {
        let failure = connect(role, token).await.unwrap_err();
        assert!(
            matches!(&failure, ConnectFailure::Refused(refusal) if *refusal == why),
            "{failure}"
        );
        assert!(!failure.is_temporary());
    }
    let other = open(
        at,
        &hello(Role::View, None, Some(view.token.to_string())),
        Some(Key([2; 32])),
    )
    .await;
    assert!(
        matches!(other, Err(ConnectFailure::Certificate)),
        "{other:?}"
    );
    stop(relay);
}

#[tokio::test]
async fn a_right_token_works_at_once_after_many_wrong_ones_from_the_same_address() {
    let state = tempfile::tempdir().unwrap();
    let (relay, at) = private(state.path(), &[]);
    let [_, view] = tickets(&relay);
    for guess in 0..20 {
        let wrong = hello(Role::View, None, Some(Key([guess; 32]).to_string()));
        let failure = open(at, &wrong, None).await.unwrap_err();
        assert!(
            matches!(failure, ConnectFailure::Refused(Refusal::Token)),
            "{failure}"
        );
    }
    let right = hello(Role::View, None, Some(view.token.to_string()));
    assert!(open(at, &right, None).await.is_ok());
    stop(relay);
}

#[tokio::test]
async fn tickets_are_shown_once_outlive_a_restart_and_not_a_rotation_and_name_the_advertised_host()
{
    let state = tempfile::tempdir().unwrap();
    let connects = async |at, ticket: &Ticket| {
        let hello = hello(Role::Send, Some("yard"), Some(ticket.token.to_string()));
        open(at, &hello, Some(ticket.fingerprint)).await
    };
    let (relay, at) = private(state.path(), &["--advertise", "relay.example"]);
    let [send, view] = tickets(&relay);
    assert_eq!(
        send.host.to_string(),
        format!("relay.example:{}", at.port())
    );
    stop(relay);
    let (relay, at) = private(state.path(), &[]);
    relay.wait_for_line("relay-server ticket list shows the tickets", SOON);
    assert!(connects(at, &send).await.is_ok());
    let log = stop(relay).stderr;
    for secret in [send.token.to_string(), view.token.to_string()] {
        assert!(!log.contains(&secret) && !log.contains("--server 'sightline"));
    }
    let (relay, at) = private(
        state.path(),
        &["--rotate", "--advertise", "relay.example:9000"],
    );
    let [rotated, _] = tickets(&relay);
    assert_eq!(rotated.host.to_string(), "relay.example:9000");
    assert_ne!(rotated.fingerprint, send.fingerprint);
    let of_before = Ticket {
        fingerprint: rotated.fingerprint,
        ..send
    };
    let refused = connects(at, &of_before).await;
    assert!(
        matches!(refused, Err(ConnectFailure::Refused(Refusal::Token))),
        "{refused:?}"
    );
    assert!(connects(at, &rotated).await.is_ok());
    stop(relay);
}

#[test]
fn a_state_that_another_user_may_have_prepared_ends_the_start_with_its_cure() {
    let state = tempfile::tempdir().unwrap();
    let (relay, _) = private(state.path(), &[]);
    stop(relay);
    let fails = |texts: &[&str]| {
        let flags = ["--private", "--state", state.path().to_str().unwrap()];
        let start = [
            "--listen",
            "127.0.0.1:0",
            "--model",
            "none",
            "--http",
            "off",
        ];
        let done = Program::new(RELAY).args(start).args(flags).start().finish();
        assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
        for text in texts {
            assert!(done.stderr.contains(text), "{text}: {}", done.stderr);
        }
    };
    let token = state.path().join("sender.token");
    fs::write(&token, "12").unwrap();
    fails(&[
        "sender.token",
        "remove this file alone",
        "viewers stay valid",
    ]);
    fs::remove_file(&token).unwrap();
    symlink("/dev/zero", &token).unwrap();
    fails(&["sender.token", "symbolic link"]);
    fs::set_permissions(state.path(), Permissions::from_mode(0o1777)).unwrap();
    fails(&["--state", "chmod"]);
}

#[test]
fn a_private_relay_answers_no_stranger_by_udp() {
    let state = tempfile::tempdir().unwrap();
    let (relay, at) = private(state.path(), &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(at).unwrap();
    socket.set_read_timeout(Some(300 * MS)).unwrap();
    let jpeg = Sketch::new(300, 200).bytes();
    let mut buffer = [0; 1000];
    for probe in [b"Request", &jpeg[..], b"junk", &[0x05; 100]] {
        socket.send(probe).unwrap();
    }
    assert!(socket.recv(&mut buffer).is_err(), "silence");
    let hello = Control::Hello(Question::new(1, None)).write();
    socket.send(&hello).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    let verdict = LeaseVerdict::Private;
    let answer = classify(buffer[..length].to_vec());
    assert!(
        matches!(answer, Ok(Datagram::Control(Control::Accept { nonce: 1, verdict: v, .. })) if v == verdict),
        "{answer:?}"
    );
    assert!(length <= hello.len());
    let sent = frame("yard", 1, 400);
    socket.send(&sent).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    assert!(length <= sent.len());
    assert_eq!(
        classify(buffer[..length].to_vec()),
        Ok(Datagram::Control(Control::Upgrade))
    );
    let report = report(relay);
    assert_eq!(report["dropped"]["private"], 3);
    assert_eq!(report["received"], 0);
}
