//! A running cell: the three programs, and the files that they write.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use testkit::boxes::{Recording, Scores};
use testkit::process::{Program, binary};

use crate::Cell;

/// Rate and size of the tutorial's frames.
const FPS: u32 = 10;
const SIZE: [u16; 2] = [300, 200];
/// Duration of a cell beside its frames, for a forecast.
pub(crate) const AROUND: Duration = Duration::from_secs(2);
/// Longest wait for a viewer to join, on a machine that starts other chains.
const JOINS: Duration = Duration::from_secs(30);
/// Wait for the last frame and its boxes.
const TAIL: Duration = Duration::from_millis(500);

/// Builds the programs, so that no cell waits for it.
pub(crate) fn build() {
    for program in ["pi-sender", "relay-server", "viewer"] {
        binary(program);
    }
}

/// Runs a cell from start to end.
pub(crate) fn run(cell: &Cell, length: Duration) -> Scores {
    let work = tempfile::tempdir().unwrap();
    let [truth, detections, shown] =
        ["truth", "detections", "shown"].map(|name| work.path().join(name));
    let relay = start(
        "relay-server",
        &["--listen", "127.0.0.1:0", "--http", "off"],
    )
    .args(["--model", "demo", "--threads", "1"])
    .args(["--every", &cell.every.to_string()])
    .args(path("--detections", &detections))
    .args(path("--state", work.path()))
    .start();
    let address = relay.listening().to_string();
    let to = ["--server", &address, "--transport", "quic"];
    let viewer = start("viewer", &to)
        .args(["--headless"])
        .args(path("--shown", &shown))
        .start();
    relay.wait_for_line("viewer joined", JOINS);
    let [width, height] = SIZE;
    let frames = length.as_secs() * u64::from(FPS);
    let sender = start("pi-sender", &to)
        .args(["--source", "demo", "--camera", "boxes", "--fixed"])
        .args(["--size", &format!("{width}x{height}")])
        .args(["--fps", &FPS.to_string()])
        .args(["--frames", &frames.to_string()])
        .args(["--demo-seed", &cell.seed.to_string()])
        .args(["--demo-speed", &cell.speed.to_string()])
        .args(path("--demo-truth", &truth))
        .start();
    thread::sleep(length);
    sender.finish_ok();
    thread::sleep(TAIL);
    viewer.terminate();
    viewer.finish_ok();
    relay.terminate();
    relay.finish_ok();
    let [truth, detections, shown] =
        [truth, detections, shown].map(|file| fs::read_to_string(file).unwrap());
    let recording = Recording::read(&truth, &detections, &shown, SIZE.map(f32::from));
    let scores = recording.scores(f64::from(FPS));
    assert!(
        scores.shown > 0,
        "no frame was shown behind an inferred one"
    );
    scores
}

fn start(program: &str, args: &[&str]) -> Program {
    Program::new(binary(program)).args(args)
}

fn path<'a>(flag: &'a str, file: &'a Path) -> [&'a OsStr; 2] {
    [OsStr::new(flag), file.as_os_str()]
}
