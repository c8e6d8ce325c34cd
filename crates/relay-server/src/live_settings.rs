//! What finds boxes and what events are may be tuned while cameras run.

use std::sync::Arc;

use protocol::label::CameraName;
use relay_core::events::{DetectionFilter, EventSettings};
use vision::track;

use crate::camera_tables::CameraTables;

/// Score beyond that of a new track that an event needs: a track that was a mistake costs a box for a second, an event
/// reaches people.
const EVENT_SCORE: f32 = 0.05;

/// The settings that the configuration file changes while the relay runs.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveSettings {
    /// Lowest score of a box, at cameras without one of their own.
    pub conf: f32,
    /// Highest overlap of two boxes of a class.
    pub iou: f32,
    /// Names or numbers of the classes to report, at cameras without their own; empty for all.
    pub classes: Vec<String>,
    /// Score from which an object is followed.
    pub track_start: f32,
    /// Whether `--events` names a file.
    pub events_file: bool,
    /// Settings of single cameras, and of events.
    pub tables: Arc<CameraTables>,
}

impl LiveSettings {
    /// Returns the tracker's scores at a camera: a track begins with more confidence than it needs to stay, else it would
    /// flicker.
    pub fn tracking(&self, camera: &CameraName) -> track::Settings {
        let keep = self.tables.conf_of(camera, self.conf);
        track::Settings {
            start: self.track_start.max(keep),
            keep,
        }
    }

    /// Returns which detections count at a camera.
    pub fn filter(&self, camera: &CameraName) -> DetectionFilter {
        self.tables.filter_of(camera, self.conf, &self.classes)
    }

    /// Returns the lowest score and the classes that the model is to report.
    pub fn for_model(&self) -> (f32, Vec<String>) {
        self.tables.for_all(self.conf, &self.classes)
    }

    /// Returns the settings of events.
    pub fn events(&self) -> EventSettings {
        let start = |camera: Option<&CameraName>| {
            let conf = camera.map_or(self.conf, |name| self.tables.conf_of(name, self.conf));
            (self.track_start.max(conf) + EVENT_SCORE).min(1.0)
        };
        self.tables.event_settings(start)
    }

    /// Returns whether an output or a table wants events.
    pub fn want_events(&self) -> bool {
        self.events_file || self.tables.want_events()
    }
}
