//! Frames over a bad link, both ends in one process: how many the frame window delivers, and their age.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use platform::egress::EgressStats;
use quic::endpoint::{self, widen_windows};
use quic::frames::{self, OutgoingFrame};
use quic::identity::Identity;
use quic::receive::{self, Incoming, InputLimits};
use quinn::{Endpoint, Runtime as _, TokioRuntime};
use testkit::link::{Bottleneck, Conditions, Impairments, Link, Loss};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

const INPUT: InputLimits = InputLimits {
    bytes: 4 << 20,
    lines: false,
    streams: None,
};
const MS: Duration = Duration::from_millis(1);

/// Counts and ages of one run.
struct Run {
    offered: u64,
    /// Age of each frame that arrived, by number.
    ages: HashMap<u64, Duration>,
    skipped: u64,
    expired: u64,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} arrived, {} skipped, {} given up; age p50 {:?}, p95 {:?}",
            self.ages.len(),
            self.offered,
            self.skipped,
            self.expired,
            self.age(0.5),
            self.age(0.95)
        )
    }
}

impl Run {
    fn delivered(&self) -> f64 {
        self.ages.len() as f64 / self.offered as f64
    }

    fn age(&self, share: f64) -> Duration {
        let mut ages: Vec<_> = self.ages.values().copied().collect();
        ages.sort();
        ages.get((ages.len() as f64 * share) as usize)
            .copied()
            .unwrap_or_default()
    }
}

/// Sends frames of `bytes` at `fps` for `seconds` over a link.
async fn run(path: Impairments, bytes: usize, fps: u32, seconds: u32) -> Run {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
    let relay = endpoint::server(socket, &Identity::generate().unwrap()).unwrap();
    let down = Impairments {
        bottleneck: None,
        ..path
    };
    let link = Link::start(at, Conditions { up: path, down }, 7);
    let start = Instant::now();
    let ages = tokio::spawn(receive_ages(relay, start));
    let connection = connect(link.address()).await;
    let (slot, mut frames) = watch::channel(None);
    let stats = EgressStats::default();
    let offered = u64::from(fps * seconds);
    let offer = async move {
        let mut ticks = interval(Duration::from_secs(1) / fps);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 1..=offered {
            ticks.tick().await;
            let mut frame = BytesMut::zeroed(0);
            frame.put_u64(number);
            frame.put_u64(start.elapsed().as_micros() as u64);
            frame.resize(bytes, 0x55);
            slot.send_replace(Some(OutgoingFrame {
                number,
                jpeg: Bytes::from(frame),
                ready_at: Instant::now(),
            }));
        }
    };
    let (sent, ()) = tokio::join!(frames::send(&connection, &stats, &mut frames), offer);
    sent.unwrap();
    sleep(500 * MS).await;
    connection.close(0_u32.into(), b"");
    let counts = stats.snapshot();
    Run {
        offered,
        ages: ages.await.unwrap(),
        skipped: counts.skipped,
        expired: counts.expired,
    }
}

/// Accepts one connection, and returns the age of each frame on it, by number.
async fn receive_ages(relay: Endpoint, start: Instant) -> HashMap<u64, Duration> {
    let connection = relay.accept().await.unwrap().await.unwrap();
    widen_windows(&connection, 384 << 10);
    let (out, mut arrivals) = mpsc::channel(8);
    tokio::spawn(async move { receive::receive(&connection, INPUT, out).await });
    let mut ages = HashMap::new();
    while let Some(Incoming::Frame(frame, _)) = arrivals.recv().await {
        let number = u64::from_be_bytes(frame[..8].try_into().unwrap());
        let sent = u64::from_be_bytes(frame[8..16].try_into().unwrap());
        ages.insert(number, start.elapsed() - Duration::from_micros(sent));
    }
    ages
}

async fn connect(relay: SocketAddr) -> quinn::Connection {
    loop {
        if let Ok(connection) = quic::client::connect(relay).await {
            return connection;
        }
    }
}

fn path(rtt: u64, loss: Loss) -> Impairments {
    Impairments {
        loss,
        delay: Duration::from_millis(rtt / 2),
        ..Impairments::default()
    }
}

fn narrow(mbit: u64) -> Impairments {
    let bottleneck = Bottleneck {
        rate: mbit * 1_000_000,
        queue: 200 * MS,
    };
    Impairments {
        bottleneck: Some(bottleneck),
        ..path(50, Loss::None)
    }
}

#[tokio::test]
async fn loss_costs_time_and_not_frames() {
    let five = Loss::Random(0.05);
    let bursts = Loss::Bursts {
        share: 0.05,
        length: 5.0,
    };
    let cells = [(50, five), (50, bursts), (100, five), (100, bursts)];
    let runs = cells.map(|(rtt, loss)| async move {
        let run = run(path(rtt, loss), 40_000, 10, 8).await;
        assert!(run.delivered() >= 0.95, "{rtt} ms, {loss:?}: {run:?}");
        assert!(run.age(0.95) < 350 * MS, "{rtt} ms, {loss:?}: {run:?}");
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn a_path_that_is_too_narrow_is_kept_busy_and_costs_frames_and_not_age() {
    let cells = [(3, 40_000, 10), (3, 15_000, 30), (1, 8_000, 30)];
    let runs = cells.map(|(mbit, bytes, fps)| async move {
        let seconds = 12;
        let run = run(narrow(mbit), bytes, fps, seconds).await;
        let bits = run.ages.len() as f64 * bytes as f64 * 8.0 / f64::from(seconds);
        let used = bits / (mbit as f64 * 1e6);
        assert!(used >= 0.85, "{mbit} Mbit/s: {used:.2} of it; {run:?}");
        assert!(run.age(0.95) < 400 * MS, "{mbit} Mbit/s: {run:?}");
        assert!(run.skipped > 0 && run.expired < 10, "{run:?}");
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn a_long_path_fills_with_frames_within_a_second() {
    let run = run(path(200, Loss::None), 15_000, 30, 6).await;
    assert!(run.skipped + run.expired <= 25, "{run:?}");
    assert!(run.age(0.95) < 150 * MS, "{run:?}");
}

#[tokio::test]
async fn frames_of_1080p_cross_an_uplink_of_20_mbit_or_fill_it_and_none_is_old() {
    let cells = [(200_000, 0.9), (300_000, 0.7)];
    for (bytes, delivered) in cells {
        let run = run(narrow(20), bytes, 10, 6).await;
        assert!(run.delivered() >= delivered, "{bytes} bytes: {run:?}");
        assert!(run.age(0.95) < 400 * MS, "{bytes} bytes: {run:?}");
    }
}
