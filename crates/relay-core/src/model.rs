//! When the model looks, at what, and what comes of its answers.
//!
//! It works on one thing at a time, on the newest frame of each camera, and the cameras take turns: a busy one never
//! starves another. With `--every auto` every frame is offered, and after each answer it rests for as long as keeps it
//! within its share of the machine.

use std::time::{Duration, Instant};

use protocol::detections::{Detections, Found, Kind};
use protocol::schedule::Every;

use super::Relay;
use super::action::{Action, Answer, Job, Note, Overlay};
use super::camera::{Arrival, CameraId};

/// What the relay knows of the model at work.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) is_free: bool,
    /// When it was handed what it works on.
    asked: Instant,
    /// Smoothed time from there to its answer.
    answer_time: Option<Duration>,
    /// Until when it is not asked, to keep within its share of the machine.
    rests: Instant,
    /// Whose frame it takes next.
    turn: usize,
}

/// What the model is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is not: nobody wants boxes.
    None,
    /// For whoever reads detections; the frame itself does not wait.
    Data,
    /// For boxes on the picture.
    Burn,
}

impl Model {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            is_free: true,
            asked: now,
            answer_time: None,
            rests: now,
            turn: 0,
        }
    }

    fn may_be_asked(&self, now: Instant) -> bool {
        self.is_free && self.rests <= now
    }
}

impl Relay {
    /// The model has answered all that it was [asked](Action::Infer), and is free.
    pub fn answered(&mut self, answers: Vec<Answer>, now: Instant) {
        let took = now.saturating_duration_since(self.model.asked);
        let usual = self.model.answer_time.unwrap_or(took);
        self.model.is_free = true;
        self.model.answer_time = Some((3 * usual + took) / 4);
        if self.rules.every == Some(Every::Auto) {
            self.model.rests = now + took.mul_f64(self.rules.rest);
        }
        for answer in answers {
            self.take(answer, now);
        }
        self.feed_model(now);
    }

    /// The model is gone for good: frames go on without boxes.
    pub fn model_died(&mut self, now: Instant) {
        self.rules.every = None;
        for id in self.cameras.ids() {
            self.release(id, now);
        }
    }

    fn take(&mut self, answer: Answer, now: Instant) {
        let Answer {
            camera: id,
            count,
            arrival,
            found,
        } = answer;
        let Some(found) = found else {
            self.counts.undecodable += 1;
            return self.boxes_of_the_model(id, count, Vec::new(), now);
        };
        self.counts.inferred += 1;
        self.look(id, !found.detections.is_empty());
        self.cameras.get_mut(id).displays(arrival.size, found.size);
        if self.are_boxes_read(id, now) {
            self.tell_inferred(id, &arrival, &found);
        }
        if self.is_followed(id, now) {
            let found = found.detections.clone();
            self.actions.push_back(Action::Correct(id, count, found));
        }
        self.boxes_of_the_model(id, count, found.detections, now);
    }

    /// Whether the model's answer to a frame that comes now will be there while the frame may be held.
    pub(super) fn is_worth_waiting(&self, id: CameraId, now: Instant) -> bool {
        let patience = self.cameras.get(id).patience();
        let in_time = |usual| usual < patience;
        self.model.may_be_asked(now) && self.model.answer_time.is_none_or(in_time)
    }

    /// What the model would look at frames of this camera for. Nobody watching and nobody reading: nothing.
    pub(super) fn purpose(&self, id: CameraId, now: Instant) -> Purpose {
        let watched = self.is_watched_at_the_plain_door(id, now);
        match self.rules.overlay {
            _ if self.rules.every.is_none() => Purpose::None,
            Overlay::EveryNth if watched => Purpose::Burn,
            Overlay::Hold if watched => Purpose::Data,
            _ if self.are_boxes_read(id, now) => Purpose::Data,
            _ => Purpose::None,
        }
    }

    pub(super) fn is_due(&self, count: u64) -> bool {
        self.rules.every.is_some_and(|every| every.due(count))
    }

    /// Whether anybody reads this camera's boxes as data.
    fn are_boxes_read(&self, id: CameraId, now: Instant) -> bool {
        self.rules.detections_read || self.is_on_screen(id, now)
    }

    /// A newer frame of a camera takes the place of one that still waits for the model.
    pub(super) fn enqueue(&mut self, job: Job) {
        let camera = self.cameras.get_mut(job.camera);
        let replaced = camera.waiting.replace(job).is_some();
        // With `auto` that is how it is meant.
        self.counts.not_inferred += u64::from(replaced && self.rules.every != Some(Every::Auto));
    }

    /// Hands the free model the newest frames of the cameras whose turn it is.
    pub(super) fn feed_model(&mut self, now: Instant) {
        if !self.model.may_be_asked(now) || self.rules.every.is_none() {
            return;
        }
        let mut jobs = Vec::new();
        let (first, cameras) = (self.model.turn, self.cameras.len());
        for index in (0..cameras).map(|step| (first + step) % cameras) {
            if jobs.len() == self.rules.batch {
                break;
            }
            if let Some(job) = self.cameras.get_mut(CameraId(index)).waiting.take() {
                self.model.turn = index + 1;
                jobs.push(job);
            }
        }
        if !jobs.is_empty() {
            self.model.is_free = false;
            self.model.asked = now;
            self.actions.push_back(Action::Infer(jobs));
        }
    }

    /// When the model has rested, where a frame waits for that.
    pub(super) fn model_wakes(&self) -> Option<Instant> {
        let waits = self.cameras.iter().any(|camera| camera.waiting.is_some());
        (self.model.is_free && waits).then_some(self.model.rests)
    }

    fn tell_inferred(&mut self, id: CameraId, arrival: &Arrival, found: &Found) {
        let message = Detections {
            kind: Kind::Inferred,
            infer_ms: Some((found.took.as_secs_f32() * 1e4).round() / 10.0),
            model: Some(self.rules.model.clone()),
            ..self.message(id, arrival, found.detections.clone())
        };
        self.actions.push_back(Action::Tell(message));
    }

    /// Follows whether the demo model sees anything, and says when it begins to be blind.
    fn look(&mut self, id: CameraId, found: bool) {
        let before = self.is_blind(id);
        self.cameras.get_mut(id).sight.looked(found);
        if self.is_blind(id) && !before {
            let name = self.cameras.get(id).name.to_string();
            self.note(Note::Blind(name));
        }
    }

    pub(super) fn is_blind(&self, id: CameraId) -> bool {
        self.rules.demo && self.cameras.get(id).sight.is_blind()
    }
}
