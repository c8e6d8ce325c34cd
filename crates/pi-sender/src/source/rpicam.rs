//! Reads the Raspberry Pi's own camera through `rpicam-vid` and a pipe of MJPEG.
//!
//! CSI cameras do not open as V4L2 devices on today's Raspberry Pi OS; the system's program opens them.
//! A thread empties its pipe, so that a program that hangs can be distinguished from one that is slow.

use std::collections::VecDeque;
use std::env;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use platform::latest::{Received, Receiver, latest};
use protocol::geometry::Size;
use tracing::debug;

use super::Picture;
use super::live::{ChildGuard, ReadPicture};
use super::mjpeg::JpegSplitter;
use super::rpicam_options::{self, RpicamOptions};

/// Names of the program, the current one first.
const PROGRAM_NAMES: [&str; 2] = ["rpicam-vid", "libcamera-vid"];
/// Longest time without a picture, at the start and later; the camera itself starts in about one second.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(5);
/// Count of the last lines of its log that the error quotes.
const LOG_TAIL_LINES: usize = 4;

/// Runs a program and kills the process group, itself included, at the signal that the sender's death sends.
const WATCH: &str = r#"trap 'kill -KILL 0' TERM; "$@" & wait $!"#;

/// The program's command line, and how long it may give no picture.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    arguments: Vec<String>,
    timeout: Duration,
}

impl Settings {
    pub(super) fn new(size: Size, fps: f64, quality: u8, options: &RpicamOptions) -> Self {
        Self {
            arguments: rpicam_options::arguments(size, fps, quality, options),
            timeout: PICTURE_TIMEOUT + Duration::from_secs_f64(1.0 / fps),
        }
    }

    /// Starts the program and waits for its first picture.
    pub(super) fn open(&self, guard: &ChildGuard) -> anyhow::Result<ReadPicture> {
        let program = find().context("neither rpicam-vid nor libcamera-vid is on PATH: on Raspberry Pi OS, apt install rpicam-apps")?;
        let mut child = ending_with_the_sender(&program)
            .args(&self.arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        guard.replace(child);
        let mut camera = RunningCamera {
            pictures: read_pictures(stdout.context("its output is piped")?),
            log: LogTail::read(stderr.context("its log is piped")?),
            guard: guard.clone(),
            timeout: self.timeout,
        };
        let mut first = Some(camera.read()?);
        Ok(Box::new(move || {
            first.take().map_or_else(|| camera.read(), Ok)
        }))
    }
}

/// Returns the start of a command line that ends the program and its children also if the sender is killed: the kernel
/// then sends a signal to a shell, which kills its process group. Without `setpriv` the program is started as it is, and
/// ends at its next picture, which finds no reader.
fn ending_with_the_sender(program: &Path) -> Command {
    let Some(setpriv) = on_path("setpriv") else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command
        .args(["--pdeathsig", "TERM", "sh", "-c", WATCH, "sh"])
        .arg(program);
    command
}

/// Searches PATH for the program; at each start, since it may be installed while the sender waits for a camera.
pub(crate) fn find() -> Option<PathBuf> {
    PROGRAM_NAMES.iter().find_map(|name| on_path(name))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
}

/// The running program.
struct RunningCamera {
    pictures: Receiver<Picture>,
    log: LogTail,
    guard: ChildGuard,
    timeout: Duration,
}

impl RunningCamera {
    fn read(&mut self) -> anyhow::Result<Picture> {
        match self.pictures.recv(self.timeout) {
            Received::Value(picture) => Ok(picture),
            Received::Timeout => bail!(
                "rpicam-vid runs and gave no picture for {} s",
                self.timeout.as_secs()
            ),
            Received::Closed => bail!("rpicam-vid ended: {}", self.log.last_lines()),
        }
    }
}

impl Drop for RunningCamera {
    fn drop(&mut self) {
        self.guard.kill();
    }
}

/// Cuts the pipe into pictures on a thread that ends with the pipe.
fn read_pictures(pipe: impl Read + Send + 'static) -> Receiver<Picture> {
    let (slot, receiver) = latest();
    thread::spawn(move || {
        let mut pictures = JpegSplitter::new(pipe);
        while let Ok(Some(jpeg)) = pictures.next() {
            match Picture::from_jpeg(jpeg) {
                Ok(picture) => drop(slot.send(picture)),
                Err(why) => debug!(%why, "a broken picture from rpicam-vid is skipped"),
            }
        }
    });
    receiver
}

/// The last lines of the program's log, which contain why it ended.
struct LogTail(Arc<Mutex<VecDeque<String>>>, thread::JoinHandle<()>);

impl LogTail {
    fn read(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                debug!(rpicam = line);
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LOG_TAIL_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        Self(lines, reader)
    }

    fn last_lines(&self) -> String {
        // The log's pipe closes about when the pictures' does; do not wait for a grandchild that holds it open.
        for _ in 0..20 {
            if self.1.is_finished() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return "it gave no reason".to_owned();
        }
        lines
            .iter()
            .map(|line| line.trim())
            .collect::<Vec<_>>()
            .join(" / ")
    }
}
