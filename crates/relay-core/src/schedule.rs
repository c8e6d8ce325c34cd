//! Which frame the model gets next, and when.
//!
//! The model works on one batch at a time, on the newest waiting frame of each camera, and the cameras take turns: a busy
//! camera never starves another. With `--every auto` every frame is offered, and after each answer the model rests for as
//! long as keeps it within its share of the machine. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::every::Every;

use crate::frame::{CameraFrame, CameraId};

/// The model's work.
#[derive(Debug)]
pub(crate) struct ModelSchedule {
    /// `None` without a model.
    every: Option<Every>,
    batch: usize,
    rest: f64,
    idle: bool,
    /// When the model was given its last batch.
    started: Instant,
    /// Smoothed time from a batch to its answer.
    answer_time: Option<Duration>,
    /// The model gets nothing before this.
    rests_until: Instant,
    /// The camera whose turn is next.
    next: CameraId,
    /// The newest frame of each camera that waits for the model.
    waiting: BTreeMap<CameraId, CameraFrame>,
}

impl ModelSchedule {
    /// Returns the schedule of an idle model; see [`crate::Rules`] for `every`, `batch` and `rest`.
    pub(crate) fn new(every: Option<Every>, batch: usize, rest: f64, now: Instant) -> Self {
        Self {
            every,
            batch,
            rest,
            idle: true,
            started: now,
            answer_time: None,
            rests_until: now,
            next: CameraId(0),
            waiting: BTreeMap::new(),
        }
    }

    /// Returns whether a camera's frame with this count goes to the model.
    pub(crate) fn is_due(&self, count: u64) -> bool {
        self.every.is_some_and(|every| every.due(count))
    }

    /// Returns whether the answer for a frame that is enqueued now is usually there within `patience`.
    pub(crate) fn answers_within(&self, patience: Duration, now: Instant) -> bool {
        let in_time = |usual| usual < patience;
        self.is_ready(now) && self.answer_time.is_none_or(in_time)
    }

    /// Adds a frame; it takes the place of an older one of its camera. Returns whether one was lost to the model by that;
    /// with [`Every::Auto`] that is how it is meant, and does not count.
    pub(crate) fn enqueue(&mut self, frame: CameraFrame) -> bool {
        let replaced = self.waiting.insert(frame.camera, frame).is_some();
        replaced && self.every != Some(Every::Auto)
    }

    /// Drops the waiting frame of a camera that is another one now.
    pub(crate) fn forget(&mut self, camera: CameraId) {
        self.waiting.remove(&camera);
    }

    /// Returns the frames for the model if it is ready for some, beginning with the camera whose turn it is.
    pub(crate) fn next_batch(&mut self, now: Instant) -> Option<Vec<CameraFrame>> {
        if !self.is_ready(now) || self.waiting.is_empty() {
            return None;
        }
        let turns = self
            .waiting
            .range(self.next..)
            .chain(self.waiting.range(..self.next));
        let cameras: Vec<CameraId> = turns.map(|(camera, _)| *camera).take(self.batch).collect();
        self.next = CameraId(cameras.last()?.0 + 1);
        (self.idle, self.started) = (false, now);
        Some(
            cameras
                .iter()
                .filter_map(|camera| self.waiting.remove(camera))
                .collect(),
        )
    }

    /// Notes that the model has answered its batch.
    pub(crate) fn on_answered(&mut self, now: Instant) {
        let took = now.saturating_duration_since(self.started);
        let usual = self.answer_time.unwrap_or(took);
        self.idle = true;
        self.answer_time = Some((3 * usual + took) / 4);
        if self.every == Some(Every::Auto) {
            self.rests_until = now + took.mul_f64(self.rest);
        }
    }

    /// Notes that there is no model any more.
    pub(crate) fn on_model_died(&mut self) {
        self.every = None;
        self.waiting.clear();
    }

    /// Returns when the model has rested, if a frame waits for that.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.idle && !self.waiting.is_empty()).then_some(self.rests_until)
    }

    fn is_ready(&self, now: Instant) -> bool {
        self.every.is_some() && self.idle && self.rests_until <= now
    }

    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::camera_frame;

    const MS: Duration = Duration::from_millis(1);

    fn frame(camera: usize, count: u64) -> CameraFrame {
        CameraFrame {
            camera: CameraId(camera),
            ..camera_frame(count)
        }
    }

    fn schedule(every: &str, batch: usize, rest: f64) -> (ModelSchedule, Instant) {
        let now = testkit::time::start();
        let every = Some(every.parse().unwrap());
        (ModelSchedule::new(every, batch, rest, now), now)
    }

    fn next(schedule: &mut ModelSchedule, now: Instant) -> Vec<(usize, u64)> {
        let batch = schedule.next_batch(now).unwrap_or_default();
        batch
            .iter()
            .map(|frame| (frame.camera.0, frame.count))
            .collect()
    }

    #[test]
    fn the_newest_frame_of_a_camera_waits_and_cameras_take_turns() {
        let (mut schedule, now) = schedule("1", 1, 0.0);
        assert!(!schedule.enqueue(frame(0, 1)));
        assert!(schedule.enqueue(frame(0, 2)), "one is lost to the model");
        schedule.enqueue(frame(1, 1));
        assert_eq!(next(&mut schedule, now), [(0, 2)]);
        schedule.enqueue(frame(0, 3));
        assert_eq!(next(&mut schedule, now), [], "it is at work");
        schedule.on_answered(now + 10 * MS);
        assert_eq!(next(&mut schedule, now + 10 * MS), [(1, 1)]);
        schedule.on_answered(now + 20 * MS);
        assert_eq!(next(&mut schedule, now + 20 * MS), [(0, 3)]);
    }

    #[test]
    fn a_batch_has_one_frame_of_each_of_several_cameras() {
        let (mut schedule, now) = schedule("1", 2, 0.0);
        for camera in 0..3 {
            schedule.enqueue(frame(camera, 7));
        }
        assert_eq!(next(&mut schedule, now), [(0, 7), (1, 7)]);
        schedule.enqueue(frame(0, 8));
        schedule.on_answered(now);
        assert_eq!(next(&mut schedule, now), [(2, 7), (0, 8)]);
    }

    #[test]
    fn a_model_that_rests_gets_nothing_and_wakes_for_a_frame_that_waits() {
        let (mut schedule, now) = schedule("auto", 1, 2.0);
        schedule.enqueue(frame(0, 1));
        next(&mut schedule, now);
        assert_eq!(schedule.deadline(), None);
        schedule.on_answered(now + 10 * MS);
        assert!(!schedule.enqueue(frame(0, 2)) && !schedule.enqueue(frame(0, 3)));
        assert_eq!(schedule.deadline(), Some(now + 30 * MS));
        assert_eq!(next(&mut schedule, now + 29 * MS), []);
        assert_eq!(next(&mut schedule, now + 30 * MS), [(0, 3)]);
    }

    #[test]
    fn an_answer_is_expected_by_how_long_the_last_ones_took() {
        let (mut schedule, now) = schedule("1", 1, 0.0);
        assert!(schedule.answers_within(MS, now), "nothing is known yet");
        schedule.enqueue(frame(0, 1));
        next(&mut schedule, now);
        assert!(!schedule.answers_within(100 * MS, now), "it is at work");
        schedule.on_answered(now + 50 * MS);
        assert!(schedule.answers_within(51 * MS, now + 50 * MS));
        assert!(!schedule.answers_within(50 * MS, now + 50 * MS));
    }

    #[test]
    fn nothing_is_due_once_the_model_has_died() {
        let (mut schedule, now) = schedule("2", 1, 0.0);
        assert!(schedule.is_due(4) && !schedule.is_due(5));
        schedule.enqueue(frame(0, 4));
        schedule.on_model_died();
        assert!(!schedule.is_due(4) && schedule.deadline().is_none());
        assert_eq!(next(&mut schedule, now), []);
    }
}
