//! Frames against plain sockets that play relays, at one address and at several.

use protocol::control::{LeaseVerdict, Question};
use protocol::peer::Cookie;

use super::*;

fn relay() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

fn received(relay: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 100];
    let (len, from) = relay.recv_from(&mut buffer).unwrap();
    (buffer[..len].to_vec(), from)
}

#[test]
fn without_an_address_frames_are_skipped() {
    let address = RelayAddress::known(&[]);
    assert!(!UdpSender::new(address, None).send(b"frame", Instant::now()));
}

#[test]
fn the_link_follows_the_relays_address_from_the_same_port() {
    let ((first, at_first), (second, at_second)) = (relay(), relay());
    let address = RelayAddress::known(&[at_first]);
    let mut sender = UdpSender::new(address.clone(), None);
    assert!(sender.send(b"one", Instant::now()));
    let (_, from) = received(&first);
    address.set(&[at_second]);
    assert!(sender.send(b"two", Instant::now()));
    assert_eq!(received(&second), (b"two".to_vec(), from));
}

#[test]
fn a_refusal_belongs_to_an_earlier_frame_and_costs_none() {
    let (relay, at) = relay();
    drop(relay);
    let address = RelayAddress::known(&[at]);
    let mut sender = UdpSender::new(address, None);
    let now = Instant::now();
    assert!(sender.send(b"no relay", now) && sender.send(b"not yet", now));
    assert!(sender.failure.is_some());
    let relay = UdpSocket::bind(at).unwrap();
    relay
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert!(sender.send(b"a relay", now));
    assert_eq!(received(&relay).0, b"a relay");
    assert!(sender.send(b"still there", now + 2 * RECOVERED_AFTER));
    assert!(sender.failure.is_none());
}

#[test]
fn what_the_relay_sends_does_not_pile_up() {
    let (relay, at) = relay();
    let address = RelayAddress::known(&[at]);
    let mut sender = UdpSender::new(address, None);
    sender.send(b"frame", Instant::now());
    let (_, from) = received(&relay);
    for _ in 0..10 {
        relay.send_to(b"upgrade", from).unwrap();
    }
    assert!(sender.send(b"frame", Instant::now()));
    let (_, socket) = sender.socket.as_ref().unwrap();
    assert_eq!(
        socket.recv(&mut [0; 16]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn an_offer_counts_when_the_relay_has_answered_this_senders_own_probe() {
    let (relay, at) = relay();
    let address = RelayAddress::known(&[at]);
    let mut sender = UdpSender::new(address, Some(7));
    let frame = Control::Refused(Refusal::Taken).write();
    let now = Instant::now();
    sender.send(&frame, now);
    let (_, from) = received(&relay);
    relay.send_to(&Control::Upgrade.write(), from).unwrap();
    let mut buffer = [0; 1000];
    let question = (0..1000).find_map(|_| {
        sender.send(&frame, now);
        let length = relay.recv(&mut buffer).unwrap();
        match classify(buffer[..length].to_vec()) {
            Ok(Datagram::Control(Control::Probe(question))) => Some(question),
            _ => None,
        }
    });
    assert_eq!(question, Some(Question::new(7, None)));
    assert_eq!(
        sender.take_offer(),
        None,
        "an `upgrade` alone proves nothing"
    );
    let accept = |nonce, cookie| Control::Accept {
        nonce,
        verdict: LeaseVerdict::Full,
        cookie: Some(Cookie(cookie)),
    };
    for answer in [accept(8, 1), accept(7, 2)] {
        relay.send_to(&answer.write(), from).unwrap();
    }
    let offer = (0..1000).find_map(|_| {
        sender.send(&frame, now);
        sender.take_offer()
    });
    assert_eq!(offer.map(|offer| offer.cookie), Some(Some(Cookie(2))));
    assert_eq!(sender.take_offer(), None);
}

#[test]
fn why_the_relay_drops_the_frames_is_known() {
    let (relay, at) = relay();
    let address = RelayAddress::known(&[at]);
    let mut sender = UdpSender::new(address, None);
    let now = Instant::now();
    sender.send(b"frame", now);
    let (_, from) = received(&relay);
    let refused = Control::Refused(Refusal::Taken).write();
    relay.send_to(&refused, from).unwrap();
    let known = (0..1000).any(|_| {
        // Between two frames: the next one of a slow camera may be seconds away.
        sender.poll(now);
        sender.refusal(now) == Some(Refusal::Taken)
    });
    assert!(known);
}

/// A sender of a name with these addresses sends 10 frames a second of virtual time, until `relay` receives one.
fn reaches(addresses: &[SocketAddr], relay: &UdpSocket) -> Option<Duration> {
    let mut sender = UdpSender::new(RelayAddress::known(addresses), None);
    let start = Instant::now();
    relay.set_nonblocking(true).unwrap();
    let times = (0..200).map(|tenths| Duration::from_millis(100 * tenths));
    let mut reached = times.filter(|at| {
        sender.send(b"frame", start + *at);
        sender.poll(start + *at);
        relay.recv(&mut [0; 16]).is_ok()
    });
    reached.next()
}

/// A relay at any port of this address.
fn relay_at(ip: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

#[test]
fn localhost_is_the_address_at_which_a_relay_listens() {
    for (alive, dead) in [("127.0.0.1", "::1"), ("::1", "127.0.0.1")] {
        let (relay, at) = relay_at(alive);
        let (closed, refuses) = relay_at(dead);
        drop(closed);
        let took = reaches(&[refuses, at], &relay);
        assert!(took <= Some(Duration::from_millis(200)), "{alive} {took:?}");
        assert_eq!(reaches(&[at, refuses], &relay), Some(Duration::ZERO));
    }
}

#[test]
fn an_address_that_is_silent_is_left_after_two_seconds_and_one_without_a_route_at_once() {
    let ((relay, at), (_silent, other)) = (relay_at("127.0.0.1"), relay_at("::1"));
    let took = reaches(&[other, at], &relay);
    assert_eq!(took, Some(Duration::from_millis(2100)));
    // Reserved for documentation (RFC 3849); a host with a default route by IPv6 has one to it.
    let no_route = "[2001:db8::1]:9".parse().unwrap();
    if udp::connected(no_route, None).is_err() {
        assert_eq!(reaches(&[no_route, at], &relay), Some(Duration::ZERO));
    }
}

#[test]
fn a_tutorial_relay_that_never_answers_keeps_its_sender() {
    let ((relay, at), (silent, other)) = (relay_at("127.0.0.1"), relay_at("::1"));
    let mut sender = UdpSender::new(RelayAddress::known(&[other, at]), None);
    relay.set_nonblocking(true).unwrap();
    silent.set_nonblocking(true).unwrap();
    let start = Instant::now();
    let mut arrived = 0;
    for tenths in 0..250 {
        assert!(sender.send(b"frame", start + Duration::from_millis(100 * tenths)));
        arrived += u32::from(relay.recv(&mut [0; 16]).is_ok());
    }
    assert!(arrived >= 229, "{arrived} of 250 frames");
}

#[test]
fn a_relay_that_answers_keeps_its_sender_between_two_answers() {
    let ((relay, at), (_other, second)) = (relay_at("::1"), relay_at("127.0.0.1"));
    let address = RelayAddress::known(&[at, second]);
    let mut sender = UdpSender::new(address.clone(), None);
    let start = Instant::now();
    for tenths in 0..600 {
        let now = start + Duration::from_millis(100 * tenths);
        sender.send(b"frame", now);
        let (_, from) = received(&relay);
        // Two of three answers are lost.
        if tenths % 150 == 0 {
            relay.send_to(&Control::Upgrade.write(), from).unwrap();
            sender.poll(now);
        }
    }
    assert_eq!(address.current(), Some(at));
}

#[test]
fn where_no_relay_listens_the_frames_reach_the_one_that_starts() {
    let ((relay, at), (other, second)) = (relay_at("127.0.0.1"), relay_at("::1"));
    drop((relay, other));
    let mut sender = UdpSender::new(RelayAddress::known(&[second, at]), None);
    let start = Instant::now();
    for tenths in 0..20 {
        sender.send(b"frame", start + Duration::from_millis(100 * tenths));
    }
    assert!(sender.failure.is_some(), "which is logged");
    let relay = UdpSocket::bind(at).unwrap();
    relay.set_nonblocking(true).unwrap();
    let mut late = (0..3).filter(|n| {
        sender.send(b"frame", start + Duration::from_millis(2000 + 100 * n));
        relay.recv(&mut [0; 16]).is_ok()
    });
    assert!(late.next().is_some());
}
