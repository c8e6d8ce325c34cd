//! What the tests of the real binary share: a relay on the UDP transport, pictures to send, and the viewer itself.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod quic_relay;
pub(crate) mod router;
pub(crate) mod script;
pub(crate) mod shown;
pub(crate) mod virtual_display;

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use opencv::core::{CV_8UC3, Mat, Rect, Scalar};
use opencv::imgproc;
use protocol::control::{Control, LeaseVerdict, Question};
use protocol::datagram::{Datagram, REQUEST, classify};
use protocol::label::{Label, StreamId};
use testkit::process::Program;

/// Interval between two frames.
pub(crate) const INTERVAL: Duration = Duration::from_millis(40);
/// Timeout for anything that a busy machine may be slow at.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The colours (BGR) of the picture's left and right half.
pub(crate) const LEFT: [f64; 3] = [200.0, 60.0, 40.0];
pub(crate) const RIGHT: [f64; 3] = [30.0, 180.0, 90.0];

/// How a relay on the UDP transport behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// A Sightline relay that accepts no QUIC connection.
    Sightline,
    /// A Sightline relay that takes no further viewer.
    SightlineFull,
    /// A tutorial relay before its `Request`.
    TutorialWaiting,
    /// A tutorial relay that streams to this viewer since before it was started again.
    TutorialStreaming,
}

/// The datagrams of a viewer, and when they came.
pub(crate) type Datagrams = Vec<(Instant, Vec<u8>)>;

/// A relay on the UDP transport, in a thread, until dropped.
pub(crate) struct UdpRelay {
    pub(crate) addr: SocketAddr,
    received: Arc<Mutex<Datagrams>>,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpRelay {
    /// Starts a relay that sends, once it has a viewer, what `datagrams` returns for each number from 1.
    pub(crate) fn start(
        behaviour: Behaviour,
        addr: &str,
        datagrams: impl FnMut(u64) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind(addr).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let mut relay = Self {
            addr: socket.local_addr().unwrap(),
            received: Arc::default(),
            sent: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let received = relay.received.clone();
        let (sent, stop) = (relay.sent.clone(), relay.stop.clone());
        let serve = move || serve(behaviour, &socket, datagrams, &received, &sent, &stop);
        relay.thread = Some(std::thread::spawn(serve));
        relay
    }

    /// Returns the viewer's datagrams.
    pub(crate) fn received(&self) -> Datagrams {
        self.received.lock().unwrap().clone()
    }

    /// Returns what was sent to the viewer.
    pub(crate) fn sent(&self) -> Vec<Vec<u8>> {
        self.sent.lock().unwrap().clone()
    }

    /// Returns whether nothing but `Request` and whole JPEGs came: a tutorial relay dies of anything else.
    pub(crate) fn is_unharmed(&self) -> bool {
        let harmless = |bytes: &[u8]| bytes == REQUEST || classify(bytes.to_vec()).is_ok();
        self.received().iter().all(|(_, bytes)| harmless(bytes))
    }

    /// Returns when each `Request` came.
    pub(crate) fn requests(&self) -> Vec<Instant> {
        let received = self.received();
        received
            .iter()
            .filter(|(_, bytes)| bytes == REQUEST)
            .map(|(at, _)| *at)
            .collect()
    }
}

impl Drop for UdpRelay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    behaviour: Behaviour,
    socket: &UdpSocket,
    mut datagrams: impl FnMut(u64) -> Vec<Vec<u8>>,
    received: &Mutex<Datagrams>,
    sent: &Mutex<Vec<Vec<u8>>>,
    stop: &AtomicBool,
) {
    let (mut viewer, mut number, mut due) = (None, 0, Instant::now());
    let mut buffer = vec![0; 70_000];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let datagram = buffer[..length].to_vec();
            if let Some(answer) = answer(behaviour, viewer.is_some(), &datagram) {
                let _ = socket.send_to(&answer, from);
            }
            use Behaviour::{Sightline, TutorialStreaming, TutorialWaiting};
            match (behaviour, classify(datagram.clone())) {
                (Sightline, Ok(Datagram::Control(Control::Probe(_)))) => viewer = None,
                (Sightline, Ok(Datagram::Control(Control::Hello(_))))
                | (TutorialWaiting, Ok(Datagram::Request))
                | (TutorialStreaming, _) => viewer = Some(from),
                _ => {}
            }
            received.lock().unwrap().push((Instant::now(), datagram));
        }
        if let Some(viewer) = viewer.filter(|_| due <= Instant::now()) {
            due = Instant::now() + INTERVAL;
            number += 1;
            for datagram in datagrams(number) {
                let _ = socket.send_to(&datagram, viewer);
                sent.lock().unwrap().push(datagram);
            }
        }
    }
}

fn answer(behaviour: Behaviour, streaming: bool, datagram: &[u8]) -> Option<Vec<u8>> {
    let verdict = match behaviour {
        Behaviour::Sightline => LeaseVerdict::Welcome,
        Behaviour::SightlineFull => LeaseVerdict::Full,
        Behaviour::TutorialWaiting => return streaming.then(|| datagram.to_vec()),
        Behaviour::TutorialStreaming => return Some(datagram.to_vec()),
    };
    match classify(datagram.to_vec()) {
        Ok(Datagram::Control(
            Control::Hello(Question { nonce, .. }) | Control::Probe(Question { nonce, .. }),
        )) => Some(
            Control::Accept {
                nonce,
                verdict,
                cookie: None,
            }
            .write(),
        ),
        _ => None,
    }
}

/// Returns a picture of 300x200 in two colours, with a mark that moves so that no two are the same.
pub(crate) fn picture(number: u64) -> Vec<u8> {
    let scalar = |[b, g, r]: [f64; 3]| Scalar::new(b, g, r, 0.0);
    let mut picture = Mat::new_rows_cols_with_default(200, 300, CV_8UC3, scalar(LEFT)).unwrap();
    let mut fill = |x, y, w, h, colour| {
        let area = Rect::new(x, y, w, h);
        imgproc::rectangle(
            &mut picture,
            area,
            colour,
            imgproc::FILLED,
            imgproc::LINE_8,
            0,
        )
        .unwrap();
    };
    fill(150, 0, 150, 200, scalar(RIGHT));
    fill((number * 4 % 290) as i32, 190, 8, 8, Scalar::all(255.0));
    imaging::jpeg::encode(&picture, 90).unwrap()
}

/// Returns the picture with a label, captured now.
pub(crate) fn labelled(stream: u64, seq: u64) -> Vec<u8> {
    captured(stream, seq, platform::clock::unix_micros())
}

/// Returns the picture with the label of a camera of this name, captured now.
pub(crate) fn labelled_as(camera: &str, stream: u64, seq: u64) -> Vec<u8> {
    let label = Label {
        stream: StreamId(stream),
        seq,
        captured_us: platform::clock::unix_micros(),
        camera: camera.parse().unwrap(),
    };
    label.write(&picture(seq))
}

/// Returns the picture with a label, captured at this time in microseconds since the Unix epoch.
pub(crate) fn captured(stream: u64, seq: u64, captured_us: u64) -> Vec<u8> {
    let label = Label {
        stream: StreamId(stream),
        seq,
        captured_us,
        camera: "yard".parse().unwrap(),
    };
    label.write(&picture(seq))
}

/// Returns the viewer under test, away from the user's own configuration.
pub(crate) fn viewer(relay: SocketAddr, dir: &Path) -> Program {
    viewer_without_args(dir).args(["--server", &relay.to_string(), "--report"])
}

/// Returns the viewer without an argument.
pub(crate) fn viewer_without_args(dir: &Path) -> Program {
    Program::new(env!("CARGO_BIN_EXE_viewer"))
        .dir(dir)
        .env("XDG_CONFIG_HOME", dir)
        .env_remove("RUST_LOG")
}

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
