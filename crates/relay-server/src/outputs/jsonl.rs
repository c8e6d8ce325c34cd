//! Detections as lines of JSON in a file or on standard output. They are written by a thread of their own, since a full
//! disk or a pipe without a reader must not hold up a frame.

use std::path::Path;

use anyhow::Context as _;
use platform::line_file::LineFile;

use crate::threads::Worker;

/// Messages that may wait for a slow disk.
const WAITING: usize = 256;

/// Opens `path` for adding lines; `-` is standard output.
///
/// # Errors
/// If the file cannot be opened.
pub fn open(path: &Path) -> anyhow::Result<Worker<String>> {
    let mut out = LineFile::open(path)
        .with_context(|| format!("opening {} for --detections", path.display()))?;
    let lost = "detections cannot be written";
    Worker::writer("detections", WAITING, lost, move |line: String| {
        Ok(out.write_line(&line)?)
    })
}
