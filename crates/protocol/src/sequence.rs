//! Tells frames that come in order from reordered and duplicate ones, by number. Pure.

/// Distance behind the newest number within which a reordered frame is told from a duplicate.
pub const WINDOW: u64 = 64;

/// The numbers of a stream that have been received: the newest, and which of the [`WINDOW`] up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceWindow(Option<ReceivedNumbers>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ReceivedNumbers {
    newest: u64,
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
}

impl SequenceWindow {
    /// Notes a frame, and returns its place in the sequence.
    pub fn observe(&mut self, seq: u64) -> Sequence {
        let Some(received) = &mut self.0 else {
            self.0 = Some(ReceivedNumbers {
                newest: seq,
                bits: 1,
            });
            return Sequence::Next(0);
        };
        if let Some(ahead) = seq.checked_sub(received.newest).filter(|ahead| *ahead > 0) {
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            received.bits = received.bits.checked_shl(shift).unwrap_or(0) | 1;
            received.newest = seq;
            return Sequence::Next(ahead - 1);
        }
        let behind = received.newest - seq;
        if behind >= WINDOW || received.bits >> behind & 1 == 1 {
            return Sequence::Duplicate;
        }
        received.bits |= 1 << behind;
        Sequence::Reordered
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn places(numbers: &[u64]) -> Vec<Sequence> {
        let mut window = SequenceWindow::default();
        numbers.iter().map(|seq| window.observe(*seq)).collect()
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
    fn what_lies_too_far_back_is_over() {
        assert_eq!(places(&[100, 100 - WINDOW])[1], Sequence::Duplicate);
        assert_eq!(places(&[100, 101 - WINDOW])[1], Sequence::Reordered);
        assert_eq!(
            places(&[0, u64::MAX, 0, u64::MAX - 1])[2..],
            [Sequence::Duplicate, Sequence::Reordered]
        );
    }

    proptest! {
        #[test]
        fn no_frame_is_taken_twice_and_none_of_the_last_ones_is_missed(
            numbers in prop::collection::vec(0u64..200, 1..300),
        ) {
            let (mut window, mut taken) = (SequenceWindow::default(), HashSet::new());
            let mut newest = 0;
            for seq in numbers {
                let known = seq + WINDOW > newest;
                match window.observe(seq) {
                    Sequence::Duplicate => prop_assert!(taken.contains(&seq) || !known),
                    _ => prop_assert!(taken.insert(seq)),
                }
                newest = newest.max(seq);
            }
        }
    }
}
