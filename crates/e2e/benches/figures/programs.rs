//! Our programs under measurement.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use testkit::cpu::CpuClock;
use testkit::process::{Finished, Program, Running, binary};

/// A running relay.
pub(crate) struct Relay {
    running: Running,
    /// UDP address on which it listens.
    pub(crate) address: SocketAddr,
    /// Address of its HTTP server, if it has one.
    pub(crate) http: Option<SocketAddr>,
    /// Processor time of the program.
    pub(crate) cpu: CpuClock,
    /// Time from start to `listening`.
    pub(crate) ready_in: Duration,
    /// Directory of its state.
    _state: tempfile::TempDir,
}

impl Relay {
    /// Starts a relay without a model and with an HTTP server.
    pub(crate) fn with_http() -> Self {
        Self::open(None, "127.0.0.1:0", &[])
    }

    /// Starts a relay with or without a model's file, and waits until it listens.
    pub(crate) fn start(model: Option<&Path>, args: &[&str]) -> Self {
        Self::open(model, "off", args)
    }

    fn open(model: Option<&Path>, http: &str, args: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let program = Program::new(binary("relay-server"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--report",
                "--udp-egress",
                "1000",
                "--udp-viewers",
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
            .args(args);
        let start = std::time::Instant::now();
        let running = program.start();
        let address = running.listening();
        let line = running.wait_for_line("listening", Duration::from_secs(1));
        let mut fields = line.split_whitespace();
        let http = fields.find_map(|word| word.strip_prefix("http=")?.parse().ok());
        Self {
            ready_in: start.elapsed(),
            cpu: CpuClock::of_program(running.id()),
            address,
            http,
            running,
            _state: state,
        }
    }

    /// Returns the resident memory in MB.
    pub(crate) fn resident_mb(&self) -> f64 {
        self.running.rss_kb() as f64 / 1e3
    }

    /// Ends the relay, and returns numbers of its report.
    pub(crate) fn stop<const N: usize>(self, keys: [&str; N]) -> [f64; N] {
        let report = stop(self.running).report.unwrap();
        keys.map(|key| report[key].as_f64().unwrap_or(f64::NAN))
    }
}

/// Starts a sender to this address.
pub(crate) fn sender(to: SocketAddr, args: &[&str]) -> Running {
    let to = to.to_string();
    Program::new(binary("pi-sender"))
        .args(["--report", "--server", &to, "--transport", "udp"])
        .args(args)
        .start()
}

/// Ends a program and requires success.
pub(crate) fn stop(running: Running) -> Finished {
    running.terminate();
    let finished = running.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    finished
}
