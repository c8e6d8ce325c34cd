//! Decides when a URL may be requested again: on a grid, so that small delays do not add up. Pure.

use std::time::{Duration, Instant};

/// Due times of requests.
#[derive(Debug)]
pub(super) struct PollTimes {
    interval: Duration,
    due: Option<Instant>,
}

impl PollTimes {
    /// Allows one request in each `interval`.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            due: None,
        }
    }

    /// Returns when the next request is due: the first at once, each other one an interval behind the one before, and one
    /// that comes too late for that at once.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        let due = self.due.map_or(now, |due| (due + self.interval).max(now));
        *self.due.insert(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_picture_that_takes_less_than_an_interval_is_polled_at_the_rate() {
        let start = Instant::now();
        let mut times = PollTimes::new(100 * MS);
        let mut now = start;
        for n in 0..1000 {
            now = times.next(now);
            assert_eq!(now, start + n * 100 * MS);
            now += 30 * MS;
        }
    }

    #[test]
    fn a_slow_camera_is_polled_as_it_answers_and_never_in_a_burst() {
        let start = Instant::now();
        let mut times = PollTimes::new(100 * MS);
        times.next(start);
        assert_eq!(times.next(start + 1000 * MS), start + 1000 * MS);
        assert_eq!(times.next(start + 1001 * MS), start + 1100 * MS);
    }
}
