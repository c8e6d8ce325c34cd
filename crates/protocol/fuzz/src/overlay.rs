//! The viewer's rules for frames and boxes, in any order of frames, messages and pauses.

use std::time::{Duration, Instant};

use protocol::detections::{Detection, Detections, Kind};
use protocol::label::{Label, StreamId};

use super::box_timeline::{BoxTimeline, MAX_WAIT};
use super::display_stats::DisplayStats;
use super::loss::LossCounter;

/// A time after which any number is believed, as in `protocol::sequence`.
const SILENCE: Duration = protocol::CAMERA_TIMEOUT;
/// Microseconds since the Unix epoch at which the camera began.
const BEGIN: u64 = 1_763_820_000_000_000;

/// Gives frames and messages of a relay to a viewer: frames of a stream are shown in order, a frame never waits longer than
/// it may, boxes are few and inside the picture, figures are finite.
///
/// The bytes are steps, each a kind and its arguments: 0 a frame (flags, number, time), 1 a message (flags, number, time,
/// boxes), 2 a line (length, bytes), 3 a pause (its square in milliseconds; 255 is a new connection).
pub fn overlay(bytes: &[u8], start: Instant) {
    let mut viewer = Viewer::new(start);
    let mut rest = bytes;
    while let [kind, tail @ ..] = rest {
        rest = match (kind % 4, tail) {
            (0, [flags, number, time, tail @ ..]) => {
                viewer.on_frame(*flags, *number, *time);
                tail
            }
            (1, [flags, number, time, boxes, tail @ ..]) => {
                let message = viewer.message(*flags, *number, *time, *boxes);
                viewer.on_line(message.to_json().as_bytes());
                tail
            }
            (2, [length, tail @ ..]) => {
                let (line, tail) = tail.split_at(usize::from(*length).min(tail.len()));
                viewer.on_line(line);
                tail
            }
            (3, [255, tail @ ..]) => {
                viewer.timeline.reset();
                tail
            }
            (3, [pause, tail @ ..]) => {
                viewer.now += Duration::from_millis(u64::from(*pause).pow(2));
                tail
            }
            _ => return,
        };
        viewer.check();
    }
}

struct Viewer {
    now: Instant,
    counter: LossCounter,
    timeline: BoxTimeline,
    stats: DisplayStats,
    frames: u64,
    /// The frame that is shown, and when it came.
    shown: Option<(Label, Instant)>,
    /// Whether a frame without a label came since.
    bare: bool,
    /// The last number that a step named.
    number: u64,
}

impl Viewer {
    fn new(now: Instant) -> Self {
        Self {
            now,
            counter: LossCounter::default(),
            timeline: BoxTimeline::default(),
            stats: DisplayStats::default(),
            frames: 0,
            shown: None,
            bare: false,
            number: 0,
        }
    }

    /// Returns the number that a step names.
    fn number(&mut self, flags: u8, byte: u8) -> u64 {
        let near = u64::from(byte);
        self.number = match flags & 3 {
            0 => self.number.wrapping_add(near),
            1 => near,
            2 => u64::MAX - near,
            _ => 1 << (near % 64),
        };
        self.number
    }

    fn on_frame(&mut self, flags: u8, number: u8, time: u8) {
        let seq = self.number(flags, number);
        let time = u64::from(time);
        let label = Label {
            stream: StreamId(u64::from(flags >> 4 & 1)),
            seq,
            captured_us: match flags >> 2 & 3 {
                0 => BEGIN.wrapping_add(seq.wrapping_mul(100_000)),
                1 => time * 100_000,
                2 => u64::MAX - time,
                _ => 1 << (time % 64),
            },
            camera: camera(flags).parse().expect("it is a name"),
        };
        let label = (flags >> 6 & 1 == 0).then_some(label);
        let shown = self.counter.accept(label.as_ref(), self.now);
        self.frames += 1;
        assert_eq!(self.counter.counts().received, self.frames);
        let Some(label) = label else {
            assert!(shown.is_some());
            self.bare = true;
            return self.on_displayed();
        };
        if shown.is_none() {
            return;
        }
        assert_eq!(shown, Some(seq));
        if let Some((last, at)) = self.shown.as_ref().filter(|_| !self.bare) {
            let same = (last.stream, &last.camera) == (label.stream, &label.camera);
            assert!(!same || seq > last.seq || self.now - *at >= SILENCE);
        }
        self.timeline.on_frame(&label, self.now);
        (self.shown, self.bare) = (Some((label, self.now)), false);
        self.on_displayed();
    }

    fn on_displayed(&mut self) {
        self.stats
            .on_displayed(None, self.counter.counts(), self.now);
    }

    fn message(&mut self, flags: u8, number: u8, time: u8, boxes: u8) -> Detections {
        let seq = self.number(flags, number);
        let t = match flags >> 2 & 3 {
            0 => BEGIN.wrapping_add(seq.wrapping_mul(100_000)) as f64 / 1e6,
            1 => f64::from(time) / 10.0,
            2 => (u64::MAX - u64::from(time)) as f64 / 1e6,
            _ => f64::from_bits(u64::from_ne_bytes([time; 8])),
        };
        // Most messages have few boxes, or each step would cost as much as a message of the most.
        let count = if boxes < 250 {
            u16::from(boxes % 8)
        } else {
            200 * u16::from(boxes - 249)
        };
        let unit = |n: u16| f32::from(n * 37 % 101) / 100.0;
        let detection = |n: u16| Detection {
            id: (flags >> 7 == 0).then_some(u64::from(n / 2)),
            class: n.into(),
            label: "\u{fc}".repeat((n % 100).into()),
            score: unit(n),
            fading: false,
            bbox: [unit(n), unit(n + 1), unit(n + 2), unit(u16::from(boxes))].into(),
        };
        Detections {
            v: Detections::VERSION,
            camera: camera(flags).to_owned(),
            seq,
            t,
            w: 300,
            h: 200,
            kind: if flags >> 6 & 1 == 0 {
                Kind::Tracked
            } else {
                Kind::Inferred
            },
            infer_ms: None,
            model: None,
            detections: (0..count).map(detection).collect(),
        }
    }

    fn on_line(&mut self, line: &[u8]) {
        if let Ok(message) = Detections::parse(line) {
            self.timeline.add(message, self.now);
        }
    }

    fn check(&self) {
        let counts = self.counter.counts();
        assert!(counts.received == self.frames && (0.0..=1.0).contains(&self.stats.loss()));
        assert!(self.stats.fps(self.now).is_none_or(f64::is_finite));
        let Some((label, at)) = &self.shown else {
            return;
        };
        let waits = self.timeline.awaits(label);
        assert!(waits.is_none_or(|until| until <= *at + MAX_WAIT));
        let unit = |x: &f32| (0.0..=1.0).contains(x);
        for stale in [None, self.stats.stale_for(self.now)] {
            let boxes = self.timeline.boxes(label, stale);
            assert!(unit(&boxes.opacity) && boxes.list.len() <= Detections::MAX_DRAWN);
            assert!(boxes.list.is_sorted_by(|a, b| a.score >= b.score));
            for one in &boxes.list {
                assert!(unit(&one.score) && one.bbox.edges().iter().all(unit));
                assert!(one.label.len() <= 64);
            }
            assert!(stale.is_none() || boxes.list.is_empty());
        }
    }
}

fn camera(flags: u8) -> &'static str {
    if flags >> 5 & 1 == 0 { "yard" } else { "drive" }
}
