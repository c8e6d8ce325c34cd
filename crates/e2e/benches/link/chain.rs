//! A cell as it runs: the three programs and the link between two of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use testkit::link::{Counts, Link};
use testkit::process::{Program, Running, binary};

use crate::cell::{Cell, Side};
use crate::media;
use crate::options::Options;

/// Duration of a cell beside its frames, for a forecast.
pub(crate) const AROUND: Duration = Duration::from_secs(3);
/// Longest wait for a viewer to join, over a link that loses its messages.
const JOINS: Duration = Duration::from_secs(30);
/// Wait for frames on their way at the end, a round trip aside: a queue of 200 ms, a frame that is sent again.
const TAIL: Duration = Duration::from_millis(800);

/// The options and files that the cells of a run share.
pub(crate) struct Setup {
    options: Options,
    /// Files of frames, by the size of a frame in bytes.
    files: BTreeMap<usize, PathBuf>,
    directory: tempfile::TempDir,
}

/// The counts and files of a cell.
#[derive(Debug)]
pub(crate) struct RawResult {
    /// Number of frames that the sender had for the network: sent and skipped.
    pub(crate) offered: u64,
    /// Number of frames that reached the viewer, in any order.
    pub(crate) received: u64,
    /// Frames that it showed: number, and age in ms if known.
    pub(crate) shown: Vec<(u64, Option<f64>)>,
    /// Counts of the link in the direction of the frames.
    pub(crate) link: Counts,
}

impl Setup {
    pub(crate) fn new(options: &Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sizes = options.cells().into_iter().map(|cell| cell.frame_bytes());
        Self {
            options: options.clone(),
            files: sizes
                .map(|bytes| (bytes, media::write(directory.path(), bytes)))
                .collect(),
            directory,
        }
    }
}

/// Runs a cell from start to end.
pub(crate) fn run(cell: &Cell, setup: &Setup) -> RawResult {
    let (side, transport) = (setup.options.side, cell.transport.name());
    let work = tempfile::tempdir_in(setup.directory.path()).unwrap();
    let shown = work.path().join("shown");
    let relay = relay(work.path());
    let address = relay.listening();
    let seed = setup.options.seed ^ number(cell) << 32;
    let link = Link::start(address, cell.conditions(side), seed);
    let (senders, viewers) = match side {
        Side::Sender => (link.address(), address),
        Side::Viewer => (address, link.address()),
    };

    let viewer = start("viewer", viewers, transport)
        .args(["--headless", "--size", "300x200"])
        .args([OsStr::new("--shown"), shown.as_os_str()])
        .start();
    relay.wait_for_line("viewer joined", JOINS);
    let length = setup.options.length(cell);
    let frames = length.as_secs() * cell.fps;
    let sender = start("pi-sender", senders, transport)
        .args(["--camera", media::CAMERA, "--fixed", "--loop"])
        .args(["--fps", &cell.fps.to_string()])
        .args(["--frames", &frames.to_string()])
        .args([
            OsStr::new("--source"),
            setup.files[&cell.frame_bytes()].as_os_str(),
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
    RawResult {
        offered: (sent.figure("sent") + sent.figure("skipped")) as u64,
        received: seen.figure("received") as u64,
        shown: read_shown(&shown),
        link: match side {
            Side::Sender => counters.up,
            Side::Viewer => counters.down,
        },
    }
}

/// Returns the cell's number, which is the same in every run.
fn number(cell: &Cell) -> u64 {
    let place = Cell::all().iter().position(|other| other == cell);
    place.unwrap() as u64
}

fn relay(state: &Path) -> Running {
    Program::new(binary("relay-server"))
        .args(["--listen", "127.0.0.1:0", "--model", "none"])
        .args(["--http", "off", "--udp-egress", "1000", "--report"])
        .args([OsStr::new("--state"), state.as_os_str()])
        .start()
}

fn start(program: &str, to: SocketAddr, transport: &str) -> Program {
    let to = to.to_string();
    Program::new(binary(program)).args(["--report", "--server", &to, "--transport", transport])
}

fn read_shown(file: &Path) -> Vec<(u64, Option<f64>)> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["seq"].as_u64().unwrap(), line["age_ms"].as_f64())
    });
    lines.collect()
}
