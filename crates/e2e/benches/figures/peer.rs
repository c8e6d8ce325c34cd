//! The tutorial's own server, as the peer in the same run.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use testkit::cpu::Account;
use testkit::process::{Program, Running};

/// For Python to load its model.
const READY: Duration = Duration::from_secs(60);

/// It runs until it is dropped.
pub(crate) struct Tutorial {
    running: Running,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its processor time.
    pub(crate) account: Account,
    /// From start to a bound port.
    pub(crate) ready_in: Duration,
}

impl Tutorial {
    /// Starts it with this model and every other setting as the tutorial has it; the error says what is missing.
    pub(crate) fn start(model: &Path) -> Result<Self, String> {
        let python = testkit::repository().join("target/tutorial-venv/bin/python");
        let script =
            testkit::shared("tutorial/server.py").ok_or("../shared/tutorial is not here")?;
        if !python.exists() {
            return Err(
                "target/tutorial-venv is not here; scripts/setup --test makes it".to_owned(),
            );
        }
        let port = free_port();
        let start = Instant::now();
        let running = Program::new(python)
            .args([script])
            .env("PORT", port.to_string())
            .env("MODEL", model)
            .start();
        while !bound(port) {
            if start.elapsed() > READY {
                return Err(format!(
                    "tutorial/server.py does not start: {:?}",
                    running.stderr()
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Self {
            ready_in: start.elapsed(),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            account: Account::of_program(running.id()),
            running,
        })
    }

    /// Resident memory in MB.
    pub(crate) fn resident_mb(&self) -> f64 {
        self.running.rss_kb() as f64 / 1e3
    }
}

/// Asked of the kernel: a trial of our own could be what keeps the server from binding.
fn bound(port: u16) -> bool {
    let sockets = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    sockets.contains(&format!(":{port:04X} 00000000"))
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
