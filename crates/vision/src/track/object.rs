//! One tracked object: where it was on each of the last frames, where it is, what it is called, and what supports it.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::detections::Detection;

use super::associate::Sighting;
use super::edge_clip::Extent;
use super::place::Place;
use super::votes::Votes;
use super::{Displacement, FrameTime, PICTURES, PatchQuery};

/// Frames of which an object's places are kept: how late an answer can be. 25 s of the tutorial's camera.
pub(super) const HISTORY: usize = 256;
/// A box that nothing supports is gone after this, or after twice the distance of inferences.
const FADE: Duration = Duration::from_secs(1);
/// Inferences that may miss an object before it is gone.
const COAST: u32 = 1;
/// How much of a new size is believed. Centres are believed outright: damped ones trail behind what moves.
const SIZE: f32 = 0.8;
/// The same for a velocity that comes from two detections, and not from the picture.
const VELOCITY: f32 = 0.8;
/// The same for a score.
const SCORE: f32 = 0.5;
/// Least correlation at which the picture is believed.
const FOUND: f32 = 0.4;
/// What is left of a box beside the others is looked for where it is at least this share of it.
const FREE: f32 = 0.3;
/// What an object may do beyond its known velocity, in longer sides of the picture a second: half one while it turns
/// or starts, and its own speed once more, so that one that turns around is found.
const SURPRISE: f32 = 0.5;
/// Farthest search, in longer sides of the picture: it bounds what a search costs.
const FARTHEST: f32 = 0.25;
/// A box of which less than this is in the picture has left it.
const INSIDE: f32 = 0.3;

/// One object.
#[derive(Debug)]
pub(super) struct Object {
    id: u64,
    votes: Votes,
    score: f32,
    extent: Extent,
    /// Where it is on the newest frame.
    place: Place,
    /// In shares of the picture a second; `None` until something is known of it.
    velocity: Option<[f32; 2]>,
    /// Where it was on the last frames, and is on the newest, which comes last.
    past: VecDeque<(u64, Place)>,
    /// The newest frame on which it was seen, by the model or by the picture, and where: its patch is cut there.
    patch: (FrameTime, Place),
    /// The frame of its last detection.
    supported: FrameTime,
    /// Whether on a frame since then velocity alone moved it.
    adrift: bool,
    missed: u32,
}

impl Object {
    /// What the model saw on the frame `at`; `frames` are that one and those since, by number.
    pub(super) fn new(
        id: u64,
        seen: &Sighting<'_>,
        frames: impl Iterator<Item = u64>,
        at: FrameTime,
    ) -> Self {
        let mut object = Self {
            id,
            votes: Votes::of(seen.best),
            score: seen.best.score,
            extent: Extent::default(),
            place: seen.place,
            velocity: None,
            past: frames.map(|count| (count, seen.place)).collect(),
            patch: (at, seen.place),
            supported: at,
            adrift: false,
            missed: 0,
        };
        object.extent.see(seen.place);
        object.vote(&seen.doubles);
        object
    }

    /// Where it would be `later` if it went on as it does.
    pub(super) fn expected(&self, later: Duration) -> Place {
        let [vx, vy] = self.velocity.unwrap_or_default();
        let dt = later.as_secs_f32();
        self.extent.pin(self.place.moved([vx * dt, vy * dt]))
    }

    /// Moves it from the frame `last` to the frame `now`, with the picture's help where there is any. `others` are the
    /// places that other objects are expected at.
    pub(super) fn advance(
        &mut self,
        others: impl Iterator<Item = Place>,
        carry: &mut impl FnMut(&PatchQuery) -> Option<Displacement>,
        last: FrameTime,
        now: FrameTime,
    ) {
        if now.count - self.patch.0.count > PICTURES as u64 {
            self.patch = (last, self.place);
        }
        let expected = self.expected(now.at.saturating_sub(last.at));
        let free = others.fold(expected, Place::beside);
        let covered = free.w * free.h < FREE * expected.w * expected.h;
        let search = self.search(expected, free, last, now);
        let moved = (!covered).then(|| carry(&search)).flatten();
        match moved.filter(|moved| moved.score >= FOUND) {
            Some(moved) => self.found(moved, now),
            None => {
                self.place = expected;
                self.adrift = true;
            }
        }
        self.past.push_back((now.count, self.place));
        if self.past.len() > HISTORY {
            self.past.pop_front();
        }
    }

    /// Looks for its patch, or for that part of it that is `free` at the `expected` place.
    fn search(&self, expected: Place, free: Place, last: FrameTime, now: FrameTime) -> PatchQuery {
        let (from, patch) = self.patch;
        let dt = now.at.saturating_sub(last.at).as_secs_f32();
        let (way, reach) = match self.velocity {
            Some([vx, vy]) => ([vx * dt, vy * dt], dt * (SURPRISE + vx.hypot(vy))),
            None => {
                let since = now.at.saturating_sub(from.at).as_secs_f32();
                ([0.0; 2], since * SURPRISE)
            }
        };
        let so_far = [self.place.x - patch.x, self.place.y - patch.y];
        PatchQuery {
            from: from.count,
            patch: Place {
                x: patch.x + free.x - expected.x,
                y: patch.y + free.y - expected.y,
                w: patch.w + free.w - expected.w,
                h: patch.h + free.h - expected.h,
            },
            guess: [so_far[0] + way[0], so_far[1] + way[1]],
            reach: reach.min(FARTHEST),
        }
    }

    /// The picture shows where it is.
    fn found(&mut self, moved: Displacement, now: FrameTime) {
        let (from, patch) = self.patch;
        let since = now.at.saturating_sub(from.at).as_secs_f32();
        if since > 0.0 {
            self.velocity = Some(moved.by.map(|way| way / since));
        }
        self.place = self.extent.pin(patch.moved(moved.by));
        self.patch = (now, self.place);
    }

    /// The model sees it on the frame `at`, which may be long past: where it was thought to be then tells how wrong its
    /// places are since.
    pub(super) fn support(&mut self, seen: &Sighting<'_>, at: FrameTime) {
        let thought = self.place_at(at.count);
        self.extent.see(seen.place);
        self.correct_velocity(thought, seen.place, at);
        let size = |new: f32, old: f32| 1.0 + SIZE * (new / old.max(f32::EPSILON) - 1.0);
        let factor = [size(seen.place.w, thought.w), size(seen.place.h, thought.h)];
        let way = [seen.place.x - thought.x, seen.place.y - thought.y];
        let right = |place: Place| self.extent.pin(place.moved(way).scaled(factor));
        self.patch = match self.patch {
            (from, place) if from.count > at.count => (from, right(place)),
            _ => (at, right(thought)),
        };
        self.place = right(self.place);
        for (count, place) in &mut self.past {
            if *count >= at.count {
                *place = right(*place);
            }
        }
        self.score += SCORE * (seen.best.score - self.score);
        self.votes.add(seen.best);
        self.vote(&seen.doubles);
        (self.supported, self.missed, self.adrift) = (at, 0, false);
    }

    fn vote(&mut self, doubles: &[&Detection]) {
        for double in doubles {
            self.votes.add(double);
        }
    }

    /// The picture's velocity is better than any that detections give; where it was lost, theirs is all there is.
    fn correct_velocity(&mut self, thought: Place, seen: Place, at: FrameTime) {
        let since = at.at.saturating_sub(self.supported.at).as_secs_f32();
        if !self.adrift || since <= 0.0 {
            return;
        }
        let error = self.extent.error(thought, seen).map(|way| way / since);
        self.velocity = Some(match self.velocity {
            None => error,
            Some([vx, vy]) => [vx + VELOCITY * error[0], vy + VELOCITY * error[1]],
        });
    }

    /// The model does not see it.
    pub(super) fn miss(&mut self) {
        self.missed += 1;
    }

    /// Whether it is to be forgotten: missed too often, or at once where it was about to leave the picture.
    pub(super) fn is_lost(&self) -> bool {
        let velocity = self.velocity.unwrap_or_default();
        self.missed > COAST || self.missed > 0 && self.extent.leaves(velocity)
    }

    /// Whether it has left the picture, or has faded.
    pub(super) fn is_gone(&self, every: u64, now: FrameTime) -> bool {
        self.place.inside() < INSIDE || self.faded(every, now) >= 1.0
    }

    /// Where it was on a frame; where that is forgotten, where it is.
    pub(super) fn place_at(&self, count: u64) -> Place {
        let then = self.past.iter().find(|(at, _)| *at == count);
        then.map_or(self.place, |(_, place)| *place)
    }

    pub(super) fn class(&self) -> usize {
        self.votes.class()
    }

    /// Its box on the newest frame.
    pub(super) fn detection(&self, every: u64, now: FrameTime) -> Detection {
        // In full for the first half of the time, which is the usual age of a box.
        let strength = (2.0 * (1.0 - self.faded(every, now))).clamp(0.0, 1.0);
        Detection {
            id: Some(self.id),
            class: self.votes.class(),
            label: self.votes.label().to_owned(),
            score: strength * self.score,
            bbox: self.place.bounds().into(),
        }
    }

    /// From 0 where it is supported to 1 after `2 * every` frames and [`FADE`], whichever is longer.
    fn faded(&self, every: u64, now: FrameTime) -> f32 {
        let frames = (now.count - self.supported.count) as f32 / (2 * every) as f32;
        let time = now.at.saturating_sub(self.supported.at);
        frames.min(time.as_secs_f32() / FADE.as_secs_f32())
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.past.len()
    }
}
