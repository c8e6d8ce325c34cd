//! Boxes that come as data, and which of them belong on a frame. Pure.
//!
//! The relay says of each frame where its objects are, on a stream of its own, so a frame's message comes a moment after
//! it, a little before it, or not at all:
//!
//! ```text
//!   its own message is here          its boxes as they are
//!   it is usually here by now        the frame waits for it, for a few milliseconds   (Overlay::awaits)
//!   it is lost, or late              the newest from before the frame, each box moved on as its track last moved;
//!                                    they fade, and are gone after a second or two inferences (2N frames)
//!   an older relay, without tracks   what the model found last, as it is, for a second
//!   the picture is stale             none
//! ```
//!
//! Time is the frames' capture time throughout, so how late a message was changes no box. Ids are of one connection: a
//! restarted relay counts from the start again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::detections::{Detection, Detections, Kind};
use protocol::geometry::BBox;
use protocol::label::Label;

/// How long a frame that has just come waits for its own boxes. On two cores that ten processes wanted, half of the
/// messages came before their frame, and 92 to 98 in a hundred within this; decoding takes a part of it anyway, so the
/// median age grew by 1 ms.
pub(crate) const WAIT: Duration = Duration::from_millis(5);

/// Messages kept of tracks: two seconds at 30 frames a second.
const TRACKED: usize = 64;
/// Messages kept of what the model found: enough to see how often it does.
const INFERRED: usize = 8;
/// In seconds: the boxes of no frame farther away than this are a frame's own, and what the model alone found is not drawn
/// on a frame later than this.
const NEAR: f64 = 1.0;
/// In seconds: how long boxes outlive their last message, at least and at most; between them it is two inferences.
const LIFE: [f64; 2] = [1.0, 10.0];
/// What a time loses on its way through a decimal number, in seconds.
const TICK: f64 = 1e-5;
/// The longest name of a class that is drawn, in bytes.
const LABEL: usize = 64;

/// The boxes of the camera that is shown.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    camera: String,
    /// The one that came last first.
    tracked: VecDeque<Detections>,
    /// The one that came last first.
    inferred: VecDeque<Detections>,
    /// The frame that came last, and when.
    newest: Option<(Label, Instant)>,
    /// The last tracked message came within [`WAIT`] of its frame.
    punctual: bool,
}

/// What to draw on a frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Boxes {
    /// The boxes, best score first; the score has fallen where the box fades.
    pub(crate) list: Vec<Detection>,
    /// By how much they have faded: 0, and nothing is to be seen, to 1, and nothing of them is lost.
    pub(crate) opacity: f32,
}

impl Overlay {
    /// Another connection: no word of the last one holds there.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// A frame has come.
    pub(crate) fn frame(&mut self, label: &Label, now: Instant) {
        self.newest = Some((label.clone(), now));
    }

    /// Keeps a message; one of another camera means that this one is shown from now on.
    pub(crate) fn add(&mut self, mut message: Detections, now: Instant) {
        if message.camera != self.camera {
            self.camera.clone_from(&message.camera);
            self.tracked.clear();
            self.inferred.clear();
        }
        for detection in &mut message.detections {
            let end = detection.label.floor_char_boundary(LABEL);
            detection.label.truncate(end);
        }
        let (kept, most) = match message.kind {
            Kind::Tracked => (&mut self.tracked, TRACKED),
            Kind::Inferred => (&mut self.inferred, INFERRED),
        };
        if message.kind == Kind::Tracked {
            self.punctual = self.newest.as_ref().is_none_or(|(label, came)| {
                let ahead = message.t - taken(label);
                ahead > TICK || (ahead >= -TICK && now.saturating_duration_since(*came) <= WAIT)
            });
        }
        kept.truncate(most - 1);
        kept.push_front(message);
    }

    /// Until when the frame with this label is to wait for its own boxes: while it is the newest one, and messages come
    /// that are worth waiting for.
    pub(crate) fn awaits(&self, label: &Label) -> Option<Instant> {
        let (newest, came) = self.newest.as_ref()?;
        let comes = |m: &Detections| (taken(label) - m.t).abs() <= NEAR;
        let wanted = self.punctual
            && newest == label
            && self.camera == label.camera.as_str()
            && self.tracked.front().is_some_and(comes)
            && self.own(label).is_none();
        wanted.then_some(*came + WAIT)
    }

    /// The boxes for the frame with this label, none on one that has been `stale` for so long.
    pub(crate) fn boxes(&self, label: &Label, stale: Option<Duration>) -> Boxes {
        if self.camera != label.camera.as_str() || stale.is_some() {
            return Boxes::default();
        }
        if let Some(own) = self.own(label) {
            return Boxes::of(own);
        }
        let (taken, life) = (taken(label), self.life());
        if self.tracked.iter().any(|m| (taken - m.t).abs() < life) {
            return self.moved(taken, life);
        }
        let from = (taken - NEAR, taken);
        newest(&self.inferred, from).map_or_else(Boxes::default, Boxes::of)
    }

    /// A sender that was started again counts from 1 again, so a number alone says little.
    fn own(&self, label: &Label) -> Option<&Detections> {
        let own = |m: &&Detections| m.seq == label.seq && (taken(label) - m.t).abs() <= NEAR;
        self.tracked.iter().find(own)
    }

    /// The newest tracked boxes from before a frame taken at this time, where they should be by then.
    fn moved(&self, taken: f64, life: f64) -> Boxes {
        let Some(last) = newest(&self.tracked, (taken - life, taken)) else {
            return Boxes::default();
        };
        let before = newest(&self.tracked, (last.t - life, last.t - 2.0 * TICK));
        let age = (taken - last.t).max(0.0);
        // In full for half of its life, then ever less.
        let opacity = (2.0 * (1.0 - age / life)).clamp(0.0, 1.0) as f32;
        let carry = |d: &Detection| {
            let by = before.map_or([0.0; 2], |before| {
                speed(d, last.t, before).map(|speed| speed * age)
            });
            Some(Detection {
                bbox: inside(d.bbox, by)?,
                score: d.score * opacity,
                ..d.clone()
            })
        };
        let list = match opacity > 0.0 {
            true => last.detections.iter().filter_map(carry).collect(),
            false => Vec::new(),
        };
        Boxes { list, opacity }
    }

    /// For how many seconds boxes outlive their last message. A message that was lost makes one gap longer, so the
    /// shortest one tells how often the model is asked.
    fn life(&self) -> f64 {
        let times = || self.inferred.iter().map(|m| m.t);
        let gaps = times().zip(times().skip(1)).map(|(a, b)| a - b);
        let n = gaps.filter(|gap| *gap > TICK).min_by(f64::total_cmp);
        n.map_or(LIFE[0], |n| (2.0 * n).clamp(LIFE[0], LIFE[1]))
    }
}

impl Boxes {
    fn of(message: &Detections) -> Self {
        Self {
            list: message.detections.clone(),
            opacity: 1.0,
        }
    }
}

/// When the frame with this label was taken, in seconds since the Unix epoch.
fn taken(label: &Label) -> f64 {
    label.captured_us as f64 / 1e6
}

/// The newest message of these seconds; of those of one frame the one that came last.
fn newest(messages: &VecDeque<Detections>, (from, to): (f64, f64)) -> Option<&Detections> {
    let within = |m: &&Detections| m.t >= from - TICK && m.t <= to + TICK;
    let older = |a: &&Detections, b: &&Detections| a.t.total_cmp(&b.t);
    messages.iter().rev().filter(within).max_by(older)
}

/// How fast the middle of a box moved from an older message to this one's time, in widths and heights of the picture a
/// second: not at all where the older one did not know it.
///
/// On the demo scene at 80 px/s and 10 frames a second, boxes moved on for 3 frames by the last two messages find 82 % of
/// their objects (F1 at an overlap of 0.5), by messages farther apart less; boxes that stay where they were find 13 %.
fn speed(d: &Detection, t: f64, before: &Detections) -> [f64; 2] {
    let was = before.detections.iter().find(|b| b.id == d.id);
    let Some(was) = was.filter(|_| d.id.is_some()) else {
        return [0.0; 2];
    };
    let middle = |[x0, y0, x1, y1]: [f32; 4]| [x0 + x1, y0 + y1].map(|sum| f64::from(sum) / 2.0);
    let (now, then) = (middle(d.bbox.edges()), middle(was.bbox.edges()));
    [0, 1].map(|axis| (now[axis] - then[axis]) / (t - before.t))
}

/// A box moved `by` so many widths and heights of the picture; nothing where nothing of it is inside any more.
fn inside(bbox: BBox, [x, y]: [f64; 2]) -> Option<BBox> {
    let [x0, y0, x1, y1] = bbox.edges();
    let at = |edge: f32, by: f64| (f64::from(edge) + by).clamp(0.0, 1.0) as f32;
    let moved = BBox::new(at(x0, x), at(y0, y), at(x1, x), at(y1, y));
    (moved.area() > 0.0 || moved == bbox).then_some(moved)
}

#[cfg(test)]
mod tests;
