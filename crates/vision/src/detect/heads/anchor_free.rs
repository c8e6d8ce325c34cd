//! YOLOv8, v9, 11 and 12: `[x, y, w, h, score of each class]` a column, x and y the centre, in input pixels. There is no
//! objectness, and the numbers of a box lie a whole row apart.

use protocol::geometry::BBox;

use super::{Candidate, Filter, Range};

/// Numbers before the classes' scores.
pub(super) const BOX: usize = 4;

/// Returns the candidates: a column counts with its best class, if its score is above the threshold and the class is
/// wanted.
pub(super) fn candidates(output: &[f32], channels: usize, filter: Filter<'_>) -> Vec<Candidate> {
    let channels = channels.max(BOX + 1);
    let boxes = output.len() / channels;
    let at = |channel: usize, index: usize| output[channel * boxes + index];
    let best = best_of_each(&output[..channels * boxes], boxes);
    let good = best.into_iter().enumerate().filter(|(_, (class, score))| {
        *score > filter.conf && score.is_finite() && (filter.wanted)(*class)
    });
    good.filter_map(|(index, (class, score))| {
        let [x, y, w, h] = [0, 1, 2, 3].map(|channel| at(channel, index));
        let finite = [x, y, w, h].iter().all(|v| v.is_finite());
        finite.then(|| Candidate {
            bbox: BBox::new(x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0),
            class,
            score: score.min(1.0),
        })
    })
    .collect()
}

/// Returns the first of the best classes of each box, and its score. It reads the output row by row, as it lies in memory:
/// box by box each number would be on a cache line of its own.
fn best_of_each(output: &[f32], boxes: usize) -> Vec<(usize, f32)> {
    let mut best = vec![(0, f32::NEG_INFINITY); boxes];
    let rows = output.chunks_exact(boxes.max(1)).skip(BOX);
    for (class, row) in rows.enumerate() {
        for (best, &score) in best.iter_mut().zip(row) {
            if score > best.1 {
                *best = (class, score);
            }
        }
    }
    best
}

/// Checks that boxes are in pixels and scores between 0 and 1.
pub(super) fn plausible(output: &[f32], channels: usize) -> Result<(), String> {
    let channels = channels.max(BOX + 1);
    let (boxes, scores) = output.split_at(output.len() / channels * BOX);
    let what = format!("the {} rows of class scores", channels - BOX);
    Range::of(scores.iter().copied()).scores(&what)?;
    Range::of(boxes.iter().copied()).pixels()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two boxes of two classes.
    const OUTPUT: [f32; 12] = [
        50.0, 9.0, // x
        60.0, 9.0, // y
        20.0, 9.0, // w
        40.0, 9.0, // h
        0.1, 0.2, // class 0
        0.8, 0.1, // class 1
    ];

    fn found(conf: f32, wanted: &dyn Fn(usize) -> bool) -> Vec<Candidate> {
        candidates(&OUTPUT, 6, Filter { conf, wanted })
    }

    #[test]
    fn a_column_counts_with_its_best_class_and_that_score_alone() {
        let want = Candidate {
            bbox: BBox::new(40.0, 40.0, 60.0, 80.0),
            class: 1,
            score: 0.8,
        };
        assert_eq!(found(0.25, &|_| true), [want]);
        assert!(found(0.8, &|_| true).is_empty(), "score is above");
        let first = |class| class == 0;
        assert!(found(0.25, &first).is_empty(), "class 1 is not wanted");
        assert_eq!(found(0.15, &|_| true).len(), 2);
    }

    #[test]
    fn angles_and_key_points_are_not_scores() {
        assert_eq!(plausible(&OUTPUT, 6), Ok(()));
        let mut key_points = OUTPUT;
        key_points[10] = 320.0;
        let why = plausible(&key_points, 6).unwrap_err();
        let what = "the 2 rows of class scores would hold numbers from 0.1 to 320.0";
        assert!(why.contains(what), "{why}");
        let mut angle = OUTPUT;
        angle[11] = -0.7;
        assert!(plausible(&angle, 6).unwrap_err().contains("from -0.7"));
        let shares = OUTPUT.map(|v| v / 640.0);
        assert!(plausible(&shares, 6).unwrap_err().contains("shares"));
    }
}
