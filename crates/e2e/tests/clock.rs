//! Clocks that are set while the programs run, as NTP does a minute after a Pi has started: no age of an hour.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, alone, directory, figure, stop};
use serde_json::Value;
use testkit::process::{Program, Running, binary};
use testkit::{port, skip, wrong_clock};

const HOUR: i64 = 3600;
/// Frames of a sender in five seconds: within so many a step is over.
const FEW_SECONDS: usize = 50;
/// Age in milliseconds that no frame has here, even on a busy machine.
const OLD: f64 = 3000.0;

/// A relay, a sender and a viewer, each with a wall clock of its own.
struct Chain {
    dir: PathBuf,
    http: u16,
    relay: Running,
    sender: Running,
    viewer: Running,
}

impl Chain {
    fn start(dir: &Path, shim: &Path, transport: &str) -> Self {
        let (port, http) = (port::free(), port::free());
        let server = format!("127.0.0.1:{port}");
        let program = |name: &str, args: &[&str]| {
            let clock = dir.join(name);
            fs::write(&clock, "0").unwrap();
            Program::new(binary(name))
                .args(["--report"])
                .args(args)
                .env("LD_PRELOAD", shim)
                .env(wrong_clock::AHEAD_FILE, &clock)
        };
        let page = format!("127.0.0.1:{http}");
        let listen = ["--listen", &server, "--http", &page, "--model", "none"];
        let relay = program("relay-server", &listen)
            .args(["--state"])
            .args([dir.join("state")])
            .start();
        relay.listening();
        let url = format!("http://{page}");
        let by_udp = ["--server", &server, "--transport", transport];
        let by_http = ["--server", &url];
        let way = match transport {
            "http" => &by_http[..],
            _ => &by_udp,
        };
        let sender = program("pi-sender", way)
            .args(["--source", "demo", "--fixed"])
            .start();
        let shown = dir.join("shown.jsonl");
        let viewer = program("viewer", way)
            .args(["--headless", "--shown"])
            .args([&shown])
            .start();
        Self {
            dir: dir.to_owned(),
            http,
            relay,
            sender,
            viewer,
        }
    }

    /// Sets a program's wall clock so many seconds ahead.
    fn set(&self, program: &str, ahead: i64) {
        // A reader never finds the file empty.
        let next = self.dir.join("next");
        fs::write(&next, ahead.to_string()).unwrap();
        fs::rename(next, self.dir.join(program)).unwrap();
    }

    /// Returns the ages that were shown so far, in milliseconds; `None` where a frame's is unknown.
    fn ages(&self) -> Vec<Option<f64>> {
        let text = fs::read_to_string(self.dir.join("shown.jsonl")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let age = |line: &str| serde_json::from_str::<Value>(line).unwrap()["age_ms"].as_f64();
        whole.lines().map(age).collect()
    }

    /// Waits for so many more frames, and returns the ages of all that were shown since the call.
    fn next(&self, frames: usize) -> Vec<Option<f64>> {
        let (before, deadline) = (self.ages().len(), Instant::now() + LONG);
        while self.ages().len() < before + frames {
            assert!(Instant::now() < deadline, "{:?}", self.viewer.stderr());
            thread::sleep(Duration::from_millis(50));
        }
        self.ages().split_off(before)
    }

    /// Returns sum and count of the relay's histogram of ages, in seconds.
    fn recorded(&self) -> (f64, f64) {
        let mut relay = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        relay.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        relay.read_to_string(&mut text).unwrap();
        let value = |suffix: &str| {
            let mut lines = text.lines().filter(|line| line.contains(suffix));
            let line = lines.next().unwrap_or_else(|| panic!("{suffix}: {text}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        (
            value("frame_age_seconds_sum"),
            value("frame_age_seconds_count"),
        )
    }

    fn stop(self) {
        let viewer = stop(self.viewer);
        let sender = stop(self.sender);
        stop(self.relay);
        assert_eq!(figure(&viewer, "lost"), 0.0, "a step costs no frame");
        assert_eq!(figure(&sender, "skipped"), 0.0);
        assert!(figure(&viewer, "age_ms_p99") < OLD);
    }
}

fn assert_no_hour(ages: &[Option<f64>], what: &str) {
    let wrong = |age: &f64| !(0.0..OLD).contains(age);
    let found = ages.iter().flatten().find(|age| wrong(age));
    assert_eq!(found, None, "{what}: {ages:?}");
}

#[test]
fn a_clock_that_steps_while_running_makes_no_age_of_an_hour() {
    let (_alone, dir) = (alone(), directory());
    let Some(shim) = wrong_clock::library(dir.path()) else {
        return skip("no C compiler here (cc), and only a shim sets a program's clock");
    };
    let chain = Chain::start(dir.path(), &shim, "auto");
    chain.next(FEW_SECONDS);
    for (program, ahead) in [
        ("pi-sender", HOUR),
        ("viewer", -HOUR),
        ("relay-server", HOUR),
        ("pi-sender", 0),
        ("relay-server", -30),
        ("pi-sender", 5),
    ] {
        chain.set(program, ahead);
        let what = format!("{program} set {ahead} s ahead");
        let ages = chain.next(FEW_SECONDS);
        assert_no_hour(&ages, &what);
        let steady = program != "pi-sender";
        let unknown = ages.iter().filter(|age| age.is_none()).count();
        assert!(unknown <= if steady { 0 } else { 35 }, "{what}: {ages:?}");
        assert!(
            ages[FEW_SECONDS - 10..].iter().all(Option::is_some),
            "{what}: {ages:?}"
        );
    }
    let (sum, count) = chain.recorded();
    assert!(
        count > 100.0 && sum / count < 1.0,
        "{sum} s, {count} frames"
    );
    chain.stop();
}

#[test]
fn by_http_the_clocks_are_compared_too() {
    let (_alone, dir) = (alone(), directory());
    let Some(shim) = wrong_clock::library(dir.path()) else {
        return skip("no C compiler here (cc), and only a shim sets a program's clock");
    };
    let chain = Chain::start(dir.path(), &shim, "http");
    chain.next(10);
    for (program, ahead) in [("pi-sender", HOUR), ("viewer", -HOUR)] {
        chain.set(program, ahead);
        let ages = chain.next(FEW_SECONDS);
        assert_no_hour(&ages, program);
        let last = &ages[FEW_SECONDS - 10..];
        assert!(last.iter().all(Option::is_some), "{program}: {ages:?}");
    }
    let (sum, count) = chain.recorded();
    assert!(count > 0.0 && sum / count < 1.0, "{sum} s, {count} frames");
    stop(chain.viewer);
    stop(chain.sender);
    stop(chain.relay);
}

#[test]
fn by_udp_a_clock_that_steps_leaves_the_age_unknown_until_both_are_right() {
    let (_alone, dir) = (alone(), directory());
    let Some(shim) = wrong_clock::library(dir.path()) else {
        return skip("no C compiler here (cc), and only a shim sets a program's clock");
    };
    let chain = Chain::start(dir.path(), &shim, "udp");
    chain.next(10);
    for (program, ahead, known) in [
        ("pi-sender", HOUR, false),
        ("viewer", HOUR, true),
        ("viewer", -HOUR, false),
        ("viewer", HOUR, true),
        ("pi-sender", 0, false),
    ] {
        chain.set(program, ahead);
        let ages = chain.next(FEW_SECONDS);
        assert_no_hour(&ages, program);
        let last = &ages[FEW_SECONDS - 10..];
        assert!(
            last.iter().all(|age| age.is_some() == known),
            "{program} {ahead}: {ages:?}"
        );
    }
    let (sum, count) = chain.recorded();
    assert!(count > 0.0 && sum / count < 1.0, "{sum} s, {count} frames");
    chain.stop();
}
