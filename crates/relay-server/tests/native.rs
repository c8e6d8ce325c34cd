//! The relay's native door against real QUIC peers: who is let in, what reaches whom, and what a stranger can do.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use platform::egress::EgressStats;
use protocol::control::{Control, Verdict};
use protocol::datagram::{Datagram, classify};
use protocol::label::{Label, StreamId};
use protocol::quic::{Hello, Refusal, Role, ServerMessage};
use protocol::ticket::{Key, Ticket};
use quic::client::{Client, ConnectFailure, ControlEvent, Session};
use quic::frames::{self, FrameSource, Incoming, OutgoingFrame};
use serde_json::Value;
use testkit::jpeg::Sketch;
use testkit::link::{Conditions, Link};
use testkit::process::{Finished, Program, Running};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};

const RELAY: &str = env!("CARGO_BIN_EXE_relay-server");
const SOON: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

fn start(words: &[&str]) -> (Running, SocketAddr) {
    start_at("127.0.0.1:0", words)
}

fn start_at(listen: &str, words: &[&str]) -> (Running, SocketAddr) {
    let always = [
        "--listen", listen, "--model", "none", "--http", "off", "--report",
    ];
    let running = Program::new(RELAY).args(always).args(words).start();
    let address = running.listening();
    (running, address)
}

fn stop(running: Running) -> Finished {
    running.terminate();
    let finished = running.finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stopped_in.unwrap() < Duration::from_secs(2));
    finished
}

fn report(running: Running) -> Value {
    stop(running).report.unwrap()
}

fn hello(role: Role, camera: Option<&str>, token: Option<String>) -> Hello {
    Hello {
        role,
        camera: camera.map(str::to_owned),
        token,
        stream: (role == Role::Send).then(|| format!("{:016x}", 7)),
    }
}

async fn open(
    relay: SocketAddr,
    hello: &Hello,
    pinned: Option<Key>,
) -> Result<Session, ConnectFailure> {
    Client::new(relay, pinned).unwrap().open(relay, hello).await
}

async fn viewer(relay: SocketAddr, camera: Option<&str>) -> Session {
    open(relay, &hello(Role::View, camera, None), None)
        .await
        .unwrap()
}

async fn sender(relay: SocketAddr, camera: &str) -> Session {
    open(relay, &hello(Role::Send, Some(camera), None), None)
        .await
        .unwrap()
}

fn frame(camera: &str, seq: u64, bytes: usize) -> Vec<u8> {
    let label = Label {
        stream: StreamId(7),
        seq,
        captured_us: platform::clock::unix_micros(),
        camera: camera.parse().unwrap(),
    };
    let mut sketch = Sketch::new(300, 200);
    let padding = vec![0x20; bytes.saturating_sub(300).min(60_000)];
    if !padding.is_empty() {
        sketch = sketch.segment(0xFE, &padding);
    }
    label.write(&sketch.bytes())
}

/// Frames at a steady rate.
struct Steady {
    camera: &'static str,
    bytes: usize,
    seq: u64,
    end: u64,
    ticks: tokio::time::Interval,
}

impl Steady {
    fn new(camera: &'static str, bytes: usize, fps: u32, end: u64) -> Self {
        let ticks = interval(Duration::from_secs(1) / fps);
        Self {
            camera,
            bytes,
            seq: 0,
            end,
            ticks,
        }
    }
}

impl FrameSource for Steady {
    async fn next(&mut self) -> Option<OutgoingFrame> {
        self.ticks.tick().await;
        self.seq += 1;
        (self.seq <= self.end).then(|| OutgoingFrame {
            number: self.seq,
            jpeg: frame(self.camera, self.seq, self.bytes).into(),
            ready_at: Instant::now(),
        })
    }
}

/// Sends until the last frame has arrived.
async fn send(session: &Session, mut frames: Steady) -> u64 {
    let flow = EgressStats::default();
    frames::send(&session.connection, &flow, &mut frames)
        .await
        .unwrap();
    flow.snapshot().sent
}

/// The numbers of the frames that come until nothing has come for a while.
async fn watch(session: &Session, patience: Duration) -> HashSet<u64> {
    let (out, mut arrivals) = mpsc::channel(8);
    let collect = async {
        let mut numbers = HashSet::new();
        while let Ok(Some(arrival)) = timeout(patience, arrivals.recv()).await {
            if let Incoming::Frame(jpeg) = arrival {
                numbers.insert(Label::read(&jpeg).unwrap().unwrap().seq);
            }
        }
        numbers
    };
    tokio::select! {
        _ = frames::receive(&session.connection, out) => panic!("the connection ended"),
        numbers = collect => numbers,
    }
}

#[tokio::test]
async fn frames_go_from_a_native_sender_to_native_and_plain_viewers() {
    let (relay, at) = start(&[]);
    let (first, named) = (viewer(at, None).await, viewer(at, Some("yard")).await);
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    plain.connect(at).unwrap();
    plain.send(b"Request").unwrap();
    plain.set_nonblocking(true).unwrap();
    let sending = async {
        let session = sender(at, "yard").await;
        send(&session, Steady::new("yard", 15_000, 30, 60)).await
    };
    let (sent, first, named) =
        tokio::join!(sending, watch(&first, 2000 * MS), watch(&named, 2000 * MS));
    assert_eq!((sent, first.len(), named.len()), (60, 60, 60));
    let mut buffer = [0; 70_000];
    let plain = std::iter::from_fn(|| plain.recv(&mut buffer).ok()).count();
    assert!(
        (1..=60).contains(&plain),
        "what its socket buffer held: {plain}"
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
async fn who_asks_for_a_camera_that_is_not_there_hears_which_are_and_it_comes_by_itself() {
    let (relay, at) = start(&[]);
    let door = sender(at, "door").await;
    send(&door, Steady::new("door", 1000, 10, 2)).await;
    let mut roof = viewer(at, Some("roof")).await;
    assert_eq!(roof.answer.cameras, ["door"]);
    let yard = sender(at, "roof").await;
    let numbers = tokio::join!(
        send(&yard, Steady::new("roof", 1000, 30, 30)),
        watch(&roof, 1000 * MS)
    )
    .1;
    assert!(numbers.len() >= 29, "{numbers:?}");
    let told = async {
        loop {
            if let ControlEvent::Message(ServerMessage::Cameras(cameras)) =
                roof.control.next().await.unwrap()
                && cameras.contains(&"roof".to_owned())
            {
                return cameras;
            }
        }
    };
    assert_eq!(timeout(SOON, told).await.unwrap(), ["door", "roof"]);
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
    let (_, refused) = tokio::join!(send(&first, Steady::new("yard", 1000, 20, 40)), second);
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

/// The sender's and the viewer's ticket as the log prints them, ready to paste.
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

fn private(state: &Path, words: &[&str]) -> (Running, SocketAddr) {
    let state = state.to_str().unwrap();
    start(&[&["--private", "--state", state], words].concat())
}

#[tokio::test]
async fn a_private_relay_lets_in_its_tickets_and_says_to_everybody_else_why_not() {
    let state = tempfile::tempdir().unwrap();
    let (relay, at) = private(state.path(), &[]);
    let [send, view] = tickets(&relay);
    assert_eq!(send.host.to_string(), at.to_string());
    let pinned = Some(view.fingerprint);
    let ask = async |role, token: Option<&Key>| {
        let hello = hello(role, Some("yard"), token.map(Key::to_string));
        open(at, &hello, pinned).await
    };
    assert!(ask(Role::Send, Some(&send.token)).await.is_ok());
    assert!(ask(Role::View, Some(&view.token)).await.is_ok());
    for (role, token, why) in [
        (Role::View, None, Refusal::Private),
        (Role::Send, None, Refusal::Private),
        (Role::View, Some(&send.token), Refusal::Role),
        (Role::Send, Some(&view.token), Refusal::Role),
        (Role::View, Some(&Key([1; 32])), Refusal::Token),
    ] {
        let failure = ask(role, token).await.unwrap_err();
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
async fn who_guesses_tokens_is_shut_out_for_a_while() {
    let state = tempfile::tempdir().unwrap();
    let (relay, at) = private(state.path(), &[]);
    let [_, view] = tickets(&relay);
    for guess in 0..5 {
        let wrong = hello(Role::View, None, Some(Key([guess; 32]).to_string()));
        let failure = open(at, &wrong, None).await.unwrap_err();
        assert!(
            matches!(failure, ConnectFailure::Refused(Refusal::Token)),
            "{failure}"
        );
    }
    let right = hello(Role::View, None, Some(view.token.to_string()));
    let failure = open(at, &right, None).await.unwrap_err();
    assert!(failure.is_temporary(), "{failure}");
    stop(relay);
}

#[tokio::test]
async fn tickets_outlive_a_restart_and_not_a_rotation_and_name_the_advertised_host() {
    let state = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let (relay, _) = private(state.path(), words);
        let tickets = tickets(&relay);
        stop(relay);
        tickets
    };
    let first = run(&["--advertise", "relay.example"]);
    assert!(first[0].host.to_string().starts_with("relay.example:"));
    let again = run(&["--advertise", "relay.example:9000"]);
    assert_eq!(again[0].host.to_string(), "relay.example:9000");
    assert_eq!(
        (first[0].token, first[1].fingerprint),
        (again[0].token, again[1].fingerprint)
    );
    let rotated = run(&["--rotate"]);
    assert!(rotated[0].token != first[0].token && rotated[0].fingerprint != first[0].fingerprint);
}

#[test]
fn a_private_relays_plain_door_answers_no_stranger() {
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
    let hello = Control::Hello { nonce: 1 }.write();
    socket.send(&hello).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    let verdict = Verdict::Private;
    let answer = Ok(Datagram::Control(Control::Accept { nonce: 1, verdict }));
    assert_eq!(classify(buffer[..length].to_vec()), answer);
    assert!(length <= hello.len());
    socket.send(&frame("yard", 1, 0)).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(
        classify(buffer[..length].to_vec()),
        Ok(Datagram::Control(Control::Upgrade))
    );
    let report = report(relay);
    assert_eq!(report["dropped"]["private"], 3);
    assert_eq!(report["received"], 0);
}

#[tokio::test]
async fn a_connection_from_before_a_crash_is_told_at_once_that_it_is_gone() {
    let state = tempfile::tempdir().unwrap();
    let words = ["--state", state.path().to_str().unwrap()];
    let (relay, at) = start(&words);
    let session = sender(at, "yard").await;
    send(&session, Steady::new("yard", 1000, 30, 10)).await;
    relay.kill();
    drop(relay.finish());
    let (relay, _) = start_at(&at.to_string(), &words);
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
        send(&sender, Steady::new("yard", 5000, 20, 100)),
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
        send(&sender, Steady::new("yard", 40_000, 30, 150)),
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
    let watcher = viewer(at, None).await;
    for words in [
        &b""[..],
        b"{\"role\":\"fly\"}\n",
        b"\xFF\xD8\xFF\n",
        &[b'x'; 20_000],
    ] {
        let session = viewer(at, None).await;
        drop(session);
        let failure = raw(at, words).await;
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
    let other = self::sender(at, "door").await;
    let numbers = tokio::join!(
        send(&other, Steady::new("door", 1000, 30, 30)),
        watch(&watcher, 1000 * MS)
    )
    .1;
    assert!(numbers.len() >= 29);
    assert!(relay.rss_kb() < 200_000);
    stop(relay);
}

/// Says these bytes in place of a hello and tells what came back as the connection's end.
async fn raw(relay: SocketAddr, words: &[u8]) -> String {
    let connection = quic::client::connect(relay).await.unwrap();
    let (mut say, _hear) = connection.open_bi().await.unwrap();
    let _ = say.write_all(words).await;
    timeout(SOON, connection.closed())
        .await
        .unwrap()
        .to_string()
}

#[test]
fn plain_frames_that_the_kernel_hands_over_in_one_piece_are_told_apart() {
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
    // Nothing tells that they have come but the report at the end.
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
