//! `--record`: the picture as a video that ordinary players open.
//!
//! Cameras are irregular and containers are not, so the newest picture is written as often as a grid of 25 a second needs
//! it; the file then plays at the speed of the scene.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use opencv::core::{self, Mat};
use opencv::prelude::*;
use opencv::videoio::{CAP_FFMPEG, VideoWriter};
use protocol::geometry::Size;
use tracing::{info, warn};

/// Pictures per second.
const RATE: u32 = 25;
/// Most pictures written in one call, so that keys and frames never wait for an encoder that has to catch up.
const AT_ONCE: u32 = 10;
/// Longest gap that is filled; a longer sleep of this machine is left out of the video.
const BEHIND: Duration = Duration::from_secs(10);

/// The form of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Mp4,
    Avi,
    Mkv,
}

impl Container {
    /// Returns the container that the file's extension names.
    ///
    /// # Errors
    /// A sentence that names the known ones.
    pub(crate) fn from_path(path: &Path) -> Result<Self, String> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("mp4") => Ok(Self::Mp4),
            Some("avi") => Ok(Self::Avi),
            Some("mkv") => Ok(Self::Mkv),
            _ => Err(format!(
                "--record '{}': the file's name must end in .mp4, .avi or .mkv",
                path.display()
            )),
        }
    }

    fn fourcc(self) -> opencv::Result<i32> {
        let [a, b, c, d] = match self {
            Self::Mp4 => ['m', 'p', '4', 'v'],
            Self::Avi => ['M', 'J', 'P', 'G'],
            Self::Mkv => ['X', 'V', 'I', 'D'],
        };
        VideoWriter::fourcc(a, b, c, d)
    }
}

/// A running recording. If it is dropped, the file is complete but for the last moments.
pub(crate) struct Recorder {
    writer: VideoWriter,
    path: PathBuf,
    grid: FrameGrid,
}

impl Recorder {
    /// Opens the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn start(path: &Path, size: Size) -> anyhow::Result<Self> {
        let container = Container::from_path(path).map_err(anyhow::Error::msg)?;
        // FFmpeg reports a missing directory as a number only.
        fs::File::create(path).with_context(|| format!("recording into {}", path.display()))?;
        let writer = VideoWriter::new_with_backend(
            path,
            CAP_FFMPEG,
            container.fourcc()?,
            RATE.into(),
            core::Size::new(size.width.into(), size.height.into()),
            true,
        )?;
        ensure!(
            writer.is_opened()?,
            "recording into {}: OpenCV cannot write this container here; try .avi",
            path.display()
        );
        info!(file = %path.display(), "recording");
        Ok(Self {
            writer,
            path: path.to_owned(),
            grid: FrameGrid::default(),
        })
    }

    /// Writes the picture as often as the time since the last call needs; the video begins with the first picture.
    ///
    /// # Errors
    /// OpenCV's own.
    pub(crate) fn write(&mut self, picture: &Mat, now: Instant) -> anyhow::Result<()> {
        for _ in 0..self.grid.due(now) {
            self.writer.write(picture)?;
        }
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// OpenCV's own.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.writer.release().context("finishing the recording")?;
        if self.grid.written == 0 {
            // No player opens a container without a picture.
            warn!(file = %self.path.display(), "the recording is empty, so its file is removed: no frame came");
            return fs::remove_file(&self.path).context("removing the empty recording");
        }
        // OpenCV does not report a full disk; the smallest picture takes more than this.
        let length = fs::metadata(&self.path).map_or(0, |file| file.len());
        ensure!(
            length > u64::from(self.grid.written) * 16,
            "the recording {} is not whole ({length} bytes were written): is the disk full?",
            self.path.display()
        );
        let seconds = f64::from(self.grid.written) / f64::from(RATE);
        info!(file = %self.path.display(), seconds, "recorded");
        Ok(())
    }
}

/// Decides which pictures of the grid are due. Pure.
#[derive(Debug, Default)]
struct FrameGrid {
    start: Option<Instant>,
    written: u32,
}

impl FrameGrid {
    /// Returns how many pictures to write now, at most [`AT_ONCE`].
    fn due(&mut self, now: Instant) -> u32 {
        let start = *self.start.get_or_insert(now);
        let next = start + Duration::from_secs(self.written.into()) / RATE;
        let Some(behind) = now.checked_duration_since(next) else {
            return 0;
        };
        if behind > BEHIND {
            self.start = Some(start + (behind - BEHIND));
        }
        let due = 1 + behind.min(BEHIND).as_millis() as u32 * RATE / 1000;
        let due = due.min(AT_ONCE);
        self.written += due;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_film_lasts_as_long_as_the_world_whatever_the_calls_rhythm() {
        for step in [1, 7, 10, 40, 100, 333] {
            let (mut grid, start) = (FrameGrid::default(), Instant::now());
            let mut now = start;
            while now < start + 20_000 * MS {
                grid.due(now);
                now += step * MS;
            }
            assert!(
                (490..=501).contains(&grid.written),
                "{} at {step} ms",
                grid.written
            );
        }
    }

    #[test]
    fn after_a_pause_it_catches_up_in_small_portions_and_not_without_end() {
        let (mut grid, start) = (FrameGrid::default(), Instant::now());
        grid.due(start);
        let mut now = start + 3_600_000 * MS;
        let portions = std::iter::from_fn(|| {
            now += MS;
            Some(grid.due(now)).filter(|&due| due > 0)
        });
        let portions: Vec<u32> = portions.collect();
        assert!(portions.iter().all(|&due| due <= AT_ONCE));
        assert_eq!(portions.iter().sum::<u32>(), 251);
    }
}
