//! The ladder: how good and how large frames are, from what was asked for down to what gets through.
//!
//! ```text
//! --quality, --size      down: at once       where a frame does not fit into a datagram
//!   |  coarser                 after 2 s     in which more than 10 % of the frames were skipped for the network's sake
//!   |  then smaller      up:   after 10 s    in which neither was so; a rung that failed is tried ever later
//! the lowest rung
//! ```
//!
//! Pure. Both causes move the one rung, since a frame has one quality and one size. Quality goes first: the model's boxes
//! are as good at quality 40 as at 80, and get worse with fewer pixels (`models/README.md`).

use std::time::{Duration, Instant};

use protocol::datagram::MAX_DATAGRAM;

mod rung;
mod skips;
#[cfg(test)]
mod tests;

pub(crate) use self::rung::Rung;
use self::skips::Skips;

/// Skipped frames are looked at over this time, and above this share they take a step down.
const LOOK: Duration = Duration::from_secs(2);
const TOO_MANY: f64 = 0.1;
/// From the last step, and of calm, before a step up.
const CALM: Duration = Duration::from_secs(10);
/// The share of skipped frames that is calm: a lossy link costs one now and then on every rung.
const FEW: f64 = 0.02;
/// A frame below this fits on the rung above as well, where it has at most 1.6 times the bytes.
const ROOMY: usize = MAX_DATAGRAM * 6 / 10;
/// A rung that is left downwards sooner than this after a step up to it has failed; one that holds for longer shows that
/// the link is another, and all failures are forgiven.
const HELD: Duration = Duration::from_secs(60);
/// A rung that fails is tried after twice the time, up to this.
const LATEST: Duration = Duration::from_secs(120);

/// The rung in force, and what moves it.
#[derive(Debug)]
pub(crate) struct Ladder {
    rungs: Vec<Rung>,
    /// Index into `rungs`; 0 is the top.
    at: usize,
    /// The lowest rung on which a frame did not fit into a datagram.
    lid: Option<usize>,
    /// Since when all frames have been roomy.
    roomy: Option<Instant>,
    /// What the network does; `None` where nobody tells.
    skips: Option<Skips>,
    fixed: bool,
    /// The last step.
    last: Option<(Step, Instant)>,
    /// For each rung, how long after a step it is tried.
    waits: Vec<Duration>,
}

/// A move by one rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Down,
    Up,
}

impl Ladder {
    /// A ladder from `top` downwards. A `fixed` one does not listen to the network.
    pub(crate) fn new(top: Rung, fixed: bool) -> Self {
        let rungs = top.downwards();
        Self {
            waits: vec![CALM; rungs.len()],
            rungs,
            at: 0,
            lid: None,
            roomy: None,
            skips: None,
            fixed,
            last: None,
        }
    }

    /// The lower end.
    pub(crate) fn lowest(&self) -> Rung {
        *self.rungs.last().expect("there is a top rung at least")
    }

    /// How to make frames now.
    pub(crate) fn rung(&self) -> Rung {
        self.rungs[self.at]
    }

    /// The upper end.
    pub(crate) fn top(&self) -> Rung {
        self.rungs[0]
    }

    /// Whether the upper end is in force.
    pub(crate) fn is_top(&self) -> bool {
        self.at == 0
    }

    /// A frame of this rung does not fit into a datagram: a step down, but from the lowest rung.
    pub(crate) fn too_large(&mut self, now: Instant) -> Option<Step> {
        self.lid = self.lid.max(Some(self.at));
        self.roomy = None;
        self.down(now)
    }

    /// A frame of this rung fitted. Where nobody tells of the network, this is what earns a step up.
    pub(crate) fn fitted(&mut self, bytes: usize, now: Instant) -> Option<Step> {
        if bytes < ROOMY {
            self.roomy.get_or_insert(now);
        } else {
            self.roomy = None;
        }
        self.skips.is_none().then(|| self.up(now)).flatten()
    }

    /// So many frames were offered to the link, and so many of them skipped, since it was opened; to be told at each
    /// frame.
    pub(crate) fn network(&mut self, offered: u64, skipped: u64, now: Instant) -> Option<Step> {
        if self.fixed {
            return None;
        }
        let skips = self.skips.get_or_insert_default();
        skips.count(offered, skipped, now);
        let too_many = |time| skips.share(time).is_some_and(|share| share > TOO_MANY);
        // What is skipped first after a step may still be the last rung's doing: its frames have to get through.
        if too_many(LOOK) && too_many(LOOK / 2) {
            self.down(now)
        } else if skips.share(CALM).is_some_and(|share| share <= FEW) {
            self.up(now)
        } else {
            None
        }
    }

    /// There is no connection: what was counted until now says nothing of the next one. The rung stays.
    pub(crate) fn pause(&mut self) {
        if let Some(skips) = &mut self.skips {
            *skips = Skips::default();
        }
    }

    /// Frames go out as plain datagrams from here on, and nobody tells what becomes of them.
    pub(crate) fn plain(&mut self) {
        self.skips = None;
    }

    /// Leaves this rung, if there is one below; where it was a try, it has failed.
    fn down(&mut self, now: Instant) -> Option<Step> {
        if let Some((Step::Up, tried)) = self.last
            && now - tried < HELD
        {
            let wait = &mut self.waits[self.at];
            *wait = LATEST.min(*wait * 2);
        }
        let lowest = self.at + 1 == self.rungs.len();
        (!lowest).then(|| self.step(Step::Down, now))
    }

    /// Tries the rung above, if its time has come.
    fn up(&mut self, now: Instant) -> Option<Step> {
        let (last, when) = self.last?;
        let held = now - when;
        if last == Step::Up && held >= HELD && self.waits[self.at] > CALM {
            self.waits.fill(CALM);
        }
        if self.is_top() || held < self.waits[self.at - 1] || !self.has_room(now) {
            return None;
        }
        Some(self.step(Step::Up, now))
    }

    /// Whether frames of the rung above will fit into datagrams: they always did, or frames of this one leave room.
    fn has_room(&self, now: Instant) -> bool {
        let roomy = self.roomy.is_some_and(|since| now - since >= CALM);
        roomy || self.lid.is_none_or(|lid| lid + 1 < self.at)
    }

    fn step(&mut self, step: Step, now: Instant) -> Step {
        match step {
            Step::Down => self.at += 1,
            Step::Up => self.at -= 1,
        }
        self.last = Some((step, now));
        // What was counted was counted on the other rung.
        self.pause();
        step
    }
}
