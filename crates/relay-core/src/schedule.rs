//! Which frame the model gets next, and when.
//!
//! The model works on one batch at a time, on the newest waiting frame of each camera, and the cameras' hosts share its time
//! ([`FairQueue`]): neither a busy camera nor one of expensive pictures nor a host of many starves another. With `--every
//! auto` every frame is offered, and after each answer the model rests for as long as keeps it within its share of the machine. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::every::Every;
use protocol::label::CameraName;

use crate::fair::{FairQueue, Payer};
use crate::frame::{CameraFrame, CameraId};
use crate::limits::MODEL_FRAMES;

/// The model's work.
#[derive(Debug)]
pub(crate) struct ModelSchedule {
    /// `None` without a model.
    every: Option<Every>,
    rest: f64,
    /// The model gets nothing before this.
    rests_until: Instant,
    /// The newest frame of each camera that waits for the model.
    queue: FairQueue<CameraFrame>,
    /// Cameras with a schedule of their own.
    of_cameras: BTreeMap<CameraName, Every>,
    /// Whether a frame of the batch under way is of a camera that is inferred as often as the model keeps up with.
    auto_under_way: bool,
}

impl ModelSchedule {
    /// Returns the schedule of an idle model; see [`crate::RelaySettings`] for `every`, `batch` and `rest`.
    pub(crate) fn new(every: Option<Every>, batch: usize, rest: f64, now: Instant) -> Self {
        Self {
            every,
            rest,
            rests_until: now,
            queue: FairQueue::new(MODEL_FRAMES, batch),
            of_cameras: BTreeMap::new(),
            auto_under_way: false,
        }
    }

    /// Uses these schedules for cameras that have one of their own.
    pub(crate) fn set_every_of(&mut self, cameras: BTreeMap<CameraName, Every>) {
        self.of_cameras = cameras;
    }

    /// Returns whether a frame goes to the model by its count.
    pub(crate) fn is_due(&self, frame: &CameraFrame) -> bool {
        self.every_of(frame)
            .is_some_and(|every| every.due(frame.count))
    }

    /// Returns the schedule of a frame's camera; `None` without a model.
    fn every_of(&self, frame: &CameraFrame) -> Option<Every> {
        let own = self.of_cameras.get(&frame.label.camera);
        self.every.map(|every| own.copied().unwrap_or(every))
    }

    /// Returns whether the answer for a frame of a camera that is enqueued now is usually there within `patience`.
    pub(crate) fn answers_within(
        &self,
        camera: CameraId,
        patience: Duration,
        now: Instant,
    ) -> bool {
        let in_time = |usual| usual < patience;
        self.is_ready(now) && self.queue.usual(camera).is_none_or(in_time)
    }

    /// Adds a frame; it takes the place of an older one of its camera. Returns whether one was lost to the model by that;
    /// with [`Every::Auto`] that is how it is meant, and does not count.
    pub(crate) fn enqueue(&mut self, frame: CameraFrame) -> bool {
        let is_auto = self.every_of(&frame) == Some(Every::Auto);
        let replaced = self.queue.enqueue(frame.camera, frame.pixels(), frame);
        replaced && !is_auto
    }

    /// Drops the waiting frame of a camera that is another one now, of this host.
    pub(crate) fn renew(&mut self, camera: CameraId, payer: Payer) {
        self.queue.renew(camera, payer);
    }

    /// Returns the frames for the model if it is ready for some, beginning with the camera whose turn it is.
    pub(crate) fn next_batch(&mut self, now: Instant) -> Option<Vec<CameraFrame>> {
        let batch = match self.is_ready(now) {
            true => self.queue.next_batch(now)?,
            false => return None,
        };
        let is_auto = |frame| self.every_of(frame) == Some(Every::Auto);
        self.auto_under_way = batch.iter().any(is_auto);
        Some(batch)
    }

    /// Notes that the model has answered its batch. Its cameras are charged the time since they were given to it: that has
    /// the decoding in it, and a picture that could not be decoded.
    pub(crate) fn on_answered(&mut self, now: Instant) {
        if let Some(took) = self.queue.finish(now)
            && self.auto_under_way
        {
            self.rests_until = now + took.mul_f64(self.rest);
        }
    }

    /// Notes that there is no model any more.
    pub(crate) fn on_model_died(&mut self) {
        self.every = None;
        self.queue.clear();
    }

    /// Returns when the model has rested, if a frame waits for that.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.is_idle() && self.queue.has_waiting()).then_some(self.rests_until)
    }

    fn is_ready(&self, now: Instant) -> bool {
        self.every.is_some() && self.is_idle() && self.rests_until <= now
    }

    /// Returns whether the model works on nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_idle()
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
        assert!(
            schedule.answers_within(CameraId(0), MS, now),
            "nothing is known yet"
        );
        schedule.enqueue(frame(0, 1));
        next(&mut schedule, now);
        assert!(
            !schedule.answers_within(CameraId(0), 100 * MS, now),
            "it is at work"
        );
        schedule.on_answered(now + 50 * MS);
        assert!(schedule.answers_within(CameraId(0), 51 * MS, now + 50 * MS));
        assert!(!schedule.answers_within(CameraId(0), 50 * MS, now + 50 * MS));
    }

    #[test]
    fn a_camera_with_a_schedule_of_its_own_is_due_by_that_and_the_others_by_theirs() {
        let (mut schedule, now) = schedule("4", 1, 1.0);
        let of = |camera: &str, count| {
            let mut frame = frame(0, count);
            frame.label.camera = camera.parse().unwrap();
            frame
        };
        let own = [("gate", "3"), ("pond", "auto")];
        let own = own.map(|(name, every)| (name.parse().unwrap(), every.parse().unwrap()));
        schedule.set_every_of(own.into());
        let due = |schedule: &ModelSchedule, camera| {
            let due = (1..=8).filter(|&count| schedule.is_due(&of(camera, count)));
            due.collect::<Vec<u64>>()
        };
        assert_eq!(due(&schedule, "yard"), [4, 8]);
        assert_eq!(due(&schedule, "gate"), [3, 6]);
        assert_eq!(due(&schedule, "pond").len(), 8);
        // The model rests behind a camera that would else have all of it, and behind no other.
        for (camera, rests) in [("gate", false), ("pond", true)] {
            let now = now + 1000 * MS * u32::from(rests);
            assert!(!schedule.enqueue(of(camera, 1)));
            assert_eq!(
                schedule.enqueue(of(camera, 2)),
                !rests,
                "what is lost counts"
            );
            schedule.next_batch(now).unwrap();
            schedule.on_answered(now + 50 * MS);
            schedule.enqueue(of("yard", 4));
            assert_eq!(schedule.next_batch(now + 50 * MS).is_none(), rests);
            if !rests {
                schedule.on_answered(now + 60 * MS);
            }
        }
        schedule.on_model_died();
        assert_eq!(due(&schedule, "pond"), [0; 0]);
    }

    #[test]
    fn nothing_is_due_once_the_model_has_died() {
        let (mut schedule, now) = schedule("2", 1, 0.0);
        assert!(schedule.is_due(&frame(0, 4)) && !schedule.is_due(&frame(0, 5)));
        schedule.enqueue(frame(0, 4));
        schedule.on_model_died();
        assert!(!schedule.is_due(&frame(0, 4)) && schedule.deadline().is_none());
        assert_eq!(next(&mut schedule, now), []);
    }
}
