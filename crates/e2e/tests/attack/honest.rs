//! The honest users of a relay: a camera and its viewer by QUIC, and what reaches the viewer.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

use e2e::attack::{Attack, Attacker, Target};
use serde_json::Value;
use testkit::port;
use testkit::process::{Running, binary};

use crate::common::{LONG, alone, relay, relay_at, sender_to, viewer_of};

pub(crate) const CAMERA: &str = "yard";
pub(crate) const MS: Duration = Duration::from_millis(1);

/// What sender and viewer log when their connection ends, or the sender's name is another's.
const ENDED: [&str; 3] = ["is lost", "has ended", "drops the frames"];

/// A relay, a camera and its viewer. Only one of them runs at a time.
pub(crate) struct Honest {
    pub(crate) relay: Running,
    pub(crate) sender: Running,
    pub(crate) viewer: Running,
    pub(crate) target: Target,
    pub(crate) directory: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Honest {
    /// Starts the programs, and waits for a second of frames.
    pub(crate) fn start(relay_args: &[&str]) -> Self {
        let loopback = Ipv4Addr::LOCALHOST.into();
        Self::start_on(loopback, loopback, relay_args)
    }

    /// Starts the programs: the relay listens on one address, and its peers reach it by another.
    pub(crate) fn start_on(listen: IpAddr, reached: IpAddr, relay_args: &[&str]) -> Self {
        // Built before the first one waits for the others.
        for name in ["relay-server", "pi-sender", "viewer"] {
            binary(name);
        }
        let (alone, directory) = (alone(), tempfile::tempdir().unwrap());
        let http = SocketAddr::from((reached, 0)).to_string();
        let args = [&["--http", &http], relay_args].concat();
        let relay = relay_at((listen, port::free()).into(), directory.path(), &args);
        let line = relay.wait_for_line("listening", LONG);
        let http = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http="));
        let target = Target {
            relay: (reached, relay.listening().port()).into(),
            http: http.unwrap().parse().unwrap(),
            camera: CAMERA.to_owned(),
        };
        let shown = shown_in(directory.path());
        let by_quic = ["--transport", "quic", "--camera", CAMERA];
        let viewer = viewer_of(
            target.relay,
            &[&by_quic[..], &["--shown", shown.to_str().unwrap()]].concat(),
        );
        let sender = sender_to(
            target.relay,
            &[&by_quic[..], &["--source", "demo"]].concat(),
        );
        let honest = Self {
            relay,
            sender,
            viewer,
            target,
            directory,
            _alone: alone,
        };
        honest.wait_for_frames(10);
        honest
    }

    pub(crate) fn port(&self) -> u16 {
        self.target.relay.port()
    }

    /// Kills the relay, and starts another one in its place with the same state.
    pub(crate) fn restart_relay(&mut self) {
        self.relay.kill();
        let args = ["--http", "off", "--model", "none"];
        self.relay = relay(self.port(), self.directory.path(), &args);
    }

    /// Starts an attack. It has all processors: a debug build of the attacker is slow enough.
    pub(crate) fn attack(&self, attack: Attack) -> Attacker {
        attack.start(&self.target, None)
    }

    /// Returns the numbers of the frames that the viewer has shown.
    pub(crate) fn shown(&self) -> BTreeSet<u64> {
        numbers(&shown_in(self.directory.path()))
    }

    /// Waits until the viewer has shown so many more frames, and returns how long that took.
    pub(crate) fn wait_for_frames(&self, frames: usize) -> Duration {
        let (start, before) = (Instant::now(), self.shown().len());
        while self.shown().len() < before + frames {
            assert!(start.elapsed() < LONG, "{:?}", self.viewer.stderr());
            thread::sleep(10 * MS);
        }
        start.elapsed()
    }

    /// Requires that so many more frames come, from the camera's own connection and by the viewer's: a busy machine delays
    /// them, and no peer may have ended either.
    pub(crate) fn assert_undisturbed(&self, frames: usize) {
        self.wait_for_frames(frames);
        let log = [self.sender.stderr(), self.viewer.stderr()].concat();
        let ended = |line: &&String| ENDED.iter().any(|text| line.contains(text));
        assert_eq!(log.iter().find(ended), None, "{:?}", self.relay.stderr());
    }

    /// Requires that frames come at the camera's pace for a while: nine of ten, on a machine that runs other tests.
    pub(crate) fn assert_frames_come(&self, during: Duration) {
        let before = self.shown().len();
        thread::sleep(during);
        let came = self.shown().len() - before;
        let due = during.as_millis() / 100;
        assert!(
            came as u128 * 10 >= due * 9,
            "{came} of {due} frames came\n{:?}",
            self.relay.stderr()
        );
    }
}

fn shown_in(directory: &Path) -> PathBuf {
    directory.join("shown.jsonl")
}

/// Returns the numbers of the frames in a file that `--shown` writes.
pub(crate) fn numbers(file: &Path) -> BTreeSet<u64> {
    let lines = lines(file);
    lines
        .iter()
        .filter_map(|line| line["seq"].as_u64())
        .collect()
}

/// Returns the whole lines of a file that is being written.
pub(crate) fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Waits until `holds`, and requires that it does in time.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(10 * MS);
    }
}
