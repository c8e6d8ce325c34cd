//! A run: the three programs of honest users, and an attack beside them.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use e2e::attack::{Attack, Target};
use serde_json::Value;
use testkit::process::{Program, Running, binary};

use crate::figures::Measured;

const CAMERA: &str = "yard";
/// Longest wait for a program to be ready.
const READY: Duration = Duration::from_secs(30);
/// Calm frames before the attack, in which the relay's memory settles.
const SETTLED: usize = 30;
/// Calm frames behind the attack, so that those of its end arrive or are lost.
const AFTER: u64 = 10;
const FPS: u64 = 10;
/// Time between two looks at the relay's memory.
const SAMPLE: Duration = Duration::from_millis(100);
/// Wait for frames on their way at the end.
const TAIL: Duration = Duration::from_millis(800);

/// The honest programs.
struct Chain {
    relay: Running,
    viewer: Running,
    sender: Running,
    files: Files,
    _directory: tempfile::TempDir,
}

/// What the programs write.
struct Files {
    shown: PathBuf,
    detections: PathBuf,
}

/// Counts at one moment.
struct Mark {
    at: Instant,
    shown: usize,
    /// Number of the last frame shown.
    number: u64,
    inferred: usize,
    log_bytes: usize,
}

/// Measures the honest programs under an attack, or calm without one.
pub(crate) fn run(attack: Option<Attack>, core: Option<usize>, length: Duration) -> Measured {
    let (chain, target) = Chain::start(length);
    chain.wait_until_settled();
    let (start, idle) = (chain.mark(), chain.relay.rss_kb());
    let attacker = attack.map(|attack| attack.start(&target, core));
    let peak = chain.peak_memory(length);
    let end = chain.mark();
    let achieved = attacker.map(e2e::attack::Attacker::stop);
    let ages = chain.files.ages(start.shown, end.shown);

    let Chain {
        relay,
        viewer,
        sender,
        files,
        _directory,
    } = chain;
    let sent = sender.finish_ok();
    thread::sleep(TAIL);
    viewer.terminate();
    let seen = viewer.finish_ok();
    relay.terminate();
    let relayed = relay.finish_ok();
    let missing = files.missing();
    let (early, missing): (Vec<u64>, _) = missing.into_iter().partition(|n| *n <= start.number);
    let offered = sent.figure("sent") + sent.figure("skipped");
    Measured {
        lost: (offered - seen.figure("received") - early.len() as f64).max(0.0),
        offered: offered - (start.number + AFTER) as f64,
        skipped: sent.figure("skipped"),
        missing,
        ages,
        in_relay_ms: relayed.figure("forward_us_p99") / 1e3,
        grown_kb: peak.saturating_sub(idle),
        log_bytes: end.log_bytes - start.log_bytes,
        inferred: end.inferred - start.inferred,
        took: end.at - start.at,
        achieved: attack.zip(achieved),
    }
}

impl Chain {
    fn start(length: Duration) -> (Self, Target) {
        let directory = tempfile::tempdir().unwrap();
        let files = Files {
            shown: directory.path().join("shown"),
            detections: directory.path().join("detections"),
        };
        let relay = relay(directory.path(), &files.detections);
        let target = Target {
            relay: relay.listening(),
            http: http(&relay),
            camera: CAMERA.to_owned(),
        };
        let peer = |name: &str, args: &[&str]| {
            Program::new(binary(name))
                .args(["--report", "--server", &target.relay.to_string()])
                .args(["--transport", "quic", "--camera", CAMERA])
                .args(args)
        };
        let shown = files.shown.to_str().unwrap();
        let viewer = peer("viewer", &["--headless", "--shown", shown]).start();
        relay.wait_for_line("viewer joined", READY);
        let frames = SETTLED as u64 + FPS * length.as_secs() + AFTER;
        let sender = peer("pi-sender", &["--source", "demo"])
            .args(["--fps", &FPS.to_string(), "--frames", &frames.to_string()])
            .start();
        let chain = Self {
            relay,
            viewer,
            sender,
            files,
            _directory: directory,
        };
        (chain, target)
    }

    fn wait_until_settled(&self) {
        let deadline = Instant::now() + READY;
        while self.files.ages(0, usize::MAX).len() < SETTLED {
            assert!(Instant::now() < deadline, "{:?}", self.viewer.stderr());
            thread::sleep(SAMPLE);
        }
    }

    fn mark(&self) -> Mark {
        Mark {
            at: Instant::now(),
            shown: self.files.ages(0, usize::MAX).len(),
            number: self.files.numbers().last().copied().unwrap_or(0),
            inferred: self.files.inferred(),
            log_bytes: self.relay.stderr().iter().map(|line| line.len() + 1).sum(),
        }
    }

    /// Waits, and returns the relay's largest memory meanwhile, in kB.
    fn peak_memory(&self, length: Duration) -> u64 {
        let end = Instant::now() + length;
        let mut peak = 0;
        while Instant::now() < end {
            peak = peak.max(self.relay.rss_kb());
            thread::sleep(SAMPLE);
        }
        peak
    }
}

impl Files {
    /// Returns the ages in ms of the frames shown from this one up to that one.
    fn ages(&self, from: usize, to: usize) -> Vec<f64> {
        let shown = lines(&self.shown);
        let range = shown.get(from..to.min(shown.len())).unwrap_or_default();
        range.iter().filter_map(|l| l["age_ms"].as_f64()).collect()
    }

    /// Returns the numbers of the frames shown.
    fn numbers(&self) -> BTreeSet<u64> {
        let shown = lines(&self.shown);
        shown.iter().filter_map(|l| l["seq"].as_u64()).collect()
    }

    /// Returns the numbers of frames that were not shown, up to the last that was.
    fn missing(&self) -> Vec<u64> {
        let shown = self.numbers();
        let last = shown.last().copied().unwrap_or(0);
        (1..=last).filter(|seq| !shown.contains(seq)).collect()
    }

    /// Returns the number of the honest camera's frames that were inferred.
    fn inferred(&self) -> usize {
        let messages = lines(&self.detections);
        messages.iter().filter(|m| m["camera"] == CAMERA).count()
    }
}

/// Returns the whole lines of a file that is being written.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn relay(state: &Path, detections: &Path) -> Running {
    Program::new(binary("relay-server"))
        .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .args(["--model", "demo", "--every", "4", "--report"])
        .args([Path::new("--state"), state])
        .args([Path::new("--detections"), detections])
        .start()
}

fn http(relay: &Running) -> SocketAddr {
    let line = relay.wait_for_line("listening", READY);
    let mut words = line.split_whitespace();
    let address = words.find_map(|word| word.strip_prefix("http=")?.parse().ok());
    address.unwrap()
}
