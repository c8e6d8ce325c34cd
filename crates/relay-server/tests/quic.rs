//! The QUIC transport against real peers: what reaches which viewer, and what hostile peers can do.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod process;
    pub(crate) mod quic;
}

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use common::process::{MS, SOON, report, stop};
use common::quic::{
    FramesInTurn, SteadyFrames, frame, hello, open, send, sender, start, start_at, viewer, watch,
    watch_in_turn,
};
use protocol::quic::{Refusal, Role, ServerMessage};
use quic::client::{Client, ConnectFailure, ControlEvent};
use testkit::link::{Conditions, Link};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn frames_go_from_a_quic_sender_to_quic_and_udp_viewers() {
    let (relay, at) = start(&[]);
    let (first, named) = (viewer(at, None).await, viewer(at, Some("yard")).await);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(at).unwrap();
    udp.send(b"Request").unwrap();
    udp.set_nonblocking(true).unwrap();
    let session = sender(at, "yard").await;
    let (frames, [to_first, to_named]) =
        FramesInTurn::new(SteadyFrames::new("yard", 15_000, 30, 60));
    let (sent, first, named) = tokio::join!(
        send(&session, frames),
        watch_in_turn(&first, to_first, 60),
        watch_in_turn(&named, to_named, 60)
    );
    assert_eq!((sent, first.len(), named.len()), (60, 60, 60));
    let mut buffer = [0; 70_000];
    let received = std::iter::from_fn(|| udp.recv(&mut buffer).ok()).count();
    assert!(
        (1..=60).contains(&received),
        "what the socket's buffer held: {received}"
    );
    let report = report(relay);
    assert_eq!(
        (&report["received"], &report["viewers_peak"]),
        (&60.into(), &3.into())
    );
    assert!(
        report["forward_us_p99"].as_f64().unwrap() < 50_000.0,
        "{report}"
    );
}

#[tokio::test]
async fn a_lease_that_was_requested_in_the_name_of_a_quic_peer_costs_it_no_frame() {
    let (relay, at) = start(&[]);
    let viewer = viewer(at, Some("yard")).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The same address and port as the sender's.
    let forger = socket.try_clone().unwrap();
    forger.send_to(b"Request", at).unwrap();
    relay.wait_for_line("viewer joined", SOON);
    let mut client = Client::bound(socket, None).unwrap();
    let hello = hello(Role::Send, Some("yard"), None);
    let session = client.open(at, &hello).await.unwrap();
    let (frames, [to_viewer]) = FramesInTurn::new(SteadyFrames::new("yard", 15_000, 30, 60));
    let (sent, seen) = tokio::join!(
        send(&session, frames),
        watch_in_turn(&viewer, to_viewer, 60)
    );
    assert_eq!((sent, seen.len()), (60, 60));
    stop(relay);
}

#[tokio::test]
async fn who_asks_for_a_camera_that_is_not_there_hears_which_are_and_it_comes_by_itself() {
    let (relay, at) = start(&[]);
    let drive = sender(at, "drive").await;
    send(&drive, SteadyFrames::new("drive", 1000, 10, 2)).await;
    let mut viewer = viewer(at, Some("yard")).await;
    assert_eq!(viewer.answer.cameras, ["drive"]);
    let yard = sender(at, "yard").await;
    let numbers = tokio::join!(
        send(&yard, SteadyFrames::new("yard", 1000, 30, 30)),
        watch(&viewer, 1000 * MS)
    )
    .1;
    assert!(numbers.len() >= 29, "{numbers:?}");
    let cameras = async {
        loop {
            if let ControlEvent::Message(ServerMessage::Cameras(cameras)) =
                viewer.control.next().await.unwrap()
                && cameras.contains(&"yard".to_owned())
            {
                return cameras;
            }
        }
    };
    assert_eq!(timeout(SOON, cameras).await.unwrap(), ["drive", "yard"]);
    stop(relay);
}

#[tokio::test]
async fn a_second_sender_of_a_name_is_turned_away_while_the_first_is_live() {
    let (relay, at) = start(&[]);
    let first = sender(at, "yard").await;
    let second = async {
        sleep(500 * MS).await;
        let mut hello = hello(Role::Send, Some("yard"), None);
        hello.stream = Some(format!("{:016x}", 8));
        open(at, &hello, None).await.unwrap_err()
    };
    let (_, refused) = tokio::join!(
        send(&first, SteadyFrames::new("yard", 1000, 20, 40)),
        second
    );
    assert!(
        matches!(refused, ConnectFailure::Refused(Refusal::Taken)),
        "{refused}"
    );
    assert!(refused.is_temporary());
    assert!(
        stop(relay)
            .stderr
            .contains("another source sends as this camera")
    );
}

#[tokio::test]
async fn a_connection_from_before_a_crash_is_told_at_once_that_it_is_gone() {
    let state = tempfile::tempdir().unwrap();
    let flags = ["--state", state.path().to_str().unwrap()];
    let (relay, at) = start(&flags);
    let session = sender(at, "yard").await;
    send(&session, SteadyFrames::new("yard", 1000, 30, 10)).await;
    relay.kill();
    drop(relay.finish());
    let (relay, _) = start_at(&at.to_string(), &flags);
    let restarted = Instant::now();
    timeout(SOON, session.connection.closed()).await.unwrap();
    // The keep-alive comes every 0.7 s; without the reset it would be the timeout's 2.5 s.
    assert!(restarted.elapsed() < 1500 * MS, "{:?}", restarted.elapsed());
    stop(relay);
}

#[tokio::test]
async fn frames_that_were_acknowledged_outlive_their_connection() {
    const ROUNDS: u64 = 5;
    const FRAMES: u64 = 12;
    let (relay, at) = start(&[]);
    for round in 0..ROUNDS {
        let camera = format!("yard{round}");
        let session = sender(at, &camera).await;
        let mut streams = Vec::new();
        for seq in 1..=FRAMES {
            let mut stream = session.connection.open_uni().await.unwrap();
            stream.write_all(&frame(&camera, seq, 2000)).await.unwrap();
            stream.finish().unwrap();
            streams.push(stream);
        }
        for stream in &mut streams {
            stream.stopped().await.unwrap();
        }
        session.connection.close(quic::client::DONE, b"");
    }
    sleep(500 * MS).await;
    let report = report(relay);
    assert_eq!(report["received"], ROUNDS * FRAMES, "{report}");
}

#[tokio::test]
async fn a_relay_that_stops_says_so() {
    let (relay, at) = start(&[]);
    let session = viewer(at, None).await;
    relay.terminate();
    timeout(1000 * MS, session.connection.closed())
        .await
        .unwrap();
    drop(relay.finish());
}

#[tokio::test]
async fn a_router_that_changes_the_port_in_mid_stream_costs_nobody_the_picture() {
    let (relay, at) = start(&[]);
    let up = Link::start(at, Conditions::default(), 1);
    let down = Link::start(at, Conditions::default(), 2);
    let (sender, viewer) = (
        sender(up.address(), "yard").await,
        viewer(down.address(), None).await,
    );
    let rebind = async {
        sleep(1000 * MS).await;
        up.rebind();
        sleep(1000 * MS).await;
        down.rebind();
    };
    let (_, numbers, ()) = tokio::join!(
        send(&sender, SteadyFrames::new("yard", 5000, 20, 100)),
        watch(&viewer, 3000 * MS),
        rebind
    );
    assert!(numbers.len() >= 80, "{} of 100", numbers.len());
    assert!((95..=100).all(|seq| numbers.contains(&seq)));
    let finished = stop(relay);
    assert!(
        !finished.stderr.contains("goes on from here"),
        "it is the same sender"
    );
}

#[tokio::test]
async fn one_viewer_that_reads_nothing_costs_the_other_nine_and_the_camera_nothing() {
    let (relay, at) = start(&[]);
    let blocked = viewer(at, None).await;
    let mut viewers = Vec::new();
    for _ in 0..9 {
        viewers.push(viewer(at, None).await);
    }
    let before = relay.rss_kb();
    let sender = sender(at, "yard").await;
    let watching = viewers.iter().map(|session| watch(session, 2000 * MS));
    let (sent, numbers) = tokio::join!(
        send(&sender, SteadyFrames::new("yard", 40_000, 30, 150)),
        futures_util::future::join_all(watching)
    );
    assert_eq!(sent, 150);
    let least = numbers.iter().map(HashSet::len).min();
    assert!(least >= Some(148), "{least:?}");
    let grown = relay.rss_kb().saturating_sub(before);
    assert!(
        grown < 30_000,
        "{grown} kB for ten viewers, one of them blocked"
    );
    drop(blocked);
    stop(relay);
}

#[tokio::test]
async fn a_spoofed_first_packet_draws_less_than_a_tenth_of_itself() {
    let (relay, at) = start(&[]);
    let recorder = UdpSocket::bind("127.0.0.1:0").unwrap();
    recorder.set_nonblocking(true).unwrap();
    let target = recorder.local_addr().unwrap();
    let opening = tokio::spawn(async move {
        open(target, &hello(Role::View, None, None), None)
            .await
            .is_ok()
    });
    let mut initial = vec![0; 2000];
    let length = loop {
        match recorder.recv(&mut initial) {
            Ok(length) => break length,
            Err(_) => sleep(10 * MS).await,
        }
    };
    opening.abort();
    let victim = UdpSocket::bind("127.0.0.1:0").unwrap();
    victim.set_nonblocking(true).unwrap();
    victim.send_to(&initial[..length], at).unwrap();
    sleep(3000 * MS).await;
    let mut drawn = 0;
    while let Ok((bytes, _)) = victim.recv_from(&mut [0; 2000]) {
        drawn += bytes;
    }
    assert!(
        drawn > 0 && drawn * 10 <= length,
        "{drawn} bytes for {length}"
    );
    stop(relay);
}

#[tokio::test]
async fn strangers_who_say_nonsense_or_nothing_are_put_out() {
    let (relay, at) = start(&[]);
    let watching = viewer(at, None).await;
    for bytes in [
        &b""[..],
        b"{\"role\":\"fly\"}\n",
        b"\xFF\xD8\xFF\n",
        &[b'x'; 20_000],
    ] {
        let session = viewer(at, None).await;
        drop(session);
        let failure = send_raw(at, bytes).await;
        assert!(
            failure.contains("hello") || failure.contains("stopped") || failure.contains("reset"),
            "{failure}"
        );
    }
    let sender = sender(at, "yard").await;
    for junk in [vec![0; 70_000], vec![0xFF; 200_000], b"{".to_vec()] {
        let mut stream = sender.connection.open_uni().await.unwrap();
        let _ = timeout(500 * MS, stream.write_all(&junk)).await;
        let _ = stream.finish();
    }
    let other = self::sender(at, "drive").await;
    let numbers = tokio::join!(
        send(&other, SteadyFrames::new("drive", 1000, 30, 30)),
        watch(&watching, 1000 * MS)
    )
    .1;
    assert!(numbers.len() >= 29);
    assert!(relay.rss_kb() < 200_000);
    stop(relay);
}

/// Sends these bytes in place of a hello, and returns the reason of the connection's end.
async fn send_raw(relay: SocketAddr, bytes: &[u8]) -> String {
    let connection = quic::client::connect(relay).await.unwrap();
    let (mut outgoing, _incoming) = connection.open_bi().await.unwrap();
    let _ = outgoing.write_all(bytes).await;
    timeout(SOON, connection.closed())
        .await
        .unwrap()
        .to_string()
}

#[test]
fn udp_frames_that_the_kernel_hands_over_in_one_piece_are_told_apart() {
    let (relay, at) = start(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let state = quinn::udp::UdpSocketState::new((&socket).into()).unwrap();
    let batch: Vec<u8> = (1..=20).flat_map(|seq| frame("yard", seq, 1000)).collect();
    let size = batch.len() / 20;
    assert!(state.max_gso_segments() >= 20, "this kernel has no GSO");
    let transmit = quinn::udp::Transmit {
        destination: at,
        ecn: None,
        contents: &batch,
        segment_size: Some(size),
        src_ip: None,
    };
    state.send((&socket).into(), &transmit).unwrap();
    let deadline = Instant::now() + SOON;
    // Only the report at the end shows how many have arrived.
    while Instant::now() < deadline
        && relay
            .stderr()
            .iter()
            .all(|line| !line.contains("camera appeared"))
    {
        std::thread::sleep(20 * MS);
    }
    assert_eq!(report(relay)["received"], 20);
}

/// The way of one peer to the relay: its packets leave by the socket of this number, and the answers to each are counted.
struct Detour {
    at: SocketAddr,
    by: Arc<AtomicUsize>,
    answers: Arc<[AtomicUsize; 3]>,
}

impl Detour {
    fn start(relay: SocketAddr) -> Self {
        let bind = |host| {
            let socket = UdpSocket::bind((host, 0)).unwrap();
            socket.set_read_timeout(Some(5 * MS)).unwrap();
            socket
        };
        let inner = bind("127.0.0.1");
        // Its own port, that which a router chose later, and another host's.
        let outer = ["127.0.0.1", "127.0.0.1", "127.0.0.2"].map(bind);
        let detour = Self {
            at: inner.local_addr().unwrap(),
            by: Arc::default(),
            answers: Arc::default(),
        };
        let peer = Arc::new(OnceLock::new());
        for (n, socket) in outer.iter().enumerate() {
            let (socket, inner) = (socket.try_clone().unwrap(), inner.try_clone().unwrap());
            let (answers, peer) = (detour.answers.clone(), peer.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 2000];
                loop {
                    let Some(peer) = peer.get() else {
                        std::thread::sleep(MS);
                        continue;
                    };
                    if let Ok(length) = socket.recv(&mut buffer) {
                        answers[n].fetch_add(length, Ordering::Relaxed);
                        let _ = inner.send_to(&buffer[..length], *peer);
                    }
                }
            });
        }
        let by = detour.by.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            loop {
                if let Ok((length, from)) = inner.recv_from(&mut buffer) {
                    // The client also tries whether the port is closed, from another socket and with a few bytes.
                    if length > 100 {
                        peer.get_or_init(|| from);
                    }
                    let _ = outer[by.load(Ordering::Relaxed)].send_to(&buffer[..length], relay);
                }
            }
        });
        detour
    }

    fn answers(&self, n: usize) -> usize {
        self.answers[n].load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_connection_follows_a_routers_port_and_sends_nothing_to_another_host() {
    let (relay, at) = start(&[]);
    let detour = Detour::start(at);
    let viewer = viewer(detour.at, Some("yard")).await;
    let sender = sender(at, "yard").await;
    let change = async {
        // For its first seconds the relay answers packets of connections from before its start.
        sleep(5500 * MS).await;
        detour.by.store(1, Ordering::Relaxed);
        sleep(500 * MS).await;
        let by_new_port = detour.answers(1);
        detour.by.store(2, Ordering::Relaxed);
        sleep(500 * MS).await;
        let elsewhere = detour.answers(2);
        detour.by.store(1, Ordering::Relaxed);
        (by_new_port, elsewhere)
    };
    let (sent, seen, (by_new_port, elsewhere)) = tokio::join!(
        send(&sender, SteadyFrames::new("yard", 10_000, 10, 80)),
        watch(&viewer, 1500 * MS),
        change
    );
    assert!(by_new_port > 10_000, "{by_new_port} bytes");
    assert_eq!(elsewhere, 0, "bytes to another host");
    // What was sent while its packets came from elsewhere was not acknowledged.
    assert!(seen.len() >= 70, "{} of {sent}", seen.len());
    stop(relay);
}
