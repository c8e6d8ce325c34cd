//! How often a camera's frames come, and after which silence it is not live any more.

use std::time::{Duration, Instant};

use protocol::CAMERA_TIMEOUT;

/// Taken for the frame interval until there are two frames: the tutorial's.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// Frame intervals without a frame after which a camera is not live.
const MISSED_FRAMES: u32 = 3;
/// Longest interval that is believed: a name stays reserved for three of them.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// The rhythm of a camera's frames.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FrameRhythm {
    last: Option<Instant>,
    /// Smoothed time between frames.
    interval: Option<Duration>,
    /// The last time between frames, if it was a pause. A second pause right behind it is a slower rhythm.
    pause: Option<Duration>,
}

impl FrameRhythm {
    /// Notes a frame.
    pub(crate) fn on_frame(&mut self, now: Instant) {
        if let Some(last) = self.last {
            self.smooth(now.saturating_duration_since(last));
        }
        self.last = Some(now);
    }

    /// Averages a quarter of the new interval and three of the old.
    fn smooth(&mut self, interval: Duration) {
        let interval = interval.min(MAX_INTERVAL);
        let pause = self.interval.filter(|_| interval >= self.timeout());
        self.interval = Some(match (self.interval, self.pause) {
            (None, _) => interval,
            (Some(_), Some(before)) if pause.is_some() => before.min(interval),
            (Some(usual), _) if pause.is_some() => usual,
            (Some(usual), _) => (3 * usual + interval) / 4,
        });
        self.pause = pause.map(|_| interval);
    }

    /// Returns the usual time between two frames.
    pub(crate) fn interval(&self) -> Duration {
        self.interval.unwrap_or(FIRST_INTERVAL)
    }

    /// Returns the silence after which the camera is not live: [`CAMERA_TIMEOUT`], or three intervals of a slower camera.
    pub(crate) fn timeout(&self) -> Duration {
        CAMERA_TIMEOUT.max(MISSED_FRAMES * self.interval())
    }

    /// Returns the time since the last frame; `None` before the first.
    pub(crate) fn silence(&self, now: Instant) -> Option<Duration> {
        let since = |last| now.saturating_duration_since(last);
        self.last.map(since)
    }

    /// Returns when the camera will not be live any more unless another frame comes; `None` before the first frame.
    pub(crate) fn live_until(&self) -> Option<Instant> {
        self.last.map(|last| last + self.timeout())
    }

    /// Returns the frames a second, once there are two frames.
    pub(crate) fn fps(&self) -> Option<f64> {
        let interval = self.interval.map(|interval| interval.as_secs_f64());
        interval.filter(|seconds| *seconds > 0.0).map(f64::recip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rhythm(gaps_ms: &[u64]) -> FrameRhythm {
        let (mut rhythm, mut now) = (FrameRhythm::default(), testkit::time::start());
        rhythm.on_frame(now);
        for gap in gaps_ms {
            now += Duration::from_millis(*gap);
            rhythm.on_frame(now);
        }
        rhythm
    }

    #[test]
    fn a_camera_of_one_frame_in_20_s_is_live_for_a_minute() {
        assert_eq!(rhythm(&[20_000, 20_000]).timeout().as_secs(), 60);
        assert_eq!(rhythm(&[100, 100]).timeout(), CAMERA_TIMEOUT);
        assert_eq!(rhythm(&[]).timeout(), CAMERA_TIMEOUT);
    }

    #[test]
    fn one_pause_is_no_interval_and_two_in_a_row_are() {
        assert_eq!(rhythm(&[100, 100, 30_000, 100]).interval().as_millis(), 100);
        let slower = rhythm(&[100, 100, 20_000, 10_000]);
        assert_eq!(slower.interval().as_secs(), 10);
    }

    #[test]
    fn a_name_is_reserved_for_three_minutes_at_most() {
        assert_eq!(rhythm(&[10_000_000]).timeout().as_secs(), 180);
    }
}
