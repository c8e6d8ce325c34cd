//! A window, and whether there can be one.
//!
//! OpenCV's window code aborts the whole process where it finds no usable display, and no look at `DISPLAY` tells whether
//! one is usable (no server behind it, no right to it, no plugin). So the program first starts itself once more, with a
//! variable set that makes it open a window and end; what happens to that process happens to no one else.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use opencv::core::Mat;
use opencv::highgui;

const PROBE: &str = "SIGHTLINE_PROBE_DISPLAY";

/// To be called first in `main`: where this process was started as the probe, opens a window and ends.
pub fn answer_probe() {
    if env::var_os(PROBE).is_some() {
        std::process::exit(i32::from(open("probe").is_err()));
    }
}

/// A window of a fixed name. Keep it on one thread.
#[derive(Debug)]
pub struct Window {
    title: &'static str,
}

/// What happened at the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing.
    None,
    /// A key, as its character; Esc is `\x1b`.
    Key(char),
    /// Its close button was pressed.
    Closed,
}

impl Window {
    /// Opens the window.
    ///
    /// # Errors
    /// Where there is no display that can be used; the cure is in the message.
    pub fn open(title: &'static str) -> anyhow::Result<Self> {
        usable()?;
        open(title)?;
        Ok(Self { title })
    }

    /// Shows a picture; it appears with the next [`Window::pump`].
    ///
    /// # Errors
    /// OpenCV's own.
    pub fn show(&self, picture: &Mat) -> opencv::Result<()> {
        highgui::imshow(self.title, picture)
    }

    /// Lets the window live for `ms` milliseconds, at least 1, and tells what happened. To be asked before the next
    /// [`Window::show`], which would open a closed window again.
    ///
    /// # Errors
    /// OpenCV's own.
    pub fn pump(&self, ms: i32) -> opencv::Result<Event> {
        let key = highgui::wait_key(ms.max(1))?;
        let visible =
            highgui::get_window_property(self.title, highgui::WND_PROP_VISIBLE).unwrap_or(-1.0);
        if visible < 1.0 {
            return Ok(Event::Closed);
        }
        let key = u8::try_from(key & 0xFF).ok().filter(|_| key >= 0);
        Ok(key.map_or(Event::None, |key| Event::Key(char::from(key))))
    }

    /// Switches between the picture's own size and the whole screen. The picture appears with the next [`Window::show`].
    ///
    /// # Errors
    /// OpenCV's own.
    pub fn full_screen(&self, on: bool) -> opencv::Result<()> {
        // A window that has its picture's size keeps it, whatever is asked of it, so it is another one that fills the
        // screen.
        highgui::destroy_window(self.title)?;
        if !on {
            return open(self.title);
        }
        highgui::named_window(
            self.title,
            highgui::WINDOW_NORMAL | highgui::WINDOW_GUI_NORMAL,
        )?;
        highgui::set_window_property(
            self.title,
            highgui::WND_PROP_FULLSCREEN,
            highgui::WINDOW_FULLSCREEN.into(),
        )
    }
}

/// Opens a window as large as its picture and without toolbars: only both flags together give that.
fn open(title: &str) -> opencv::Result<()> {
    highgui::named_window(title, highgui::WINDOW_AUTOSIZE | highgui::WINDOW_GUI_NORMAL)
}

/// Looks whether a window can be opened here, by opening one in a process of its own.
///
/// # Errors
/// Where there is no display that can be used; the cure is in the message.
pub fn usable() -> anyhow::Result<()> {
    probe()
        .context("no window can be opened here; see to DISPLAY (ssh -X, or run it on the desktop)")
}

fn probe() -> anyhow::Result<()> {
    if ["DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"]
        .iter()
        .all(|name| env::var_os(name).is_none())
    {
        bail!("neither DISPLAY nor WAYLAND_DISPLAY is set");
    }
    let probe = Command::new(env::current_exe()?)
        .env(PROBE, "1")
        .stdin(Stdio::null())
        .output()
        .context("starting a trial window")?;
    if !probe.status.success() {
        let said = String::from_utf8_lossy(&probe.stderr);
        bail!(
            "a trial window failed: {}",
            said.lines()
                .find(|line| !line.is_empty())
                .unwrap_or("no reason given")
        );
    }
    Ok(())
}
