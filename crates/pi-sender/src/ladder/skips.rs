//! Computes which share of the frames was skipped lately, from counters that only grow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::STEP_UP_AFTER;

/// Fewest frames that a share is computed of: of fewer, a single skipped one would be more than 10 %.
const MIN_FRAMES: u64 = 10;

/// The counters as they were lately, oldest first.
#[derive(Debug, Default)]
pub(super) struct SkipHistory(VecDeque<Sample>);

#[derive(Debug, Clone, Copy)]
struct Sample {
    offered: u64,
    skipped: u64,
    at: Instant,
}

impl SkipHistory {
    /// Records the counters. If they run backwards, they are those of another connection, and the history starts again.
    pub(super) fn record(&mut self, offered: u64, skipped: u64, now: Instant) {
        let restarted = |last: &Sample| offered < last.offered || skipped < last.skipped;
        if self.0.back().is_some_and(restarted) {
            self.0.clear();
        }
        self.0.push_back(Sample {
            offered,
            skipped,
            at: now,
        });
        // No rule needs a longer time.
        let spare = self.old_enough(STEP_UP_AFTER).saturating_sub(1);
        self.0.drain(..spare);
    }

    /// Returns the share over the last `span`, or over a longer time if that has but few frames; `None` if the history is
    /// shorter.
    pub(super) fn share(&self, span: Duration) -> Option<f64> {
        let last = self.0.back()?;
        let first = self.0.get(self.old_enough(span).checked_sub(1)?)?;
        let (offered, skipped) = (last.offered - first.offered, last.skipped - first.skipped);
        Some(skipped as f64 / offered as f64)
    }

    /// Returns how many of the samples are so old that a share may start there.
    fn old_enough(&self, span: Duration) -> usize {
        let Some(last) = self.0.back() else {
            return 0;
        };
        self.0.partition_point(|first| {
            last.at.saturating_duration_since(first.at) >= span
                && last.offered - first.offered >= MIN_FRAMES
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_counts_takes_the_room_of_ten_seconds() {
        let (mut skips, start) = (SkipHistory::default(), Instant::now());
        for frame in 0..86_400 {
            skips.record(frame, 0, start + Duration::from_secs(frame));
        }
        assert_eq!(skips.0.len(), 11);
    }

    #[test]
    fn a_share_is_that_of_the_last_seconds_only() {
        let (mut skips, start) = (SkipHistory::default(), Instant::now());
        for frame in 0..200 {
            let now = start + frame * Duration::from_millis(100);
            skips.record(frame.into(), frame.saturating_sub(190).into(), now);
        }
        let share = |seconds| skips.share(Duration::from_secs(seconds));
        assert_eq!(
            (share(1), share(2), share(10)),
            (Some(0.9), Some(0.45), Some(0.09))
        );
        assert_eq!(share(11), None);
    }
}
