//! Average precision, the measure of detectors: COCO's definition at one IoU, 101 points of recall.

use protocol::geometry::BBox;

/// A box on one of many pictures: a true one, or a detector's.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureBox {
    /// Number of the picture.
    pub picture: u64,
    /// Number of the class.
    pub class: usize,
    /// Place in the picture.
    pub bbox: BBox,
    /// Confidence of the detector; 1 on a true box.
    pub score: f64,
}

/// Returns the mean over the classes that `truth` has of the average precision at IoU `iou`, 0 to 1.
pub fn average_precision(truth: &[PictureBox], found: &[PictureBox], iou: f64) -> f64 {
    let mut classes: Vec<usize> = truth.iter().map(|one| one.class).collect();
    classes.sort_unstable();
    classes.dedup();
    let of = |boxes: &[PictureBox], class| -> Vec<PictureBox> {
        boxes
            .iter()
            .filter(|one| one.class == class)
            .cloned()
            .collect()
    };
    let sum: f64 = classes
        .iter()
        .map(|&class| of_class(&of(truth, class), of(found, class), iou))
        .sum();
    sum / classes.len().max(1) as f64
}

fn of_class(truth: &[PictureBox], mut found: Vec<PictureBox>, iou: f64) -> f64 {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut taken = vec![false; truth.len()];
    let mut hits = 0;
    let mut curve = Vec::new();
    for (n, guess) in (1..).zip(&found) {
        if let Some(hit) = best_match(truth, &taken, guess, iou) {
            taken[hit] = true;
            hits += 1;
        }
        curve.push((
            f64::from(hits) / truth.len() as f64,
            f64::from(hits) / f64::from(n),
        ));
    }
    let precision_at = |recall: f64| {
        let reached = curve.iter().filter(|(r, _)| *r >= recall);
        reached.map(|(_, precision)| *precision).fold(0.0, f64::max)
    };
    (0..=100)
        .map(|n| precision_at(f64::from(n) / 100.0))
        .sum::<f64>()
        / 101.0
}

/// Returns the free true box of the picture with the highest IoU, if that is at least `iou`.
fn best_match(truth: &[PictureBox], taken: &[bool], guess: &PictureBox, iou: f64) -> Option<usize> {
    let free = (0..truth.len()).filter(|&n| !taken[n] && truth[n].picture == guess.picture);
    free.map(|n| (n, f64::from(truth[n].bbox.iou(guess.bbox))))
        .filter(|(_, found)| *found >= iou)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(n, _)| n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(picture: u64, x: f32, score: f64) -> PictureBox {
        PictureBox {
            picture,
            class: 0,
            bbox: BBox::new(x, 0.0, x + 10.0, 10.0),
            score,
        }
    }

    #[test]
    fn all_found_and_nothing_else_is_one() {
        let truth = [at(1, 0.0, 1.0), at(2, 5.0, 1.0)];
        let found = [at(1, 1.0, 0.9), at(2, 5.0, 0.8)];
        assert!((average_precision(&truth, &found, 0.5) - 1.0).abs() < 1e-9);
        assert!(
            average_precision(&truth, &found, 0.95) < 0.6,
            "one box is off by a tenth"
        );
    }

    #[test]
    fn a_better_scored_miss_halves_it_and_a_worse_one_costs_nothing() {
        let truth = [at(1, 0.0, 1.0)];
        let miss = |score| [at(1, 0.0, 0.5), at(1, 50.0, score)];
        assert!((average_precision(&truth, &miss(0.9), 0.5) - 0.5).abs() < 1e-9);
        assert!((average_precision(&truth, &miss(0.1), 0.5) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_second_box_on_the_same_object_is_a_miss() {
        let truth = [at(1, 0.0, 1.0), at(2, 0.0, 1.0)];
        let found = [at(1, 0.0, 0.9), at(1, 1.0, 0.8), at(2, 0.0, 0.7)];
        assert!(
            (average_precision(&truth, &found, 0.5) - (51.0 + 50.0 * 2.0 / 3.0) / 101.0).abs()
                < 1e-9
        );
    }

    #[test]
    fn nothing_found_is_zero() {
        assert!(average_precision(&[at(1, 0.0, 1.0)], &[], 0.5).abs() < 1e-9);
    }
}
