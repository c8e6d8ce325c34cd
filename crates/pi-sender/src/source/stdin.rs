//! Reads JPEGs back to back from standard input.
//!
//! A pipe is a live source: its newest picture counts, so that a program that writes faster than `--fps` does not make the
//! picture late. A file (`< FILE`) is played like any other file.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, stdin};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::warn;

use super::Picture;
use super::broken::BrokenRow;
use super::live::ReadLive;
use super::mjpeg::JpegSplitter;
use super::pipe_watch::{PATIENCE, PipeWatch};

/// Path by which standard input is opened as the file that it is.
pub(super) const PATH: &str = "/dev/stdin";

/// Returns whether standard input is a file.
pub(super) fn is_file() -> bool {
    std::fs::metadata(PATH).is_ok_and(|metadata| metadata.is_file())
}

/// Opens the pipe that standard input is. With `strict`, a pipe without a picture is an error instead of a warning.
pub(super) fn open(strict: bool) -> anyhow::Result<ReadLive> {
    ensure!(
        !stdin().is_terminal(),
        "standard input is a terminal: pipe JPEGs into it, as in ffmpeg .. -f mjpeg - | pi-sender --source -"
    );
    let input = stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("opening standard input")?;
    let pipe = WatchedPipe::new(File::from(input), strict, PATIENCE);
    let mut pictures = JpegSplitter::new(pipe);
    Ok(Box::new(move || {
        let mut broken = BrokenRow::of("standard input");
        loop {
            let Some(jpeg) = pictures.next().context("reading standard input")? else {
                return match &pictures.input_mut().watch {
                    Some(watch) => Err(anyhow::Error::msg(watch.end())),
                    None => Ok(None),
                };
            };
            match Picture::from_jpeg(jpeg) {
                Ok(picture) => {
                    pictures.input_mut().watch = None;
                    return Ok(Some(picture));
                }
                Err(why) => broken.skip(&why)?,
            }
        }
    }))
}

/// A pipe that reports what it gives until its first picture.
#[derive(Debug)]
struct WatchedPipe<F> {
    pipe: F,
    strict: bool,
    /// `None` from the first picture on.
    watch: Option<PipeWatch>,
}

impl<F: Read + AsFd> WatchedPipe<F> {
    fn new(pipe: F, strict: bool, patience: Duration) -> Self {
        Self {
            pipe,
            strict,
            watch: Some(PipeWatch::new(patience, Instant::now())),
        }
    }

    /// Waits until there is something to read or all is reported.
    fn wait(&mut self) -> io::Result<()> {
        while let Some(wait) = self.watch.as_ref().and_then(|w| w.wait(Instant::now())) {
            // Rounded up, since the poll counts whole milliseconds.
            let timeout = PollTimeout::try_from(wait + Duration::from_millis(1));
            let mut polled = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, timeout.unwrap_or(PollTimeout::MAX)) {
                Ok(0) | Err(Errno::EINTR) => self.report()?,
                Ok(_) => break,
                Err(why) => return Err(why.into()),
            }
        }
        Ok(())
    }

    fn report(&mut self) -> io::Result<()> {
        let due = self.watch.as_mut().and_then(|w| w.report(Instant::now()));
        match due {
            Some(why) if self.strict => return Err(io::Error::other(why)),
            Some(why) => warn!("{why}"),
            None => {}
        }
        Ok(())
    }
}

impl<F: Read + AsFd> Read for WatchedPipe<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        let read = self.pipe.read(buffer)?;
        if let Some(watch) = &mut self.watch {
            watch.receive(&buffer[..read], Instant::now());
            if read > 0 {
                self.report()?;
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Returns what a strict pipe that stays open after these bytes is reported for.
    fn reported(bytes: &[u8]) -> String {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(bytes).unwrap();
        let pipe = WatchedPipe::new(reader, true, Duration::from_millis(50));
        let why = JpegSplitter::new(pipe).next().unwrap_err();
        drop(writer);
        why.to_string()
    }

    #[test]
    fn a_pipe_that_stays_open_without_a_picture_is_reported() {
        assert!(reported(b"").contains("no data comes"));
        let why = reported(b"\0\0\0\x01\x67");
        assert!(why.contains("H.264"), "{why}");
    }
}
