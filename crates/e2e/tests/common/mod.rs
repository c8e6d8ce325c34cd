//! What the tests of whole chains share: the three programs, the tutorial's scripts, and free ports.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use testkit::process::{Finished, Program, Running, binary};

/// For anything that a busy machine may be slow at.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// One chain at a time: a viewer asks from the same port at each start, and two chains would share two processors.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory for a run's files; the relay keeps its places there.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The relay on `port`, with `words` after it.
pub(crate) fn relay(port: u16, state: &Path, words: &[&str]) -> Running {
    let running = Program::new(binary("relay-server"))
        .args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--report",
            "--state",
        ])
        .args([state])
        .args(words)
        .start();
    running.listening();
    running
}

/// The sender to the relay on `port`.
pub(crate) fn sender(port: u16, words: &[&str]) -> Running {
    Program::new(binary("pi-sender"))
        .args(["--server", &format!("127.0.0.1:{port}"), "--report"])
        .args(words)
        .start()
}

/// A viewer without a window.
pub(crate) fn viewer(port: u16, words: &[&str]) -> Running {
    Program::new(binary("viewer"))
        .args([
            "--server",
            &format!("127.0.0.1:{port}"),
            "--headless",
            "--report",
        ])
        .args(words)
        .start()
}

/// Ends a program as a service manager does, and looks that it went well.
pub(crate) fn stop(running: Running) -> Finished {
    running.terminate();
    well(running)
}

/// Waits until a program ends by itself, and looks that it went well.
pub(crate) fn well(running: Running) -> Finished {
    let finished = running.finish_ok();
    if let Some(took) = finished.stopped_in {
        assert!(took < Duration::from_secs(2), "a stop took {took:?}");
    }
    finished
}

/// A number of a program's report.
pub(crate) fn figure(finished: &Finished, key: &str) -> f64 {
    finished.figure(key)
}

/// What the tests with real pictures and the tutorial's scripts need; said as a skip where it is not all here.
pub(crate) struct Tutorial {
    python: PathBuf,
    scripts: PathBuf,
    /// The model of the tutorial's relay and of ours.
    pub(crate) model: PathBuf,
    /// A video of people, 300x200 JPEGs back to back.
    pub(crate) video: PathBuf,
}

impl Tutorial {
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

    /// One of the scripts, told by environment variables.
    pub(crate) fn script(&self, name: &str, port: u16, variables: &[(&str, &str)]) -> Running {
        let program = Program::new(&self.python)
            .args([self.scripts.join(name)])
            .env("PORT", port.to_string());
        let set = |program: Program, (name, value): &(&str, &str)| program.env(name, value);
        variables.iter().fold(program, set).start()
    }

    /// The tutorial's sender: the video from its file, at 20 fps.
    pub(crate) fn sender(&self, port: u16) -> Running {
        self.script(
            "sender.py",
            port,
            &[("SOURCE", self.video.to_str().unwrap()), ("PERIOD", "0.05")],
        )
    }

    /// The tutorial's relay with its model, once it listens.
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

    /// The tutorial's viewer for so many frames.
    pub(crate) fn app(&self, port: u16, frames: u32) -> Running {
        self.script(
            "app.py",
            port,
            &[("FRAMES", &frames.to_string()), ("SECONDS", "60")],
        )
    }
}
