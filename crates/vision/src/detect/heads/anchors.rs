//! YOLOv5: `[x, y, w, h, objectness, score of each class]` a row, x and y the centre, in input pixels.

use protocol::geometry::BBox;

use super::{Candidate, Filter, Range};

/// Numbers before the classes' scores.
pub(super) const BOX: usize = 5;

/// Returns the candidates: a row counts with its best class, if objectness and objectness x score are both above the
/// threshold and the class is wanted.
pub(super) fn candidates(output: &[f32], columns: usize, filter: Filter<'_>) -> Vec<Candidate> {
    let rows = output.chunks_exact(columns.max(BOX + 1));
    rows.filter_map(|row| {
        let (&[x, y, w, h, objectness], scores) = row.split_first_chunk::<BOX>()?;
        if objectness.is_nan() || objectness <= filter.conf {
            return None;
        }
        let (class, best) = best(scores)?;
        let score = best * objectness;
        let good = score > filter.conf
            && (filter.wanted)(class)
            && [x, y, w, h, score].iter().all(|v| v.is_finite());
        good.then(|| Candidate {
            bbox: BBox::new(x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0),
            class,
            score: score.min(1.0),
        })
    })
    .collect()
}

/// Returns the index and value of the first of the largest scores.
fn best(scores: &[f32]) -> Option<(usize, f32)> {
    let larger = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
    scores.iter().copied().enumerate().reduce(larger)
}

/// Checks that boxes are in pixels, and objectness and scores between 0 and 1.
pub(super) fn plausible(output: &[f32], columns: usize) -> Result<(), String> {
    let columns = columns.max(BOX + 1);
    let values = |wanted: std::ops::Range<usize>| {
        let rows = output.chunks_exact(columns);
        Range::of(rows.flat_map(move |row| row[wanted.clone()].iter().copied()))
    };
    values(4..BOX).scores("its objectness")?;
    values(BOX..columns).scores(&format!("the {} columns of class scores", columns - BOX))?;
    values(0..4).pixels()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(row: &[f32], conf: f32, wanted: &dyn Fn(usize) -> bool) -> Vec<Candidate> {
        candidates(row, 7, Filter { conf, wanted })
    }

    #[test]
    fn a_row_counts_with_its_best_class_and_objectness_times_score() {
        let row = [50.0, 60.0, 20.0, 40.0, 0.5, 0.1, 0.8];
        let want = Candidate {
            bbox: BBox::new(40.0, 40.0, 60.0, 80.0),
            class: 1,
            score: 0.4,
        };
        assert_eq!(found(&row, 0.25, &|_| true), [want]);
        assert!(found(&row, 0.4, &|_| true).is_empty(), "score is above");
        let first = |class| class == 0;
        assert!(
            found(&row, 0.25, &first).is_empty(),
            "class 1 is not wanted"
        );
    }

    #[test]
    fn landmarks_are_not_scores_and_shares_are_not_pixels() {
        let row = |tail: [f32; 3]| [[50.0, 60.0, 20.0, 40.0].as_slice(), &tail].concat();
        assert_eq!(plausible(&row([0.5, 0.0, 1.0005]), 7), Ok(()));
        assert_eq!(plausible(&row([f32::NAN, 0.0, 1.0]), 7), Ok(()));
        for (tail, what) in [
            (
                [0.5, 0.3, 41.5],
                "2 columns of class scores would hold numbers from 0.3 to 41.5",
            ),
            ([0.5, -3.0, 0.5], "from -3.0 to 0.5"),
            ([7.0, 0.3, 0.5], "objectness"),
        ] {
            let why = plausible(&row(tail), 7).unwrap_err();
            assert!(why.contains(what), "{why}");
        }
        let shares = plausible(&[0.5, 0.6, 0.2, 0.4, 0.9, 0.1, 0.8], 7);
        assert!(shares.unwrap_err().contains("shares of the picture"));
        assert_eq!(plausible(&[0.0; 7], 7), Ok(()), "nothing contradicts");
    }
}
