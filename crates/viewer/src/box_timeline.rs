//! Boxes that come as data, and which of them belong on a frame. Pure.
//!
//! The relay sends the boxes of each frame on a stream of their own, so a frame's message comes a moment after it, a little
//! before it, or not at all:
//!
//! ```text
//!   its own message is here          its boxes as they are
//!   it is usually here by now        the frame waits for it, for a few milliseconds   (BoxTimeline::awaits)
//!   it is lost, or late              the newest from before the frame, moved on and faded by `protocol::ageing`
//!   an older relay, without tracks   what the model found last, as it is, for a second
//!   the picture is stale             none
//! ```
//!
//! Time is the frames' capture time throughout, so how late a message was changes no box. Ids are of one connection: a
//! restarted relay counts from the start again.
//!
//! The relay may be hostile, so its numbers and times are only compared, never counted up to, and of each message the
//! [`Detections::MAX_DRAWN`] best boxes are kept. The boxes of a frame cost time linear in them, and the wait for them ends
//! after [`MAX_WAIT`] whatever comes.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use protocol::ageing;
use protocol::detections::{Detection, Detections, Kind};
use protocol::geometry::BBox;
use protocol::label::Label;

/// How long a frame that has just come waits for its own boxes. On two cores shared by ten processes, half of the messages
/// came before their frame, and 92 to 98 in a hundred within this; decoding takes a part of it anyway, so the median age
/// grew by 1 ms.
pub(crate) const MAX_WAIT: Duration = Duration::from_millis(5);

/// Tracked messages kept: two seconds at 30 frames a second.
const MAX_TRACKED: usize = 64;
/// Inferred messages kept: enough to know the interval between inferences.
const MAX_INFERRED: usize = 8;
/// In seconds: a message is a frame's own only if their times are this close, and inferred boxes are drawn only on frames
/// up to this much later.
const MAX_TIME_DIFFERENCE: f64 = 1.0;
/// Precision of a time in a message, in seconds.
const PRECISION: f64 = 1e-5;
/// The longest name of a class that is drawn, in bytes.
const MAX_CLASS_NAME: usize = 64;

/// The boxes of the camera that is shown.
#[derive(Debug, Default)]
pub(crate) struct BoxTimeline {
    camera: String,
    /// Tracked messages, the last one to arrive first.
    tracked: VecDeque<Detections>,
    /// Inferred messages, the last one to arrive first.
    inferred: VecDeque<Detections>,
    /// The frame that arrived last, and when.
    newest: Option<(Label, Instant)>,
    /// Whether the last tracked message came within [`MAX_WAIT`] of its frame.
    on_time: bool,
}

/// What to draw on a frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct OverlayBoxes {
    /// The boxes, best score first; the score has fallen where the box fades.
    pub(crate) list: Vec<Detection>,
    /// Opacity of all of them, 0 to 1.
    pub(crate) opacity: f32,
}

impl BoxTimeline {
    /// Forgets everything: ids and numbers are of one connection.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Notes the arrival of a frame.
    pub(crate) fn on_frame(&mut self, label: &Label, now: Instant) {
        self.newest = Some((label.clone(), now));
    }

    /// Keeps a message. One of another camera means that the relay sends that camera from now on.
    pub(crate) fn add(&mut self, mut message: Detections, now: Instant) {
        if message.camera != self.camera {
            self.camera.clone_from(&message.camera);
            self.tracked.clear();
            self.inferred.clear();
        }
        message.keep_drawn();
        message.model = None;
        for Detection { label, .. } in &mut message.detections {
            label.truncate(label.floor_char_boundary(MAX_CLASS_NAME));
            label.shrink_to_fit();
        }
        let (kept, most) = match message.kind {
            Kind::Tracked => (&mut self.tracked, MAX_TRACKED),
            Kind::Inferred => (&mut self.inferred, MAX_INFERRED),
        };
        if message.kind == Kind::Tracked {
            self.on_time = self.newest.as_ref().is_none_or(|(label, arrived)| {
                let ahead = message.t - captured(label);
                ahead > PRECISION
                    || (ahead >= -PRECISION && now.saturating_duration_since(*arrived) <= MAX_WAIT)
            });
        }
        kept.truncate(most - 1);
        kept.push_front(message);
    }

    /// Returns until when the frame with this label waits for its own boxes: only while it is the newest frame and messages
    /// come on time.
    pub(crate) fn awaits(&self, label: &Label) -> Option<Instant> {
        let (newest, arrived) = self.newest.as_ref()?;
        let near = |m: &Detections| (captured(label) - m.t).abs() <= MAX_TIME_DIFFERENCE;
        let wanted = self.on_time
            && newest == label
            && self.camera == label.camera.as_str()
            && self.tracked.front().is_some_and(near)
            && self.own(label).is_none();
        wanted.then_some(*arrived + MAX_WAIT)
    }

    /// Returns the boxes for the frame with this label; none when the picture has been `stale` for some time.
    pub(crate) fn boxes(&self, label: &Label, stale: Option<Duration>) -> OverlayBoxes {
        if self.camera != label.camera.as_str() || stale.is_some() {
            return OverlayBoxes::default();
        }
        if let Some(own) = self.own(label) {
            return OverlayBoxes::new(own);
        }
        let (at, life) = (captured(label), self.life());
        if self
            .tracked
            .iter()
            .any(|m| (at - m.t).abs() < life.as_secs_f64())
        {
            return self.moved(at, life);
        }
        let from = (at - MAX_TIME_DIFFERENCE, at);
        newest(&self.inferred, from).map_or_else(OverlayBoxes::default, OverlayBoxes::new)
    }

    /// Returns the frame's own message. A restarted sender counts from 1 again, so the number alone does not identify it.
    fn own(&self, label: &Label) -> Option<&Detections> {
        let own = |m: &&Detections| {
            m.seq == label.seq && (captured(label) - m.t).abs() <= MAX_TIME_DIFFERENCE
        };
        self.tracked.iter().find(own)
    }

    /// Returns the newest tracked boxes from before a frame captured at `at`, moved on to that time and faded.
    ///
    /// On the demo scene at 80 px/s and 10 frames a second, boxes moved on for 3 frames by the last two messages find 82 %
    /// of their objects (F1 at an overlap of 0.5), by messages farther apart less; boxes that stay where they were find
    /// 13 %.
    fn moved(&self, at: f64, life: Duration) -> OverlayBoxes {
        let reach = life.as_secs_f64();
        let Some(last) = newest(&self.tracked, (at - reach, at)) else {
            return OverlayBoxes::default();
        };
        let before = newest(&self.tracked, (last.t - reach, last.t - 2.0 * PRECISION));
        let since = (at - last.t).max(0.0);
        let opacity = ageing::opacity(duration(since), life);
        let tracks = before.map_or_else(HashMap::new, by_track);
        let between = before.map_or(0.0, |m| last.t - m.t);
        let carry = |d: &Detection| {
            let earlier = d.id.and_then(|id| Some((*tracks.get(&id)?, between)));
            Some(Detection {
                bbox: ageing::moved(d.bbox, earlier, since)?,
                score: d.score * opacity,
                fading: d.fading || opacity < 1.0,
                ..d.clone()
            })
        };
        let list = match opacity > 0.0 {
            true => last.detections.iter().filter_map(carry).collect(),
            false => Vec::new(),
        };
        OverlayBoxes { list, opacity }
    }

    /// Returns how long boxes outlive their last message. A lost message makes one gap between inferences longer, so the
    /// shortest gap is the interval.
    fn life(&self) -> Duration {
        let times = || self.inferred.iter().map(|m| m.t);
        let gaps = times().zip(times().skip(1)).map(|(a, b)| a - b);
        let interval = gaps.filter(|gap| *gap > PRECISION).min_by(f64::total_cmp);
        ageing::life(interval.map(duration))
    }
}

impl OverlayBoxes {
    fn new(message: &Detections) -> Self {
        Self {
            list: message.detections.clone(),
            opacity: 1.0,
        }
    }
}

/// Returns the capture time of the frame with this label, in seconds since the Unix epoch.
fn captured(label: &Label) -> f64 {
    label.captured_us as f64 / 1e6
}

/// Returns the newest message between these times; of those of one frame the one that arrived last.
fn newest(messages: &VecDeque<Detections>, (from, to): (f64, f64)) -> Option<&Detections> {
    let within = |m: &&Detections| m.t >= from - PRECISION && m.t <= to + PRECISION;
    let older = |a: &&Detections, b: &&Detections| a.t.total_cmp(&b.t);
    messages.iter().rev().filter(within).max_by(older)
}

/// Returns the box of each track in a message; of several boxes with one id the best.
fn by_track(message: &Detections) -> HashMap<u64, BBox> {
    let boxes = message.detections.iter().rev();
    boxes.filter_map(|d| Some((d.id?, d.bbox))).collect()
}

/// Converts seconds that a relay sent: any number has a duration.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

// With its path: a fuzz target compiles this file too, under another path.
#[cfg(test)]
#[path = "box_timeline/tests.rs"]
mod tests;
