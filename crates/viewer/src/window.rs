//! The window: draws the newest picture with what is known of it, and turns keys into wishes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use imaging::window::{Window, WindowEvent};
use opencv::core::{CV_8UC3, Mat, Scalar};
use platform::config::Switch;
use protocol::geometry::Size;

use crate::args::Args;
use crate::hud::{self, Hud};

const TITLE: &str = "Video Stream";
/// How often a picture that does not change is drawn again, for its seconds of STALE.
const REFRESH: Duration = Duration::from_millis(100);
/// How long a note stays.
const NOTE: Duration = Duration::from_secs(3);

/// What the user wants of the rest of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Quit,
    Snapshot,
    Record,
    Boxes,
}

/// The window and its switches.
pub(crate) struct Screen {
    window: Window,
    dark: Mat,
    hud: bool,
    full: bool,
    note: Option<(String, Instant)>,
    drawn: Option<Instant>,
}

/// What is to be seen.
pub(crate) struct View<'a> {
    /// None before the first frame.
    pub(crate) picture: Option<&'a Mat>,
    /// Whether it looks different from last time.
    pub(crate) fresh: bool,
    pub(crate) hud: Hud,
    pub(crate) stale: Option<Duration>,
    pub(crate) notice: Vec<String>,
}

impl Screen {
    /// Opens the window, dark.
    ///
    /// # Errors
    /// Where there is no display.
    pub(crate) fn open(args: &Args) -> anyhow::Result<Self> {
        Ok(Self {
            window: Window::open(TITLE).context("--headless does without a window")?,
            dark: dark(args.size)?,
            hud: args.hud == Switch::On,
            full: false,
            note: None,
            drawn: None,
        })
    }

    /// Shows a short note for a while.
    pub(crate) fn note(&mut self, note: String, now: Instant) {
        self.note = Some((note, now + NOTE));
    }

    /// Draws where there is something new to draw, lets the window live for a moment and obeys its keys.
    ///
    /// # Errors
    /// OpenCV's own.
    pub(crate) fn show(&mut self, view: &View<'_>, now: Instant) -> anyhow::Result<Option<Wish>> {
        if view.fresh || self.drawn.is_none_or(|at| now - at >= REFRESH) {
            self.drawn = Some(now);
            let mut picture = view.picture.unwrap_or(&self.dark).clone();
            let lines = self.lines(view, now);
            let stale = view.stale.map(hud::stale);
            hud::draw(&mut picture, &lines, stale.as_deref(), &view.notice)?;
            self.window.show(&picture)?;
        }
        match self.window.poll(1)? {
            WindowEvent::None => Ok(None),
            WindowEvent::Closed => Ok(Some(Wish::Quit)),
            WindowEvent::Key(key) => self.key(key),
        }
    }

    fn lines(&self, view: &View<'_>, now: Instant) -> Vec<String> {
        let figures = self.hud && view.picture.is_some();
        let note = self.note.as_ref().filter(|(_, until)| now < *until);
        figures
            .then(|| view.hud.line())
            .into_iter()
            .chain(note.map(|(note, _)| note.clone()))
            .collect()
    }

    fn key(&mut self, key: char) -> anyhow::Result<Option<Wish>> {
        match key {
            'q' | '\x1b' => return Ok(Some(Wish::Quit)),
            's' => return Ok(Some(Wish::Snapshot)),
            'r' => return Ok(Some(Wish::Record)),
            'b' => return Ok(Some(Wish::Boxes)),
            'h' => self.hud = !self.hud,
            'f' => {
                self.full = !self.full;
                self.window.set_full_screen(self.full)?;
            }
            _ => {}
        }
        self.drawn = None;
        Ok(None)
    }
}

fn dark(size: Size) -> opencv::Result<Mat> {
    let (rows, cols) = (size.height.into(), size.width.into());
    Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, Scalar::all(40.0))
}
