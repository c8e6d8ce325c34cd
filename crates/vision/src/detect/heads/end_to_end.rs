//! YOLOv10 and 26, and exports with their own suppression: `[x0, y0, x1, y1, score, class]` a row, corners in input pixels.
//! No object has two boxes, so nothing is to be suppressed; rows that are left over have a score of 0.

use protocol::geometry::BBox;

use super::super::names::MAX_CLASSES;
use super::{Candidate, Filter, Range};

/// Numbers in a row.
pub(super) const COLUMNS: usize = 6;
/// Furthest that a corner may lie on the wrong side of the other by rounding, in pixels: half precision has steps of half a
/// pixel at 640.
const ROUNDING: f32 = 1.0;

/// Returns the candidates: the rows whose score is above the threshold and whose class is wanted.
pub(super) fn candidates(output: &[f32], filter: Filter<'_>) -> Vec<Candidate> {
    let (rows, _) = output.as_chunks::<COLUMNS>();
    let found = rows.iter().filter_map(|&[x0, y0, x1, y1, score, class]| {
        let class = class_number(class)?;
        let good = score > filter.conf
            && (filter.wanted)(class)
            && [x0, y0, x1, y1, score].iter().all(|v| v.is_finite());
        good.then(|| Candidate {
            bbox: BBox::new(x0, y0, x1, y1),
            class,
            score: score.min(1.0),
        })
    });
    found.collect()
}

/// Checks that most corners are in order, all are in pixels, scores between 0 and 1, and classes whole numbers.
pub(super) fn plausible(output: &[f32]) -> Result<(), String> {
    let (rows, _) = output.as_chunks::<COLUMNS>();
    let used = || rows.iter().filter(|row| row[4] > 0.0);
    Range::of(used().map(|row| row[4])).scores("the column of scores")?;
    if let Some(row) = used().find(|row| class_number(row[5]).is_none()) {
        return Err(format!(
            "the column of classes would hold {:.2}, and a class is a whole number",
            row[5]
        ));
    }
    // Where YOLO26 is not sure, it may predict the sides of a box a little beyond each other.
    let reversed = |row: &&[f32; COLUMNS]| row[2] < row[0] - ROUNDING || row[3] < row[1] - ROUNDING;
    let mut wrong = used().filter(reversed);
    if let Some([x0, y0, x1, y1, ..]) = wrong.next()
        && 2 * (wrong.count() + 1) > used().count()
    {
        return Err(format!(
            "a box would reach from ({x0:.0}, {y0:.0}) back to ({x1:.0}, {y1:.0})"
        ));
    }
    Range::of(used().flat_map(|row| row[..4].iter().copied())).pixels()
}

/// Returns the number of a class; `None` if it is not whole or larger than any detector's.
fn class_number(class: f32) -> Option<usize> {
    let whole = class.fract() == 0.0 && (0.0..MAX_CLASSES as f32).contains(&class);
    whole.then_some(class as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [f32; 12] = [
        40.0, 40.0, 60.0, 80.0, 0.8, 3.0, //
        0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    ];

    #[test]
    fn a_row_is_a_box_with_its_class() {
        let found =
            |conf, wanted: &dyn Fn(usize) -> bool| candidates(&ROWS, Filter { conf, wanted });
        let want = Candidate {
            bbox: BBox::new(40.0, 40.0, 60.0, 80.0),
            class: 3,
            score: 0.8,
        };
        assert_eq!(found(0.25, &|_| true), [want]);
        assert!(found(0.8, &|_| true).is_empty(), "score is above");
        let first = |class| class == 0;
        assert!(found(0.25, &first).is_empty(), "class 3 is not wanted");
    }

    #[test]
    fn a_centre_with_its_size_is_not_two_corners_and_a_score_is_not_a_class() {
        assert_eq!(plausible(&ROWS), Ok(()));
        assert_eq!(plausible(&[]), Ok(()), "nothing was found");
        let unsure = [60.0, 40.0, 50.0, 80.0, 0.01, 0.0];
        assert_eq!(
            plausible(&[ROWS, [unsure, [0.0; 6]].concat().try_into().unwrap()].concat()),
            Ok(())
        );
        for (row, what) in [
            (
                [50.0, 60.0, 20.0, 40.0, 0.9, 0.0],
                "from (50, 60) back to (20, 40)",
            ),
            ([40.0, 40.0, 60.0, 80.0, 0.9, 0.8], "would hold 0.80"),
            ([40.0, 40.0, 60.0, 80.0, 0.9, -1.0], "would hold -1.00"),
            ([40.0, 40.0, 60.0, 80.0, 9.0, 1.0], "from 9.0 to 9.0"),
            ([0.1, 0.2, 0.3, 0.4, 0.9, 1.0], "shares of the picture"),
        ] {
            let why = plausible(&row).unwrap_err();
            assert!(why.contains(what), "{why}");
        }
    }
}
