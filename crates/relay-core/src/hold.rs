//! Boxes drawn into pictures: on frames that are held for the plain viewers, and for screens that want them so.
//!
//! A frame is decoded and encoded once for all whom the same boxes are for.

use std::time::Instant;

use bytes::Bytes;
use protocol::detections::Detection;

use super::Relay;
use super::action::{Action, Boxes, Burn, Job, Overlay};
use super::camera::{CameraId, Held};

impl Relay {
    /// Boxes have been drawn; `jpeg` is `None` where that failed.
    pub fn burned(&mut self, burn: &Burn, jpeg: Option<Bytes>, now: Instant) {
        if burn.screens {
            let jpeg = jpeg.as_ref().unwrap_or(&burn.job.jpeg);
            self.publish_burned(&burn.job, jpeg.clone(), now);
        }
        let (id, count) = (burn.job.camera, burn.job.count);
        let held = &mut self.cameras.get_mut(id).held;
        let (Some(boxes), Some(held)) = (burn.held, held) else {
            return;
        };
        if held.job.count != count {
            return;
        }
        match boxes {
            Boxes::Own => held.own_boxes = None,
            Boxes::Older if held.ready.is_some() => return,
            Boxes::Older => {}
        }
        held.ready = jpeg;
        if boxes == Boxes::Own || !held.waits {
            self.release(id, now);
        }
    }

    /// Keeps a frame for boxes: its own where they are `waits`ed for, else those of an earlier frame that came too late for
    /// it. With both, the older ones are drawn meanwhile, so that there are some to show when its own come too late as well.
    pub(super) fn hold(&mut self, job: Job, waits: bool, now: Instant) {
        let id = job.camera;
        let blind = self.is_blind(id);
        let camera = self.cameras.get_mut(id);
        let late = camera.late_boxes.take();
        if !waits && late.is_none() {
            return self.forward(id, job.jpeg, Some(now), now);
        }
        camera.held = Some(Held {
            job: job.clone(),
            until: now + camera.patience(),
            waits,
            own_boxes: None,
            ready: None,
        });
        if let Some(detections) = late {
            let burn = Burn {
                job,
                detections,
                blind,
                held: Some(Boxes::Older),
                screens: false,
            };
            self.actions.push_back(Action::Burn(burn));
        }
    }

    /// The model's boxes for a frame, with `--overlay every-nth`: to be drawn on it while it is held, else on the next one
    /// due.
    pub(super) fn boxes_of_the_model(
        &mut self,
        id: CameraId,
        count: u64,
        detections: Vec<Detection>,
        now: Instant,
    ) {
        if self.rules.overlay != Overlay::EveryNth {
            return;
        }
        let nothing = detections.is_empty() && !self.is_blind(id);
        let camera = self.cameras.get_mut(id);
        match camera.held.as_mut().filter(|held| held.job.count == count) {
            None => camera.late_boxes = (!nothing).then_some(detections),
            Some(held) if nothing => {
                held.ready = None;
                self.release(id, now);
            }
            Some(held) => {
                held.own_boxes = Some(detections.clone());
                let job = held.job.clone();
                self.burn(job, detections, Some(Boxes::Own), false);
            }
        }
    }

    /// A followed frame's boxes: to be drawn where somebody wants them on every frame.
    pub(super) fn boxes_of_tracks(&mut self, job: Job, detections: Vec<Detection>, now: Instant) {
        let id = job.camera;
        let held = &self.cameras.get(id).held;
        let held = held
            .as_ref()
            .is_some_and(|held| held.job.count == job.count);
        let held = held && self.rules.overlay == Overlay::Hold;
        let screens = self.are_burned_wanted(id, now);
        match () {
            () if !held && !screens => {}
            () if detections.is_empty() && !self.is_blind(id) => {
                if screens {
                    self.publish_burned(&job, job.jpeg.clone(), now);
                }
                if held {
                    self.release(id, now);
                }
            }
            () => self.burn(job, detections, held.then_some(Boxes::Own), screens),
        }
    }

    fn burn(&mut self, job: Job, detections: Vec<Detection>, held: Option<Boxes>, screens: bool) {
        let blind = self.is_blind(job.camera);
        let burn = Burn {
            job,
            detections,
            blind,
            held,
            screens,
        };
        self.actions.push_back(Action::Burn(burn));
    }

    pub(super) fn publish_burned(&mut self, job: &Job, jpeg: Bytes, now: Instant) {
        let publish = self.publication(job.camera, jpeg, &job.arrival, false, now);
        self.actions.push_back(Action::PublishBurned(publish));
    }

    /// Lets a camera's held frame go, with boxes if they are drawn.
    pub(super) fn release(&mut self, id: CameraId, now: Instant) {
        let camera = self.cameras.get_mut(id);
        if let Some(held) = camera.held.take() {
            if held.own_boxes.is_some() {
                camera.late_boxes = held.own_boxes;
            }
            self.forward(id, held.ready.unwrap_or(held.job.jpeg), None, now);
        }
    }
}
