//! Turns what libraries write to standard error into log lines.
//!
//! libjpeg, OpenCV, FFmpeg and ONNX Runtime write there past every filter, one line for each damaged picture that a peer
//! sends. So standard error becomes a pipe that a thread reads, and the log goes to where standard error went before.

use std::fs::File;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::unistd::dup2_stderr;
use tracing::{debug, warn};

/// Longest part of a line (bytes) that is logged.
const LINE_LENGTH: usize = 500;
/// Longest wait for the last lines at the program's end. A child that has outlived it may hold the pipe open.
const DRAIN: Duration = Duration::from_millis(200);
/// Beginnings of what a runtime, the C library or Qt writes right before it ends the process.
const LAST_WORDS: [&str; 12] = [
    "qt.qpa.",
    "This application failed to start",
    "terminate called",
    "  what():",
    "thread '",
    "fatal runtime error",
    "memory allocation of",
    "malloc",
    "free()",
    "double free",
    "corrupted",
    "*** stack smashing",
];

/// Standard error as it was, and its stand-in.
#[derive(Debug)]
pub(super) struct Redirected {
    original: Arc<File>,
    ended: Receiver<()>,
}

/// The read end of the stand-in.
#[derive(Debug)]
pub(super) struct Stray {
    pipe: PipeReader,
    ended: Sender<()>,
}

/// Puts a pipe in the place of standard error.
pub(super) fn redirect(original: Arc<File>) -> io::Result<(Redirected, Stray)> {
    let (pipe, writer) = io::pipe()?;
    dup2_stderr(writer.as_fd())?;
    let (tell, ended) = channel();
    Ok((Redirected { original, ended }, Stray { pipe, ended: tell }))
}

impl Stray {
    /// Starts the thread that logs the lines.
    pub(super) fn log(self) -> io::Result<()> {
        let run = move || self.log_to_the_end();
        thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(run)
            .map(drop)
    }

    fn log_to_the_end(mut self) {
        let mut lines = Lines::default();
        let mut piece = [0; 4096];
        loop {
            match self.pipe.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => lines.push(&piece[..read], log_line),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        lines.end(log_line);
        // The program may not wait any more.
        let _ = self.ended.send(());
    }
}

impl Drop for Redirected {
    fn drop(&mut self) {
        // With this the pipe has no writer left, and the thread ends.
        if dup2_stderr(self.original.as_fd()).is_ok() {
            let _ = self.ended.recv_timeout(DRAIN);
        }
    }
}

fn log_line(line: &str) {
    if LAST_WORDS
        .iter()
        .any(|beginning| line.starts_with(beginning))
    {
        warn!(?line, "standard error");
    } else {
        debug!(?line, "standard error");
    }
}

/// Cuts bytes into lines of bounded length.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&str)) {
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = LINE_LENGTH - self.line.len();
            self.line.extend_from_slice(&part[..room.min(part.len())]);
            if parts.peek().is_some() {
                self.end(&mut take);
            }
        }
    }

    /// Ends the line, also one without a line feed.
    fn end(&mut self, mut take: impl FnMut(&str)) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end();
        if !line.is_empty() {
            take(line);
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut taken) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| taken.push(line.to_owned()));
        }
        lines.end(|line| taken.push(line.to_owned()));
        taken
    }

    #[test]
    fn lines_come_out_whole_whatever_the_pieces() {
        assert_eq!(
            lines(&[b"one\ntw", b"o\r\n\n\nthr", b"ee"]),
            ["one", "two", "three"]
        );
        assert_eq!(lines(&[b"\n", b""]), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_fills_no_memory() {
        let long = [b'x'; 4096];
        let pieces: Vec<&[u8]> = [&long[..]; 50]
            .into_iter()
            .chain([&b"\nnext"[..]])
            .collect();
        assert_eq!(lines(&pieces), ["x".repeat(LINE_LENGTH), "next".to_owned()]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(lines(&[b"a\xFFb\n"]), ["a\u{FFFD}b"]);
    }
}
