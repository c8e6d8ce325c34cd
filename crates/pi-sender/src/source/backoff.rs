//! Computes the delay before a lost camera is opened again.
//!
//! Pure. Short at first, since a loose plug is back in a second; never above 5 s, since viewers wait for the picture.

use std::time::Duration;

/// Growing delays, in seconds.
const DELAYS: [f64; 5] = [0.5, 1.0, 2.0, 4.0, 5.0];

/// Count of failures in a row, up to the longest delay.
#[derive(Debug, Default)]
pub(super) struct Backoff(usize);

impl Backoff {
    /// Counts a failure and returns the delay after it.
    pub(super) fn next_delay(&mut self) -> Duration {
        let delay = DELAYS[self.0];
        self.0 = (self.0 + 1).min(DELAYS.len() - 1);
        Duration::from_secs_f64(delay)
    }

    /// Starts again with the shortest delay, after a success.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        let delays: Vec<f64> = (0..7).map(|_| backoff.next_delay().as_secs_f64()).collect();
        assert_eq!(delays, [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), Duration::from_millis(500));
    }
}
