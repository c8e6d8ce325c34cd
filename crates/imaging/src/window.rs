//! A window, and a check that one can be opened.
//!
//! OpenCV's window code aborts the whole process if it finds no usable display, and `DISPLAY` alone does not show whether
//! one is usable (no server behind it, no right to it, no plugin). So the program first starts itself once more as a probe,
//! with a variable set that makes it open a window and exit; an abort ends only the probe.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use opencv::core::Mat;
use opencv::highgui;

/// Environment variable that makes a process the probe.
const PROBE_VARIABLE: &str = "SIGHTLINE_PROBE_DISPLAY";

/// Opens a window and exits if this process was started as the probe. To be called first in `main`.
pub fn exit_if_display_probe() {
    if env::var_os(PROBE_VARIABLE).is_some() {
        std::process::exit(i32::from(open_window("probe").is_err()));
    }
}

/// A window of a fixed name. Keep it on one thread.
#[derive(Debug)]
pub struct Window {
    title: &'static str,
}

/// What the user did at the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowEvent {
    /// Nothing since the last poll.
    None,
    /// A key, as its character; Esc is `\x1b`.
    Key(char),
    /// The close button was pressed.
    Closed,
}

impl Window {
    /// Opens the window.
    ///
    /// # Errors
    /// If no display can be used; the cure is in the message.
    pub fn open(title: &'static str) -> anyhow::Result<Self> {
        check_display()?;
        open_window(title)?;
        Ok(Self { title })
    }

    /// Shows a picture; it appears with the next [`Window::poll`].
    ///
    /// # Errors
    /// OpenCV's own.
    pub fn show(&self, picture: &Mat) -> opencv::Result<()> {
        highgui::imshow(self.title, picture)
    }

    /// Processes the window's events for `ms` milliseconds, at least 1, and returns what happened. To be called before the
    /// next [`Window::show`], which would open a closed window again.
    ///
    /// # Errors
    /// OpenCV's own.
    pub fn poll(&self, ms: i32) -> opencv::Result<WindowEvent> {
        let key = highgui::wait_key(ms.max(1))?;
        let visible =
            highgui::get_window_property(self.title, highgui::WND_PROP_VISIBLE).unwrap_or(-1.0);
        if visible < 1.0 {
            return Ok(WindowEvent::Closed);
        }
        let key = u8::try_from(key & 0xFF).ok().filter(|_| key >= 0);
        Ok(key.map_or(WindowEvent::None, |key| WindowEvent::Key(char::from(key))))
    }

    /// Switches between the picture's own size and the whole screen. The picture appears with the next [`Window::show`].
    ///
    /// # Errors
    /// OpenCV's own.
    pub fn set_full_screen(&self, on: bool) -> opencv::Result<()> {
        // A window that has its picture's size cannot be resized, so another one replaces it.
        highgui::destroy_window(self.title)?;
        if !on {
            return open_window(self.title);
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
fn open_window(title: &str) -> opencv::Result<()> {
    highgui::named_window(title, highgui::WINDOW_AUTOSIZE | highgui::WINDOW_GUI_NORMAL)
}

/// Checks that a window can be opened here, by opening one in a process of its own.
///
/// # Errors
/// If no display can be used; the cure is in the message.
pub fn check_display() -> anyhow::Result<()> {
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
        .env(PROBE_VARIABLE, "1")
        .stdin(Stdio::null())
        .output()
        .context("starting a trial window")?;
    if !probe.status.success() {
        let stderr = String::from_utf8_lossy(&probe.stderr);
        bail!(
            "a trial window failed: {}",
            stderr
                .lines()
                .find(|line| !line.is_empty())
                .unwrap_or("no reason given")
        );
    }
    Ok(())
}
