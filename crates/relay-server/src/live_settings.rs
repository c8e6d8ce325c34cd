//! What finds boxes may be tuned while cameras run.

use vision::track;

/// The settings that the configuration file changes while the relay runs.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveSettings {
    /// Lowest score of a box.
    pub conf: f32,
    /// Highest overlap of two boxes of a class.
    pub iou: f32,
    /// Names or numbers of the classes to report; empty for all.
    pub classes: Vec<String>,
    /// Score from which an object is followed.
    pub track_start: f32,
}

impl LiveSettings {
    /// Returns the tracker's scores: a track begins with more confidence than it needs to stay, else it would flicker.
    pub fn tracking(&self) -> track::Settings {
        track::Settings {
            start: self.track_start.max(self.conf),
            keep: self.conf,
        }
    }
}
