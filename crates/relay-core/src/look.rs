//! A look at the cameras, for whoever asks how things stand.

use std::time::{Duration, Instant};

use protocol::geometry::Size;

use super::Relay;

/// How a camera stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Whether frames come.
    pub live: bool,
    /// Frames a second, smoothed; `None` where none come, or only one has.
    pub fps: Option<f64>,
    /// What its frames measure in pixels: width and height, as displayed.
    pub size: Size,
    /// Since its last frame came.
    pub silent: Duration,
}

impl Relay {
    /// All cameras, in order of appearance.
    pub fn seen(&self, now: Instant) -> Vec<Seen> {
        let seen = self.cameras.iter().map(|camera| Seen {
            name: camera.name.to_string(),
            live: camera.is_live(now),
            fps: camera.fps().filter(|_| camera.is_live(now)),
            size: camera.displayed(camera.size),
            silent: camera.silent(now),
        });
        seen.collect()
    }
}
