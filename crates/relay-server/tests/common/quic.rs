//! QUIC peers of the relay: sessions, a sender of frames, and a viewer that counts them.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use platform::egress::EgressStats;
use protocol::label::{Label, StreamId};
use protocol::quic::{Hello, Role};
use protocol::ticket::Key;
use quic::client::{Client, ConnectFailure, Session};
use quic::frames::{self, FrameSource, OutgoingFrame};
use quic::receive::{self, Incoming, InputLimits};
use testkit::jpeg::Sketch;
use testkit::process::{Program, Running};
use tokio::sync::mpsc;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::{interval, timeout};

use super::process::{RELAY, SOON};

/// Starts a relay with neither model nor HTTP server.
const INPUT: InputLimits = InputLimits {
    bytes: 1 << 20,
    lines: true,
    streams: None,
};

pub(crate) fn start(flags: &[&str]) -> (Running, SocketAddr) {
    start_at("127.0.0.1:0", flags)
}

pub(crate) fn start_at(listen: &str, flags: &[&str]) -> (Running, SocketAddr) {
    let always = [
        "--listen", listen, "--model", "none", "--http", "off", "--report",
    ];
    let running = Program::new(RELAY).args(always).args(flags).start();
    let address = running.listening();
    (running, address)
}

pub(crate) fn hello(role: Role, camera: Option<&str>, token: Option<String>) -> Hello {
    Hello {
        role,
        camera: camera.map(str::to_owned),
        token,
        stream: (role == Role::Send).then(|| format!("{:016x}", 7)),
        cookie: None,
        trial: None,
        original: false,
    }
}

pub(crate) async fn open(
    relay: SocketAddr,
    hello: &Hello,
    pinned: Option<Key>,
) -> Result<Session, ConnectFailure> {
    Client::new(relay, pinned).unwrap().open(relay, hello).await
}

pub(crate) async fn viewer(relay: SocketAddr, camera: Option<&str>) -> Session {
    open(relay, &hello(Role::View, camera, None), None)
        .await
        .unwrap()
}

pub(crate) async fn sender(relay: SocketAddr, camera: &str) -> Session {
    open(relay, &hello(Role::Send, Some(camera), None), None)
        .await
        .unwrap()
}

pub(crate) fn frame(camera: &str, seq: u64, bytes: usize) -> Vec<u8> {
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

/// A source of frames at a steady rate.
pub(crate) struct SteadyFrames {
    camera: &'static str,
    bytes: usize,
    seq: u64,
    end: u64,
    ticks: tokio::time::Interval,
}

impl SteadyFrames {
    pub(crate) fn new(camera: &'static str, bytes: usize, fps: u32, end: u64) -> Self {
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

impl FrameSource for SteadyFrames {
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

/// A source whose next frame comes when all viewers have the last one: on a busy machine, too, no newer frame takes the
/// place of one that waits.
pub(crate) struct FramesInTurn {
    frames: SteadyFrames,
    viewers: Vec<Receiver<u64>>,
}

impl FramesInTurn {
    /// Returns the source, and for each viewer where it notes the number of the frame that has come.
    pub(crate) fn new<const VIEWERS: usize>(
        frames: SteadyFrames,
    ) -> (Self, [Sender<u64>; VIEWERS]) {
        let arrived = [(); VIEWERS].map(|()| Sender::new(0));
        let viewers = arrived.iter().map(Sender::subscribe).collect();
        (Self { frames, viewers }, arrived)
    }
}

impl FrameSource for FramesInTurn {
    async fn next(&mut self) -> Option<OutgoingFrame> {
        let sent = self.frames.seq;
        for viewer in &mut self.viewers {
            let came = timeout(SOON, viewer.wait_for(|seq| *seq >= sent)).await;
            assert!(matches!(came, Ok(Ok(_))), "frame {sent} has not come");
        }
        self.frames.next().await
    }
}

/// Sends until the last frame has arrived, and returns how many were sent.
pub(crate) async fn send(session: &Session, mut frames: impl FrameSource) -> u64 {
    let stats = EgressStats::default();
    frames::send(&session.connection, &stats, &mut frames)
        .await
        .unwrap();
    stats.snapshot().sent
}

/// Receives frames until none has come for `silence`, and returns their numbers.
pub(crate) async fn watch(session: &Session, silence: Duration) -> HashSet<u64> {
    receive_frames(session, silence, |_| false).await
}

/// Receives frames to the last one of those that are sent in turn, and returns their numbers.
pub(crate) async fn watch_in_turn(
    session: &Session,
    arrived: Sender<u64>,
    last: u64,
) -> HashSet<u64> {
    let note = |seq| {
        arrived.send_replace(seq);
        seq == last
    };
    receive_frames(session, SOON, note).await
}

/// Receives frames until one `is_last`, or none has come for `silence`.
async fn receive_frames(
    session: &Session,
    silence: Duration,
    is_last: impl Fn(u64) -> bool,
) -> HashSet<u64> {
    let (out, mut arrivals) = mpsc::channel(8);
    let collect = async {
        let mut numbers = HashSet::new();
        while let Ok(Some(arrival)) = timeout(silence, arrivals.recv()).await {
            if let Incoming::Frame(jpeg, _) = arrival {
                let seq = Label::read(&jpeg).unwrap().unwrap().seq;
                numbers.insert(seq);
                if is_last(seq) {
                    break;
                }
            }
        }
        numbers
    };
    tokio::select! {
        _ = receive::receive(&session.connection, INPUT, out) => panic!("the connection ended"),
        numbers = collect => numbers,
    }
}
