//! The quality ladder: down at once when a frame does not fit into a datagram, up slowly when there is room again.
//!
//! Pure. A lower step is kept, since the next picture of the same scene is as large as this one; and it is left only
//! after 10 s in which every frame had plenty of room, so that it does not go up and down with each frame.

use protocol::datagram::MAX_DATAGRAM;

/// Distance of two steps, and the lowest one.
const STEP: u8 = 10;
const LOWEST: u8 = 10;
/// A frame below this leaves enough room for a step up.
const ROOMY: usize = MAX_DATAGRAM * 6 / 10;
/// How long frames are roomy before a step up, in seconds.
const CALM: f64 = 10.0;

/// The JPEG quality in force.
#[derive(Debug)]
pub(crate) struct Ladder {
    top: u8,
    now: u8,
    roomy: u32,
    patience: u32,
}

impl Ladder {
    /// A ladder from `top` (1 to 100) downwards, for `fps` frames a second.
    pub(crate) fn new(top: u8, fps: f64) -> Self {
        Self {
            top,
            now: top,
            roomy: 0,
            patience: (fps * CALM).ceil().max(1.0) as u32,
        }
    }

    /// The quality to encode with.
    pub(crate) fn quality(&self) -> u8 {
        self.now
    }

    /// Takes a step down, since a frame did not fit; false on the lowest.
    pub(crate) fn down(&mut self) -> bool {
        self.roomy = 0;
        let lower = self.now.saturating_sub(STEP).max(LOWEST);
        let can = lower < self.now;
        if can {
            self.now = lower;
        }
        can
    }

    /// Counts a frame that fitted; true where that earned a step up.
    pub(crate) fn fitted(&mut self, bytes: usize) -> bool {
        self.roomy = if bytes < ROOMY { self.roomy + 1 } else { 0 };
        let up = self.roomy >= self.patience;
        if up {
            self.roomy = 0;
        }
        let up = up && self.now < self.top;
        if up {
            self.now = self.top.min(self.now + STEP);
        }
        up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_steps_down_by_ten_to_ten_and_no_further() {
        let mut ladder = Ladder::new(35, 10.0);
        let mut seen = vec![ladder.quality()];
        while ladder.down() {
            seen.push(ladder.quality());
        }
        assert_eq!(seen, [35, 25, 15, 10]);
    }

    #[test]
    fn a_quality_below_the_lowest_step_that_was_asked_for_is_kept() {
        let mut ladder = Ladder::new(5, 10.0);
        assert!(!ladder.down());
        assert_eq!(ladder.quality(), 5);
    }

    #[test]
    fn ten_seconds_of_roomy_frames_earn_one_step_up_and_never_above_the_top() {
        let mut ladder = Ladder::new(80, 10.0);
        ladder.down();
        let ups: Vec<u32> = (1..=1000).filter(|_| ladder.fitted(20_000)).collect();
        assert_eq!(ups, [100]);
        assert_eq!(ladder.quality(), 80);
    }

    #[test]
    fn one_large_frame_starts_the_ten_seconds_again() {
        let mut ladder = Ladder::new(80, 10.0);
        ladder.down();
        for bytes in [20_000; 99].into_iter().chain([60_000]).chain([20_000; 99]) {
            assert!(!ladder.fitted(bytes));
        }
        assert!(ladder.fitted(20_000));
    }
}
