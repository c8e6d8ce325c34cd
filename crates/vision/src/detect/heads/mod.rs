//! How the output of each family is read: one file a layout. Pure.

mod anchor_free;
mod anchors;
mod end_to_end;

use std::fmt;

use super::yolo::Candidate;

/// Fewest numbers in a row of [`Head::Anchors`]: a box, its objectness and one score.
pub const MIN_COLUMNS: usize = anchors::BOX + 1;
/// Fewest rows of [`Head::AnchorFree`]: a box and one score.
pub const MIN_CHANNELS: usize = anchor_free::BOX + 1;
/// Numbers in a row of [`Head::EndToEnd`].
pub const END_TO_END_COLUMNS: usize = end_to_end::COLUMNS;

/// The layout of a model's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// YOLOv5: `[n, boxes, columns]`, a row is centre, size, objectness and a score for each class.
    Anchors {
        /// Numbers in a row.
        columns: usize,
    },
    /// YOLOv8, v9, 11 and 12: `[n, channels, boxes]`, a column is centre, size and a score for each class.
    AnchorFree {
        /// Numbers in a column.
        channels: usize,
    },
    /// YOLOv10 and 26: `[n, boxes, 6]`, a row is two corners, a score and a class.
    EndToEnd,
}

/// What is looked for.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    /// Score that a candidate exceeds.
    pub conf: f32,
    /// Whether a class is reported.
    pub wanted: &'a dyn Fn(usize) -> bool,
}

impl Head {
    /// Returns the number of classes; `None` if the shape does not show it.
    pub fn classes(self) -> Option<usize> {
        match self {
            Self::Anchors { columns } => columns.checked_sub(anchors::BOX),
            Self::AnchorFree { channels } => channels.checked_sub(anchor_free::BOX),
            Self::EndToEnd => None,
        }
    }

    /// Whether the boxes still overlap, so that they need a suppression.
    pub fn overlaps(self) -> bool {
        self != Self::EndToEnd
    }

    /// Whether an output of this shape for so many `pictures` has this layout.
    pub fn fits(self, shape: &[i64], pictures: usize) -> bool {
        let &[n, rows, columns] = shape else {
            return false;
        };
        let is = |side: i64, wanted: usize| usize::try_from(side) == Ok(wanted);
        is(n, pictures)
            && match self {
                Self::Anchors { columns: wanted } => is(columns, wanted),
                Self::AnchorFree { channels } => is(rows, channels),
                Self::EndToEnd => is(columns, END_TO_END_COLUMNS),
            }
    }

    /// Returns the candidates in the output for one picture.
    pub fn candidates(self, output: &[f32], filter: Filter<'_>) -> Vec<Candidate> {
        match self {
            Self::Anchors { columns } => anchors::candidates(output, columns, filter),
            Self::AnchorFree { channels } => anchor_free::candidates(output, channels, filter),
            Self::EndToEnd => end_to_end::candidates(output, filter),
        }
    }

    /// Checks that the numbers for one picture can be those of this layout.
    ///
    /// # Errors
    /// If they cannot: what was found.
    pub fn plausible(self, output: &[f32]) -> Result<(), String> {
        match self {
            Self::Anchors { columns } => anchors::plausible(output, columns),
            Self::AnchorFree { channels } => anchor_free::plausible(output, channels),
            Self::EndToEnd => end_to_end::plausible(output),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anchors { .. } => "YOLOv5",
            Self::AnchorFree { .. } => "YOLOv8, v9, 11 or 12",
            Self::EndToEnd => "YOLOv10 or 26, end to end",
        })
    }
}

/// Smallest and largest of some numbers, those that are not finite left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    low: f32,
    high: f32,
}

impl Range {
    /// Rounding of half precision, which may lift a score above 1.
    const ROUNDING: f32 = 1e-3;
    /// Largest number of a box in shares of the picture: a centre of 1 and what its rounding adds, far below any box in
    /// pixels.
    const SHARES: f32 = 2.0;

    /// Returns the range of `values`.
    pub(super) fn of(values: impl Iterator<Item = f32>) -> Self {
        let none = Self {
            low: f32::INFINITY,
            high: f32::NEG_INFINITY,
        };
        values
            .filter(|v| v.is_finite())
            .fold(none, |range, v| Self {
                low: range.low.min(v),
                high: range.high.max(v),
            })
    }

    /// Checks that the numbers can be `what`, which are scores.
    pub(super) fn scores(self, what: &str) -> Result<(), String> {
        let Self { low, high } = self;
        match low < -Self::ROUNDING || high > 1.0 + Self::ROUNDING {
            true => Err(format!(
                "{what} would hold numbers from {low:.1} to {high:.1}, and scores lie between 0 and 1"
            )),
            false => Ok(()),
        }
    }

    /// Checks that the numbers can be boxes in pixels of the input.
    pub(super) fn pixels(self) -> Result<(), String> {
        match self.high > 0.0 && self.high <= Self::SHARES {
            true => Err(format!(
                "its boxes would be at most {:.2} pixels large, so they are in shares of the picture",
                self.high
            )),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::geometry::Size;

    use super::super::yolo::{Letterbox, suppress};
    use super::*;

    #[test]
    fn a_layout_keeps_its_columns_from_picture_to_picture() {
        let head = Head::Anchors { columns: 7 };
        assert!(head.fits(&[2, 126, 7], 2));
        for shape in [&[1, 126, 7][..], &[2, 126, 8], &[2, 126], &[-1, 126, 7]] {
            assert!(!head.fits(shape, 2), "{shape:?}");
        }
        let free = Head::AnchorFree { channels: 6 };
        assert!(free.fits(&[1, 6, 42], 1) && !free.fits(&[1, 42, 6], 1));
        assert!(Head::EndToEnd.fits(&[1, 0, 6], 1) && !Head::EndToEnd.fits(&[1, 300, 7], 1));
    }

    #[test]
    fn the_shape_shows_the_number_of_classes_but_for_end_to_end() {
        assert_eq!(Head::Anchors { columns: 85 }.classes(), Some(80));
        assert_eq!(Head::AnchorFree { channels: 84 }.classes(), Some(80));
        assert_eq!(Head::EndToEnd.classes(), None);
    }

    proptest! {
        #[test]
        fn no_output_of_a_network_gives_a_box_outside_the_picture(
            output in prop::collection::vec(prop_oneof![any::<f32>(), 0f32..1.0, 0f32..700.0], 0..200), sides in 0usize..20,
        ) {
            let size = |width, height| Size { width, height };
            let letterbox = Letterbox::new(size(300, 200), size(320, 224));
            for head in [Head::Anchors { columns: sides }, Head::AnchorFree { channels: sides }, Head::EndToEnd] {
                let _ = head.plausible(&output);
                let filter = Filter { conf: 0.25, wanted: &|_| true };
                for kept in suppress(head.candidates(&output, filter), 0.45) {
                    prop_assert!((0.0..=1.0).contains(&kept.score));
                    prop_assert!(letterbox.to_picture(kept.bbox).edges().iter().all(|v| (0.0..=1.0).contains(v)));
                }
            }
        }
    }
}
