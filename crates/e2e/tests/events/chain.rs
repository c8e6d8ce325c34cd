//! Model, tracker and rules behind each other, as in the relay.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opencv::core::Mat;
use ort::environment::Environment;
use protocol::detections::Detection;
use protocol::event::{EndReason, EventMessage, Phase};
use relay_core::TrackerState;
use relay_core::events::{EventAction, EventSettings, Events, Moment, Observation};
use vision::detect::{self, Detector, Model, runtime};
use vision::track::{self, CameraTracker};

use crate::truth::{Passage, ZoneEntry};

/// Frames a second.
pub(crate) const FPS: u64 = 10;
/// Every so many frames one is inferred.
pub(crate) const EVERY: u64 = 4;

/// One camera with a relay's model and rules.
pub(crate) struct Chain {
    detector: Detector,
    tracker: CameraTracker,
    state: TrackerState,
    events: Events,
    frames: u64,
    /// Label that all detections get in place of the model's.
    label: Option<&'static str>,
    /// Frames after which the model's answer is known.
    delay: u64,
    /// Answers that are not known yet, with the frame on which they will be.
    answers: VecDeque<(u64, u64, Vec<Detection>)>,
    start: Instant,
    /// With the time at which each left.
    messages: Vec<(f64, EventMessage)>,
    random: u16,
}

/// Returns a detector, or skips the test.
pub(crate) fn detector(model: Model, classes: &[&str]) -> Option<Detector> {
    // A process loads it once.
    static RUNTIME: OnceLock<Option<Environment>> = OnceLock::new();
    let Some(runtime) = RUNTIME.get_or_init(|| runtime::load(None).ok()) else {
        testkit::skip("ONNX Runtime is not here (scripts/setup)");
        return None;
    };
    let settings = detect::Settings {
        classes: classes.iter().map(|&class| class.to_owned()).collect(),
        ..detect::Settings::default()
    };
    Some(Detector::load(runtime, &model, settings).unwrap())
}

/// Returns a file of shared data, or skips the test.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let file = testkit::shared(path);
    if file.is_none() {
        testkit::skip("../shared/data is not here");
    }
    file
}

impl Chain {
    pub(crate) fn new(detector: Detector, settings: EventSettings, delay: u64) -> Self {
        let scores = track::Settings {
            start: 0.40,
            keep: 0.25,
        };
        Self {
            detector,
            tracker: CameraTracker::new(scores),
            state: TrackerState::default(),
            events: Events::new(settings),
            frames: 0,
            label: None,
            delay,
            answers: VecDeque::new(),
            start: testkit::time::start(),
            messages: Vec::new(),
            random: 0,
        }
    }

    /// Gives all detections one label: where the model finds the objects and knows no name for them.
    pub(crate) fn with_label(mut self, label: &'static str) -> Self {
        self.label = Some(label);
        self
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.frames as f64 / FPS as f64
    }

    fn moment(&self) -> Moment {
        let since = Duration::from_secs_f64(self.seconds());
        Moment {
            at: self.start + since,
            unix_ms: u64::try_from(since.as_millis()).unwrap(),
            minute: 0,
        }
    }

    /// The camera's next frame; the first is at second 0.
    pub(crate) fn frame(&mut self, picture: &Mat) {
        let jpeg = Bytes::from(imaging::jpeg::encode(picture, 80).unwrap());
        let size = imaging::jpeg::size(picture).unwrap();
        let count = self.frames + 1;
        while let Some((_, of, found)) = self.answers.pop_front_if(|(due, ..)| *due <= count) {
            self.tracker.on_answer(of, &found);
            self.state.answered = Some(of);
        }
        let at = Duration::from_secs_f64(self.seconds());
        let boxes = self.tracker.on_frame(count, jpeg.clone(), size, at);
        self.observe(&boxes);
        if count.is_multiple_of(EVERY) {
            let mut found = self.detector.detect(&jpeg).unwrap().detections;
            if let Some(label) = self.label {
                for detection in &mut found {
                    (detection.class, detection.label) = (0, label.to_owned());
                }
            }
            self.answers.push_back((count + self.delay, count, found));
        }
        self.frames += 1;
    }

    fn observe(&mut self, boxes: &[Detection]) {
        let observation = Observation {
            camera: &"yard".parse().unwrap(),
            tracker: self.state,
            boxes,
        };
        let now = self.moment();
        let mut random = || {
            self.random = self.random.wrapping_add(1);
            self.random
        };
        let actions = self
            .events
            .observe(observation, &mut |_| 1.0, &mut random, now);
        self.keep(actions);
    }

    fn keep(&mut self, actions: Vec<EventAction>) {
        let now = self.seconds();
        let messages = actions.into_iter().filter_map(|action| match action {
            EventAction::Publish(message) => Some((now, message)),
            EventAction::KeepPicture(..) => None,
        });
        self.messages.extend(messages);
    }

    /// Returns what happened, the events that are still open too.
    pub(crate) fn passages(mut self) -> Vec<Passage> {
        let actions = self.events.end_all(EndReason::Stop);
        self.keep(actions);
        let mut passages: Vec<(_, Passage)> = Vec::new();
        for (now, message) in &self.messages {
            let EventMessage::Object(event) = message else {
                continue;
            };
            if event.phase == Phase::Start {
                let passage = Passage::new(&event.label, event.start, f64::NAN);
                passages.push((event.id, passage));
            }
            let of_event = |(id, _): &&mut (_, Passage)| *id == event.id;
            let (_, passage) = passages.iter_mut().find(of_event).unwrap();
            passage.label.clone_from(&event.label);
            passage.end = event.end.unwrap_or(f64::NAN);
            for zone in &event.entered_zones {
                if !passage.entries.iter().any(|entry| entry.zone == *zone) {
                    let zone = zone.clone();
                    passage.entries.push(ZoneEntry { zone, at: *now });
                }
            }
        }
        passages.into_iter().map(|(_, passage)| passage).collect()
    }
}
