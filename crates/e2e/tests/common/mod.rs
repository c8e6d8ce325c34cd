//! What the tests of whole chains share: the three programs and the tutorial's scripts.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

pub(crate) mod namespace;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use testkit::process::{Finished, Program, Running, binary, on_path};

/// Longest wait for anything on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Returns the lock of the one chain that runs at a time: a viewer uses the same port at each start, and two chains would
/// share two processors.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a directory for a run's files and the relay's state.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Starts the relay on `port`, and waits until it listens.
pub(crate) fn relay(port: u16, state: &Path, args: &[&str]) -> Running {
    relay_at((Ipv4Addr::LOCALHOST, port).into(), state, args)
}

/// Starts the relay on an address, and waits until it listens.
pub(crate) fn relay_at(listen: SocketAddr, state: &Path, args: &[&str]) -> Running {
    let running = Program::new(binary("relay-server"))
        .args(["--listen", &listen.to_string(), "--report", "--state"])
        .args([state])
        .args(args)
        .start();
    running.listening();
    running
}

/// Starts a sender to the relay on `port`.
pub(crate) fn sender(port: u16, args: &[&str]) -> Running {
    sender_to((Ipv4Addr::LOCALHOST, port).into(), args)
}

/// Starts a sender to a relay.
pub(crate) fn sender_to(relay: SocketAddr, args: &[&str]) -> Running {
    Program::new(binary("pi-sender"))
        .args(["--server", &relay.to_string(), "--report"])
        .args(args)
        .start()
}

/// Starts a viewer without a window.
pub(crate) fn viewer(port: u16, args: &[&str]) -> Running {
    viewer_of((Ipv4Addr::LOCALHOST, port).into(), args)
}

/// Starts a viewer of a relay, without a window.
pub(crate) fn viewer_of(relay: SocketAddr, args: &[&str]) -> Running {
    Program::new(binary("viewer"))
        .args(["--server", &relay.to_string(), "--headless", "--report"])
        .args(args)
        .start()
}

/// Returns the path of a program; if it is not installed, reports a skip and returns `None`.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let found = on_path(name);
    if found.is_none() {
        testkit::skip(&format!("{name} (scripts/setup --test) is not here"));
    }
    found
}

/// Ends a program as a service manager does, and requires success.
pub(crate) fn stop(running: Running) -> Finished {
    running.terminate();
    finish(running)
}

/// Waits until a program ends by itself, and requires success.
pub(crate) fn finish(running: Running) -> Finished {
    let finished = running.finish_ok();
    if let Some(took) = finished.stopped_in {
        assert!(took < Duration::from_secs(2), "a stop took {took:?}");
    }
    finished
}

/// Returns a number of a program's report.
pub(crate) fn figure(finished: &Finished, key: &str) -> f64 {
    finished.figure(key)
}

/// The files of tests with real pictures and the tutorial's scripts.
pub(crate) struct Tutorial {
    python: PathBuf,
    scripts: PathBuf,
    /// Model of the tutorial's relay and of ours.
    pub(crate) model: PathBuf,
    /// Video of people, 300x200 JPEGs back to back.
    pub(crate) video: PathBuf,
}

impl Tutorial {
    /// Finds the files; if one is missing, reports a skip and returns `None`.
    pub(crate) fn find() -> Option<Self> {
        let python = testkit::repository().join("target/tutorial-venv/bin/python");
        let found = (|| {
            Some(Self {
                scripts: testkit::shared("tutorial")?,
                model: testkit::shared("data/models/yolov5n-640.onnx")?,
                video: testkit::shared("data/video/seq-person-300x200-q95.mjpeg")?,
                python: python.exists().then_some(python)?,
            })
        })();
        if found.is_none() {
            testkit::skip(
                "the tutorial's scripts (../shared) or their Python packages (scripts/setup --test) are not here",
            );
        }
        found
    }

    /// Starts one of the scripts, configured by environment variables.
    pub(crate) fn script(&self, name: &str, port: u16, variables: &[(&str, &str)]) -> Running {
        let program = Program::new(&self.python)
            .args([self.scripts.join(name)])
            .env("PORT", port.to_string());
        let set = |program: Program, (name, value): &(&str, &str)| program.env(name, value);
        variables.iter().fold(program, set).start()
    }

    /// Starts the tutorial's sender: the video from its file, at 20 fps.
    pub(crate) fn sender(&self, port: u16) -> Running {
        self.script(
            "sender.py",
            port,
            &[("SOURCE", self.video.to_str().unwrap()), ("PERIOD", "0.05")],
        )
    }

    /// Starts the tutorial's relay with its model, and waits until it listens.
    pub(crate) fn server(&self, port: u16) -> Running {
        let model = self.model.to_str().unwrap();
        let server = self.script("server.py", port, &[("MODEL", model), ("THREADS", "1")]);
        let deadline = Instant::now() + LONG;
        while UdpSocket::bind(("0.0.0.0", port)).is_ok() {
            assert!(Instant::now() < deadline, "{:?}", server.stderr());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Starts the tutorial's viewer for so many frames.
    pub(crate) fn app(&self, port: u16, frames: u32) -> Running {
        self.script(
            "app.py",
            port,
            &[("FRAMES", &frames.to_string()), ("SECONDS", "60")],
        )
    }
}
