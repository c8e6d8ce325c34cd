//! Plays a video file by its time stamps.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use opencv::core::Mat;
use tracing::debug;

use super::Picture;
use super::capture::{self, Video};
use super::cover::Uncovered;
use super::timeline::Timeline;

/// Share of time (s) by which a picture may be early: containers round to milliseconds.
const ROUNDING: f64 = 0.001;

/// What a video shows at a time.
#[derive(Debug)]
pub(super) enum Shown {
    /// A picture that was not shown before.
    New(Picture),
    /// The same picture as before.
    Same,
    /// Nothing: all pictures have been shown.
    End,
}

/// An open video file.
#[derive(Debug)]
pub(super) struct VideoFile {
    video: Video,
    timeline: Timeline,
    /// The next pictures, which are not due yet, and their times.
    ahead: VecDeque<(f64, Mat)>,
    /// The file where its name for FFmpeg depends on it.
    _uncovered: Option<Uncovered>,
}

impl VideoFile {
    /// Opens a video. Where its first track has one picture, which is a cover, the next one is shown.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        // Without it, FFmpeg takes what stands in front of a colon for a protocol.
        let mut name = OsString::from("file:");
        name.push(path);
        let file = Self::open_name(&name, None)?;
        if file.ahead.len() != 1 {
            return Ok(file);
        }
        match Uncovered::of(path)? {
            Some(uncovered) => Self::open_name(&uncovered.name(), Some(uncovered)),
            None => Ok(file),
        }
    }

    fn open_name(name: &OsStr, uncovered: Option<Uncovered>) -> anyhow::Result<Self> {
        let (video, first) = capture::open_file(name.as_ref())?;
        let timeline = Timeline::new(video.fps());
        let mut file = Self {
            video,
            timeline,
            ahead: VecDeque::new(),
            _uncovered: uncovered,
        };
        file.ahead
            .extend(first.map(|mat| (file.timeline.place(file.video.stamp_ms()), mat)));
        while file.ahead.len() < 2
            && let Some(next) = file.read()?
        {
            file.ahead.push_back(next);
        }
        Ok(file)
    }

    /// Returns the frames a second that the container names, if it names any.
    pub(super) fn fps(&self) -> Option<f64> {
        self.video.fps()
    }

    /// Returns what the video shows so many seconds behind its first picture; times never decrease.
    pub(super) fn at(&mut self, time: f64) -> anyhow::Result<Shown> {
        let mut due = None;
        loop {
            let Some((next, mat)) = self.next()? else {
                return Ok(due.map_or(Shown::End, Shown::New));
            };
            if next > time + ROUNDING {
                self.ahead.push_front((next, mat));
                return Ok(due.map_or(Shown::Same, Shown::New));
            }
            match capture::picture(mat) {
                Ok(picture) => due = Some(picture),
                Err(why) => debug!("a broken picture is skipped: {why:#}"),
            }
        }
    }

    fn next(&mut self) -> anyhow::Result<Option<(f64, Mat)>> {
        match self.ahead.pop_front() {
            Some(ahead) => Ok(Some(ahead)),
            None => self.read(),
        }
    }

    fn read(&mut self) -> anyhow::Result<Option<(f64, Mat)>> {
        let mat = self.video.read_mat()?;
        Ok(mat.map(|mat| (self.timeline.place(self.video.stamp_ms()), mat)))
    }
}
