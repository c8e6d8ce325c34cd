//! The checks against a relay of version 0.1.

use platform::doctor::Verdict;
use quinn::{ConnectionError, Runtime as _, TokioRuntime};
use tokio::sync::mpsc;

use super::*;
use crate::client::DONE;
use crate::endpoint;
use crate::identity::Identity;
use crate::lines::Lines;

const LONG: Duration = Duration::from_secs(10);

/// A relay of version 0.1, which ignores a hello's `trial` and lets every sender in, or refuses it if the name is taken.
/// Returns its address, and each hello with how its connection ended.
fn old_relay(
    answer: &'static str,
) -> (
    SocketAddr,
    mpsc::UnboundedReceiver<(Vec<u8>, ConnectionError)>,
) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
    let endpoint = endpoint::server(socket, &Identity::generate().unwrap()).unwrap();
    let (out, ended) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let connection = incoming.await.unwrap();
            let (mut send, receive) = connection.accept_bi().await.unwrap();
            let hello = Lines::new(receive).next().await.unwrap().to_vec();
            send.write_all(answer.as_bytes()).await.unwrap();
            let end = connection.closed().await;
            out.send((hello, end)).unwrap();
        }
    });
    (at, ended)
}

async fn judged(answer: &'static str, transport: TransportChoice) -> Vec<Check> {
    let (server, camera) = ("relay.example".parse().unwrap(), "yard".parse().unwrap());
    let check = RelayCheck {
        server: &server,
        transport,
        role: Role::Send,
        camera: Some(&camera),
    };
    let (at, mut ended) = old_relay(answer);
    let udp = UdpOutcome::Relay(LeaseVerdict::Welcome, Duration::from_millis(1));
    let (quic, session) = check.try_quic(at, udp).await;
    let refusal = check.refusal_by_udp(at, udp).await;
    if let Some((client, session)) = session {
        drop(session);
        client.close(CLOSE_TIMEOUT).await;
    }
    let (hello, end) = timeout(LONG, ended.recv()).await.unwrap().unwrap();
    assert!(String::from_utf8(hello).unwrap().contains("\"trial\""));
    // The end as intended gives the name back at once.
    let closed = matches!(&end, ConnectionError::ApplicationClosed(end) if end.error_code == DONE);
    assert!(closed, "{end:?}");
    let lines = judge::quic(udp, &quic, check.way()).into_iter();
    lines.chain(refusal.map(judge::refusal_by_udp)).collect()
}

#[tokio::test]
async fn a_viewer_by_udp_learns_by_quic_what_the_relay_receives_in_place_of_pictures() {
    let answer = "{\"ok\":true,\"cameras\":[]}\n{\"foreign\":\"mpeg-ts\"}\n";
    let server = "relay.example".parse().unwrap();
    let check = RelayCheck {
        server: &server,
        transport: TransportChoice::Udp,
        role: Role::View,
        camera: None,
    };
    let (at, mut ended) = old_relay(answer);
    let udp = UdpOutcome::Relay(LeaseVerdict::Welcome, Duration::from_millis(1));
    let line = check.cameras_of_udp_relay(at, udp).await.unwrap();
    assert_eq!(line.verdict, Verdict::Bad, "{line:?}");
    assert!(line.text.contains("an MPEG transport stream"), "{line:?}");
    timeout(LONG, ended.recv()).await.unwrap().unwrap();
    let silent = check.cameras_of_udp_relay(at, UdpOutcome::Silent).await;
    assert_eq!(silent, None, "it may be the tutorial's");
}

#[tokio::test]
async fn a_relay_of_version_0_1_lets_a_senders_doctor_in_and_has_the_name_back_at_once() {
    let welcome = "{\"ok\":true,\"cameras\":[]}\n";
    let by_quic = judged(welcome, TransportChoice::Quic).await;
    assert_eq!(by_quic.len(), 1, "{by_quic:?}");
    assert_eq!(by_quic[0].verdict, Verdict::Good, "{by_quic:?}");
    assert_eq!(judged(welcome, TransportChoice::Udp).await, []);
}

#[tokio::test]
async fn a_relay_of_version_0_1_with_the_camera_live_is_advice_and_not_a_failure() {
    let taken = "{\"ok\":false,\"refusal\":\"taken\",\"cameras\":[]}\n";
    for transport in [TransportChoice::Quic, TransportChoice::Udp] {
        let lines = judged(taken, transport).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0].verdict, Verdict::Advice, "{lines:?}");
        assert!(lines[0].text.contains("runs already, all is well"));
    }
}
