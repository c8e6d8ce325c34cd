//! Tells frames that come in order from reordered, duplicate and forged ones, by number and time. Pure.

use std::time::{Duration, Instant};

use crate::CAMERA_TIMEOUT;

/// Distance behind the newest number within which a reordered frame is told from a duplicate.
pub const WINDOW: u64 = 64;
/// Frames a second that no camera reaches: numbers are counted at capture, so one that lies further ahead than this rate
/// allows was not counted by the camera.
const MAX_RATE: f64 = 1000.0;

/// The numbers of a stream that have been received: the newest, and which of the [`WINDOW`] up to it.
///
/// A number is public and anyone can write one into a label, so it is believed within bounds: one further ahead than a
/// camera can count is [`Sequence::Absurd`], and [`CAMERA_TIMEOUT`] after the newest frame any number starts the count
/// anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceWindow(Option<ReceivedNumbers>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ReceivedNumbers {
    newest: u64,
    /// Time of arrival of the newest.
    at: Instant,
    /// Bit n: whether the frame n before the newest has been received.
    bits: u64,
}

/// A frame's place in the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequence {
    /// Newer than all before, with so many numbers missing in between.
    Next(u64),
    /// Older than the newest, and not received before.
    Reordered,
    /// Received before, or too old to tell.
    Duplicate,
    /// Further ahead than a camera can have counted.
    Absurd,
}

impl SequenceWindow {
    /// Notes a frame that came `now`, and returns its place in the sequence.
    pub fn observe(&mut self, seq: u64, now: Instant) -> Sequence {
        let Some(received) = &mut self.0 else {
            return self.restart(seq, now);
        };
        let silence = now.saturating_duration_since(received.at);
        let restarts = silence >= CAMERA_TIMEOUT;
        if let Some(ahead) = seq.checked_sub(received.newest).filter(|ahead| *ahead > 0) {
            if ahead > believable(silence) {
                return match restarts {
                    true => self.restart(seq, now),
                    false => Sequence::Absurd,
                };
            }
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            received.bits = received.bits.checked_shl(shift).unwrap_or(0) | 1;
            (received.newest, received.at) = (seq, now);
            return Sequence::Next(ahead - 1);
        }
        if restarts {
            return self.restart(seq, now);
        }
        let behind = received.newest - seq;
        if behind >= WINDOW || received.bits >> behind & 1 == 1 {
            return Sequence::Duplicate;
        }
        received.bits |= 1 << behind;
        Sequence::Reordered
    }

    fn restart(&mut self, seq: u64, now: Instant) -> Sequence {
        self.0 = Some(ReceivedNumbers {
            newest: seq,
            at: now,
            bits: 1,
        });
        Sequence::Next(0)
    }
}

/// Returns how far ahead of the newest number the next one may be after a `silence`. Frames may have been skipped for
/// [`CAMERA_TIMEOUT`] before the newest one, which came late.
fn believable(silence: Duration) -> u64 {
    ((silence + CAMERA_TIMEOUT).as_secs_f64() * MAX_RATE) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The places of numbers that come one at a time, 1 ms apart.
    fn places(numbers: &[u64]) -> Vec<Sequence> {
        let (mut window, mut now) = (SequenceWindow::default(), testkit::time::start());
        let mut place = |seq: &u64| {
            now += MS;
            window.observe(*seq, now)
        };
        numbers.iter().map(&mut place).collect()
    }

    #[test]
    fn a_late_frame_is_late_once() {
        use Sequence::{Duplicate, Next, Reordered};
        assert_eq!(
            places(&[5, 6, 9, 7, 7, 9, 5, 8]),
            [
                Next(0),
                Next(0),
                Next(2),
                Reordered,
                Duplicate,
                Duplicate,
                Duplicate,
                Reordered
            ]
        );
    }

    #[test]
    fn a_number_too_far_back_is_a_duplicate() {
        assert_eq!(places(&[100, 100 - WINDOW])[1], Sequence::Duplicate);
        assert_eq!(places(&[100, 101 - WINDOW])[1], Sequence::Reordered);
    }

    #[test]
    fn a_number_that_no_camera_can_have_reached_is_not_believed_and_changes_nothing() {
        use Sequence::{Absurd, Next};
        assert_eq!(
            places(&[7, u64::MAX, 8, 10_000_000, 9]),
            [Next(0), Absurd, Next(0), Absurd, Next(0)]
        );
    }

    #[test]
    fn a_camera_of_1000_frames_a_second_may_skip_for_as_long_as_it_is_live() {
        assert_eq!(places(&[1, 3001])[1], Sequence::Next(2999));
    }

    #[test]
    fn after_an_hour_without_the_network_the_frames_of_that_hour_are_missing() {
        let (mut window, now) = (SequenceWindow::default(), testkit::time::start());
        window.observe(1, now);
        let later = now + Duration::from_secs(3600);
        assert_eq!(window.observe(36_002, later), Sequence::Next(36_000));
    }

    #[test]
    fn any_number_is_believed_3_s_after_the_newest_and_no_earlier() {
        let start = testkit::time::start();
        for forged in [2000, 2900] {
            let mut window = SequenceWindow::default();
            window.observe(10, start);
            assert_eq!(
                window.observe(forged, start + MS),
                Sequence::Next(forged - 11)
            );
            let silent = start + MS + CAMERA_TIMEOUT;
            assert_eq!(window.observe(11, silent - MS), Sequence::Duplicate);
            assert_eq!(window.observe(12, silent), Sequence::Next(0));
            assert_eq!(window.observe(13, silent + MS), Sequence::Next(0));
        }
        let mut window = SequenceWindow::default();
        window.observe(10, start);
        let silent = start + CAMERA_TIMEOUT;
        assert_eq!(window.observe(u64::MAX, silent), Sequence::Next(0));
    }

    proptest! {
        #[test]
        fn no_frame_is_taken_twice_and_none_of_the_last_ones_is_missed(
            numbers in prop::collection::vec(0u64..200, 1..300),
        ) {
            let (mut window, mut taken) = (SequenceWindow::default(), HashSet::new());
            let mut newest = 0;
            let now = testkit::time::start();
            for seq in numbers {
                let known = seq + WINDOW > newest;
                match window.observe(seq, now) {
                    Sequence::Duplicate => prop_assert!(taken.contains(&seq) || !known),
                    _ => prop_assert!(taken.insert(seq)),
                }
                newest = newest.max(seq);
            }
        }

        #[test]
        fn whatever_was_forged_before_the_camera_is_followed_again_3_s_later(
            forged in prop::collection::vec((any::<u64>(), 0u64..2000), 0..100), first in any::<u32>(),
        ) {
            let (mut window, mut now) = (SequenceWindow::default(), testkit::time::start());
            for (seq, ms) in forged {
                now += MS * u32::try_from(ms).unwrap_or(0);
                window.observe(seq, now);
            }
            now += CAMERA_TIMEOUT;
            for n in 0..10 {
                let seq = u64::from(first) + n;
                prop_assert!(matches!(window.observe(seq, now), Sequence::Next(_)), "{}", seq);
                now += 100 * MS;
            }
        }
    }
}
