//! The tutorial's own server, as the peer in the same run.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use testkit::cpu::CpuClock;
use testkit::process::{Program, Running};

/// Longest wait for Python to load its model.
const READY: Duration = Duration::from_secs(60);

/// A running server; it ends when dropped.
pub(crate) struct TutorialServer {
    running: Running,
    /// Address on which it listens.
    pub(crate) address: SocketAddr,
    /// Processor time of the program.
    pub(crate) cpu: CpuClock,
    /// Time from start to a bound port.
    pub(crate) ready_in: Duration,
}

impl TutorialServer {
    /// Starts it with this model and the tutorial's other settings; the error names what is missing.
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
            cpu: CpuClock::of_program(running.id()),
            running,
        })
    }

    /// Returns the resident memory in MB.
    pub(crate) fn resident_mb(&self) -> f64 {
        self.running.rss_kb() as f64 / 1e3
    }
}

/// Returns whether a program has bound the port, from the kernel's table: a trial bind of our own could keep the server
/// from binding.
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
