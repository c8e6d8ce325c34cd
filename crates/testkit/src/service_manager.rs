//! A service manager for a program under test: the socket that `NOTIFY_SOCKET` names, and what comes to it.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Program;

/// Longest wait for a message: the program loads a model first, on a machine that runs other tests.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for one datagram, so that the time is looked at now and then.
const POLL: Duration = Duration::from_millis(200);

/// The manager's end of the socket.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl ServiceManager {
    /// Starts to take messages.
    ///
    /// # Panics
    /// If there is no room for a socket.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(POLL)).expect("a timeout");
        Self { socket, directory }
    }

    /// Returns the program with the environment of this manager's service, which is to feed the watchdog within `limit`.
    #[must_use]
    pub fn supervise(&self, program: Program, limit: Duration) -> Program {
        program
            .env("NOTIFY_SOCKET", self.directory.path().join("notify"))
            .env(
                "WATCHDOG_USEC",
                OsString::from(limit.as_micros().to_string()),
            )
    }

    /// Waits for the first message from now on that has a line with this beginning, and returns that line.
    ///
    /// # Panics
    /// If none comes, with those that came.
    pub fn wait_for(&self, beginning: &str) -> String {
        let until = Instant::now() + TIMEOUT;
        let mut others = Vec::new();
        while Instant::now() < until {
            let Some(message) = self.next() else { continue };
            let found = message.lines().find(|line| line.starts_with(beginning));
            if let Some(line) = found {
                return line.to_owned();
            }
            others.push(message);
        }
        panic!("no {beginning}; there came {others:?}")
    }

    /// Returns the next message, if one comes soon.
    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        match self.socket.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            Err(err) if err.kind() == ErrorKind::WouldBlock => None,
            Err(err) => panic!("the socket failed: {err}"),
        }
    }
}
