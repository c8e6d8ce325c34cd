//! Frames that wait for boxes to be drawn on them, for plain viewers.

use std::time::Instant;

use bytes::Bytes;
use protocol::detections::Detection;

use super::Relay;
use super::action::{Action, Burn, Overlay};
use super::camera::{CameraId, Held};

impl Relay {
    /// Boxes have been drawn; `jpeg` is `None` where that failed.
    pub fn burned(&mut self, burn: &Burn, jpeg: Option<Bytes>, now: Instant) {
        let camera = self.cameras.get_mut(burn.camera);
        let Some(held) = camera.held.as_mut().filter(|held| held.count == burn.count) else {
            return;
        };
        if burn.own {
            held.own_boxes = None;
        } else if held.ready.is_some() {
            return;
        }
        held.ready = jpeg;
        if burn.own || !held.waits {
            self.release(burn.camera, now);
        }
    }

    /// Keeps a frame for boxes: its own where they are `waits`ed for, else those of an earlier frame that came too late for
    /// it. With both, the older ones are drawn meanwhile, so that there are some to show when its own come too late as well.
    pub(super) fn hold(
        &mut self,
        id: CameraId,
        count: u64,
        jpeg: Bytes,
        waits: bool,
        now: Instant,
    ) {
        let blind = self.is_blind(id);
        let camera = self.cameras.get_mut(id);
        let late = camera.late_boxes.take();
        if !waits && late.is_none() {
            return self.forward(id, jpeg, Some(now), now);
        }
        camera.held = Some(Held {
            count,
            jpeg: jpeg.clone(),
            until: now + camera.patience(),
            waits,
            own_boxes: None,
            ready: None,
        });
        if let Some(detections) = late {
            let burn = Burn {
                camera: id,
                count,
                jpeg,
                detections,
                own: false,
                blind,
            };
            self.actions.push_back(Action::Burn(burn));
        }
    }

    /// The model's boxes for a frame: to be drawn on it while it is held, else on the next one due.
    pub(super) fn boxes(
        &mut self,
        id: CameraId,
        count: u64,
        detections: Vec<Detection>,
        now: Instant,
    ) {
        let blind = self.is_blind(id);
        let camera = self.cameras.get_mut(id);
        let nothing = detections.is_empty() && !blind;
        let Some(held) = camera.held.as_mut().filter(|held| held.count == count) else {
            // With boxes on every frame the next one brings its own.
            let kept = !nothing && self.rules.overlay == Overlay::EveryNth;
            camera.late_boxes = kept.then_some(detections);
            return;
        };
        if nothing {
            held.ready = None;
            return self.release(id, now);
        }
        held.own_boxes = Some(detections.clone());
        let jpeg = held.jpeg.clone();
        let burn = Burn {
            camera: id,
            count,
            jpeg,
            detections,
            own: true,
            blind,
        };
        self.actions.push_back(Action::Burn(burn));
    }

    /// Lets a camera's held frame go, with boxes if they are drawn.
    pub(super) fn release(&mut self, id: CameraId, now: Instant) {
        let camera = self.cameras.get_mut(id);
        if let Some(held) = camera.held.take() {
            if held.own_boxes.is_some() && self.rules.overlay == Overlay::EveryNth {
                camera.late_boxes = held.own_boxes;
            }
            self.forward(id, held.ready.unwrap_or(held.jpeg), None, now);
        }
    }
}
