//! What the operator chose of events: zones, times, and when a camera is armed.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::event::EventMessage;
use protocol::label::CameraName;

use super::arming::Schedule;
use super::polygon::Polygon;

/// Settings of all cameras.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EventSettings {
    /// Settings of the cameras that have none of their own.
    pub default: CameraSettings,
    /// Cameras with settings of their own, which are complete.
    pub cameras: BTreeMap<CameraName, CameraSettings>,
}

/// Settings of one camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraSettings {
    /// Time that an object is seen before its event starts.
    pub min_time: Duration,
    /// Least mean score of the inferences that show an object, so that its event starts.
    pub min_score: f32,
    /// Time that an object is gone before its event ends.
    pub end_after: Duration,
    /// Least time between the starts of two events of one label.
    pub cooldown: Duration,
    /// When the camera is armed.
    pub armed: Schedule,
    /// Zones, at most [`EventMessage::MAX_ZONES`] are used.
    pub zones: Vec<Zone>,
}

/// A part of the picture that qualifies events.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Name, one of a kind at its camera.
    pub name: String,
    /// The part.
    pub polygon: Polygon,
    /// Labels that count; empty for all.
    pub classes: Vec<String>,
    /// Time that an object stays inside before it has entered.
    pub min_time: Duration,
}

impl Default for CameraSettings {
    fn default() -> Self {
        Self {
            min_time: Duration::from_millis(500),
            min_score: 0.45,
            end_after: Duration::from_secs(5),
            cooldown: Duration::ZERO,
            armed: Schedule::default(),
            zones: Vec::new(),
        }
    }
}

impl EventSettings {
    /// Returns the settings of a camera.
    pub fn of(&self, camera: &CameraName) -> &CameraSettings {
        self.cameras.get(camera).unwrap_or(&self.default)
    }
}

impl CameraSettings {
    /// Returns the zones that are used, in their order.
    pub(super) fn zones(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter().take(EventMessage::MAX_ZONES)
    }
}

impl Zone {
    /// Returns whether the zone counts objects of this label.
    pub(super) fn counts(&self, label: &str) -> bool {
        self.classes.is_empty() || self.classes.iter().any(|class| class == label)
    }
}
