//! Decides when each frame is due: on a fixed grid from the start, so that small delays never add up.
//!
//! Pure. The due time is computed from the tick's number, not from the tick before: the 1000th frame of a 30 fps sender
//! is due at 1000/30 s, however late the others were.

use std::time::{Duration, Instant};

/// A grid of due times.
#[derive(Debug)]
pub(crate) struct Pacer {
    start: Instant,
    fps: f64,
    next: u64,
}

/// A due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    /// Number of the tick, from 0.
    pub(crate) index: u64,
    /// Due time; it may be past, by less than one interval.
    pub(crate) due: Instant,
    /// Count of the ticks right before it that are lost, since the loop came too late for them.
    pub(crate) missed: u64,
}

impl Pacer {
    /// Returns a grid of `fps` ticks a second, more than 0; the first is due at `start`.
    pub(crate) fn new(fps: f64, start: Instant) -> Self {
        Self {
            start,
            fps,
            next: 0,
        }
    }

    /// Returns the due time of a tick.
    pub(crate) fn due(&self, index: u64) -> Instant {
        // Numbers of ticks are far below 2^53, so nothing is lost in the conversion.
        self.start + Duration::from_secs_f64(index as f64 / self.fps)
    }

    /// Returns the next tick; those that are over by a whole interval are left out.
    pub(crate) fn next(&mut self, now: Instant) -> Tick {
        let mut index = self.next;
        if now >= self.due(index + 1) {
            let elapsed = now.duration_since(self.start).as_secs_f64();
            index = index.max((elapsed * self.fps) as u64);
        }
        let missed = index - self.next;
        self.next = index + 1;
        Tick {
            index,
            due: self.due(index),
            missed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_thousandth_frame_is_due_at_a_thousand_intervals_however_late_each_one_was() {
        for fps in [0.2, 7.0, 10.0, 29.97, 30.0, 240.0] {
            let start = Instant::now();
            let mut pacer = Pacer::new(fps, start);
            let late = Duration::from_secs_f64(0.4 / fps);
            let mut tick = pacer.next(start);
            for _ in 0..1000 {
                tick = pacer.next(tick.due + late);
                assert_eq!(tick.missed, 0);
            }
            let error = (tick.due - start).as_secs_f64() - 1000.0 / fps;
            assert!(error.abs() < 1e-6, "{fps} fps: {error} s");
        }
    }

    #[test]
    fn a_delay_below_one_interval_costs_no_tick() {
        let start = Instant::now();
        let mut pacer = Pacer::new(10.0, start);
        pacer.next(start);
        let tick = pacer.next(start + 199 * MS);
        assert_eq!(
            (tick.index, tick.missed, tick.due),
            (1, 0, start + 100 * MS)
        );
    }

    #[test]
    fn after_a_long_delay_the_grid_goes_on_and_the_lost_ticks_are_told() {
        let start = Instant::now();
        let mut pacer = Pacer::new(10.0, start);
        pacer.next(start);
        let tick = pacer.next(start + 530 * MS);
        assert_eq!(
            (tick.index, tick.missed, tick.due),
            (5, 4, start + 500 * MS)
        );
        let tick = pacer.next(start + 531 * MS);
        assert_eq!(
            (tick.index, tick.missed, tick.due),
            (6, 0, start + 600 * MS)
        );
    }
}
