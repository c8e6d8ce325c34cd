//! The link on real sockets: what passes, where it comes out, and when.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

fn client(link: &Link) -> UdpSocket {
    let client = socket();
    client.connect(link.address()).unwrap();
    client
}

fn link(target: &UdpSocket, impairments: Impairments) -> Link {
    Link::start(
        target.local_addr().unwrap(),
        Conditions::both(impairments),
        1,
    )
}

fn take(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..length].to_vec(), from)
}

fn assert_silent(socket: &UdpSocket) {
    socket.set_read_timeout(Some(80 * MS)).unwrap();
    assert!(socket.recv(&mut [0; 16]).is_err());
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
}

#[test]
fn a_round_trip_takes_both_delays_and_hardly_more() {
    let target = socket();
    let impairments = Impairments {
        delay: 15 * MS,
        ..Impairments::default()
    };
    let link = link(&target, impairments);
    let client = client(&link);
    let shortest = (0..10)
        .map(|_| {
            let start = Instant::now();
            client.send(b"there").unwrap();
            let (_, from) = take(&target);
            target.send_to(b"and back", from).unwrap();
            take(&client);
            start.elapsed()
        })
        .min()
        .unwrap();
    assert!((30 * MS..33 * MS).contains(&shortest), "{shortest:?}");
}

#[test]
fn each_client_gets_what_is_for_it() {
    let target = socket();
    let link = link(&target, Impairments::default());
    let clients = [client(&link), client(&link)];
    for (n, client) in clients.iter().enumerate() {
        client.send(&[n as u8]).unwrap();
    }
    for _ in &clients {
        let (word, from) = take(&target);
        target.send_to(&word, from).unwrap();
    }
    for (n, client) in clients.iter().enumerate() {
        assert_eq!(take(client).0, [n as u8]);
    }
}

#[test]
fn after_a_rebinding_the_client_has_another_port_and_the_old_one_is_silent() {
    let target = socket();
    let link = link(&target, Impairments::default());
    let client = client(&link);
    client.send(b"one").unwrap();
    let (_, before) = take(&target);
    link.rebind();
    target.send_to(b"for the old port", before).unwrap();
    assert_silent(&client);
    assert!(UdpSocket::bind(before).is_err(), "a refusal is no silence");
    client.send(b"two").unwrap();
    let (_, after) = take(&target);
    assert_ne!(before, after);
    target.send_to(b"for the new port", after).unwrap();
    assert_eq!(take(&client).0, b"for the new port");
}

#[test]
fn a_cut_link_carries_nothing_and_a_mended_one_does_again() {
    let target = socket();
    let impairments = Impairments {
        delay: 60 * MS,
        ..Impairments::default()
    };
    let link = link(&target, impairments);
    let client = client(&link);
    client.send(b"on its way").unwrap();
    while link.counters().up.offered.datagrams == 0 {}
    link.cut(true);
    client.send(b"too late").unwrap();
    assert_silent(&target);
    assert_eq!(link.counters().up.dropped.datagrams, 2);
    link.cut(false);
    client.send(b"again").unwrap();
    assert_eq!(take(&target).0, b"again");
}

#[test]
fn other_conditions_hold_from_now_on() {
    let target = socket();
    let link = link(&target, Impairments::default());
    let client = client(&link);
    client.send(b"one").unwrap();
    take(&target);
    link.set(Conditions {
        up: Impairments {
            loss: Loss::Random(1.0),
            ..Impairments::default()
        },
        down: Impairments::default(),
    });
    client.send(b"two").unwrap();
    assert_silent(&target);
}

#[test]
fn a_camera_of_40_kb_at_30_fps_comes_through_whole_and_is_counted_as_ip() {
    let target = socket();
    socket2::SockRef::from(&target)
        .set_recv_buffer_size(4 << 20)
        .unwrap();
    let link = link(&target, Impairments::default());
    let client = client(&link);
    let start = Instant::now();
    for frame in 0..10 {
        thread::sleep((start + frame * 33 * MS).saturating_duration_since(Instant::now()));
        for _ in 0..28 {
            client.send(&[0; 1452]).unwrap();
        }
    }
    for _ in 0..280 {
        assert_eq!(take(&target).0.len(), 1452);
    }
    client.send(&[0; 65_507]).unwrap();
    assert_eq!(take(&target).0.len(), 65_507);
    let all = Volume {
        datagrams: 281,
        bytes: 280 * 1480 + 65_507 + 8 + 45 * 20,
    };
    let up = link.counters().up;
    assert_eq!((up.offered, up.delivered), (all, all));
    assert_eq!(up.dropped, Volume::default());
}

#[test]
fn a_target_that_is_not_there_yet_is_a_failure_that_passes() {
    let target = socket();
    let address = target.local_addr().unwrap();
    let link = link(&target, Impairments::default());
    drop(target);
    let client = client(&link);
    for _ in 0..5 {
        client.send(b"too early").unwrap();
        thread::sleep(2 * MS);
    }
    let target = UdpSocket::bind(address).unwrap();
    target
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    client.send(b"now").unwrap();
    assert_eq!(take(&target).0, b"now");
}

#[test]
fn a_dropped_link_is_gone() {
    let link = link(&socket(), Impairments::default());
    let address = link.address();
    drop(link);
    UdpSocket::bind(address).unwrap();
}
