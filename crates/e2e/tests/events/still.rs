//! A scene in which nothing happens has no events, whatever the model now and then takes for something.

use std::time::Duration;

use protocol::detections::Detection;
use protocol::event::EventMessage;
use relay_core::TrackerState;
use relay_core::events::{EventAction, EventSettings, Events, Moment, Observation};
use vision::track::{Settings, Tracker};

use crate::chain::{EVERY, FPS};

/// Number of inferences that the file is of; on the others the model found nothing.
const MEASURED: usize = 166;
/// Largest change of a score beside the measured ones, which are of 17 s and not of an hour.
const JITTER: f32 = 0.05;
const HOUR: u64 = 3600 * FPS;

/// Returns what the model was seen to find.
fn noise() -> Vec<Detection> {
    let lines = include_str!("truth/noise.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    let detection = |line: &str| {
        let (label, numbers) = line.split_once(' ').unwrap();
        let numbers = numbers.split(' ').map(|x| x.parse::<f32>().unwrap());
        let [score, x0, y0, x1, y1] = numbers.collect::<Vec<_>>()[..] else {
            panic!("a score and a box: {line}");
        };
        Detection {
            id: None,
            class: 4,
            label: label.to_owned(),
            score,
            fading: false,
            bbox: [x0, y0, x1, y1].into(),
        }
    };
    lines.map(detection).collect()
}

/// The same numbers in each run.
struct Random(u64);

impl Random {
    /// Returns a number from 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as f64 / f64::from(1u32 << 31)
    }
}

/// Returns the number of tracks and of messages in an hour of inferences.
fn hour(seed: u64) -> (u64, usize) {
    let (noise, mut random) = (noise(), Random(seed));
    let mut tracker = Tracker::new(Settings {
        start: 0.40,
        keep: 0.25,
    });
    let mut events = Events::new(EventSettings::default());
    let start = testkit::time::start();
    let (mut messages, mut tracks) = (Vec::new(), 0);
    let mut state = TrackerState::default();
    for frame in 0..HOUR {
        let at = Duration::from_millis(frame * 1000 / FPS);
        // Nothing moves on the picture.
        let boxes = tracker.on_frame(frame + 1, |_| None, at);
        tracks = boxes.iter().filter_map(|one| one.id).fold(tracks, u64::max);
        let now = Moment {
            at: start + at,
            unix_ms: frame * 1000 / FPS,
            minute: 0,
        };
        let observation = Observation {
            camera: &"yard".parse().unwrap(),
            tracker: state,
            boxes: &boxes,
        };
        let actions = events.observe(observation, &mut |_| 1.0, &mut || 0, now);
        messages.extend(actions.into_iter().filter_map(|action| match action {
            EventAction::Publish(EventMessage::Object(event)) => Some(event),
            _ => None,
        }));
        if (frame + 1).is_multiple_of(EVERY) {
            let drawn = noise.get((random.next() * MEASURED as f64) as usize);
            let jitter = JITTER * (2.0 * random.next() as f32 - 1.0);
            let found = drawn.map(|drawn| Detection {
                score: drawn.score + jitter,
                ..drawn.clone()
            });
            let found: Vec<_> = found.filter(|one| one.score >= 0.25).into_iter().collect();
            tracker.on_answer(frame + 1, &found);
            state.answered = Some(frame + 1);
        }
    }
    (tracks, messages.len())
}

#[test]
fn an_hour_of_a_still_scene_with_the_models_measured_noise_has_no_event() {
    for seed in 1..=3 {
        let (tracks, messages) = hour(seed);
        eprintln!("seed {seed}: {tracks} tracks, {messages} messages");
        assert!(tracks >= 3, "the noise begins tracks");
        assert_eq!(messages, 0);
    }
}
