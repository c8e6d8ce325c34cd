//! What the tests of the real binary share: a relay to talk to, pictures to send, and the viewer itself.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod native;
pub(crate) mod router;

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use opencv::core::{CV_8UC3, Mat, Rect, Scalar};
use opencv::imgproc;
use protocol::control::{Control, Verdict};
use protocol::datagram::{Datagram, REQUEST, classify};
use protocol::label::{Label, StreamId};
use testkit::process::Program;

/// Between two frames.
pub(crate) const INTERVAL: Duration = Duration::from_millis(40);
/// For anything that a busy machine may be slow at.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The colours (BGR) of the picture's left and right half.
pub(crate) const LEFT: [f64; 3] = [200.0, 60.0, 40.0];
pub(crate) const RIGHT: [f64; 3] = [30.0, 180.0, 90.0];

/// Whom the viewer meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Our relay, whose native door does not open.
    Ours,
    /// Our relay without a free place.
    Full,
    /// A tutorial relay before its `Request`.
    Waiting,
    /// A tutorial relay that streams to this viewer since before it was started again.
    Streaming,
}

/// What a viewer said, and when.
pub(crate) type Heard = Vec<(Instant, Vec<u8>)>;

/// A relay played by a thread, until dropped.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Sends, once it has a viewer, what `datagrams` gives for each number from 1.
    pub(crate) fn start(
        kind: Kind,
        addr: &str,
        datagrams: impl FnMut(u64) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind(addr).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let mut relay = Self {
            addr: socket.local_addr().unwrap(),
            heard: Arc::default(),
            sent: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let (heard, sent, stop) = (relay.heard.clone(), relay.sent.clone(), relay.stop.clone());
        let play = move || play(kind, &socket, datagrams, &heard, &sent, &stop);
        relay.thread = Some(std::thread::spawn(play));
        relay
    }

    /// What the viewer said, and when.
    pub(crate) fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }

    /// What was sent to it.
    pub(crate) fn sent(&self) -> Vec<Vec<u8>> {
        self.sent.lock().unwrap().clone()
    }

    /// That nothing but `Request` and whole JPEGs came: of anything else a tutorial relay would die.
    pub(crate) fn is_unharmed(&self) -> bool {
        let harmless = |said: &[u8]| said == REQUEST || classify(said.to_vec()).is_ok();
        self.heard().iter().all(|(_, said)| harmless(said))
    }

    /// When it said `Request`.
    pub(crate) fn requests(&self) -> Vec<Instant> {
        let heard = self.heard();
        heard
            .iter()
            .filter(|(_, what)| what == REQUEST)
            .map(|(at, _)| *at)
            .collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn play(
    kind: Kind,
    socket: &UdpSocket,
    mut datagrams: impl FnMut(u64) -> Vec<Vec<u8>>,
    heard: &Mutex<Heard>,
    sent: &Mutex<Vec<Vec<u8>>>,
    stop: &AtomicBool,
) {
    let (mut viewer, mut number, mut due) = (None, 0, Instant::now());
    let mut buffer = vec![0; 70_000];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let said = buffer[..length].to_vec();
            if let Some(answer) = answer(kind, viewer.is_some(), &said) {
                let _ = socket.send_to(&answer, from);
            }
            match (kind, classify(said.clone())) {
                (Kind::Ours, Ok(Datagram::Control(Control::Probe { .. }))) => viewer = None,
                (Kind::Ours, Ok(Datagram::Control(Control::Hello { .. })))
                | (Kind::Waiting, Ok(Datagram::Request))
                | (Kind::Streaming, _) => viewer = Some(from),
                _ => {}
            }
            heard.lock().unwrap().push((Instant::now(), said));
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

fn answer(kind: Kind, streaming: bool, said: &[u8]) -> Option<Vec<u8>> {
    let verdict = match kind {
        Kind::Ours => Verdict::Welcome,
        Kind::Full => Verdict::Full,
        Kind::Waiting => return streaming.then(|| said.to_vec()),
        Kind::Streaming => return Some(said.to_vec()),
    };
    match classify(said.to_vec()) {
        Ok(Datagram::Control(Control::Hello { nonce } | Control::Probe { nonce })) => {
            Some(Control::Accept { nonce, verdict }.write())
        }
        _ => None,
    }
}

/// A picture of 300x200 in two colours, with a mark that moves so that no two are the same.
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

/// The picture with our label, captured now.
pub(crate) fn labelled(stream: u64, seq: u64) -> Vec<u8> {
    captured(stream, seq, platform::clock::unix_micros())
}

/// The picture with our label, captured at this time in microseconds since the Unix epoch.
pub(crate) fn captured(stream: u64, seq: u64, captured_us: u64) -> Vec<u8> {
    let label = Label {
        stream: StreamId(stream),
        seq,
        captured_us,
        camera: "yard".parse().unwrap(),
    };
    label.write(&picture(seq))
}

/// The viewer under test, away from the user's own configuration.
pub(crate) fn viewer(relay: SocketAddr, dir: &Path) -> Program {
    bare(dir).args(["--server", &relay.to_string(), "--report"])
}

/// The viewer without an argument.
pub(crate) fn bare(dir: &Path) -> Program {
    Program::new(env!("CARGO_BIN_EXE_viewer"))
        .dir(dir)
        .env("XDG_CONFIG_HOME", dir)
        .env_remove("RUST_LOG")
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
