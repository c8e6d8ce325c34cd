//! Chooses the quality and size of frames: from what the command line names down to what gets through.
//!
//! ```text
//! --size auto: 640x480   down: at once       if a frame is larger than the transport takes
//!   |  smaller                 after 2 s     in which the network cost more than 10 % of the frames
//! the start              up:   after 10 s    without either; a rung that failed is tried ever later
//!   |  coarser
//!   |  then smaller
//! the lowest rung
//! ```
//!
//! The start is `--quality` at `--size`, or within 300x200; the rungs above it exist with `--size auto` only, and only where
//! the network reports how it bears them: not by UDP. Sizes are those of the picture, fitted into these.
//!
//! Pure. Both causes move the one rung, since a frame has one quality and one size. Quality goes first: the model's boxes
//! are as good at quality 40 as at 80, and get worse with fewer pixels (`models/README.md`).

use std::time::{Duration, Instant};

use protocol::MAX_FRAME;
use protocol::datagram::MAX_DATAGRAM;
use protocol::geometry::Size;

use crate::frame_goal::FrameGoal;

mod rung;
mod skips;
#[cfg(test)]
mod tests;

pub(crate) use self::rung::Rung;
use self::skips::SkipHistory;

/// Time over which the share of skipped frames is computed for a step down.
const SKIP_WINDOW: Duration = Duration::from_secs(2);
/// Share of skipped frames above which the ladder steps down.
const STEP_DOWN_SHARE: f64 = 0.1;
/// Time since the last step, and without trouble, before a step up.
const STEP_UP_AFTER: Duration = Duration::from_secs(10);
/// Share of skipped frames up to which the ladder steps up: a lossy link costs one now and then on every rung.
const STEP_UP_SHARE: f64 = 0.02;
/// Part of the largest frame below which one fits on the rung above as well, where it has at most 1.6 times the bytes.
const HEADROOM: f64 = 0.6;
/// Time that a rung must hold after a step up to it. One that is left downwards sooner has failed; one that holds shows
/// that the network has changed, and all failures are forgotten.
const TRIAL_TIME: Duration = Duration::from_secs(60);
/// Longest time before a rung that failed is tried again; each failure doubles the time.
const MAX_STEP_UP_AFTER: Duration = Duration::from_secs(120);

/// The rung in force, and what moves it.
#[derive(Debug)]
pub(crate) struct Ladder {
    goal: FrameGoal,
    /// Size of the pictures that the rungs are for; `None` before the first.
    picture: Option<Size>,
    rungs: Vec<Rung>,
    /// Index into `rungs` of the rung to start from.
    start: usize,
    /// Index into `rungs`; 0 is the largest.
    at: usize,
    /// Index of the lowest rung on which a frame was larger than the transport takes.
    ceiling: Option<usize>,
    /// Index of the rung before the first step down for that.
    before_too_large: Option<usize>,
    /// Time since which all frames have been below [`HEADROOM`].
    headroom_since: Option<Instant>,
    /// Share of skipped frames; `None` if the transport reports nothing.
    skips: Option<SkipHistory>,
    /// Whether frames go by UDP, and so get no larger than at the start.
    by_udp: bool,
    /// The last step, and its time.
    last_step: Option<(Step, Instant)>,
    /// For each rung, the time after a step before it is tried.
    step_up_after: Vec<Duration>,
}

/// A move by one rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Down,
    Up,
}

impl Ladder {
    /// Returns a ladder for frames like these, and for lesser ones if those do not get through.
    pub(crate) fn new(goal: FrameGoal) -> Self {
        let largest = goal.of_camera(true);
        let mut ladder = Self {
            goal,
            picture: None,
            rungs: Vec::new(),
            start: 0,
            at: 0,
            ceiling: None,
            before_too_large: None,
            headroom_since: None,
            skips: None,
            by_udp: true,
            last_step: None,
            step_up_after: Vec::new(),
        };
        ladder.build(largest);
        ladder
    }

    /// Makes the rungs those for pictures of this size. The rung in force stays as far from the start as it was.
    pub(crate) fn fit_to(&mut self, picture: Size) {
        if self.picture != Some(picture) {
            self.picture = Some(picture);
            self.build(picture);
        }
    }

    fn build(&mut self, picture: Size) {
        let rung = |size| Rung {
            quality: self.goal.quality,
            size,
        };
        let mut rungs: Vec<Rung> = self.goal.larger(picture).into_iter().map(rung).collect();
        let start = rungs.len();
        rungs.extend(rung(self.goal.start(picture)).downwards());
        let lowest = rungs.len() - 1;
        let old_start = self.start;
        let moved = |at: &mut usize| *at = (*at + start).saturating_sub(old_start).min(lowest);
        moved(&mut self.at);
        self.ceiling.iter_mut().for_each(moved);
        self.before_too_large.iter_mut().for_each(moved);
        let wait = |at: usize| self.step_up_after.get((at + old_start).checked_sub(start)?);
        let waits = (0..=lowest).map(|at| wait(at).copied().unwrap_or(STEP_UP_AFTER));
        self.step_up_after = waits.collect();
        (self.rungs, self.start) = (rungs, start);
    }

    /// Returns the lowest rung.
    pub(crate) fn lowest(&self) -> Rung {
        *self.rungs.last().expect("there is a start at least")
    }

    /// Returns the highest rung, which a good network leads to; `None` if that is the start.
    pub(crate) fn growth(&self) -> Option<Rung> {
        self.rungs.first().copied().filter(|_| self.start > 0)
    }

    /// Returns the rung in force.
    pub(crate) fn rung(&self) -> Rung {
        self.rungs[self.at]
    }

    /// Returns the highest rung that the transport allows.
    pub(crate) fn top(&self) -> Rung {
        self.rungs[self.highest()]
    }

    /// Whether that rung is in force.
    pub(crate) fn is_top(&self) -> bool {
        self.at <= self.highest()
    }

    /// Whether the rung that the command line starts with is in force.
    pub(crate) fn is_start(&self) -> bool {
        self.at == self.start
    }

    fn highest(&self) -> usize {
        if self.by_udp { self.start } else { 0 }
    }

    /// Returns the bytes of the largest frame that the transport takes.
    pub(crate) fn max_frame(&self) -> usize {
        if self.by_udp { MAX_DATAGRAM } else { MAX_FRAME }
    }

    /// Notes by which transport frames go now. What was too large for a datagram may be sent by another.
    pub(crate) fn set_by_udp(&mut self, by_udp: bool) {
        if std::mem::replace(&mut self.by_udp, by_udp) == by_udp {
            return;
        }
        let before = self.before_too_large.take();
        (self.ceiling, self.headroom_since) = (None, None);
        self.at = match by_udp {
            true => self.at.max(self.start),
            false => before.map_or(self.at, |before| before.min(self.at)),
        };
    }

    /// Steps down, unless this is the lowest rung, since a frame of this rung is larger than the transport takes.
    pub(crate) fn on_too_large(&mut self, now: Instant) -> Option<Step> {
        self.before_too_large.get_or_insert(self.at);
        self.ceiling = self.ceiling.max(Some(self.at));
        self.headroom_since = None;
        self.step_down(now)
    }

    /// Records that the transport takes a frame of this rung; steps up for it if the network reports nothing.
    pub(crate) fn on_fitted(&mut self, bytes: usize, now: Instant) -> Option<Step> {
        if (bytes as f64) < self.max_frame() as f64 * HEADROOM {
            self.headroom_since.get_or_insert(now);
        } else {
            self.headroom_since = None;
        }
        self.skips.is_none().then(|| self.step_up(now)).flatten()
    }

    /// Takes the counters of frames offered to the connection and skipped since it opened. Call it at each frame.
    pub(crate) fn on_network(&mut self, offered: u64, skipped: u64, now: Instant) -> Option<Step> {
        self.set_by_udp(false);
        if self.goal.fixed {
            return None;
        }
        let skips = self.skips.get_or_insert_default();
        skips.record(offered, skipped, now);
        let too_many = |time| {
            skips
                .share(time)
                .is_some_and(|share| share > STEP_DOWN_SHARE)
        };
        // Frames skipped right after a step may be the last rung's doing: its frames are still in flight.
        if too_many(SKIP_WINDOW) && too_many(SKIP_WINDOW / 2) {
            self.step_down(now)
        } else if skips
            .share(STEP_UP_AFTER)
            .is_some_and(|share| share <= STEP_UP_SHARE)
        {
            self.step_up(now)
        } else {
            None
        }
    }

    /// Forgets the counters, since there is no connection and the next one may be another. The rung stays.
    pub(crate) fn pause(&mut self) {
        if let Some(skips) = &mut self.skips {
            *skips = SkipHistory::default();
        }
    }

    /// Works without counters from here on: frames go by UDP, which reports nothing.
    pub(crate) fn forget_network(&mut self) {
        self.skips = None;
        self.set_by_udp(true);
    }

    /// Leaves this rung, if there is one below; if it was on trial, it has failed.
    fn step_down(&mut self, now: Instant) -> Option<Step> {
        if let Some((Step::Up, tried)) = self.last_step
            && now - tried < TRIAL_TIME
        {
            let wait = &mut self.step_up_after[self.at];
            *wait = MAX_STEP_UP_AFTER.min(*wait * 2);
        }
        let lowest = self.at + 1 == self.rungs.len();
        (!lowest).then(|| self.step(Step::Down, now))
    }

    /// Tries the rung above, if it is due.
    fn step_up(&mut self, now: Instant) -> Option<Step> {
        let held = |(_, when)| now - when;
        let held = self.last_step.map_or(Duration::MAX, held);
        let tried = matches!(self.last_step, Some((Step::Up, _)));
        if tried && held >= TRIAL_TIME && self.step_up_after[self.at] > STEP_UP_AFTER {
            self.step_up_after.fill(STEP_UP_AFTER);
        }
        if self.is_top() || held < self.step_up_after[self.at - 1] || !self.has_headroom(now) {
            return None;
        }
        Some(self.step(Step::Up, now))
    }

    /// Whether the transport will take frames of the rung above: it always did, or frames of this one leave room.
    fn has_headroom(&self, now: Instant) -> bool {
        let fits = self
            .headroom_since
            .is_some_and(|since| now - since >= STEP_UP_AFTER);
        fits || self.ceiling.is_none_or(|ceiling| ceiling + 1 < self.at)
    }

    fn step(&mut self, step: Step, now: Instant) -> Step {
        match step {
            Step::Down => self.at += 1,
            Step::Up => self.at -= 1,
        }
        self.last_step = Some((step, now));
        // The counters are those of the other rung.
        self.pause();
        step
    }
}
