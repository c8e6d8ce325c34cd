//! A viewer without a window, and what it wrote with `--shown`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quic::identity::Identity;
use serde_json::Value;
use testkit::process::{Program, Running};

pub(crate) fn identity() -> Identity {
    Identity::generate().unwrap()
}

/// Starts the viewer without a window, with `--shown`.
pub(crate) fn start_headless(program: Program) -> Running {
    program
        .args(["--headless", "--shown", "shown.jsonl"])
        .start()
}

/// Ends a viewer, which succeeds in time, and returns its report.
pub(crate) fn stop_and_report(viewer: Running) -> Value {
    viewer.terminate();
    let done = viewer.finish();
    assert!(done.status.success(), "{}", done.stderr);
    assert!(done.stopped_in.unwrap() < Duration::from_secs(2));
    done.report.unwrap()
}

/// Returns the lines of `--shown`.
pub(crate) fn shown(dir: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(dir.join("shown.jsonl")).unwrap_or_default();
    let whole = lines.lines().map(serde_json::from_str);
    whole.map_while(Result::ok).collect()
}

/// Returns the numbers of the frames that were shown.
pub(crate) fn numbers(dir: &Path) -> Vec<u64> {
    let seq = |line: &Value| line["seq"].as_u64().unwrap();
    shown(dir).iter().map(seq).collect()
}

/// Returns the number of the frame that was shown last, 0 before the first.
pub(crate) fn newest(dir: &Path) -> u64 {
    numbers(dir).last().copied().unwrap_or(0)
}
