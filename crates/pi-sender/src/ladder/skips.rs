//! What share of the frames was skipped lately, from counters that only grow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::CALM;

/// Frames that a share is of at least: of fewer, a single one that is skipped would be more than 10 %.
const HANDFUL: u64 = 10;

/// The counters as they were lately, oldest first.
#[derive(Debug, Default)]
pub(super) struct Skips(VecDeque<Count>);

#[derive(Debug, Clone, Copy)]
struct Count {
    offered: u64,
    skipped: u64,
    at: Instant,
}

impl Skips {
    /// Notes the counters. Where they run backwards, they are those of another link, and what was noted before is void.
    pub(super) fn count(&mut self, offered: u64, skipped: u64, now: Instant) {
        let restarted = |last: &Count| offered < last.offered || skipped < last.skipped;
        if self.0.back().is_some_and(restarted) {
            self.0.clear();
        }
        self.0.push_back(Count {
            offered,
            skipped,
            at: now,
        });
        // Nobody asks for a longer time.
        let spare = self.long_enough(CALM).saturating_sub(1);
        self.0.drain(..spare);
    }

    /// The share over the last `span`, or longer where that has but few frames; `None` where less is known.
    pub(super) fn share(&self, span: Duration) -> Option<f64> {
        let last = self.0.back()?;
        let first = self.0.get(self.long_enough(span).checked_sub(1)?)?;
        let (offered, skipped) = (last.offered - first.offered, last.skipped - first.skipped);
        Some(skipped as f64 / offered as f64)
    }

    /// How many of the counts are so old that a share may start there.
    fn long_enough(&self, span: Duration) -> usize {
        let Some(last) = self.0.back() else {
            return 0;
        };
        self.0.partition_point(|first| {
            last.at.saturating_duration_since(first.at) >= span
                && last.offered - first.offered >= HANDFUL
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_counts_takes_the_room_of_ten_seconds() {
        let (mut skips, start) = (Skips::default(), Instant::now());
        for frame in 0..86_400 {
            skips.count(frame, 0, start + Duration::from_secs(frame));
        }
        assert_eq!(skips.0.len(), 11);
    }

    #[test]
    fn a_share_is_that_of_the_last_seconds_only() {
        let (mut skips, start) = (Skips::default(), Instant::now());
        for frame in 0..200 {
            let now = start + frame * Duration::from_millis(100);
            skips.count(frame.into(), frame.saturating_sub(190).into(), now);
        }
        let share = |seconds| skips.share(Duration::from_secs(seconds));
        assert_eq!(
            (share(1), share(2), share(10)),
            (Some(0.9), Some(0.45), Some(0.09))
        );
        assert_eq!(share(11), None);
    }
}
