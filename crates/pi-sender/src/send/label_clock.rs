//! The clock of the labels: it follows the wall clock, but tells the viewers before it steps. Pure, but for
//! [`SharedLabelClock`].
//!
//! ```text
//!   wall clock steps     labels step          offset counts again
//!        |----- 1 s ---------|------ 1 s ----------|
//!        the comparison with the relay's clock is reported as worthless
//! ```
//!
//! Frames and reports take different streams, so a frame by one clock could be shown with an offset of the other: an
//! age of an hour. In the time around the step the report has an error that no receiver accepts, and no age is shown.
//! The comparison itself is by the steady clock, and needs no repetition.

use std::sync::{Arc, Mutex, PoisonError};

use platform::clock;
use quic::clock::Offset;

/// Difference between wall clock and labels, in microseconds, that is a step. NTP corrects less without one.
const STEP_US: u64 = 100_000;
/// Time for the frames and reports that are on their way to arrive: older frames than 400 ms are dropped.
const SETTLE_US: u64 = 1_000_000;
/// Longest time between a picture's capture and its label that is believed.
const MAX_LATENESS_US: i64 = 60_000_000;
/// Error of a comparison that is worth nothing; receivers accept a second at most.
pub(crate) const WORTHLESS_US: u64 = 3_600_000_000;

/// Converts times of capture to labels' times.
#[derive(Debug)]
pub(crate) struct LabelClock {
    /// The labels' clock less the steady one.
    shift_us: i64,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Settled,
    /// The wall clock has stepped; the labels have not yet. Since then, by the steady clock.
    Announced(u64),
    /// The labels have stepped. Since then.
    Switched(u64),
}

impl LabelClock {
    /// Returns a clock that shows the wall clock's time.
    pub(crate) fn new(steady_us: u64, wall_us: u64) -> Self {
        Self {
            shift_us: difference(wall_us, steady_us),
            phase: Phase::Settled,
        }
    }

    /// Takes both clocks' times at one moment.
    pub(crate) fn observe(&mut self, steady_us: u64, wall_us: u64) {
        let shift = difference(wall_us, steady_us);
        let stepped = shift.abs_diff(self.shift_us) > STEP_US;
        let over = |since: u64| steady_us.saturating_sub(since) >= SETTLE_US;
        self.phase = match self.phase {
            Phase::Settled | Phase::Switched(_) if stepped => Phase::Announced(steady_us),
            Phase::Announced(since) if over(since) => {
                self.shift_us = shift;
                Phase::Switched(steady_us)
            }
            Phase::Switched(since) if over(since) => Phase::Settled,
            phase => phase,
        };
    }

    /// Returns the label's time of a picture that was captured at `captured_us` by the wall clock, from both clocks' times
    /// now.
    pub(crate) fn label_us(&self, captured_us: u64, steady_us: u64, wall_us: u64) -> u64 {
        let lateness = difference(wall_us, captured_us);
        // Of a picture that was captured before the step.
        let before = lateness.saturating_sub(difference(wall_us, steady_us) - self.shift_us);
        let believed = [lateness, before].into_iter();
        let believed = believed.filter(|us| (0..=MAX_LATENESS_US).contains(us));
        let now = steady_us.saturating_add_signed(self.shift_us);
        now.saturating_add_signed(-believed.min().unwrap_or(0))
    }

    /// Returns the relay's clock less the labels', from the relay's less the steady one.
    pub(crate) fn offset(&self, relay: Offset) -> Offset {
        Offset {
            us: relay.us.saturating_sub(self.shift_us),
            error_us: match self.phase {
                Phase::Settled => relay.error_us,
                Phase::Announced(_) | Phase::Switched(_) => WORTHLESS_US,
            },
        }
    }
}

fn difference(one: u64, other: u64) -> i64 {
    i64::try_from(i128::from(one) - i128::from(other)).unwrap_or(0)
}

/// The program's label clock, for the loop that labels frames and the task that reports the offset.
#[derive(Debug, Clone)]
pub(crate) struct SharedLabelClock(Arc<Mutex<LabelClock>>);

impl SharedLabelClock {
    /// Returns a clock that shows the time now.
    pub(crate) fn new() -> Self {
        let steady = clock::steady_micros();
        let clock = LabelClock::new(steady, clock::unix_micros());
        Self(Arc::new(Mutex::new(clock)))
    }

    /// Returns the label's time of a picture that was captured at `captured_us` by the wall clock.
    pub(crate) fn label_us(&self, captured_us: u64) -> u64 {
        let (steady, wall) = (clock::steady_micros(), clock::unix_micros());
        self.observed(|clock| clock.label_us(captured_us, steady, wall))
    }

    /// Returns the relay's clock less the labels', from the relay's less the steady one.
    pub(crate) fn offset(&self, relay: Offset) -> Offset {
        self.observed(|clock| clock.offset(relay))
    }

    fn observed<T>(&self, read: impl FnOnce(&LabelClock) -> T) -> T {
        let mut clock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((steady, wall)) = clock::both_micros() {
            clock.observe(steady, wall);
        }
        read(&clock)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_763_820_000_000_000;
    const SECOND: u64 = 1_000_000;
    const HOUR: i64 = 3_600_000_000;
    const MEASURED: Offset = Offset {
        us: 7_000_000,
        error_us: 900,
    };

    /// The age of a frame that is shown 60 ms after its capture, by a label and a report that arrive `late` after they
    /// were made; the relay's clock is [`MEASURED`] ahead of the steady one.
    fn ages(steps: &[(u64, i64)], late_label: u64, late_report: u64) -> Vec<(u64, Option<i64>)> {
        let step_at = |us: u64| {
            steps
                .iter()
                .filter(|(at, _)| *at <= us)
                .map(|(_, by)| *by)
                .sum::<i64>()
        };
        let wall = |us: u64| (NOW + us).checked_add_signed(step_at(us)).unwrap();
        let mut clock = LabelClock::new(NOW, wall(0));
        let mut sent = Vec::new();
        for us in (50_000..12 * SECOND).step_by(50_000) {
            clock.observe(NOW + us, wall(us));
            let captured = us - 20_000;
            sent.push((
                us,
                clock.label_us(wall(captured), NOW + us, wall(us)),
                clock.offset(MEASURED),
            ));
        }
        let arrived = |us: u64, late: u64| sent.iter().rfind(|(at, ..)| at + late <= us);
        let age = |(us, ..): &(u64, u64, Offset)| {
            let (made, label, _) = arrived(*us, late_label)?;
            let (_, _, offset) = arrived(*us, late_report)?;
            let shown = difference(NOW + us, *label).saturating_add(MEASURED.us - offset.us);
            let worth = offset.error_us < SECOND;
            // The age less the time that the frame was on its way.
            Some((*us, worth.then_some(shown - difference(*us, *made))))
        };
        sent.iter().filter_map(age).collect()
    }

    #[test]
    fn a_step_of_an_hour_is_followed_within_seconds_and_tells_no_age_meanwhile() {
        for by in [
            HOUR,
            -HOUR,
            5_000_000,
            -5_000_000,
            150_000,
            50 * 365 * 24 * HOUR,
        ] {
            for (label, report) in [(0, 0), (400_000, 0), (0, 400_000)] {
                let ages = ages(&[(4 * SECOND, by)], label, report);
                for (us, age) in &ages {
                    let unknown = (4 * SECOND..6 * SECOND + 600_000).contains(us) && age.is_none();
                    assert!(unknown || *age == Some(20_000), "{by} at {us}: {age:?}");
                }
                let absent = ages.iter().filter(|(_, age)| age.is_none()).count();
                assert!((30..=50).contains(&absent), "{absent}");
            }
        }
    }

    #[test]
    fn labels_show_the_wall_clock_two_seconds_after_its_step() {
        let mut clock = LabelClock::new(NOW, NOW);
        let wall = NOW + HOUR as u64;
        for us in (0..2 * SECOND).step_by(100_000) {
            clock.observe(NOW + us, wall + us);
        }
        assert_eq!(
            clock.label_us(wall + SECOND, NOW + 2 * SECOND, wall + 2 * SECOND),
            wall + SECOND
        );
    }

    #[test]
    fn a_clock_that_ntp_slews_is_no_step() {
        let mut clock = LabelClock::new(NOW, NOW);
        for us in (0..100 * SECOND).step_by(100_000) {
            // 500 ppm, the most that NTP corrects without a step; the steady clock is corrected alike.
            clock.observe(NOW + us, NOW + us + us / 2000);
            assert_eq!(clock.offset(MEASURED).error_us, 900);
        }
    }

    proptest! {
        /// Whatever the clock does and when: steps in a row too.
        #[test]
        fn an_age_is_right_or_unknown(
            steps in prop::collection::vec((0..8 * SECOND, -2 * HOUR..2 * HOUR), 0..5), late in (0u64..500_000, 0u64..500_000),
        ) {
            for (us, age) in ages(&steps, late.0, late.1) {
                // Below a step the labels need not follow, and the age of a picture whose capture a step hides is 0.
                prop_assert!(age.is_none_or(|age| (0..=20_000 + 2 * STEP_US as i64).contains(&age)), "{} {:?}", us, age);
            }
        }
    }
}
