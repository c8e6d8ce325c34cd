//! Which pictures go into a recording, and at which time of it. Pure.

use std::time::{Duration, Instant};

/// A picture that does not change is written again after this time, so that a recording that ends without warning has its
/// last second.
const REPEAT: Duration = Duration::from_secs(1);
/// Longest time between two calls that passes in the recording too: a machine that slept for longer is not to leave hours
/// of one picture.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The clock of a recording.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last_call: Option<Instant>,
    /// Time that has passed in the recording.
    passed: Duration,
    /// Time of the last picture.
    written: Option<Duration>,
}

impl Pace {
    /// Returns the time in the recording at which to write a picture now; `None` if it is not due. `is_new` states whether it
    /// looks different from the last one.
    pub(super) fn due(&mut self, is_new: bool, now: Instant) -> Option<Duration> {
        let since = |last| now.saturating_duration_since(last);
        let pause = self.last_call.map_or(Duration::ZERO, since);
        self.last_call = Some(now);
        self.passed += match pause > MAX_PAUSE {
            true => REPEAT,
            false => pause,
        };
        let due = self.written.is_none_or(|written| {
            // Time stamps are milliseconds, and two pictures need two of them.
            let later = self.passed.as_millis() > written.as_millis();
            later && (is_new || self.passed - written >= REPEAT)
        });
        due.then(|| *self.written.insert(self.passed))
    }

    /// Returns the time that has passed in the recording.
    pub(super) fn passed(&self) -> Duration {
        self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Returns the times of the pictures of a camera with this interval, for a while, polled every 10 ms.
    fn times(interval: u64, during: u64) -> Vec<u128> {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let due = (0..during).step_by(10).filter_map(|ms| {
            let at = start + Duration::from_millis(ms);
            pace.due(ms % interval == 0, at)
        });
        due.map(|at| at.as_millis()).collect()
    }

    #[test]
    fn each_new_picture_keeps_its_time_and_one_that_stands_is_written_each_second() {
        assert_eq!(times(100, 500), [0, 100, 200, 300, 400]);
        assert_eq!(times(2500, 5000), [0, 1000, 2000, 2500, 3500, 4500]);
    }

    #[test]
    fn two_pictures_of_one_millisecond_are_one() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let times = [0, 100, 900, 1100].map(Duration::from_micros);
        let due = times.map(|at| pace.due(true, start + at));
        assert_eq!(due.map(|at| at.is_some()), [true, false, false, true]);
    }

    #[test]
    fn the_sleep_of_a_machine_is_left_out() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.due(true, start);
        pace.due(true, start + 9000 * MS);
        assert_eq!(pace.passed(), 9000 * MS);
        pace.due(true, start + Duration::from_secs(8 * 3600));
        assert_eq!(pace.passed(), 10_000 * MS);
    }
}
