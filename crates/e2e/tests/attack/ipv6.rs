//! A relay on `[::]` and its peers by IPv6, while 256 networks of 64 bits attack it, each from several of its addresses.
//!
//! The tests run in a network namespace, which gets those addresses: the machine itself stays as it is.

use std::fmt::Write as _;
use std::net::{Ipv6Addr, UdpSocket};

use e2e::attack::{Attack, ipv6_addresses, watch_one_frame};
use protocol::label::Label;

use crate::common::namespace::in_namespace;
use crate::common::{finish, viewer_of};
use crate::honest::{CAMERA, Honest, eventually};
use crate::viewers::get;

/// Runs a test in a network namespace with the attacker's addresses; where there can be none, the test is skipped.
fn with_ipv6_networks(test: &str, body: impl FnOnce()) {
    let mut batch = String::new();
    for address in ipv6_addresses() {
        // Without the search for duplicates, an address is there at once.
        writeln!(batch, "addr add {address}/128 dev lo nodad").unwrap();
    }
    if !in_namespace(test, &batch, body) {
        testkit::skip("no network namespaces with IPv6 here (unshare --user --net)");
    }
}

/// Starts a relay on `[::]` with an honest camera and its viewer, and attacks it.
fn attacked(attack: Attack, enough: u64) -> (Honest, e2e::attack::Attacker) {
    let honest = Honest::start_on(
        Ipv6Addr::UNSPECIFIED.into(),
        Ipv6Addr::LOCALHOST.into(),
        &["--model", "none"],
    );
    let attacker = honest.attack(attack);
    eventually("the attack begins", || attacker.tally().done() >= enough);
    (honest, attacker)
}

#[test]
fn forged_frames_and_hellos_from_256_ipv6_networks_take_no_frame_and_no_name() {
    let test = "ipv6::forged_frames_and_hellos_from_256_ipv6_networks_take_no_frame_and_no_name";
    with_ipv6_networks(test, || {
        let (honest, attacker) = attacked(Attack::Names, 100);
        let seen = watch_one_frame(&honest.target);
        let label = Label::read(&seen).unwrap().unwrap();
        let forged = Label {
            seq: u64::MAX,
            ..label
        };
        let forged = forged.write(&seen);
        let forgers = ipv6_addresses().map(|address| UdpSocket::bind((address, 0)).unwrap());
        let forgers: Vec<_> = forgers.take(256).collect();
        for forgers in forgers.chunks(8) {
            for forger in forgers {
                forger.send_to(&forged, honest.target.relay).unwrap();
            }
            honest.assert_undisturbed(1);
        }
        attacker.stop();
        assert!(!honest.shown().contains(&u64::MAX));
        let log = honest.relay.stderr().join("\n");
        assert!(!log.contains("camera goes on from here"), "{log}");
    });
}

#[test]
fn requests_and_hellos_from_256_ipv6_networks_cost_an_honest_viewer_no_frame() {
    let test = "ipv6::requests_and_hellos_from_256_ipv6_networks_cost_an_honest_viewer_no_frame";
    with_ipv6_networks(test, || {
        let (honest, attacker) = attacked(Attack::Requests, 5000);
        honest.assert_undisturbed(30);
        let ours = viewer_of(
            honest.target.relay,
            &["--transport", "udp", "--frames", "10"],
        );
        finish(ours);
        attacker.stop();
    });
}

#[test]
fn handshakes_from_256_ipv6_networks_cost_an_honest_viewer_no_frame() {
    let test = "ipv6::handshakes_from_256_ipv6_networks_cost_an_honest_viewer_no_frame";
    with_ipv6_networks(test, || {
        let (honest, attacker) = attacked(Attack::Handshakes, 50);
        honest.assert_undisturbed(30);
        attacker.stop();
    });
}

#[test]
fn idle_connections_from_256_ipv6_networks_keep_no_honest_viewer_out() {
    let test = "ipv6::idle_connections_from_256_ipv6_networks_keep_no_honest_viewer_out";
    with_ipv6_networks(test, || {
        // More than all slots of HTTP, and some of QUIC's, as by IPv4.
        let (honest, attacker) = attacked(Attack::Idle, 1024 + 100);
        let args = ["--transport", "quic", "--frames", "5", "--camera", CAMERA];
        finish(viewer_of(honest.target.relay, &args));
        let health = get(honest.target.http, "/healthz");
        assert!(health.starts_with("HTTP/1.1 200"), "{health}");
        honest.assert_undisturbed(20);
        attacker.stop();
    });
}
