//! Figures of the frames that were displayed lately: rate, age, loss, and whether the picture is stale. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::CAMERA_TIMEOUT;

// Not by `crate::`: a fuzz target compiles this file too.
use super::loss::FrameCounts;

/// How far the figures look back.
const WINDOW: Duration = Duration::from_secs(5);
/// Frames that are kept however old they are, for the figures of a slow camera.
const FEW: usize = 4;
/// A picture is stale after this, or after three usual frame intervals, whichever is longer.
const STALE: Duration = Duration::from_secs(1);

/// The frames displayed lately, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct DisplayStats(VecDeque<DisplayedFrame>);

#[derive(Debug)]
struct DisplayedFrame {
    age: Option<Duration>,
    counts: FrameCounts,
    at: Instant,
}

impl DisplayStats {
    /// Notes that a frame of this age was displayed, and how many frames had been received by then.
    pub(crate) fn on_displayed(
        &mut self,
        age: Option<Duration>,
        counts: FrameCounts,
        now: Instant,
    ) {
        // After a break the old figures mean nothing; but two frames are needed to know a slow camera's interval.
        if self.0.len() > 1 && self.stale_for(now).is_some() {
            self.0.clear();
        }
        self.0.push_back(DisplayedFrame {
            age,
            counts,
            at: now,
        });
        while self.0.len() > FEW && self.0.front().is_some_and(|f| now - f.at > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Returns the frames per second: `None` before the second frame, 0 when the picture is stale.
    pub(crate) fn fps(&self, now: Instant) -> Option<f64> {
        if self.stale_for(now).is_some() {
            return Some(0.0);
        }
        let span = self.0.back()?.at - self.0.front()?.at;
        (!span.is_zero()).then(|| (self.0.len() - 1) as f64 / span.as_secs_f64())
    }

    /// Returns the median age and its 99th percentile.
    pub(crate) fn ages(&self) -> Option<(Duration, Duration)> {
        let ages = || self.0.iter().filter_map(|f| f.age);
        Some((quantile(0.5, ages())?, quantile(0.99, ages())?))
    }

    /// Returns the share of frames lost, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else {
            return 0.0;
        };
        // Late frames may have filled more gaps than there are new ones.
        let lost = last.counts.lost.saturating_sub(first.counts.lost);
        let all = lost + (last.counts.received - first.counts.received);
        lost as f64 / all.max(1) as f64
    }

    /// Returns for how long the picture has stood still, when that makes it stale.
    pub(crate) fn stale_for(&self, now: Instant) -> Option<Duration> {
        self.silent_for(STALE, now)
    }

    /// Returns whether the camera sends; `None` before the first frame.
    pub(crate) fn is_live(&self, now: Instant) -> Option<bool> {
        (!self.0.is_empty()).then(|| self.silent_for(CAMERA_TIMEOUT, now).is_none())
    }

    /// Returns the time since the last frame, when it is at least this and three usual intervals.
    fn silent_for(&self, least: Duration, now: Instant) -> Option<Duration> {
        let silence = now.saturating_duration_since(self.0.back()?.at);
        let intervals = self.0.iter().zip(self.0.iter().skip(1));
        let usual = quantile(0.5, intervals.map(|(a, b)| b.at - a.at)).unwrap_or_default();
        (silence >= least.max(3 * usual)).then_some(silence)
    }
}

/// Returns the value below which this share of all lies, 0 to 1.
fn quantile(share: f64, values: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    let at = (values.len() as f64 * share) as usize;
    values.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Ten frames a second for 6 s with ages of 30 to 40 ms and each tenth frame lost.
    fn steady(start: Instant) -> (DisplayStats, Instant) {
        let (mut stats, mut counts, mut now) =
            (DisplayStats::default(), FrameCounts::default(), start);
        for n in 1..=60u32 {
            now = start + n * 100 * MS;
            counts.received += 1;
            counts.lost += u64::from(n % 10 == 0);
            stats.on_displayed(Some((30 + n % 11) * MS), counts, now);
        }
        (stats, now)
    }

    #[test]
    fn a_steady_camera_has_its_figures() {
        let (stats, now) = steady(Instant::now());
        assert!((stats.fps(now).unwrap() - 10.0).abs() < 0.01);
        assert_eq!(stats.ages(), Some((35 * MS, 40 * MS)));
        assert!((stats.loss() - 5.0 / 55.0).abs() < 0.01, "{}", stats.loss());
    }

    #[test]
    fn a_picture_is_stale_after_a_second_or_three_intervals() {
        let (stats, now) = steady(Instant::now());
        assert_eq!(stats.stale_for(now + 999 * MS), None);
        assert_eq!(stats.stale_for(now + 3200 * MS), Some(3200 * MS));
        assert_eq!(stats.fps(now + 3200 * MS), Some(0.0));

        let (mut slow, start) = (DisplayStats::default(), now);
        for n in 0..3 {
            slow.on_displayed(None, FrameCounts::default(), start + n * 2000 * MS);
        }
        assert_eq!(slow.stale_for(start + 9999 * MS), None);
        assert!(slow.stale_for(start + 10_000 * MS).is_some());
        assert_eq!(slow.fps(start + 5000 * MS), Some(0.5));
    }

    #[test]
    fn after_a_break_the_figures_start_over() {
        let (mut stats, now) = steady(Instant::now());
        let back = now + 60_000 * MS;
        stats.on_displayed(None, FrameCounts::default(), back);
        assert_eq!(
            (stats.fps(back), stats.ages(), stats.loss()),
            (None, None, 0.0)
        );
        stats.on_displayed(None, FrameCounts::default(), back + 100 * MS);
        assert!((stats.fps(back + 100 * MS).unwrap() - 10.0).abs() < 0.01);
    }

    #[test]
    fn frames_that_come_late_make_no_loss_below_zero() {
        let (mut stats, start) = (DisplayStats::default(), Instant::now());
        for (n, lost) in [(1, 5), (2, 3)] {
            let counts = FrameCounts {
                received: n.into(),
                lost,
            };
            stats.on_displayed(None, counts, start + n * 100 * MS);
        }
        assert_eq!(stats.loss(), 0.0);
    }

    #[test]
    fn a_camera_is_live_until_its_place_at_the_relay_is_free_again() {
        let (stats, now) = steady(Instant::now());
        assert_eq!(DisplayStats::default().is_live(now), None);
        assert_eq!(stats.is_live(now + 2999 * MS), Some(true));
        assert_eq!(stats.is_live(now + 3000 * MS), Some(false));
    }
}
