//! A cell as it runs: the three programs and the link between two of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::link::{Counts, Link};
use testkit::process::{Program, Running, binary};

use crate::cell::{Cell, Door};
use crate::media;
use crate::options::{Options, Side};

/// What a cell takes beside its frames, for a forecast.
pub(crate) const AROUND: Duration = Duration::from_secs(3);
/// For a viewer to join, over a link that loses what it says.
const JOINS: Duration = Duration::from_secs(30);
/// For what is on its way at the end, a round trip aside: a queue of 200 ms, a frame that is sent again.
const TAIL: Duration = Duration::from_millis(800);
/// For a program to say that a transport is not built.
const REFUSAL: Duration = Duration::from_secs(2);

/// What the cells of a run share.
pub(crate) struct Setting {
    options: Options,
    /// By the size of a frame in bytes.
    files: BTreeMap<usize, PathBuf>,
    directory: tempfile::TempDir,
    native: bool,
}

/// What came of a cell.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Frames that the sender had for the network: sent and skipped.
    pub(crate) offered: u64,
    /// Frames that came to the viewer, in whatever order.
    pub(crate) received: u64,
    /// Those that it showed: number, and age in ms where it is known.
    pub(crate) shown: Vec<(u64, Option<f64>)>,
    /// The link in the direction of the frames.
    pub(crate) link: Counts,
}

impl Setting {
    pub(crate) fn new(options: &Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sizes = options.cells().into_iter().map(|cell| cell.frame_bytes());
        Self {
            options: options.clone(),
            files: sizes
                .map(|bytes| (bytes, media::write(directory.path(), bytes)))
                .collect(),
            directory,
            native: has_native_door(),
        }
    }

    /// Whether the programs have this door.
    pub(crate) fn has(&self, door: Door) -> bool {
        door == Door::Udp || self.native
    }
}

/// Runs a cell from start to end.
pub(crate) fn run(cell: &Cell, setting: &Setting) -> Raw {
    let (side, door) = (setting.options.side, cell.door.name());
    let work = tempfile::tempdir_in(setting.directory.path()).unwrap();
    let shown = work.path().join("shown");
    let relay = relay(work.path());
    let address = relay.listening();
    let seed = setting.options.seed ^ number(cell) << 32;
    let link = Link::start(address, cell.conditions(side), seed);
    let (senders, viewers) = match side {
        Side::Sender => (link.address(), address),
        Side::Viewer => (address, link.address()),
    };

    let viewer = start("viewer", viewers, door)
        .args(["--headless", "--size", "300x200"])
        .args([OsStr::new("--shown"), shown.as_os_str()])
        .start();
    relay.wait_for_line("viewer joined", JOINS);
    let length = setting.options.length(cell);
    let frames = length.as_secs() * cell.fps;
    let sender = start("pi-sender", senders, door)
        .args(["--camera", media::CAMERA, "--fixed", "--loop"])
        .args(["--fps", &cell.fps.to_string()])
        .args(["--frames", &frames.to_string()])
        .args([
            OsStr::new("--source"),
            setting.files[&cell.frame_bytes()].as_os_str(),
        ])
        .start();
    thread::sleep(length);
    let sent = sender.finish_ok();
    thread::sleep(TAIL + Duration::from_millis(cell.rtt));
    let counters = link.counters();
    viewer.terminate();
    let seen = viewer.finish_ok();
    relay.terminate();
    relay.finish_ok();

    assert_eq!(seen.figure("decode_errors"), 0.0, "{}", seen.stderr);
    Raw {
        offered: (sent.figure("sent") + sent.figure("skipped")) as u64,
        received: seen.figure("received") as u64,
        shown: read_shown(&shown),
        link: match side {
            Side::Sender => counters.up,
            Side::Viewer => counters.down,
        },
    }
}

/// The same cell has the same number in every run.
fn number(cell: &Cell) -> u64 {
    let place = Cell::all().iter().position(|other| other == cell);
    place.unwrap() as u64
}

fn relay(state: &Path) -> Running {
    Program::new(binary("relay-server"))
        .args(["--listen", "127.0.0.1:0", "--model", "none"])
        .args(["--http", "off", "--plain-egress", "1000", "--report"])
        .args([OsStr::new("--state"), state.as_os_str()])
        .start()
}

fn start(program: &str, to: SocketAddr, door: &str) -> Program {
    let to = to.to_string();
    Program::new(binary(program)).args(["--report", "--server", &to, "--transport", door])
}

fn read_shown(file: &Path) -> Vec<(u64, Option<f64>)> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["seq"].as_u64().unwrap(), line["age_ms"].as_f64())
    });
    lines.collect()
}

/// Whether a sender and a viewer take `--transport quic`: one that has no native door says so at once and exits with 2.
fn has_native_door() -> bool {
    let takes = |program: &str, words: &[&str]| {
        let mut child = Command::new(binary(program))
            .args(["--server", "127.0.0.1:9", "--transport"])
            .args([Door::Quic.name()])
            .args(words)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + REFUSAL;
        let mut ended = child.try_wait().unwrap();
        while ended.is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
            ended = child.try_wait().unwrap();
        }
        // Both fail where it has ended already.
        let _ = child.kill();
        let _ = child.wait();
        ended.and_then(|status| status.code()) != Some(2)
    };
    takes("pi-sender", &["--source", "demo"]) && takes("viewer", &["--headless"])
}
