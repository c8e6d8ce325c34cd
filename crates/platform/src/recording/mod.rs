//! Recordings: pictures and their times, as a video that browsers, phones and players open.
//!
//! ```text
//!  picture, time -> pace (PURE) -> [queue] -> thread: matroska (PURE) --> ffmpeg --> H.264 in the file
//!                                                                     \-> the file, where there is no ffmpeg
//! ```
//!
//! The way of the field is a child process: OpenCV's writer knows one rate, keeps MP4's index in memory until its end, and
//! Debian's has no H.264. Pictures travel in Matroska, since JPEGs on a pipe have no times. The same Matroska is the file
//! where ffmpeg is missing: it is whole at any moment, and players that know MJPEG show it.
//!
//! No file is overwritten, and a failure shows when it happens: [`Recording::write`] returns it.

mod ffmpeg;
mod matroska;
mod pace;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use protocol::geometry::Size;
use tracing::{info, warn};

use self::ffmpeg::Ffmpeg;
use self::pace::Pace;
use crate::clock::local_time_as_name;
use crate::line_file::is_at;

/// Pictures that wait for the encoder: a second of a fast camera. More are left out rather than delay the program.
const WAITING: usize = 64;
/// Time between two looks at whether the file is still there.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time in which ffmpeg completes a file while the program waits for it; it completes it alone if it needs longer.
const FINISH_TIMEOUT: Duration = Duration::from_millis(1200);
/// Time between two looks at whether ffmpeg has ended.
const FINISH_POLL: Duration = Duration::from_millis(5);

/// The form of a recording's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// MP4 in fragments.
    Mp4,
    /// AVI, for old players.
    Avi,
    /// Matroska.
    Mkv,
}

impl Container {
    /// Returns the container that the file's extension names.
    ///
    /// # Errors
    /// A sentence that names the known ones.
    pub fn from_path(path: &Path) -> Result<Self, String> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("mp4") => Ok(Self::Mp4),
            Some("avi") => Ok(Self::Avi),
            Some("mkv") => Ok(Self::Mkv),
            _ => Err(format!(
                "'{}': the file's name must end in .mp4, .avi or .mkv",
                path.display()
            )),
        }
    }
}

/// A recording that goes on. If it is dropped, its file is completed too.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    pace: Pace,
    pictures: SyncSender<(Picture, Duration)>,
    writer: Option<JoinHandle<anyhow::Result<()>>>,
    left_out: u64,
}

/// A picture for a recording.
#[derive(Debug)]
pub struct Picture {
    /// The picture.
    pub jpeg: Vec<u8>,
    /// Its size.
    pub size: Size,
}

impl Recording {
    /// Creates the file and starts its thread. Where the file exists already, the time is put into the new one's name. The video
    /// has the first picture's size, into which those of another size are fitted.
    ///
    /// # Errors
    /// If the name's ending is none of a [`Container`]'s, or the file cannot be created.
    pub fn start(path: &Path) -> anyhow::Result<Self> {
        let container = Container::from_path(path).map_err(anyhow::Error::msg)?;
        let (file, path) = create_new(path)?;
        let (pictures, queue) = sync_channel(WAITING);
        let target = Target {
            file,
            path: path.clone(),
            container,
        };
        let writer = thread::Builder::new().name("recording".to_owned());
        let writer = writer.spawn(move || target.write_all(&queue))?;
        info!(file = %path.display(), "recording");
        Ok(Self {
            path,
            pace: Pace::default(),
            pictures,
            writer: Some(writer),
            left_out: 0,
        })
    }

    /// Writes the picture that is shown now, if it is due: a new one, or the last one again after a second. To be called at
    /// least a few times a second. `encode` makes the picture.
    ///
    /// # Errors
    /// Why the recording has ended: its cause, such as a full disk. There is nothing more to write then.
    pub fn write(
        &mut self,
        is_new: bool,
        now: Instant,
        encode: impl FnOnce() -> anyhow::Result<Picture>,
    ) -> anyhow::Result<()> {
        if self.writer.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(self.failure());
        }
        let Some(at) = self.pace.due(is_new, now) else {
            return Ok(());
        };
        match self.pictures.try_send((encode()?, at)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.left_out += 1;
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => Err(self.failure()),
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// If it is not whole.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let (closed, _) = sync_channel(0);
        self.pictures = closed;
        self.join()?;
        let seconds = (self.pace.passed().as_secs_f64() * 100.0).round() / 100.0;
        let left_out = self.left_out;
        info!(file = %self.path.display(), seconds, left_out, "recorded");
        Ok(())
    }

    fn failure(&mut self) -> anyhow::Error {
        let ended = self.join().err();
        ended.unwrap_or_else(|| anyhow!("the recording has ended"))
    }

    fn join(&mut self) -> anyhow::Result<()> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let written = writer
            .join()
            .map_err(|_| anyhow!("its thread has panicked"));
        let context = || format!("the recording {} is not whole", self.path.display());
        written.flatten().with_context(context)
    }
}

/// Creates a file that does not exist yet: of this name or, where that is taken, with the time before the extension.
fn create_new(path: &Path) -> anyhow::Result<(File, PathBuf)> {
    let context = |path: &Path| format!("recording into {}", path.display());
    match File::create_new(path) {
        Err(err) if err.kind() == ErrorKind::AlreadyExists => {
            let other = with_time(path);
            let file = File::create_new(&other).with_context(|| context(&other))?;
            warn!(exists = %path.display(), file = %other.display(), "the file of this name is kept, and another one written");
            Ok((file, other))
        }
        created => Ok((created.with_context(|| context(path))?, path.to_owned())),
    }
}

fn with_time(path: &Path) -> PathBuf {
    let mut name: OsString = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("_{}", local_time_as_name()));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// What a recording's thread writes into.
struct Target {
    file: File,
    path: PathBuf,
    container: Container,
}

/// Where the Matroska goes.
enum Sink {
    Ffmpeg {
        child: Child,
        input: Option<ChildStdin>,
        report: JoinHandle<String>,
    },
    File(File),
}

impl Target {
    /// Writes all pictures of the queue, until its other end is dropped.
    fn write_all(self, queue: &Receiver<(Picture, Duration)>) -> anyhow::Result<()> {
        // No player opens a video without a picture.
        let Ok(first) = queue.recv() else {
            warn!(file = %self.path.display(), "the recording is empty, so its file is removed: no frame came");
            return fs::remove_file(&self.path).context("removing the empty recording");
        };
        let mut sink = self.open(first.0.size)?;
        let header = matroska::header(first.0.size);
        let mut written = sink
            .write(&header)
            .and_then(|()| sink.write_picture(&first));
        let mut checked = Instant::now();
        while written.is_ok() {
            if checked.elapsed() >= CHECK_INTERVAL {
                checked = Instant::now();
                if !is_at(&self.file, &self.path) {
                    bail!("the file or its directory was removed while it was written");
                }
            }
            written = match queue.recv_timeout(CHECK_INTERVAL) {
                Ok(picture) => sink.write_picture(&picture),
                Err(RecvTimeoutError::Timeout) => sink.check(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
        }
        sink.close(written)
    }

    fn open(&self, size: Size) -> anyhow::Result<Sink> {
        match Ffmpeg::find() {
            Ok(ffmpeg) => {
                let mut child = ffmpeg.start(&self.path, self.container, size)?;
                let stderr = child
                    .stderr
                    .take()
                    .context("ffmpeg has no standard error")?;
                Ok(Sink::Ffmpeg {
                    input: child.stdin.take(),
                    report: ffmpeg::last_report(stderr)?,
                    child,
                })
            }
            Err(why) => {
                warn!(
                    file = %self.path.display(),
                    "{why}, so the recording is Matroska with JPEGs, which VLC plays and browsers do not; apt install ffmpeg"
                );
                Ok(Sink::File(self.file.try_clone()?))
            }
        }
    }
}

impl Sink {
    fn write_picture(&mut self, (picture, at): &(Picture, Duration)) -> io::Result<()> {
        self.write(&matroska::picture(&picture.jpeg, *at))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Ffmpeg { input, .. } => match input {
                Some(input) => input.write_all(bytes),
                None => Err(ErrorKind::BrokenPipe.into()),
            },
            Self::File(file) => file.write_all(bytes),
        }
    }

    /// Returns an error if ffmpeg has ended, while there is nothing to write.
    fn check(&mut self) -> io::Result<()> {
        match self {
            Self::Ffmpeg { child, .. } => match child.try_wait()? {
                Some(_) => Err(ErrorKind::BrokenPipe.into()),
                None => Ok(()),
            },
            Self::File(_) => Ok(()),
        }
    }

    /// Ends the input, and returns how the recording ended.
    fn close(self, written: io::Result<()>) -> anyhow::Result<()> {
        let Self::Ffmpeg {
            mut child,
            input,
            report,
        } = self
        else {
            return written.context("writing the file");
        };
        drop(input);
        let deadline = Instant::now() + FINISH_TIMEOUT;
        loop {
            match child.try_wait()? {
                Some(status) if status.success() && written.is_ok() => return Ok(()),
                Some(status) => {
                    let report = report.join().unwrap_or_default();
                    bail!("ffmpeg ended with {status}: {report}");
                }
                None if Instant::now() < deadline => thread::sleep(FINISH_POLL),
                None => {
                    info!("ffmpeg completes the recording by itself");
                    return Ok(());
                }
            }
        }
    }
}
