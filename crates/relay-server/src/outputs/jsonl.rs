//! Detections and events as lines of JSON in a file or on standard output. They are written by threads of their own, since a full
//! disk or a pipe without a reader must not hold up a frame.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use platform::line_file::LineFile;

use crate::events::SentEvent;
use crate::threads::Worker;

/// Messages that may wait for a slow disk.
const WAITING: usize = 256;

/// Opens `path` for adding lines; `-` is standard output.
///
/// # Errors
/// If the file cannot be opened.
pub fn open(path: &Path) -> anyhow::Result<Worker<String>> {
    let mut out = open_for(path, "--detections")?;
    let lost = "detections cannot be written";
    Worker::writer("detections", WAITING, lost, move |line: String| {
        Ok(out.write_line(&line)?)
    })
}

/// Opens `path` for adding events; `-` is standard output.
///
/// # Errors
/// If the file cannot be opened.
pub fn open_events(path: &Path) -> anyhow::Result<Worker<Arc<SentEvent>>> {
    let mut out = open_for(path, "--events")?;
    let lost = "events cannot be written";
    Worker::writer(
        "events-file",
        WAITING,
        lost,
        move |event: Arc<SentEvent>| Ok(out.write_line(&event.json)?),
    )
}

fn open_for(path: &Path, flag: &str) -> anyhow::Result<LineFile> {
    LineFile::open(path).with_context(|| format!("opening {} for {flag}", path.display()))
}
