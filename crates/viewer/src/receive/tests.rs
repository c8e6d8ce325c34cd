//! The task against plain sockets that play relays, at one address and at several.

use clap::Parser as _;
use platform::latest::latest;
use protocol::control::Control;
use protocol::datagram::{Datagram, classify};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::*;
use crate::args::Args;

#[tokio::test]
async fn where_the_relay_moves_the_viewer_goes_too() {
    for transport in ["auto", "udp", "quic"] {
        let first = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let second = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = RelayAddress::known(first.local_addr().ok().as_slice());
        let (sender, _frames) = latest();
        let stop = CancellationToken::new();
        let words = ["viewer", "--transport", transport];
        let options = ConnectOptions::new(&Args::parse_from(words));
        let (_status, ended) = start(
            watch::channel(options).1,
            address.clone(),
            sender,
            Arc::default(),
            stop.clone(),
        );
        for (relay, moved) in [(first, second.local_addr().ok()), (second, None)] {
            let received = timeout(Duration::from_secs(10), relay.recv(&mut [0; 2000])).await;
            assert!(received.unwrap().unwrap() > 7, "{transport}");
            if let Some(moved) = moved {
                address.set(&[moved]);
            }
        }
        stop.cancel();
        timeout(Duration::from_secs(10), ended)
            .await
            .unwrap()
            .unwrap();
    }
}

/// Starts to receive from a name with these addresses.
fn receive(transport: &str, address: &RelayAddress) -> (CancellationToken, JoinHandle<()>) {
    let (sender, frames) = latest();
    let stop = CancellationToken::new();
    let options = ConnectOptions::new(&Args::parse_from(["viewer", "--transport", transport]));
    let (_, ended) = start(
        watch::channel(options).1,
        address.clone(),
        sender,
        Arc::default(),
        stop.clone(),
    );
    // The display loop holds it in the program.
    std::mem::forget(frames);
    (stop, ended)
}

/// Answers hellos and probes as a relay does, from its first one on; QUIC packets draw no answer.
async fn answer(relay: UdpSocket) {
    let mut buffer = [0; 2000];
    while let Ok((length, from)) = relay.recv_from(&mut buffer).await {
        if let Ok(Datagram::Control(Control::Hello(asked) | Control::Probe(asked))) =
            classify(buffer[..length].to_vec())
        {
            let accept = Control::Accept {
                nonce: asked.nonce,
                verdict: LeaseVerdict::Welcome,
                cookie: None,
            };
            let _ = relay.send_to(&accept.write(), from).await;
        }
    }
}

async fn socket(at: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(at).await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn of_a_names_addresses_the_viewer_finds_the_one_that_answers() {
    for (transport, silence) in [("auto", 2.0), ("udp", 2.0), ("quic", 1.5)] {
        for (alive, dead) in [("127.0.0.1:0", "[::1]:0"), ("[::1]:0", "127.0.0.1:0")] {
            let (relay, at) = socket(alive).await;
            let (silent, other) = socket(dead).await;
            let reaches = async || {
                let began = Instant::now();
                let (stop, ended) = receive(transport, &RelayAddress::known(&[other, at]));
                timeout(Duration::from_secs(10), relay.recv(&mut [0; 2000]))
                    .await
                    .unwrap()
                    .unwrap();
                stop.cancel();
                ended.await.unwrap();
                // The last viewer's datagrams are not the next one's.
                while relay.try_recv(&mut [0; 2000]).is_ok() {}
                began.elapsed().as_secs_f64()
            };
            let took = reaches().await;
            assert!(
                (silence - 0.1..silence + 1.5).contains(&took),
                "{transport} {alive} {took}"
            );
            drop(silent);
            let took = reaches().await;
            assert!(
                took < 1.0,
                "{transport} {alive}, a port that refuses: {took}"
            );
        }
    }
}

#[tokio::test]
async fn a_relay_that_answers_is_not_left_and_one_that_is_nowhere_is_searched_at_each_address() {
    let ((relay, at), (other, second)) = (socket("127.0.0.1:0").await, socket("[::1]:0").await);
    let address = RelayAddress::known(&[second, at]);
    let (stop, _ended) = receive("udp", &address);
    // Both are silent for a round and more.
    for socket in [&other, &relay, &other] {
        timeout(Duration::from_secs(10), socket.recv(&mut [0; 2000]))
            .await
            .unwrap()
            .unwrap();
        while socket.try_recv(&mut [0; 2000]).is_ok() {}
        address.clone().moved_from(socket.local_addr().ok()).await;
        while socket.try_recv(&mut [0; 2000]).is_ok() {}
    }
    let relay = tokio::spawn(answer(relay));
    let mut follower = address.clone();
    if address.current() != Some(at) {
        timeout(Duration::from_secs(10), follower.moved_from(Some(second)))
            .await
            .unwrap();
    }
    let left = timeout(Duration::from_secs(4), follower.moved_from(Some(at))).await;
    assert!(left.is_err(), "{left:?}");
    // A relay that restarts refuses for a moment.
    relay.abort();
    let left = timeout(Duration::from_secs(3), follower.moved_from(Some(at))).await;
    assert!(left.is_err(), "{left:?}");
    stop.cancel();
}
