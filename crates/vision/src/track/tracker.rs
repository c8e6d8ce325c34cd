//! The tracker of one camera: frames and answers in, boxes out. Pure: neither clock nor codec.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::ageing;
use protocol::detections::Detection;
use protocol::geometry::BBox;

use super::associate::{Observation, associate, observations};
use super::track_state::{MAX_ANSWER_DELAY, Track};
use super::{Displacement, FrameTime, PatchQuery, Settings};

/// Most tracks at a time; a frame's cost grows with them.
const MAX_TRACKS: usize = 64;
/// A pause of the camera that is longer than this and than [`RESET_INTERVALS`] ends all tracks: where the objects went
/// meanwhile is unknown.
const RESET_PAUSE: Duration = Duration::from_secs(1);
/// The same in usual frame intervals.
const RESET_INTERVALS: u32 = 5;

/// The tracks of one camera.
#[derive(Debug)]
pub struct Tracker {
    /// May change at any time.
    pub settings: Settings,
    tracks: Vec<Track>,
    /// The last frames, the newest last.
    frames: VecDeque<FrameTime>,
    /// Smoothed time between two frames.
    frame_interval: Option<Duration>,
    /// Newest frame that was answered.
    answered: Option<FrameTime>,
    /// Time between the last two answered frames.
    answer_distance: Option<Duration>,
    /// Time between two inferences: the smaller one of the last two distances, since a while without demand is not an
    /// interval of inferences.
    inference_interval: Option<Duration>,
    next_id: u64,
}

impl Tracker {
    /// Returns a tracker without tracks.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            tracks: Vec::new(),
            frames: VecDeque::new(),
            frame_interval: None,
            answered: None,
            answer_distance: None,
            inference_interval: None,
            next_id: 1,
        }
    }

    /// Moves every track to the frame `count` and returns the boxes there, the best score first.
    ///
    /// `displacement` measures on the picture how far a patch has moved; where it returns `None`, velocity moves the
    /// track. `count` is the camera's own count of accepted frames and `at` the frame's time since any fixed moment. If
    /// either goes backwards, or after a long pause, all tracks end.
    pub fn on_frame(
        &mut self,
        count: u64,
        mut displacement: impl FnMut(&PatchQuery) -> Option<Displacement>,
        at: Duration,
    ) -> Vec<Detection> {
        let now = FrameTime { count, at };
        match self.frames.back().copied() {
            Some(last) if self.continues(last, now) => self.advance(&mut displacement, last, now),
            Some(_) => self.reset(),
            None => {}
        }
        self.frames.push_back(now);
        if self.frames.len() > MAX_ANSWER_DELAY {
            self.frames.pop_front();
        }
        let life = self.life();
        self.tracks
            .retain(|track| !track.has_left_or_faded(life, now));
        self.boxes(life, now)
    }

    /// Corrects the tracks by the model's answer for a frame, at whatever time since. Ignores answers older than the last
    /// one, and those for frames that were not given to [`Tracker::on_frame`] or are long past.
    pub fn on_answer(&mut self, count: u64, detections: &[Detection]) {
        let frame = self.frames.iter().find(|frame| frame.count == count);
        let is_newer = self.answered.is_none_or(|last| last.count < count);
        let Some(&at) = frame.filter(|_| is_newer) else {
            return;
        };
        if let Some(last) = self.answered.replace(at) {
            let distance = at.at.saturating_sub(last.at);
            let before = self.answer_distance.replace(distance);
            self.inference_interval = Some(distance.min(before.unwrap_or(distance)));
        }
        let observed = observations(detections, self.settings.keep);
        let new = self.support(&observed, at);
        self.tracks.retain(|track| !track.missed_too_often());
        for observation in new {
            self.begin(observation, at);
        }
    }

    /// Ends all tracks, as when the camera is another one now. Their ids are not used again.
    pub fn reset(&mut self) {
        *self = Self {
            next_id: self.next_id,
            ..Self::new(self.settings)
        };
    }

    /// Whether the camera goes on without a restart or a long pause; notes its frame interval.
    fn continues(&mut self, last: FrameTime, now: FrameTime) -> bool {
        let (Some(pause), true) = (now.at.checked_sub(last.at), now.count > last.count) else {
            return false;
        };
        let usual = self.frame_interval.unwrap_or(pause);
        // One pause does not make the camera a slow one.
        self.frame_interval = Some((3 * usual + pause.min(2 * usual)) / 4);
        pause <= RESET_PAUSE.max(RESET_INTERVALS * usual)
    }

    /// Returns how long a box outlives its last support. Before the second answer the frame interval is the best guess at
    /// that of inferences.
    fn life(&self) -> Duration {
        ageing::life(self.inference_interval.or(self.frame_interval))
    }

    fn advance(
        &mut self,
        displacement: &mut impl FnMut(&PatchQuery) -> Option<Displacement>,
        last: FrameTime,
        now: FrameTime,
    ) {
        let later = now.at.saturating_sub(last.at);
        let expected = self.tracks.iter().map(|track| track.expected(later));
        let expected: Vec<BBox> = expected.collect();
        for (n, track) in self.tracks.iter_mut().enumerate() {
            let others = expected.iter().enumerate().filter(|(other, _)| *other != n);
            track.advance(others.map(|(_, bbox)| *bbox), displacement, last, now);
        }
    }

    fn boxes(&self, life: Duration, now: FrameTime) -> Vec<Detection> {
        let boxes = self.tracks.iter().map(|track| track.detection(life, now));
        let mut boxes: Vec<Detection> = boxes.collect();
        boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
        boxes
    }

    /// Gives each observation to its track, and returns those that belong to none.
    fn support<'a, 'b>(
        &mut self,
        observed: &'a [Observation<'b>],
        at: FrameTime,
    ) -> Vec<&'a Observation<'b>> {
        let then = |track: &Track| (track.bbox_at(at.count), track.class());
        let partners = associate(&self.tracks.iter().map(then).collect::<Vec<_>>(), observed);
        for (track, partner) in self.tracks.iter_mut().zip(&partners) {
            match partner {
                Some(n) => track.support(&observed[*n], at),
                None => track.miss(),
            }
        }
        let new = |n: &usize| !partners.contains(&Some(*n));
        let indices = (0..observed.len()).filter(new);
        indices.map(|n| &observed[n]).collect()
    }

    fn begin(&mut self, observation: &Observation<'_>, at: FrameTime) {
        if observation.best.score < self.settings.start || self.tracks.len() == MAX_TRACKS {
            return;
        }
        let counts = self.frames.iter().map(|frame| frame.count);
        let since = counts.filter(|count| *count >= at.count);
        self.tracks
            .push(Track::new(self.next_id, observation, since, at));
        self.next_id += 1;
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> [usize; 3] {
        let longest = self.tracks.iter().map(Track::remembered).max();
        [
            self.tracks.len(),
            self.frames.len(),
            longest.unwrap_or_default(),
        ]
    }
}
