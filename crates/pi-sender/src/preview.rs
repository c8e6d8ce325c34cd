//! `--preview`: a window that shows the frames that are sent.
//!
//! Without the cargo feature `window` the program links no GUI library: there is no window then, and the errors here name
//! the cure.

pub use self::window::exit_if_display_probe;
pub(crate) use self::window::{Preview, check_display};

#[cfg(feature = "window")]
mod window {
    use imaging::draw;
    use imaging::window::{self, Window, WindowEvent};

    use anyhow::Context as _;
    pub use imaging::window::exit_if_display_probe;

    const NO_DISPLAY: &str = "--preview needs a display; leave it out where there is none";

    /// An open window. Keep it on one thread.
    #[derive(Debug)]
    pub(crate) struct Preview(Window);

    impl Preview {
        /// Opens the window.
        ///
        /// # Errors
        /// If there is no usable display.
        pub(crate) fn open() -> anyhow::Result<Self> {
            Window::open("Sightline sender")
                .map(Self)
                .context(NO_DISPLAY)
        }

        /// Shows a frame, unless it cannot be decoded: that is sent all the same, and the viewer decides what to show. A
        /// notice stands on it where the relay drops the frames.
        ///
        /// # Errors
        /// If OpenCV's window code fails.
        pub(crate) fn show(&self, frame: &[u8], notice: Option<&str>) -> anyhow::Result<()> {
            if let Ok(mut picture) = imaging::jpeg::decode(frame) {
                if let Some(notice) = notice {
                    draw::notice(&mut picture, notice)?;
                }
                self.0.show(&picture)?;
            }
            Ok(())
        }

        /// Lets the window draw and react, and returns whether the user closed it or pressed q or Esc.
        ///
        /// # Errors
        /// If OpenCV's window code fails.
        pub(crate) fn is_closed(&self) -> anyhow::Result<bool> {
            Ok(matches!(
                self.0.poll(1)?,
                WindowEvent::Closed | WindowEvent::Key('q' | '\x1b')
            ))
        }
    }

    /// Checks that a window can be opened here, by opening one in a process of its own.
    ///
    /// # Errors
    /// If there is no usable display.
    pub(crate) fn check_display() -> anyhow::Result<()> {
        window::check_display().context("--preview needs a display")
    }
}

#[cfg(not(feature = "window"))]
mod window {
    use anyhow::bail;

    /// The window of a program that has none.
    #[derive(Debug)]
    pub(crate) enum Preview {}

    impl Preview {
        /// Fails, with the cure.
        pub(crate) fn open() -> anyhow::Result<Self> {
            bail!(super::NO_WINDOW)
        }

        pub(crate) fn show(&self, _frame: &[u8], _notice: Option<&str>) -> anyhow::Result<()> {
            match *self {}
        }

        pub(crate) fn is_closed(&self) -> anyhow::Result<bool> {
            match *self {}
        }
    }

    /// Fails, with the cure.
    pub(crate) fn check_display() -> anyhow::Result<()> {
        bail!(super::NO_WINDOW)
    }

    /// Does nothing: a program without windows never starts itself as the probe of a display.
    pub fn exit_if_display_probe() {}
}

/// Why a program without the feature `window` refuses `--preview`, and the cure.
pub(crate) const NO_WINDOW: &str = "--preview needs a window, and this pi-sender was built without one: leave --preview out, or build pi-sender with its default features";
