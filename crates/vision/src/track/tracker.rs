//! The tracker of one camera: frames and answers in, boxes out. Pure: neither clock nor codec.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::detections::Detection;

use super::associate::{Sighting, associate, sightings};
use super::object::{HISTORY, Object};
use super::place::Place;
use super::{Displacement, FrameTime, PatchQuery, Settings};

/// Most objects at a time; a frame's cost grows with them.
const OBJECTS: usize = 64;
/// A pause of the camera this long, and of this many usual frame intervals, is a new beginning: nobody knows where
/// things went meanwhile.
const PAUSE: (Duration, u32) = (Duration::from_secs(1), 5);

/// The objects that one camera shows.
#[derive(Debug)]
pub struct Tracker {
    /// May change at any time.
    pub settings: Settings,
    objects: Vec<Object>,
    /// The last frames, the newest last.
    frames: VecDeque<FrameTime>,
    /// Smoothed time between two frames.
    interval: Option<Duration>,
    /// The newest frame that the model has answered.
    answered: Option<u64>,
    /// Frames between the last two answers.
    distance: Option<u64>,
    /// Distance of inferences in frames: the smaller one of the last two, since a while in which nobody asked the model is
    /// none.
    every: u64,
    next_id: u64,
}

impl Tracker {
    /// A tracker that knows of nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            objects: Vec::new(),
            frames: VecDeque::new(),
            interval: None,
            answered: None,
            distance: None,
            every: 1,
            next_id: 1,
        }
    }

    /// A frame has come: every object moves to where the picture shows it, as `carry` says, or where its velocity takes
    /// it. Gives the boxes on this frame, the best score first.
    ///
    /// `count` is the camera's own count of accepted frames and `at` the frame's time since any fixed moment. Where
    /// either goes backwards, or after a long pause, all begins anew.
    pub fn on_frame(
        &mut self,
        count: u64,
        mut carry: impl FnMut(&PatchQuery) -> Option<Displacement>,
        at: Duration,
    ) -> Vec<Detection> {
        let now = FrameTime { count, at };
        match self.frames.back().copied() {
            Some(last) if self.continues(last, now) => self.advance(&mut carry, last, now),
            Some(_) => self.reset(),
            None => {}
        }
        self.frames.push_back(now);
        if self.frames.len() > HISTORY {
            self.frames.pop_front();
        }
        self.objects
            .retain(|object| !object.is_gone(self.every, now));
        self.boxes(now)
    }

    /// The model has answered for a frame, at whatever time since. Answers older than the last one, and for frames that
    /// were not given to [`Tracker::frame`] or are long past, say nothing.
    pub fn on_answer(&mut self, count: u64, found: &[Detection]) {
        let frame = self.frames.iter().find(|frame| frame.count == count);
        let Some(&at) = frame.filter(|_| self.answered < Some(count)) else {
            return;
        };
        if let Some(before) = self.answered.replace(count) {
            let distance = count - before;
            self.every = distance.min(self.distance.replace(distance).unwrap_or(distance));
        }
        let seen = sightings(found, self.settings.keep);
        let new = self.support(&seen, at);
        self.objects.retain(|object| !object.is_lost());
        for sighting in new {
            self.begin(sighting, at);
        }
    }

    /// Forgets all objects, as when the camera is another one now. Their ids do not come back.
    pub fn reset(&mut self) {
        *self = Self {
            next_id: self.next_id,
            ..Self::new(self.settings)
        };
    }

    /// Whether the camera goes on; notes its pace.
    fn continues(&mut self, last: FrameTime, now: FrameTime) -> bool {
        let (Some(pause), true) = (now.at.checked_sub(last.at), now.count > last.count) else {
            return false;
        };
        let usual = self.interval.unwrap_or(pause);
        // One pause does not make the camera a slow one.
        self.interval = Some((3 * usual + pause.min(2 * usual)) / 4);
        pause <= PAUSE.0.max(PAUSE.1 * usual)
    }

    fn advance(
        &mut self,
        carry: &mut impl FnMut(&PatchQuery) -> Option<Displacement>,
        last: FrameTime,
        now: FrameTime,
    ) {
        let later = now.at.saturating_sub(last.at);
        let expected: Vec<Place> = self
            .objects
            .iter()
            .map(|object| object.expected(later))
            .collect();
        for (n, object) in self.objects.iter_mut().enumerate() {
            let others = expected.iter().enumerate().filter(|(other, _)| *other != n);
            object.advance(others.map(|(_, place)| *place), carry, last, now);
        }
    }

    fn boxes(&self, now: FrameTime) -> Vec<Detection> {
        let boxes = self
            .objects
            .iter()
            .map(|object| object.detection(self.every, now));
        let mut boxes: Vec<Detection> = boxes.collect();
        boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
        boxes
    }

    /// Gives each sighting to its object, and back those that are nobody's.
    fn support<'a, 'b>(
        &mut self,
        seen: &'a [Sighting<'b>],
        at: FrameTime,
    ) -> Vec<&'a Sighting<'b>> {
        let then = |object: &Object| (object.place_at(at.count), object.class());
        let partners = associate(&self.objects.iter().map(then).collect::<Vec<_>>(), seen);
        for (object, partner) in self.objects.iter_mut().zip(&partners) {
            match partner {
                Some(n) => object.support(&seen[*n], at),
                None => object.miss(),
            }
        }
        let new = |n: &usize| !partners.contains(&Some(*n));
        (0..seen.len()).filter(new).map(|n| &seen[n]).collect()
    }

    fn begin(&mut self, seen: &Sighting<'_>, at: FrameTime) {
        if seen.best.score < self.settings.start || self.objects.len() == OBJECTS {
            return;
        }
        let counts = self.frames.iter().map(|frame| frame.count);
        let since = counts.filter(|count| *count >= at.count);
        self.objects
            .push(Object::new(self.next_id, seen, since, at));
        self.next_id += 1;
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> [usize; 3] {
        let longest = self.objects.iter().map(Object::remembered).max();
        [
            self.objects.len(),
            self.frames.len(),
            longest.unwrap_or_default(),
        ]
    }
}
