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

use crate::keys;

/// Environment variable that makes a process the probe.
const PROBE_VARIABLE: &str = "SIGHTLINE_PROBE_DISPLAY";

/// Opens a window and exits if this process was started as the probe. To be called first in `main`.
pub fn exit_if_display_probe() {
    if env::var_os(PROBE_VARIABLE).is_some() {
        std::process::exit(i32::from(open_window("probe").is_err()));
    }
}

/// A window. Keep it on one thread.
#[derive(Debug)]
pub struct Window {
    /// OpenCV's name of it, which stays.
    name: &'static str,
    /// The title that the user sees.
    title: String,
}

/// What the user did at the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowEvent {
    /// Nothing since the last poll.
    None,
    /// The character of a key that is pressed; Esc is `\x1b`.
    Key(char),
    /// The close button was pressed.
    Closed,
}

impl Window {
    /// Opens the window; its title is its name until [`Window::set_title`].
    ///
    /// # Errors
    /// If no display can be used; the cure is in the message.
    pub fn open(name: &'static str) -> anyhow::Result<Self> {
        check_display()?;
        open_window(name)?;
        let title = name.to_owned();
        Ok(Self { name, title })
    }

    /// Sets the title that the user sees.
    ///
    /// # Errors
    /// OpenCV's own.
    pub fn set_title(&mut self, title: String) -> opencv::Result<()> {
        if self.title != title {
            highgui::set_window_title(self.name, &title)?;
            self.title = title;
        }
        Ok(())
    }

    /// Shows a picture; it appears with the next [`Window::poll`].
    ///
    /// # Errors
    /// OpenCV's own.
    pub fn show(&self, picture: &Mat) -> opencv::Result<()> {
        highgui::imshow(self.name, picture)
    }

    /// Processes the window's events for `ms` milliseconds, at least 1, and returns what happened. To be called before the
    /// next [`Window::show`], which would open a closed window again.
    ///
    /// # Errors
    /// OpenCV's own.
    pub fn poll(&self, ms: i32) -> opencv::Result<WindowEvent> {
        let key = highgui::wait_key_ex(ms.max(1))?;
        let visible =
            highgui::get_window_property(self.name, highgui::WND_PROP_VISIBLE).unwrap_or(-1.0);
        if visible < 1.0 {
            return Ok(WindowEvent::Closed);
        }
        Ok(match key {
            ..0 => WindowEvent::None,
            key => keys::pressed(key).map_or(WindowEvent::None, WindowEvent::Key),
        })
    }

    /// Switches between the picture's own size and the whole screen. The picture appears with the next [`Window::show`].
    ///
    /// # Errors
    /// OpenCV's own.
    pub fn set_full_screen(&self, on: bool) -> opencv::Result<()> {
        // A window that has its picture's size cannot be resized, so another one replaces it.
        highgui::destroy_window(self.name)?;
        match on {
            true => open_full_screen(self.name)?,
            false => open_window(self.name)?,
        }
        highgui::set_window_title(self.name, &self.title)
    }
}

/// Opens a window as large as its picture and without toolbars: only both flags together give that.
fn open_window(name: &str) -> opencv::Result<()> {
    highgui::named_window(name, highgui::WINDOW_AUTOSIZE | highgui::WINDOW_GUI_NORMAL)
}

fn open_full_screen(name: &str) -> opencv::Result<()> {
    highgui::named_window(name, highgui::WINDOW_NORMAL | highgui::WINDOW_GUI_NORMAL)?;
    let full = highgui::WINDOW_FULLSCREEN.into();
    highgui::set_window_property(name, highgui::WND_PROP_FULLSCREEN, full)
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
