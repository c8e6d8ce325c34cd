//! The output of a program under test, line by line, as reader threads fill it and tests wait for it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// Lines kept of a program's output; the oldest go first.
pub(super) const KEPT: usize = 20_000;
/// Longest wait for the output's end behind the program's: a program that it started may hold the streams open.
const DRAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// The output of a running program, shared by its reader threads and the test.
#[derive(Debug, Default)]
pub(super) struct Log {
    captured: Mutex<Captured>,
    changed: Condvar,
}

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub(super) lines: VecDeque<(Stream, String)>,
    /// Number of older lines, no longer kept.
    pub(super) dropped: usize,
    /// Number of streams that have not ended.
    pub(super) open: usize,
}

impl Log {
    /// Starts a thread that reads a stream to its end.
    pub(super) fn read(self: &Arc<Self>, stream: Stream, pipe: impl Read + Send + 'static) {
        self.captured().open += 1;
        let log = Arc::clone(self);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
                log.push(stream, String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
            log.captured().open -= 1;
            log.changed.notify_all();
        });
    }

    fn push(&self, stream: Stream, line: &str) {
        let mut captured = self.captured();
        if captured.lines.len() == KEPT {
            captured.lines.pop_front();
            captured.dropped += 1;
        }
        captured.lines.push_back((stream, line.to_owned()));
        drop(captured);
        self.changed.notify_all();
    }

    /// Returns the lines so far.
    pub(super) fn captured(&self) -> MutexGuard<'_, Captured> {
        lock(&self.captured)
    }

    /// Waits for the next change, at most for `timeout`.
    pub(super) fn wait<'a>(
        &self,
        captured: MutexGuard<'a, Captured>,
        timeout: Duration,
    ) -> MutexGuard<'a, Captured> {
        let woken = self.changed.wait_timeout(captured, timeout);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until both streams have ended, for [`DRAIN`] at most, and returns the lines.
    pub(super) fn complete(&self) -> MutexGuard<'_, Captured> {
        let open = |captured: &mut Captured| captured.open > 0;
        let captured = self
            .changed
            .wait_timeout_while(self.captured(), DRAIN, open);
        captured.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Captured {
    /// Returns the lines of a stream, the oldest first.
    pub(super) fn lines_of(&self, stream: Stream) -> impl DoubleEndedIterator<Item = String> {
        let of = move |(from, _): &&(Stream, String)| *from == stream;
        self.lines.iter().filter(of).map(|(_, line)| line.clone())
    }

    /// Returns the lines of a stream as one text.
    pub(super) fn text(&self, stream: Stream) -> String {
        self.lines_of(stream).map(|line| line + "\n").collect()
    }

    /// Returns the last line of standard output that is a JSON object.
    pub(super) fn report(&self) -> Option<Value> {
        self.lines_of(Stream::Out)
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(Value::is_object)
    }
}

impl std::fmt::Display for Captured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "--- its output ({} older lines dropped):", self.dropped)?;
        for (stream, line) in &self.lines {
            f.write_str(if *stream == Stream::Out {
                "out: "
            } else {
                "err: "
            })?;
            f.write_str(line)?;
            f.write_char('\n')?;
        }
        f.write_str("---")
    }
}

/// Locks a mutex, also a poisoned one: a test that panicked in another thread left a whole value.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
