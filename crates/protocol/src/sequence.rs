//! Which of a stream's frames have come, by number: the newest, those it overtook, and those that came before. Pure.

/// A frame that its successors overtook is told from one that came before within so many numbers.
pub const WINDOW: u64 = 64;

/// What is remembered of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Order(Option<Seen>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    newest: u64,
    /// In bit n, whether the frame n before the newest has come.
    come: u64,
}

/// What a frame's number says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Newer than all before; so many numbers between are missing.
    Newest(u64),
    /// Overtaken, and not come before.
    Late,
    /// Come before, or too long ago to know.
    Over,
}

impl Order {
    /// Notes a frame.
    pub fn note(&mut self, seq: u64) -> Place {
        let Some(seen) = &mut self.0 else {
            self.0 = Some(Seen {
                newest: seq,
                come: 1,
            });
            return Place::Newest(0);
        };
        if let Some(ahead) = seq.checked_sub(seen.newest).filter(|ahead| *ahead > 0) {
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            seen.come = seen.come.checked_shl(shift).unwrap_or(0) | 1;
            seen.newest = seq;
            return Place::Newest(ahead - 1);
        }
        let behind = seen.newest - seq;
        if behind >= WINDOW || seen.come >> behind & 1 == 1 {
            return Place::Over;
        }
        seen.come |= 1 << behind;
        Place::Late
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn places(numbers: &[u64]) -> Vec<Place> {
        let mut order = Order::default();
        numbers.iter().map(|seq| order.note(*seq)).collect()
    }

    #[test]
    fn a_late_frame_is_late_once() {
        use Place::{Late, Newest, Over};
        assert_eq!(
            places(&[5, 6, 9, 7, 7, 9, 5, 8]),
            [
                Newest(0),
                Newest(0),
                Newest(2),
                Late,
                Over,
                Over,
                Over,
                Late
            ]
        );
    }

    #[test]
    fn what_lies_too_far_back_is_over() {
        assert_eq!(places(&[100, 100 - WINDOW])[1], Place::Over);
        assert_eq!(places(&[100, 101 - WINDOW])[1], Place::Late);
        assert_eq!(
            places(&[0, u64::MAX, 0, u64::MAX - 1])[2..],
            [Place::Over, Place::Late]
        );
    }

    proptest! {
        #[test]
        fn no_frame_is_taken_twice_and_none_of_the_last_ones_is_missed(
            numbers in prop::collection::vec(0u64..200, 1..300),
        ) {
            let (mut order, mut taken) = (Order::default(), HashSet::new());
            let mut newest = 0;
            for seq in numbers {
                let known = seq + WINDOW > newest;
                match order.note(seq) {
                    Place::Over => prop_assert!(taken.contains(&seq) || !known),
                    _ => prop_assert!(taken.insert(seq)),
                }
                newest = newest.max(seq);
            }
        }
    }
}
