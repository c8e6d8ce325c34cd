//! The honest users of a relay: a camera and its viewer by QUIC, and what reaches the viewer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

use e2e::attack::{Attack, Attacker, Target};
use serde_json::Value;
use testkit::port;
use testkit::process::{Running, binary};

use crate::common::{LONG, alone, relay, sender, viewer};

pub(crate) const CAMERA: &str = "yard";
pub(crate) const MS: Duration = Duration::from_millis(1);

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
        // Built before the first one waits for the others.
        for name in ["relay-server", "pi-sender", "viewer"] {
            binary(name);
        }
        let (alone, directory) = (alone(), tempfile::tempdir().unwrap());
        let http = ["--http", "127.0.0.1:0"];
        let relay = relay(
            port::free(),
            directory.path(),
            &[&http, relay_args].concat(),
        );
        let line = relay.wait_for_line("listening", LONG);
        let http = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http="));
        let target = Target {
            relay: relay.listening(),
            http: http.unwrap().parse().unwrap(),
            camera: CAMERA.to_owned(),
        };
        let port = target.relay.port();
        let shown = shown_in(directory.path());
        let by_quic = ["--transport", "quic", "--camera", CAMERA];
        let viewer = viewer(
            port,
            &[&by_quic[..], &["--shown", shown.to_str().unwrap()]].concat(),
        );
        let sender = sender(port, &[&by_quic[..], &["--source", "demo"]].concat());
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
