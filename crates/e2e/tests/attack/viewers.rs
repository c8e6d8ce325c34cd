//! Viewers while others fill the tables of leases and connections.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Instant;

use e2e::attack::Attack;
use protocol::label::Label;

use crate::common::{LONG, finish, viewer};
use crate::honest::{Honest, MS, eventually};

#[test]
fn requests_and_probes_without_end_cost_a_tutorial_viewer_nothing_and_ours_gets_its_lease() {
    let honest = Honest::start(&["--model", "none"]);
    let tutorial = UdpSocket::bind("127.0.0.1:0").unwrap();
    tutorial.connect(honest.target.relay).unwrap();
    tutorial.set_read_timeout(Some(LONG)).unwrap();
    tutorial.send(b"Request").unwrap();
    let first = number(&tutorial);
    let attacker = honest.attack(Attack::Requests);
    eventually("the attack begins", || attacker.tally().done() > 5000);
    let ours = viewer(honest.port(), &["--transport", "udp", "--frames", "20"]);
    let start = Instant::now();
    let mut seen = BTreeSet::from([first]);
    while start.elapsed() < 4000 * MS {
        seen.insert(number(&tutorial));
    }
    let (last, count) = (*seen.last().unwrap(), seen.len() as u64);
    assert!(last - first >= 30, "{} frames in 4 s", last - first);
    assert!(count >= last - first, "{count} of {}", last - first + 1);
    finish(ours);
}

fn number(viewer: &UdpSocket) -> u64 {
    let mut buffer = vec![0; 70_000];
    loop {
        let length = viewer.recv(&mut buffer).unwrap();
        if let Ok(Some(label)) = Label::read(&buffer[..length]) {
            return label.seq;
        }
    }
}

#[test]
fn idle_connections_from_256_addresses_keep_no_honest_viewer_out() {
    let honest = Honest::start(&["--model", "none"]);
    let attacker = honest.attack(Attack::Idle);
    // All by HTTP, and some by QUIC: a debug build takes half a minute for 1024 handshakes. That QUIC's slots go round by
    // the same rule is a test of the relay alone.
    eventually("all HTTP clients have come", || {
        attacker.tally().done() >= 1024 + 100
    });
    let start = Instant::now();
    finish(viewer(
        honest.port(),
        &["--transport", "quic", "--frames", "5"],
    ));
    let took = start.elapsed();
    assert!(took < 5000 * MS, "{took:?}");
    let health = get(honest.target.http, "/healthz");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    honest.assert_frames_come(1000 * MS);
}

/// Returns the answer, its head included; empty if the connection ends without one.
pub(crate) fn get(http: SocketAddr, path: &str) -> String {
    let mut client = TcpStream::connect(http).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: nas\r\nconnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    answer
}
