//! Which of a stream's frames have come, by number: the newest, those it overtook, and those that came before. Pure.

/// A frame that its successors overtook is told from one that came before within so many numbers.
pub const WINDOW: u64 = 64;

/// What is remembered of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceWindow(Option<Seen>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    newest: u64,
    /// In bit n, whether the frame n before the newest has come.
    come: u64,
}

/// What a frame's number says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequence {
    /// Newer than all before; so many numbers between are missing.
    Next(u64),
    /// Overtaken, and not come before.
    Reordered,
    /// Come before, or too long ago to know.
    Duplicate,
}

impl SequenceWindow {
    /// Notes a frame.
    pub fn observe(&mut self, seq: u64) -> Sequence {
        let Some(seen) = &mut self.0 else {
            self.0 = Some(Seen {
                newest: seq,
                come: 1,
            });
            return Sequence::Next(0);
        };
        if let Some(ahead) = seq.checked_sub(seen.newest).filter(|ahead| *ahead > 0) {
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            seen.come = seen.come.checked_shl(shift).unwrap_or(0) | 1;
            seen.newest = seq;
            return Sequence::Next(ahead - 1);
        }
        let behind = seen.newest - seq;
        if behind >= WINDOW || seen.come >> behind & 1 == 1 {
            return Sequence::Duplicate;
        }
        seen.come |= 1 << behind;
        Sequence::Reordered
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn places(numbers: &[u64]) -> Vec<Sequence> {
        let mut order = SequenceWindow::default();
        numbers.iter().map(|seq| order.observe(*seq)).collect()
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
            let (mut order, mut taken) = (SequenceWindow::default(), HashSet::new());
            let mut newest = 0;
            for seq in numbers {
                let known = seq + WINDOW > newest;
                match order.observe(seq) {
                    Sequence::Duplicate => prop_assert!(taken.contains(&seq) || !known),
                    _ => prop_assert!(taken.insert(seq)),
                }
                newest = newest.max(seq);
            }
        }
    }
}
