//! A private relay on a state directory, and `relay-server ticket` beside it.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::net::SocketAddr;
use std::path::Path;

use protocol::ticket::Ticket;
use testkit::process::{Finished, Program, Running};

use super::process::{RELAY, SOON};

/// A private relay with QUIC and HTTP.
pub(crate) struct PrivateRelay {
    pub(crate) running: Running,
    pub(crate) quic: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl PrivateRelay {
    pub(crate) fn start(state: &Path, flags: &[&str]) -> Self {
        let running = Program::new(RELAY)
            .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--model", "none", "--private", "--report", "--state"])
            .args([state])
            .args(flags)
            .start();
        let line = running.wait_for_line("listening", SOON);
        let mut words = line.split_whitespace();
        let http = words.find_map(|word| word.strip_prefix("http="));
        Self {
            quic: running.listening(),
            http: http.unwrap().parse().unwrap(),
            running,
        }
    }
}

/// Runs `relay-server ticket` with these words.
pub(crate) fn ticket(state: &Path, words: &[&str]) -> Finished {
    let program = Program::new(RELAY).args(["ticket"]).args(words);
    let program = program.args(["--state"]).args([state]);
    program
        .env("HOME", "/nonexistent")
        .env("TZ", "UTC")
        .start()
        .finish()
}

/// Runs it, which has to succeed, and returns what it prints.
pub(crate) fn ticket_ok(state: &Path, words: &[&str]) -> String {
    let done = ticket(state, words);
    assert_eq!(done.status.code(), Some(0), "{words:?}\n{}", done.stderr);
    done.stdout
}

/// Makes a ticket and returns it.
pub(crate) fn add(state: &Path, words: &[&str]) -> Ticket {
    let printed = ticket_ok(state, &[&["add"], words].concat());
    printed.split('\'').nth(1).unwrap().parse().unwrap()
}
