//! One track: the object's box on each of the last frames, its class, and what supports it.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::ageing;
use protocol::detections::Detection;
use protocol::geometry::BBox;

use super::associate::Observation;
use super::edge_clip::EdgeClip;
use super::visible::{share_in_picture, uncovered};
use super::votes::Votes;
use super::{Displacement, FrameTime, MAX_PATCH_AGE, PatchQuery};

/// Largest delay of an answer, in frames: for as many the boxes are kept. 25 s of the tutorial's camera.
pub(super) const MAX_ANSWER_DELAY: usize = 256;
/// Inferences that may miss an object before its track ends.
const MAX_MISSES: u32 = 1;
/// Gain of a new size. Centres are taken over as they are: damped ones trail behind what moves.
const SIZE_GAIN: f32 = 0.8;
/// Gain of a velocity that comes from two detections, and not from the picture.
const VELOCITY_GAIN: f32 = 0.8;
/// Gain of a new score.
const SCORE_GAIN: f32 = 0.5;
/// Least correlation of a displacement that is used.
const MIN_CORRELATION: f32 = 0.4;
/// Least share of a box that other boxes leave uncovered and that is still searched for.
const MIN_UNCOVERED_SHARE: f32 = 0.3;
/// Largest change of velocity that a search allows for, in longer sides of the picture a second. An object turns or
/// starts with less; the search adds the track's own speed, so that one that turns around is found.
const MAX_VELOCITY_CHANGE: f32 = 0.5;
/// Largest reach of a search, in longer sides of the picture: it bounds what a search costs.
const MAX_REACH: f32 = 0.25;
/// Least share of a box that is in the picture.
const MIN_SHARE_IN_PICTURE: f32 = 0.3;

/// One track.
#[derive(Debug)]
pub(super) struct Track {
    id: u64,
    votes: Votes,
    score: f32,
    clip: EdgeClip,
    /// Box on the newest frame.
    bbox: BBox,
    /// In shares of the picture a second; `None` until it was measured.
    velocity: Option<[f32; 2]>,
    /// Frame numbers and boxes of the last frames, the newest last.
    past: VecDeque<(u64, BBox)>,
    /// Newest frame on which the model or the picture showed the object, and its box there: the patch is cut there.
    patch: (FrameTime, BBox),
    /// Frame of the last detection.
    supported: FrameTime,
    /// Whether on a frame since then velocity alone moved the box.
    coasted: bool,
    /// Inferences in a row without a detection.
    misses: u32,
}

impl Track {
    /// Returns the track that an observation on the frame `at` begins; `frames` are the numbers of that frame and those
    /// since.
    pub(super) fn new(
        id: u64,
        observation: &Observation<'_>,
        frames: impl Iterator<Item = u64>,
        at: FrameTime,
    ) -> Self {
        let bbox = observation.bbox();
        let mut track = Self {
            id,
            votes: Votes::of(observation.best),
            score: observation.best.score,
            clip: EdgeClip::default(),
            bbox,
            velocity: None,
            past: frames.map(|count| (count, bbox)).collect(),
            patch: (at, bbox),
            supported: at,
            coasted: false,
            misses: 0,
        };
        track.clip.update(bbox);
        track.add_votes(&observation.duplicates);
        track
    }

    /// Returns the box that is expected `after` the newest frame, by velocity.
    pub(super) fn expected(&self, after: Duration) -> BBox {
        let [vx, vy] = self.velocity.unwrap_or_default();
        let dt = after.as_secs_f32();
        self.clip.apply(self.bbox.moved([vx * dt, vy * dt]))
    }

    /// Moves the box from the frame `last` to the frame `now`: by `displacement`, or by velocity where the picture does
    /// not show the object. `others` are the boxes where other tracks are expected.
    pub(super) fn advance(
        &mut self,
        others: impl Iterator<Item = BBox>,
        displacement: &mut impl FnMut(&PatchQuery) -> Option<Displacement>,
        last: FrameTime,
        now: FrameTime,
    ) {
        if now.count - self.patch.0.count > MAX_PATCH_AGE as u64 {
            self.patch = (last, self.bbox);
        }
        let expected = self.expected(now.at.saturating_sub(last.at));
        let free = others.fold(expected, uncovered);
        let covered = free.area() < MIN_UNCOVERED_SHARE * expected.area();
        let query = self.patch_query(expected, free, last, now);
        let moved = (!covered).then(|| displacement(&query)).flatten();
        match moved.filter(|moved| moved.score >= MIN_CORRELATION) {
            Some(moved) => self.follow_picture(moved, now),
            None => {
                self.bbox = expected;
                self.coasted = true;
            }
        }
        self.past.push_back((now.count, self.bbox));
        if self.past.len() > MAX_ANSWER_DELAY {
            self.past.pop_front();
        }
    }

    /// Returns the search for the track's patch, or for that part of it that is `free` at the `expected` box.
    fn patch_query(
        &self,
        expected: BBox,
        free: BBox,
        last: FrameTime,
        now: FrameTime,
    ) -> PatchQuery {
        let (from, patch) = self.patch;
        let dt = now.at.saturating_sub(last.at).as_secs_f32();
        let (step, reach) = match self.velocity {
            Some([vx, vy]) => (
                [vx * dt, vy * dt],
                dt * (MAX_VELOCITY_CHANGE + vx.hypot(vy)),
            ),
            None => {
                let since = now.at.saturating_sub(from.at).as_secs_f32();
                ([0.0; 2], since * MAX_VELOCITY_CHANGE)
            }
        };
        let so_far = centre_offset(patch, self.bbox);
        PatchQuery {
            from: from.count,
            patch: BBox {
                x0: patch.x0 + free.x0 - expected.x0,
                y0: patch.y0 + free.y0 - expected.y0,
                x1: patch.x1 + free.x1 - expected.x1,
                y1: patch.y1 + free.y1 - expected.y1,
            },
            guess: [so_far[0] + step[0], so_far[1] + step[1]],
            reach: reach.min(MAX_REACH),
        }
    }

    /// Moves the box to where the picture shows the patch.
    fn follow_picture(&mut self, moved: Displacement, now: FrameTime) {
        let (from, patch) = self.patch;
        let since = now.at.saturating_sub(from.at).as_secs_f32();
        if since > 0.0 {
            self.velocity = Some(moved.by.map(|way| way / since));
        }
        self.bbox = self.clip.apply(patch.moved(moved.by));
        self.patch = (now, self.bbox);
    }

    /// Corrects the track by an observation on the frame `at`, which may be long past: the error of the box on that frame
    /// corrects all boxes since.
    pub(super) fn support(&mut self, observation: &Observation<'_>, at: FrameTime) {
        let detected = observation.bbox();
        let expected = self.bbox_at(at.count);
        self.clip.update(detected);
        self.correct_velocity(expected, detected, at);
        let factor = |new: f32, old: f32| 1.0 + SIZE_GAIN * (new / old.max(f32::EPSILON) - 1.0);
        let factors = [
            factor(detected.width(), expected.width()),
            factor(detected.height(), expected.height()),
        ];
        let offset = centre_offset(expected, detected);
        let corrected = |bbox: BBox| self.clip.apply(bbox.moved(offset).scaled(factors));
        self.patch = match self.patch {
            (from, patch) if from.count > at.count => (from, corrected(patch)),
            _ => (at, corrected(expected)),
        };
        self.bbox = corrected(self.bbox);
        for (count, bbox) in &mut self.past {
            if *count >= at.count {
                *bbox = corrected(*bbox);
            }
        }
        self.score += SCORE_GAIN * (observation.best.score - self.score);
        self.votes.add(observation.best);
        self.add_votes(&observation.duplicates);
        (self.supported, self.misses, self.coasted) = (at, 0, false);
    }

    fn add_votes(&mut self, detections: &[&Detection]) {
        for detection in detections {
            self.votes.add(detection);
        }
    }

    /// Corrects the velocity where the picture lost the object; else the picture's is better than that of detections.
    fn correct_velocity(&mut self, expected: BBox, detected: BBox, at: FrameTime) {
        let since = at.at.saturating_sub(self.supported.at).as_secs_f32();
        if !self.coasted || since <= 0.0 {
            return;
        }
        let error = self.clip.error(expected, detected).map(|way| way / since);
        self.velocity = Some(match self.velocity {
            None => error,
            Some([vx, vy]) => [vx + VELOCITY_GAIN * error[0], vy + VELOCITY_GAIN * error[1]],
        });
    }

    /// Counts an inference without a detection of the object.
    pub(super) fn miss(&mut self) {
        self.misses += 1;
    }

    /// Whether the track ends: missed too often, or at once where the object was about to leave the picture.
    pub(super) fn missed_too_often(&self) -> bool {
        let velocity = self.velocity.unwrap_or_default();
        self.misses > MAX_MISSES || self.misses > 0 && self.clip.is_leaving(velocity)
    }

    /// Whether the box has left the picture, or nothing has supported it for its `life`.
    pub(super) fn has_left_or_faded(&self, life: Duration, now: FrameTime) -> bool {
        share_in_picture(self.bbox) < MIN_SHARE_IN_PICTURE || self.age(now) >= life
    }

    /// Returns the box on a frame; on one that is no longer kept, the newest.
    pub(super) fn bbox_at(&self, count: u64) -> BBox {
        let then = self.past.iter().find(|(at, _)| *at == count);
        then.map_or(self.bbox, |(_, bbox)| *bbox)
    }

    pub(super) fn class(&self) -> usize {
        self.votes.class()
    }

    /// Returns the box on the newest frame, its score lowered as [`ageing`] demands.
    pub(super) fn detection(&self, life: Duration, now: FrameTime) -> Detection {
        let opacity = ageing::opacity(self.age(now), life);
        Detection {
            id: Some(self.id),
            class: self.votes.class(),
            label: self.votes.label().to_owned(),
            score: opacity * self.score,
            fading: self.misses > 0 || opacity < 1.0,
            bbox: self.bbox.clipped(),
        }
    }

    /// Returns the time since the last support.
    fn age(&self, now: FrameTime) -> Duration {
        now.at.saturating_sub(self.supported.at)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.past.len()
    }
}

/// Returns how far the centre of `b` lies from that of `a`.
fn centre_offset(a: BBox, b: BBox) -> [f32; 2] {
    let ([ax, ay], [bx, by]) = (a.centre(), b.centre());
    [bx - ax, by - ay]
}
