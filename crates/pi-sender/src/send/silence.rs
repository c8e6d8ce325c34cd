//! When an address that does not answer counts as silent. Pure.
//!
//! A relay of ours answers a frame with `upgrade`, and again every 5 s. A tutorial relay never answers.

use std::time::{Duration, Instant};

/// Time from the first frame until an address that has never answered is silent: a round trip, and a lost frame or two.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// The same for an address that has answered: four of the relay's answers, some of which a lossy path drops.
const NEXT_ANSWER: Duration = Duration::from_secs(20);
/// Frames without an answer below which a slow camera has not tried often enough.
const MIN_FRAMES: u32 = 3;

/// The frames that went to an address since it answered.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    since: Option<Instant>,
    frames: u32,
    has_answered: bool,
}

impl Silence {
    /// Notes an answer.
    pub(crate) fn on_answer(&mut self) {
        *self = Self {
            has_answered: true,
            ..Self::default()
        };
    }

    /// Notes that frames take another way for now.
    pub(crate) fn pause(&mut self) {
        (self.since, self.frames) = (None, 0);
    }

    /// Notes a frame, and returns whether the address is silent by now; the next frame then is the first one again.
    pub(crate) fn on_frame(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.frames += 1;
        let limit = match self.has_answered {
            true => NEXT_ANSWER,
            false => FIRST_ANSWER,
        };
        let silent = self.frames >= MIN_FRAMES && now.saturating_duration_since(since) >= limit;
        if silent {
            *self = Self::default();
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The milliseconds at which a camera finds its address silent.
    fn silent_at(silence: &mut Silence, interval_ms: u64, span_ms: u64) -> Vec<u64> {
        let start = testkit::time::start();
        let frames = (0..span_ms).step_by(interval_ms as usize);
        let at = |ms: &u64| silence.on_frame(start + Duration::from_millis(*ms));
        frames.filter(at).collect()
    }

    #[test]
    fn two_seconds_of_frames_without_an_answer_are_silence_and_three_frames_at_least() {
        assert_eq!(silent_at(&mut Silence::default(), 100, 4500), [2000, 4100]);
        assert_eq!(silent_at(&mut Silence::default(), 5000, 14_000), [10_000]);
    }

    #[test]
    fn an_address_that_has_answered_may_miss_a_few_answers() {
        let mut silence = Silence::default();
        silence.on_answer();
        assert_eq!(silent_at(&mut silence, 100, 21_000), [20_000]);
    }

    #[test]
    fn time_in_which_frames_take_another_way_does_not_count() {
        let (mut silence, start) = (Silence::default(), testkit::time::start());
        for second in 0..10 {
            assert!(!silence.on_frame(start + Duration::from_secs(second)));
            silence.pause();
        }
    }
}
