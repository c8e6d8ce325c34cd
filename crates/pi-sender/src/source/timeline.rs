//! Places the pictures of a video in time by its time stamps. Pure.
//!
//! Time stamps are missing on the last pictures of some videos, and jump where recordings were joined.

/// Longest pause between two pictures (s) that is believed: recordings of a screen at rest have long ones.
const MAX_PAUSE: f64 = 60.0;
/// Distance of two pictures (s) where neither stamps nor rate tell it.
const USUAL_STEP: f64 = 0.04;
/// Highest rate that a container is believed (1/s): those that know none name their clock's, 1000 or 90000.
const MAX_FPS: f64 = 240.0;

/// Returns the frames a second that a container names, if they can be true.
pub(super) fn believable(fps: f64) -> Option<f64> {
    (0.01..=MAX_FPS).contains(&fps).then_some(fps)
}

/// Times of a video's pictures.
#[derive(Debug)]
pub(super) struct Timeline {
    /// What a stamp has to be lowered by.
    origin: f64,
    /// Time of the last picture.
    last: Option<f64>,
    step: f64,
}

impl Timeline {
    /// Starts at the first picture. Pictures without a stamp follow at this rate, if it is known.
    pub(super) fn new(fps: Option<f64>) -> Self {
        Self {
            origin: 0.0,
            last: None,
            step: fps.map_or(USUAL_STEP, |fps| 1.0 / fps),
        }
    }

    /// Returns the time of the next picture, in seconds since the first one; `stamp_ms` is 0 where it has none.
    pub(super) fn place(&mut self, stamp_ms: f64) -> f64 {
        let stamp = stamp_ms / 1000.0;
        let time = match self.last {
            None => {
                self.origin = stamp;
                0.0
            }
            Some(last) => {
                let time = stamp - self.origin;
                let follows = time > last && time - last <= MAX_PAUSE;
                if follows {
                    time
                } else {
                    if stamp_ms > 0.0 {
                        self.origin = stamp - last - self.step;
                    }
                    last + self.step
                }
            }
        };
        *self.last.insert(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(fps: Option<f64>, stamps: &[f64]) -> Vec<f64> {
        let mut timeline = Timeline::new(fps);
        let times = stamps.iter().map(|stamp| timeline.place(*stamp));
        times.map(|time| (time * 1000.0).round()).collect()
    }

    #[test]
    fn pictures_stand_where_their_stamps_say() {
        assert_eq!(
            times(None, &[0.0, 15.0, 84.0, 226.0]),
            [0.0, 15.0, 84.0, 226.0]
        );
        assert_eq!(
            times(Some(25.0), &[500.0, 530.0, 5000.0]),
            [0.0, 30.0, 4500.0]
        );
    }

    #[test]
    fn pictures_without_a_stamp_follow_at_the_rate() {
        assert_eq!(times(Some(10.0), &[0.0; 4]), [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(
            times(Some(25.0), &[0.0, 40.0, 80.0, 0.0, 0.0]),
            [0.0, 40.0, 80.0, 120.0, 160.0]
        );
    }

    #[test]
    fn a_jump_of_the_stamps_is_no_pause() {
        assert_eq!(
            times(Some(10.0), &[0.0, 100.0, 9e9, 9e9 + 100.0]),
            [0.0, 100.0, 200.0, 300.0]
        );
        assert_eq!(
            times(Some(10.0), &[900.0, 1000.0, 10.0, 110.0]),
            [0.0, 100.0, 200.0, 300.0]
        );
    }

    #[test]
    fn the_rate_of_a_clock_is_no_rate_of_pictures() {
        assert_eq!([1000.0, 90_000.0, 0.0, f64::NAN].map(believable), [None; 4]);
        assert_eq!(believable(29.97), Some(29.97));
    }
}
