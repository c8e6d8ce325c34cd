//! How long to wait before a lost camera is tried again.
//!
//! Pure. Short at first, since a loose plug is back in a second; never above 5 s, since somebody is looking at the screen.

use std::time::Duration;

/// Growing pauses, in seconds.
const PAUSES: [f64; 5] = [0.5, 1.0, 2.0, 4.0, 5.0];

/// The failures in a row so far.
#[derive(Debug, Default)]
pub(super) struct Backoff(usize);

impl Backoff {
    /// The pause after one more failure.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = PAUSES[self.0];
        self.0 = (self.0 + 1).min(PAUSES.len() - 1);
        Duration::from_secs_f64(pause)
    }

    /// It works again.
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
        let pauses: Vec<f64> = (0..7).map(|_| backoff.pause().as_secs_f64()).collect();
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]);
        backoff.reset();
        assert_eq!(backoff.pause(), Duration::from_millis(500));
    }
}
