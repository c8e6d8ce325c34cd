//! The window: draws the newest picture with its HUD, and turns keys into commands.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use imaging::window::{Window, WindowEvent};
use opencv::core::{CV_8UC3, Mat, Scalar};
use platform::config::Switch;
use protocol::geometry::Size;

use crate::args::Args;
use crate::hud::{self, Hud, OverprintText};

/// Beginning of the window's title, and OpenCV's name of it.
const TITLE: &str = "Video Stream";
/// How often a picture that does not change is drawn again, for its seconds of STALE.
const REFRESH: Duration = Duration::from_millis(100);
/// The list of keys, in lines that fit into a window of 300x200.
const KEYS: [&str; 4] = [
    "q, Esc: quit   s: snapshot   r: record",
    "b: boxes   h: figures   f: full screen",
    "n: next camera",
    "?: this list",
];
/// How long a note is shown.
const NOTE: Duration = Duration::from_secs(3);

/// A key that the rest of the program acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Quit,
    Snapshot,
    ToggleRecording,
    ToggleBoxes,
    NextCamera,
}

/// The window and its switches.
pub(crate) struct ViewerWindow {
    window: Window,
    /// Shown before the first frame.
    dark: Mat,
    hud: bool,
    /// Whether the list of keys is shown.
    help: bool,
    full_screen: bool,
    /// A short text and when it goes away.
    note: Option<(String, Instant)>,
    drawn_at: Option<Instant>,
}

/// What the window is to show.
pub(crate) struct WindowContent<'a> {
    /// `None` before the first frame.
    pub(crate) picture: Option<&'a mut Mat>,
    /// Name of the camera that the picture is of, if it has one.
    pub(crate) camera: Option<&'a str>,
    /// Whether the picture looks different from last time.
    pub(crate) changed: bool,
    pub(crate) hud: Hud,
    pub(crate) stale: Option<Duration>,
    pub(crate) notice: Vec<String>,
}

impl ViewerWindow {
    /// Opens the window with a dark picture.
    ///
    /// # Errors
    /// When there is no display.
    pub(crate) fn open(args: &Args) -> anyhow::Result<Self> {
        Ok(Self {
            window: Window::open(TITLE).context("--headless does without a window")?,
            dark: dark(args.size)?,
            hud: args.hud == Switch::On,
            help: false,
            full_screen: false,
            note: None,
            drawn_at: None,
        })
    }

    /// Shows a short note for a while.
    pub(crate) fn show_note(&mut self, note: String, now: Instant) {
        self.note = Some((note, now + NOTE));
    }

    /// Returns how many rows at the top of the picture the figures and a note cover.
    pub(crate) fn covered_rows(&self, now: Instant) -> i32 {
        hud::rows_of(usize::from(self.hud) + usize::from(self.note(now).is_some()))
    }

    /// Draws when there is something new to draw, handles the window's events and returns a key's command.
    ///
    /// # Errors
    /// OpenCV's own.
    pub(crate) fn show(
        &mut self,
        content: WindowContent<'_>,
        now: Instant,
    ) -> anyhow::Result<Option<Command>> {
        self.window.set_title(title(content.camera))?;
        if content.changed || self.drawn_at.is_none_or(|at| now - at >= REFRESH) {
            self.drawn_at = Some(now);
            let text = OverprintText {
                lines: self.lines(&content, now),
                stale: content.stale.map(hud::stale),
                notice: &content.notice,
            };
            let picture = content.picture.unwrap_or(&mut self.dark);
            hud::overprint(picture, &text, |picture| self.window.show(picture))?;
        }
        match self.window.poll(1)? {
            WindowEvent::None => Ok(None),
            WindowEvent::Closed => Ok(Some(Command::Quit)),
            WindowEvent::Key(key) => self.key(key),
        }
    }

    fn lines(&self, content: &WindowContent<'_>, now: Instant) -> Vec<String> {
        let figures = self.hud && content.picture.is_some();
        let keys = self.help.then_some(KEYS).into_iter().flatten();
        figures
            .then(|| content.hud.line())
            .into_iter()
            .chain(self.note(now).map(str::to_owned))
            .chain(keys.map(str::to_owned))
            .collect()
    }

    fn note(&self, now: Instant) -> Option<&str> {
        let (note, until) = self.note.as_ref()?;
        (now < *until).then_some(note.as_str())
    }

    fn key(&mut self, key: char) -> anyhow::Result<Option<Command>> {
        match key {
            'q' | '\x1b' => return Ok(Some(Command::Quit)),
            's' => return Ok(Some(Command::Snapshot)),
            'r' => return Ok(Some(Command::ToggleRecording)),
            'b' => return Ok(Some(Command::ToggleBoxes)),
            'n' => return Ok(Some(Command::NextCamera)),
            '?' => self.help = !self.help,
            'h' => self.hud = !self.hud,
            'f' => {
                self.full_screen = !self.full_screen;
                self.window.set_full_screen(self.full_screen)?;
            }
            _ => {}
        }
        self.drawn_at = None;
        Ok(None)
    }
}

/// Returns the window's title.
fn title(camera: Option<&str>) -> String {
    match camera {
        Some(camera) => format!("{TITLE} - {camera}"),
        None => TITLE.to_owned(),
    }
}

fn dark(size: Size) -> opencv::Result<Mat> {
    let (rows, cols) = (size.height.into(), size.width.into());
    Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, Scalar::all(40.0))
}
