//! Frames of 1080p: what reaches which viewer, and what incomplete ones cost.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
    pub(crate) mod quic;
    pub(crate) mod udp;
}

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::http::HttpRelay;
use common::process::{MS, report, stop};
use common::quic::{hello, open, sender, start, viewer};
use common::udp;
use opencv::core::{CV_8UC3, Mat, Scalar, randu};
use platform::egress::EgressStats;
use protocol::datagram::{Datagram, classify};
use protocol::label::{Label, StreamId};
use protocol::quic::Role;
use protocol::{MAX_FRAME, SMALL_FRAME};
use quic::client::Session;
use quic::frames::{self, FrameSource, OutgoingFrame};
use quic::receive::{self, Incoming, InputLimits};
use tokio::sync::mpsc;
use tokio::time::{Interval, interval, sleep, timeout, timeout_at};
use tungstenite::{Message, WebSocket};

/// Time after which a frame that has not arrived counts as lost: longer than a camera's, for the sake of busy machines, and
/// shorter than the time for incomplete frames.
const GIVE_UP: Duration = Duration::from_millis(600);

/// A 1080p picture of so much noise at quality 85, labelled.
fn frame(seq: u64, noise: f64) -> Bytes {
    let grey = Scalar::all((seq * 40 % 256) as f64);
    let mut picture = Mat::new_rows_cols_with_default(1080, 1920, CV_8UC3, grey).unwrap();
    if noise > 0.0 {
        randu(&mut picture, &0.0, &noise).unwrap();
    }
    let label = Label {
        stream: StreamId(7),
        seq,
        captured_us: platform::clock::unix_micros(),
        camera: "yard".parse().unwrap(),
    };
    label
        .write(&imaging::jpeg::encode(&picture, 85).unwrap())
        .into()
}

fn film(frames: u64) -> Vec<Bytes> {
    (1..=frames).map(|seq| frame(seq, 24.0)).collect()
}

/// Shows these frames at a steady rate.
struct Film {
    frames: Vec<Bytes>,
    shown: usize,
    ticks: Interval,
}

impl FrameSource for Film {
    async fn next(&mut self) -> Option<OutgoingFrame> {
        self.ticks.tick().await;
        let jpeg = self.frames.get(self.shown)?.clone();
        self.shown += 1;
        Some(OutgoingFrame {
            number: self.shown as u64,
            jpeg,
            ready_at: Instant::now(),
        })
    }
}

/// Sends frames as the camera `yard`; returns once the last has arrived.
async fn send(session: &Session, frames: &[Bytes]) {
    let mut film = Film {
        frames: frames.to_vec(),
        shown: 0,
        ticks: interval(200 * MS),
    };
    let stats = EgressStats::default();
    frames::send(&session.connection, &stats, &mut film)
        .await
        .unwrap();
}

/// Receives frames until none has come for 2 s, by number.
async fn watch(session: &Session) -> BTreeMap<u64, Bytes> {
    let limits = InputLimits {
        bytes: 2 * MAX_FRAME,
        lines: true,
        streams: None,
    };
    let (out, mut arrivals) = mpsc::channel(8);
    let collect = async {
        let mut frames = BTreeMap::new();
        while let Ok(Some(arrival)) = timeout(2000 * MS, arrivals.recv()).await {
            if let Incoming::Frame(jpeg, _) = arrival {
                frames.insert(Label::read(&jpeg).unwrap().unwrap().seq, jpeg);
            }
        }
        frames
    };
    tokio::select! {
        _ = receive::receive(&session.connection, limits, out) => panic!("the connection ended"),
        frames = collect => frames,
    }
}

/// Asks a WebSocket for frames until one with this number came.
fn watch_socket(mut socket: WebSocket<TcpStream>, last: u64) -> BTreeMap<u64, Bytes> {
    let mut frames = BTreeMap::new();
    while !frames.contains_key(&last) {
        if let Message::Binary(jpeg) = socket.read().unwrap() {
            frames.insert(Label::read(&jpeg).unwrap().unwrap().seq, jpeg);
            socket.send(Message::Binary(Bytes::new())).unwrap();
        }
    }
    frames
}

#[tokio::test]
async fn frames_of_1080p_arrive_byte_for_byte_by_quic_and_at_a_websocket() {
    let relay = HttpRelay::start(&[]);
    let at = relay.running.listening();
    let frames = film(10);
    assert!(frames.iter().all(|frame| frame.len() > 300_000));
    let (camera, by_quic) = (sender(at, "yard").await, viewer(at, Some("yard")).await);
    // A socket is of a camera that has been seen.
    send(&camera, &frames[..1]).await;
    let socket = relay.socket("/cam/yard/ws");
    let by_http = thread::spawn(move || watch_socket(socket, 10));
    let ((), by_quic) = tokio::join!(send(&camera, &frames[1..]), watch(&by_quic));
    let by_http = by_http.join().unwrap();
    let is_whole = |(seq, jpeg): &(&u64, &Bytes)| **jpeg == frames[**seq as usize - 1];
    assert!(by_quic.len() >= 8, "{}", by_quic.len());
    assert!(by_quic.iter().all(|frame| is_whole(&frame)));
    // A socket begins with small renditions, until it is known what the path carries.
    let whole = by_http.iter().filter(is_whole).count();
    assert!(
        whole >= 3 && whole + 4 >= by_http.len(),
        "{whole} of {}",
        by_http.len()
    );
    assert!(by_http.last_key_value().as_ref().is_some_and(is_whole));
    stop(relay.running);
}

#[tokio::test]
async fn a_udp_viewer_gets_renditions_within_300x200_that_cross_a_lossy_path() {
    let (relay, at) = start(&[]);
    let socket = tokio::task::spawn_blocking(move || udp::viewer(at))
        .await
        .unwrap();
    let camera = sender(at, "yard").await;
    let seen = thread::spawn(move || {
        let mut seen: Vec<(u64, usize, String)> = Vec::new();
        while seen.last().is_none_or(|(seq, ..)| *seq < 10) {
            if let Ok(Datagram::Frame(frame)) = classify(udp::receive(&socket)) {
                let label = frame.label.unwrap();
                seen.push((label.seq, frame.jpeg.len(), frame.size.to_string()));
            }
        }
        seen
    });
    send(&camera, &film(10)).await;
    let seen = seen.join().unwrap();
    assert!(
        seen.len() >= 5 && seen.is_sorted_by_key(|(seq, ..)| *seq),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .all(|(_, bytes, size)| *bytes <= SMALL_FRAME && size == "300x169"),
        "{seen:?}"
    );
    drop(camera);
    stop(relay);
}

/// Hostile connections that come first. Each may have a frame of 2.9 MB then.
const FIRST: usize = 4;
/// Bytes of their frames without an end. They stop there: with one byte more these would be too large for the part that they
/// have when the others have come, and the relay would drop them for that.
const FIRST_BYTES: usize = 2_700_000;
/// Time after which the other connections come: the first are permitted nothing more by then.
const OTHERS_AFTER: Duration = Duration::from_millis(500);

/// Waits until the hostile connection with this number comes; returns its frame without an end.
async fn endless(n: usize) -> Vec<u8> {
    let bytes = match n < FIRST {
        true => FIRST_BYTES,
        false => {
            sleep(OTHERS_AFTER).await;
            MAX_FRAME - 100
        }
    };
    let mut frame = vec![0x20; bytes];
    frame[..3].copy_from_slice(&[0xFF, 0xD8, 0xFF]);
    frame
}

/// Opens a connection as a camera, and sends a frame without its end again and again.
async fn send_without_end(at: SocketAddr, n: usize) {
    let frame = endless(n).await;
    let session = sender(at, &format!("hostile{n}")).await;
    loop {
        let Ok(mut stream) = session.connection.open_uni().await else {
            return;
        };
        let _ = stream.write_all(&frame).await;
        let _ = timeout(5000 * MS, stream.stopped()).await;
        // Not so often that the machine has no time for the camera.
        sleep(2000 * MS).await;
    }
}

/// The same, but all leave before their frames count as incomplete for too long, and come back in the same order.
async fn rejoin_without_end(at: SocketAddr, n: usize) {
    let mut rounds = interval(2500 * MS);
    for round in 0.. {
        let begin = rounds.tick().await;
        let frame = endless(n).await;
        let name = format!("hostile{n}-{}", round % 2);
        let stay = async {
            let hello = hello(Role::Send, Some(&name), None);
            let session = open(at, &hello, None).await.ok()?;
            let mut stream = session.connection.open_uni().await.ok()?;
            stream.write_all(&frame).await.ok()?;
            stream.stopped().await.ok()
        };
        let _ = timeout_at(begin + 2300 * MS, stay).await;
    }
}

/// Sends frames as the camera `yard`, each when the viewer has the last one or it was given up. Returns how many it got.
async fn send_in_turn(camera: &Session, viewer: &Session, frames: &[Bytes]) -> usize {
    let limits = InputLimits {
        bytes: 2 * MAX_FRAME,
        lines: true,
        streams: None,
    };
    let (out, mut arrivals) = mpsc::channel(8);
    let mut shown = 0;
    let send = async {
        for frame in frames {
            sleep(200 * MS).await;
            let mut stream = camera.connection.open_uni().await.unwrap();
            let arrives = async {
                stream.write_all(frame).await.unwrap();
                stream.finish().unwrap();
                while let Some(arrival) = arrivals.recv().await {
                    if matches!(arrival, Incoming::Frame(jpeg, _) if jpeg == *frame) {
                        break;
                    }
                }
            };
            match timeout(GIVE_UP, arrives).await {
                Ok(()) => shown += 1,
                Err(_) => drop(stream.reset(1_u32.into())),
            }
        }
    };
    tokio::select! {
        _ = receive::receive(&viewer.connection, limits, out) => panic!("the connection ended"),
        () = send => {}
    }
    shown
}

/// Sends 25 frames of a camera while 24 hostile connections of its host do this.
async fn cost_of_24<F>(hostile: fn(SocketAddr, usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (relay, at) = start(&[]);
    let camera = sender(at, "yard").await;
    let seen = viewer(at, Some("yard")).await;
    let before = relay.rss_kb();
    let frames = film(25);
    let hostile: Vec<_> = (0..24).map(|n| tokio::spawn(hostile(at, n))).collect();
    sleep(OTHERS_AFTER + 200 * MS).await;
    let mut peak = before;
    let sample = async {
        loop {
            peak = peak.max(relay.rss_kb());
            sleep(20 * MS).await;
        }
    };
    let shown = tokio::select! {
        shown = send_in_turn(&camera, &seen, &frames) => shown,
        () = sample => unreachable!("it has no end"),
    };
    // 16 MiB of input, and as much for packets, tasks and what the allocator keeps.
    let grown = peak - before;
    assert!(grown < 40 << 10, "{grown} kB");
    assert!(shown >= 24, "{shown} of 25 frames");
    hostile.iter().for_each(|task| task.abort());
    drop(camera);
    let report = report(relay);
    assert!(report["received"].as_u64() >= Some(24), "{report}");
}

#[tokio::test]
async fn frames_without_an_end_on_24_connections_of_a_host_cost_its_bound_and_a_camera_behind_the_same_router_nothing()
 {
    cost_of_24(send_without_end).await;
}

#[tokio::test]
async fn connections_that_leave_and_rejoin_with_frames_without_an_end_cost_a_camera_behind_the_same_router_nothing()
 {
    cost_of_24(rejoin_without_end).await;
}
