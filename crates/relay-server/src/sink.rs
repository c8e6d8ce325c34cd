//! Where detections are written: a file or standard output, on a thread of its own, since a full disk or a pipe that
//! nobody reads must not hold up a frame.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;

use crate::worker::Worker;

/// Messages that may wait for a slow disk.
const WAITING: usize = 256;

/// Opens `path` for appending lines; `-` is standard output.
///
/// # Errors
/// Where the file cannot be opened.
pub fn open(path: &Path) -> anyhow::Result<Worker<String>> {
    let mut out: Box<dyn Write + Send> = if path.as_os_str() == "-" {
        Box::new(io::stdout())
    } else {
        let file = OpenOptions::new().append(true).create(true).open(path);
        Box::new(file.with_context(|| format!("opening {} for --detections", path.display()))?)
    };
    let lost = "detections cannot be written";
    Worker::writer("detections", WAITING, lost, move |line: String| {
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    })
}
