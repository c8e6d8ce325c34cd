//! Viewers whose path does not carry the camera's frames: they are sent smaller ones.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
    pub(crate) mod quic;
}

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::http::HttpRelay;
use common::process::{MS, stop};
use common::quic::{hello, open, sender};
use opencv::core::{CV_8UC3, Mat, Scalar, randu};
use platform::clock::unix_micros;
use platform::egress::EgressStats;
use protocol::MAX_FRAME;
use protocol::geometry::Size;
use protocol::jpeg::Limits;
use protocol::label::{Label, StreamId};
use protocol::quic::{Hello, Role, ServerMessage};
use quic::client::ControlEvent;
use quic::frames::{self, FrameSource, OutgoingFrame};
use quic::receive::{self, Incoming, InputLimits};
use testkit::link::{Bottleneck, Conditions, Impairments, Link};
use tokio::sync::mpsc;
use tokio::time::{Interval, interval, timeout};
use tungstenite::Message;

/// A 1080p camera that sends 10 frames of several hundred kB a second, without an end.
struct Camera {
    picture: Vec<u8>,
    seq: u64,
    ticks: Interval,
}

impl Camera {
    fn new() -> Self {
        // Coarse blots, which are there in smaller pictures too.
        let black = Scalar::all(0.0);
        let mut blots = Mat::new_rows_cols_with_default(270, 480, CV_8UC3, black).unwrap();
        randu(&mut blots, &0.0, &200.0).unwrap();
        let size = "1920x1080".parse().unwrap();
        let picture = imaging::jpeg::resize(&blots, size).unwrap();
        Self {
            picture: imaging::jpeg::encode(picture.as_ref(), 85).unwrap(),
            seq: 0,
            ticks: interval(100 * MS),
        }
    }

    /// Films as `yard` until the test ends.
    async fn film(mut self, relay: SocketAddr) {
        let session = sender(relay, "yard").await;
        let stats = EgressStats::default();
        let _ = frames::send(&session.connection, &stats, &mut self).await;
    }
}

impl FrameSource for Camera {
    async fn next(&mut self) -> Option<OutgoingFrame> {
        self.ticks.tick().await;
        self.seq += 1;
        let label = Label {
            stream: StreamId(7),
            seq: self.seq,
            captured_us: unix_micros(),
            camera: "yard".parse().unwrap(),
        };
        Some(OutgoingFrame {
            number: self.seq,
            jpeg: label.write(&self.picture).into(),
            ready_at: Instant::now(),
        })
    }
}

/// What a viewer got of one frame.
#[derive(Debug)]
struct Seen {
    at: Instant,
    seq: u64,
    age: Duration,
    size: Size,
}

impl Seen {
    fn of(jpeg: &[u8]) -> Self {
        let label = Label::read(jpeg).unwrap().unwrap();
        Self {
            at: Instant::now(),
            seq: label.seq,
            age: Duration::from_micros(unix_micros().saturating_sub(label.captured_us)),
            size: protocol::jpeg::scan(jpeg, Limits::default()).unwrap(),
        }
    }
}

/// Forwards one TCP connection, and to the client no more than so many bytes a second. Returns where the client connects.
fn narrow(relay: SocketAddr, rate: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(relay).unwrap();
        let (mut from_client, mut to_server) =
            (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
        let (start, mut sent, mut buffer) = (Instant::now(), 0, [0; 400]);
        while let Ok(n @ 1..) = server.read(&mut buffer) {
            let due = start.elapsed().as_micros() as u64 * rate / 1_000_000;
            // What it could have sent while there was nothing is lost.
            sent = due.max(sent) + n as u64;
            let due = Duration::from_micros(sent * 1_000_000 / rate);
            thread::sleep(due.saturating_sub(start.elapsed()));
            if client.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_behind_64_kbit_a_second_shows_two_frames_a_second_that_are_not_old() {
    let relay = HttpRelay::start(&[]);
    let camera = tokio::spawn(Camera::new().film(relay.running.listening()));
    relay.running.wait_for_line("camera appeared", 10_000 * MS);
    let at = narrow(relay.http, 8000);
    let watching = thread::spawn(move || {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(10_000 * MS)).unwrap();
        let url = format!("ws://{at}/cam/yard/ws");
        let (mut socket, _) = tungstenite::client(url, stream).unwrap();
        let (start, mut seen, mut notices) = (Instant::now(), Vec::new(), Vec::new());
        while start.elapsed() < 12_000 * MS {
            match socket.read().unwrap() {
                Message::Binary(jpeg) => {
                    seen.push(Seen::of(&jpeg));
                    socket.send(Message::Binary(Bytes::new())).unwrap();
                }
                Message::Text(text) if text.contains("rendition_of") => notices.push(text),
                _ => {}
            }
        }
        (start, seen, notices)
    });
    let (start, seen, notices) = tokio::task::spawn_blocking(|| watching.join().unwrap())
        .await
        .unwrap();
    let steady: Vec<_> = seen
        .iter()
        .filter(|seen| seen.at - start > 4000 * MS)
        .collect();
    assert!(steady.len() >= 16, "{} in 8 s: {seen:?}", steady.len());
    assert!(steady.iter().all(|seen| seen.age < 1500 * MS), "{seen:?}");
    assert!(steady.iter().all(|seen| seen.size.width <= 320), "{seen:?}");
    assert!(seen.is_sorted_by_key(|seen| seen.seq));
    assert_eq!(notices[0].as_str(), r#"{"rendition_of":[1920,1080]}"#);
    camera.abort();
    stop(relay.running);
}

/// Watches `yard` by QUIC for so long; also returns whether a notice of renditions came.
async fn watch(relay: SocketAddr, original: bool, time: Duration) -> (Vec<Seen>, bool) {
    let hello = Hello {
        original,
        ..hello(Role::View, Some("yard"), None)
    };
    let mut session = open(relay, &hello, None).await.unwrap();
    let limits = InputLimits {
        bytes: 2 * MAX_FRAME,
        lines: true,
        streams: None,
    };
    let (out, mut arrivals) = mpsc::channel(8);
    let (mut seen, mut noticed) = (Vec::new(), false);
    let collect = async {
        loop {
            tokio::select! {
                Some(arrival) = arrivals.recv() => if let Incoming::Frame(jpeg, _) = arrival {
                    seen.push(Seen::of(&jpeg));
                },
                Ok(event) = session.control.next() => {
                    let rendition = ControlEvent::Message(ServerMessage::RenditionOf(Some([1920, 1080])));
                    noticed |= event == rendition;
                }
            }
        }
    };
    let connection = session.connection.clone();
    let _ = timeout(time, async {
        tokio::join!(receive::receive(&connection, limits, out), collect)
    })
    .await;
    (seen, noticed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quic_viewer_behind_half_a_mbit_a_second_gets_renditions_unless_it_takes_originals_alone()
{
    let relay = HttpRelay::start(&[]);
    let at = relay.running.listening();
    let camera = tokio::spawn(Camera::new().film(at));
    relay.running.wait_for_line("camera appeared", 10_000 * MS);
    let narrow = Impairments {
        bottleneck: Some(Bottleneck {
            rate: 500_000,
            queue: 200 * MS,
        }),
        delay: 20 * MS,
        ..Impairments::default()
    };
    let conditions = Conditions {
        up: Impairments::default(),
        down: narrow,
    };
    let links = [7, 8].map(|seed| Link::start(at, conditions, seed));
    let ((thin, noticed), (saving, saving_noticed)) = tokio::join!(
        watch(links[0].address(), false, 15_000 * MS),
        watch(links[1].address(), true, 15_000 * MS)
    );
    let full = |seen: &&Seen| seen.size.width == 1920;
    assert!(thin.len() >= 10, "{thin:?}");
    assert!(
        thin.iter().rev().take(5).all(|seen| seen.size.width < 1000),
        "{thin:?}"
    );
    assert!(noticed && !saving_noticed);
    assert_eq!(
        saving.iter().filter(full).count(),
        saving.len(),
        "{saving:?}"
    );
    camera.abort();
    stop(relay.running);
}
