//! Reads JPEGs back to back from standard input.
//!
//! A pipe is a live source: its newest picture counts, so that a program that writes faster than `--fps` does not make the
//! picture late. A file (`< FILE`) is played like any other file.

use std::fs::File;
use std::io::{IsTerminal as _, stdin};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, ensure};
use tracing::debug;

use super::live::ReadLive;
use super::mjpeg::JpegSplitter;
use super::{MAX_BROKEN_PICTURES, Picture};

/// Path by which standard input is opened as the file that it is.
pub(super) const PATH: &str = "/dev/stdin";

/// Returns whether standard input is a file.
pub(super) fn is_file() -> bool {
    std::fs::metadata(PATH).is_ok_and(|metadata| metadata.is_file())
}

/// Opens the pipe that standard input is.
pub(super) fn open() -> anyhow::Result<ReadLive> {
    ensure!(
        !stdin().is_terminal(),
        "standard input is a terminal: pipe JPEGs into it, as in ffmpeg .. -f mjpeg - | pi-sender --source -"
    );
    let input = stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("opening standard input")?;
    let mut pictures = JpegSplitter::new(File::from(input));
    let mut count: u64 = 0;
    Ok(Box::new(move || {
        for _ in 0..MAX_BROKEN_PICTURES {
            let Some(jpeg) = pictures.next().context("reading standard input")? else {
                ensure!(
                    count > 0,
                    "standard input ended without a JPEG: it takes JPEGs back to back (MJPEG), no other format"
                );
                return Ok(None);
            };
            match Picture::from_jpeg(jpeg) {
                Ok(picture) => {
                    count += 1;
                    return Ok(Some(picture));
                }
                Err(why) => debug!(%why, "a broken picture is skipped"),
            }
        }
        anyhow::bail!("standard input gave {MAX_BROKEN_PICTURES} broken pictures in a row")
    }))
}
