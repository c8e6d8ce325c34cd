//! The relay as a process.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use testkit::process::{Finished, Program, Running};

pub(crate) const RELAY: &str = env!("CARGO_BIN_EXE_relay-server");
/// Longest wait for what happens at once.
pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const MS: Duration = Duration::from_millis(1);

/// Starts a relay that lists its figures at the end.
pub(crate) fn relay(flags: &[&str]) -> Running {
    Program::new(RELAY)
        .args(["--report"])
        .args(flags)
        .env("HOME", "/nonexistent")
        .start()
}

/// Starts a relay without a model on a free port.
pub(crate) fn without_model(flags: &[&str]) -> (Running, SocketAddr) {
    let always = ["--listen", "127.0.0.1:0", "--model", "none"];
    let running = relay(&[&always, flags].concat());
    let address = running.listening();
    (running, address)
}

/// Stops the relay, which has to end by itself and in time.
pub(crate) fn stop(running: Running) -> Finished {
    running.terminate();
    let finished = running.finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stopped_in.unwrap() < Duration::from_secs(2));
    finished
}

/// Stops the relay and returns its report.
pub(crate) fn report(running: Running) -> Value {
    let finished = stop(running);
    let report = finished.report;
    report.unwrap_or_else(|| panic!("no report\n{}", finished.stderr))
}
