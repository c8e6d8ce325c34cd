//! The Raspberry Pi's own camera, through `rpicam-vid` and a pipe of MJPEG.
//!
//! CSI cameras do not open as V4L2 devices on today's Raspberry Pi OS; the program that the system comes with is the way.
//! A thread empties its pipe, so that a program that hangs is told from one that is slow.

use std::collections::VecDeque;
use std::env;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use platform::latest::{Received, Receiver, latest};
use protocol::geometry::Size;
use tracing::debug;

use super::live::{Feed, Leash};
use super::split::Splitter;
use super::{Picture, checked};

/// Names of the program, today's first.
const NAMES: [&str; 2] = ["rpicam-vid", "libcamera-vid"];
/// How long it may give no picture, at the start and later; the camera's own start takes about one second.
const PATIENCE: Duration = Duration::from_secs(5);
/// Last lines of its log that are kept for the error.
const LAST_WORDS: usize = 4;

/// How the camera is asked to deliver.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    words: Vec<String>,
    patience: Duration,
}

impl Settings {
    pub(super) fn new(size: Size, fps: f64, quality: u8) -> Self {
        let words = format!(
            "--codec mjpeg -t 0 --nopreview --width {} --height {} --framerate {fps} --quality {quality} -o -",
            size.width, size.height
        );
        Self {
            words: words.split(' ').map(str::to_owned).collect(),
            patience: PATIENCE + Duration::from_secs_f64(1.0 / fps),
        }
    }

    /// Starts the program and waits for its first picture.
    pub(super) fn open(&self, leash: &Leash) -> anyhow::Result<Feed> {
        let program = find().context("neither rpicam-vid nor libcamera-vid is on PATH: on Raspberry Pi OS, apt install rpicam-apps")?;
        let mut child = Command::new(&program)
            .args(&self.words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        leash.hold(child);
        let mut camera = Camera {
            pictures: read_pictures(stdout.context("its output is piped")?),
            words: LastWords::of(stderr.context("its log is piped")?),
            leash: leash.clone(),
            patience: self.patience,
        };
        let mut first = Some(camera.read()?);
        Ok(Box::new(move || {
            first.take().map_or_else(|| camera.read(), Ok)
        }))
    }
}

/// The program's path; looked up at each start, since it may be installed while the sender waits for a camera.
pub(crate) fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    NAMES
        .iter()
        .flat_map(|name| env::split_paths(&path).map(move |dir| dir.join(name)))
        .find(|program| program.is_file())
}

/// The running program.
struct Camera {
    pictures: Receiver<Picture>,
    words: LastWords,
    leash: Leash,
    patience: Duration,
}

impl Camera {
    fn read(&mut self) -> anyhow::Result<Picture> {
        match self.pictures.recv(self.patience) {
            Received::Value(picture) => Ok(picture),
            Received::Timeout => bail!(
                "rpicam-vid runs and gave no picture for {} s",
                self.patience.as_secs()
            ),
            Received::Closed => bail!("rpicam-vid ended: {}", self.words.get()),
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.leash.release();
    }
}

/// Cuts the pipe into pictures on a thread that ends with the pipe.
fn read_pictures(pipe: impl Read + Send + 'static) -> Receiver<Picture> {
    let (putter, taker) = latest();
    thread::spawn(move || {
        let mut pictures = Splitter::new(pipe);
        while let Ok(Some(jpeg)) = pictures.next() {
            match checked(jpeg) {
                Ok(jpeg) => drop(putter.send(Picture::Jpeg(jpeg))),
                Err(why) => debug!(%why, "a broken picture from rpicam-vid was left out"),
            }
        }
    });
    taker
}

/// The last lines of the program's log, which say why it ended.
struct LastWords(Arc<Mutex<VecDeque<String>>>, thread::JoinHandle<()>);

impl LastWords {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                debug!(rpicam = line);
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LAST_WORDS {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        Self(lines, reader)
    }

    fn get(&self) -> String {
        // The log's pipe closes about when the pictures' does; a grandchild that holds it is not waited for.
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
