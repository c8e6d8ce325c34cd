//! When to knock at the native door of a relay that has answered at the plain one, and when to be content with plain
//! frames meanwhile. Pure.
//!
//! A tutorial relay dies of a byte of QUIC, so each knock needs an answer that is fresh: whatever stands at that address
//! now has answered as our relay does.

use std::time::{Duration, Instant};

use protocol::lease::{RENEW, SEARCH};

/// Until plain frames are asked for.
const PATIENCE: Duration = Duration::from_millis(700);
/// Between the end of a knock and the next one while plain frames come, and where nothing else shows a picture.
const AGAIN: Duration = Duration::from_secs(5);
pub(super) const SOON: Duration = Duration::from_millis(100);
/// An answer is fresh for this long: one of the last two questions was answered.
const FRESH: Duration = RENEW.saturating_add(SEARCH);

/// What a hunt wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quarry {
    /// Plain frames, and nothing else.
    Plain,
    /// The native door, and plain frames for as long as it is shut.
    Best,
    /// The native door alone.
    Native,
}

/// The way to one open door, or to plain frames.
#[derive(Debug)]
pub(super) struct Hunt {
    quarry: Quarry,
    first: Option<Instant>,
    last: Option<Instant>,
    knocking: bool,
    rests: Option<Instant>,
}

impl Hunt {
    /// A new one.
    pub(super) fn new(quarry: Quarry) -> Self {
        Self {
            quarry,
            first: None,
            last: None,
            knocking: false,
            rests: None,
        }
    }

    /// The hunt that follows when an open door has fallen shut.
    pub(super) fn again(quarry: Quarry, now: Instant) -> Self {
        Self {
            rests: Some(now + SOON),
            ..Self::new(quarry)
        }
    }

    /// Our relay answered at the plain door.
    pub(super) fn answered(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// Whether to knock now; then a knock is under way until it has [failed](Self::failed).
    pub(super) fn knocks(&mut self, now: Instant) -> bool {
        let fresh = |at: Instant| now.saturating_duration_since(at) < FRESH;
        let rested = self.rests.is_none_or(|until| until <= now);
        let wanted = self.quarry != Quarry::Plain && !self.knocking;
        let due = wanted && rested && self.last.is_some_and(fresh);
        self.knocking |= due;
        due
    }

    /// The knock was in vain.
    pub(super) fn failed(&mut self, now: Instant) {
        let pause = match self.quarry {
            Quarry::Native => SOON,
            Quarry::Plain | Quarry::Best => AGAIN,
        };
        self.knocking = false;
        self.rests = Some(now + pause);
    }

    /// Whether plain frames are wanted by now.
    pub(super) fn is_content(&self, now: Instant) -> bool {
        self.quarry == Quarry::Plain || self.content_at().is_some_and(|at| at <= now)
    }

    /// When to look again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let rests = self.rests.filter(|_| !self.knocking);
        let times = [self.content_at(), rests].into_iter().flatten();
        times.filter(|at| *at > now).min()
    }

    fn content_at(&self) -> Option<Instant> {
        let first = self.first.filter(|_| self.quarry == Quarry::Best)?;
        Some(first + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        testkit::time::start()
    }

    #[test]
    fn no_knock_before_our_relay_has_answered_and_one_at_once_then() {
        let (mut hunt, now) = (Hunt::new(Quarry::Best), start());
        assert!(!hunt.knocks(now) && !hunt.knocks(now + 60_000 * MS));
        hunt.answered(now);
        assert!(hunt.knocks(now));
        assert!(!hunt.knocks(now + MS), "one at a time");
    }

    #[test]
    fn after_700_ms_plain_frames_will_do_until_the_door_opens() {
        let (mut hunt, now) = (Hunt::new(Quarry::Best), start());
        assert!(!hunt.is_content(now + 60_000 * MS), "nobody is there");
        hunt.answered(now);
        hunt.knocks(now);
        assert_eq!(hunt.deadline(now), Some(now + PATIENCE));
        assert!(!hunt.is_content(now + 699 * MS) && hunt.is_content(now + 700 * MS));
        hunt.answered(now + 500 * MS);
        assert!(hunt.is_content(now + 700 * MS), "the first answer counts");
    }

    #[test]
    fn the_next_knock_comes_5_s_after_a_vain_one_while_our_relay_answers() {
        let (mut hunt, now) = (Hunt::new(Quarry::Best), start());
        hunt.answered(now);
        assert!(hunt.knocks(now));
        hunt.failed(now + 1500 * MS);
        hunt.answered(now + 6000 * MS);
        assert!(!hunt.knocks(now + 6499 * MS));
        assert_eq!(hunt.deadline(now + 6000 * MS), Some(now + 6500 * MS));
        assert!(hunt.knocks(now + 6500 * MS));
    }

    #[test]
    fn a_relay_that_answers_no_more_may_be_a_tutorials_by_now() {
        let (mut hunt, now) = (Hunt::new(Quarry::Best), start());
        hunt.answered(now);
        assert!(hunt.knocks(now));
        hunt.failed(now + 1500 * MS);
        assert!(!hunt.knocks(now + 6500 * MS));
        hunt.answered(now + 9000 * MS);
        assert!(hunt.knocks(now + 9000 * MS));
    }

    #[test]
    fn where_only_the_native_door_will_do_it_is_tried_soon_again_and_nothing_else() {
        let (mut hunt, now) = (Hunt::new(Quarry::Native), start());
        hunt.answered(now);
        assert!(hunt.knocks(now));
        hunt.failed(now + 1500 * MS);
        assert!(!hunt.knocks(now + 1599 * MS) && hunt.knocks(now + 1600 * MS));
        assert!(!hunt.is_content(now + 60_000 * MS));
    }

    #[test]
    fn who_wants_plain_frames_knocks_nowhere() {
        let (mut hunt, now) = (Hunt::new(Quarry::Plain), start());
        hunt.answered(now);
        assert!(!hunt.knocks(now) && hunt.is_content(now));
    }

    #[test]
    fn a_door_that_falls_shut_at_once_is_not_knocked_at_without_a_pause() {
        let now = start();
        let mut hunt = Hunt::again(Quarry::Best, now);
        hunt.answered(now + MS);
        assert!(!hunt.knocks(now + MS));
        assert_eq!(hunt.deadline(now + MS), Some(now + SOON));
        assert!(hunt.knocks(now + SOON));
    }
}
