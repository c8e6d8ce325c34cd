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

use protocol::ageing;
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
        if self
            .tracked
            .iter()
            .any(|m| (taken - m.t).abs() < life.as_secs_f64())
        {
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

    /// Returns the newest tracked boxes from before a frame captured at `taken`, moved on to that time and faded.
    ///
    /// On the demo scene at 80 px/s and 10 frames a second, boxes moved on for 3 frames by the last two messages find 82 %
    /// of their objects (F1 at an overlap of 0.5), by messages farther apart less; boxes that stay where they were find
    /// 13 %.
    fn moved(&self, taken: f64, life: Duration) -> Boxes {
        let reach = life.as_secs_f64();
        let Some(last) = newest(&self.tracked, (taken - reach, taken)) else {
            return Boxes::default();
        };
        let before = newest(&self.tracked, (last.t - reach, last.t - 2.0 * TICK));
        let since = (taken - last.t).max(0.0);
        let opacity = ageing::opacity(duration(since), life);
        let carry = |d: &Detection| {
            let earlier = before.and_then(|m| Some((same_track(d, m)?, last.t - m.t)));
            Some(Detection {
                bbox: ageing::moved(d.bbox, earlier, since)?,
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

    /// Returns how long boxes outlive their last message. A lost message makes one gap between inferences longer, so the
    /// shortest gap is the interval.
    fn life(&self) -> Duration {
        let times = || self.inferred.iter().map(|m| m.t);
        let gaps = times().zip(times().skip(1)).map(|(a, b)| a - b);
        let interval = gaps.filter(|gap| *gap > TICK).min_by(f64::total_cmp);
        ageing::life(interval.map(duration))
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

/// Returns the box of this detection's track in another message.
fn same_track(d: &Detection, message: &Detections) -> Option<BBox> {
    let id = d.id?;
    let same = message.detections.iter().find(|b| b.id == Some(id));
    same.map(|b| b.bbox)
}

/// Converts seconds that a relay sent: any number has a duration.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests;
