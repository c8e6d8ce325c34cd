//! What the tracking thread is given next.
//!
//! It works on one frame at a time, and the cameras share its time. What else it is to know of a camera (the model's answer,
//! or that the camera has begun anew) goes at once if it is idle, else with the camera's next frame, the newest answer
//! only: so the thread's queue stays short, and one camera leaves no other without room. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use protocol::detections::Detection;

use crate::action::Action;
use crate::fair::{FairQueue, Payer};
use crate::frame::{CameraFrame, CameraId};
use crate::limits::TRACKING_FRAMES;

/// The tracking thread's work.
#[derive(Debug)]
pub(crate) struct TrackingQueue {
    frames: FairQueue<CameraFrame>,
    cameras: BTreeMap<CameraId, Tracked>,
}

/// What the thread knows of one camera, and what it is to know.
#[derive(Debug, Default)]
struct Tracked {
    /// Whether the thread has a tracker of it.
    has_tracker: bool,
    /// Whether that tracker is another camera's, or of another time.
    outdated: bool,
    /// The model's detections on the frame with this count.
    answer: Option<(u64, Vec<Detection>)>,
}

impl TrackingQueue {
    /// Returns the queue of an idle thread.
    pub(crate) fn new() -> Self {
        Self {
            frames: FairQueue::new(TRACKING_FRAMES, 1),
            cameras: BTreeMap::new(),
        }
    }

    /// Adds a frame.
    pub(crate) fn enqueue(&mut self, frame: CameraFrame) {
        self.frames.enqueue(frame.camera, frame.pixels(), frame);
    }

    /// Takes the model's detections on a frame. Returns what the thread is to do at once.
    pub(crate) fn update(
        &mut self,
        camera: CameraId,
        count: u64,
        found: Vec<Detection>,
    ) -> Option<Action> {
        if self.frames.is_idle() {
            return Some(Action::UpdateTracker(camera, count, found));
        }
        self.cameras.entry(camera).or_default().answer = Some((count, found));
        None
    }

    /// Notes that a camera is another one now: what waits for its tracker is dropped. Returns what the thread is to do at
    /// once.
    pub(crate) fn reset(&mut self, camera: CameraId, payer: Payer) -> Option<Action> {
        self.frames.renew(camera, payer);
        let tracked = self.cameras.get_mut(&camera)?;
        tracked.answer = None;
        tracked.outdated = tracked.has_tracker;
        match self.frames.is_idle() {
            true => tracked.take_reset(camera),
            false => None,
        }
    }

    /// Returns what the thread is to do with its next frame, if it is idle and one waits.
    pub(crate) fn next_actions(&mut self, now: Instant) -> Vec<Action> {
        let next = self.frames.next_batch(now).and_then(|mut one| one.pop());
        let Some(frame) = next else {
            return Vec::new();
        };
        let camera = frame.camera;
        let tracked = self.cameras.entry(camera).or_default();
        let older = |(count, _): &mut (u64, Vec<Detection>)| *count < frame.count;
        let answer = tracked.answer.take_if(older);
        let update = answer.map(|(count, found)| Action::UpdateTracker(camera, count, found));
        let mut actions: Vec<Action> = tracked.take_reset(camera).into_iter().collect();
        actions.extend(update);
        tracked.has_tracker = true;
        actions.push(Action::Track(frame));
        actions
    }

    /// Notes that the thread has done its frame.
    pub(crate) fn on_tracked(&mut self, now: Instant) {
        self.frames.finish(now);
    }
}

impl Tracked {
    fn take_reset(&mut self, camera: CameraId) -> Option<Action> {
        let due = std::mem::take(&mut self.outdated);
        self.has_tracker &= !due;
        due.then_some(Action::ResetTracker(camera))
    }
}
