//! Our programs under measurement.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use testkit::cpu::Account;
use testkit::process::{Finished, Program, Running, binary};

/// A relay that runs.
pub(crate) struct Relay {
    running: Running,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where its web door is.
    pub(crate) http: Option<SocketAddr>,
    /// Its processor time.
    pub(crate) account: Account,
    /// From start to `listening`.
    pub(crate) ready_in: Duration,
    /// It keeps its places here.
    _state: tempfile::TempDir,
}

impl Relay {
    /// Starts one without a model and with a web door.
    pub(crate) fn with_web() -> Self {
        Self::open(None, "127.0.0.1:0", &[])
    }

    /// Starts a relay with a model's file, or none, and waits until it listens.
    pub(crate) fn start(model: Option<&Path>, words: &[&str]) -> Self {
        Self::open(model, "off", words)
    }

    fn open(model: Option<&Path>, http: &str, words: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let program = Program::new(binary("relay-server"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--report",
                "--plain-egress",
                "1000",
                "--plain-viewers",
                "200",
                "--http",
                http,
            ])
            .args([
                Path::new("--state"),
                state.path(),
                Path::new("--model"),
                model.unwrap_or(Path::new("none")),
            ])
            .args(words);
        let start = std::time::Instant::now();
        let running = program.start();
        let address = running.listening();
        let line = running.wait_for_line("listening", Duration::from_secs(1));
        let mut words = line.split_whitespace();
        let http = words.find_map(|word| word.strip_prefix("http=")?.parse().ok());
        Self {
            ready_in: start.elapsed(),
            account: Account::of_program(running.id()),
            address,
            http,
            running,
            _state: state,
        }
    }

    /// Resident memory in MB.
    pub(crate) fn resident_mb(&self) -> f64 {
        self.running.rss_kb() as f64 / 1e3
    }

    /// Ends it, and reads numbers of its report.
    pub(crate) fn stop<const N: usize>(self, keys: [&str; N]) -> [f64; N] {
        let report = stop(self.running).report.unwrap();
        keys.map(|key| report[key].as_f64().unwrap_or(f64::NAN))
    }
}

/// Starts a sender to this address.
pub(crate) fn sender(to: SocketAddr, words: &[&str]) -> Running {
    let to = to.to_string();
    Program::new(binary("pi-sender"))
        .args(["--report", "--server", &to, "--transport", "udp"])
        .args(words)
        .start()
}

/// Ends a program and looks that it went well.
pub(crate) fn stop(running: Running) -> Finished {
    running.terminate();
    let finished = running.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    finished
}
