//! Boxes for every frame: objects that the model found are followed on all frames that it did not look at.
//!
//! The relay says which frames are followed, and what the model found on which; a thread does the following, and what it
//! finds comes back as a frame's own boxes: a `tracked` message for the screens, and lines on the picture for those who
//! want boxes there on every frame: the plain viewers with `--overlay hold`, and some browsers.

use std::time::Instant;

use protocol::detections::{Detection, Detections, Kind};

use protocol::geometry::Size;

use super::Relay;
use super::action::{Action, Overlay, Tracked};
use super::camera::{Arrival, CameraId};

impl Relay {
    /// A frame that was [followed](Action::Follow) has its boxes.
    pub fn tracked(&mut self, Tracked { job, detections }: Tracked, now: Instant) {
        let id = job.camera;
        if self.is_on_screen(id, now) {
            let message = self.message(id, &job.arrival, detections.clone());
            self.actions.push_back(Action::Tell(message));
        }
        self.boxes_of_tracks(job, detections, now);
    }

    /// Whether this camera's objects are followed from frame to frame: where somebody sees more than the inferred ones.
    pub(super) fn is_followed(&self, id: CameraId, now: Instant) -> bool {
        self.rules.every.is_some() && (self.is_on_screen(id, now) || self.is_drawn_on_all(id, now))
    }

    /// Whether plain viewers see boxes on every frame of this camera.
    pub(super) fn is_drawn_on_all(&self, id: CameraId, now: Instant) -> bool {
        self.rules.every.is_some()
            && self.rules.overlay == Overlay::Hold
            && self.is_watched_at_the_plain_door(id, now)
    }

    /// Whether anybody watches it at the native door or in a browser.
    pub(super) fn is_on_screen(&self, id: CameraId, now: Instant) -> bool {
        let name = self.cameras.get(id).name.as_str();
        let shown = self.cameras.shown(now) == Some(id);
        self.screens.watch(name, shown)
    }

    /// Whether a browser wants the boxes in the picture.
    pub(super) fn are_burned_wanted(&self, id: CameraId, now: Instant) -> bool {
        let name = self.cameras.get(id).name.as_str();
        let shown = self.cameras.shown(now) == Some(id);
        self.screens.are_burned_wanted(name, shown)
    }

    pub(super) fn is_watched_at_the_plain_door(&self, id: CameraId, now: Instant) -> bool {
        self.leases.viewers().len() > 0 && self.cameras.shown(now) == Some(id)
    }

    /// The message of a frame's own boxes.
    pub(super) fn message(
        &self,
        id: CameraId,
        arrival: &Arrival,
        detections: Vec<Detection>,
    ) -> Detections {
        let camera = self.cameras.get(id);
        let Size {
            width: w,
            height: h,
        } = camera.displayed(arrival.size);
        Detections {
            v: Detections::VERSION,
            camera: camera.name.to_string(),
            seq: arrival.seq,
            t: arrival.captured_us as f64 / 1e6,
            w,
            h,
            kind: Kind::Tracked,
            infer_ms: None,
            model: None,
            detections,
        }
    }
}
