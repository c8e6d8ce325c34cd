//! Average precision, the measure of detectors: COCO's definition at one IoU, 101 points of recall.

/// A box on a picture: a true one, or with its score a detector's.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Which picture.
    pub picture: u64,
    /// Which class.
    pub class: usize,
    /// `[x0, y0, x1, y1]`, in any unit that all marks share.
    pub bounds: [f64; 4],
    /// The detector's confidence; 1 on a true box.
    pub score: f64,
}

/// Mean over the classes that `truth` has of the average precision at IoU `iou`, 0 to 1.
pub fn average_precision(truth: &[Mark], found: &[Mark], iou: f64) -> f64 {
    let mut classes: Vec<usize> = truth.iter().map(|mark| mark.class).collect();
    classes.sort_unstable();
    classes.dedup();
    let of = |marks: &[Mark], class| -> Vec<Mark> {
        marks
            .iter()
            .filter(|mark| mark.class == class)
            .cloned()
            .collect()
    };
    let sum: f64 = classes
        .iter()
        .map(|&class| of_class(&of(truth, class), of(found, class), iou))
        .sum();
    sum / classes.len().max(1) as f64
}

/// Intersection over union.
pub fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let area = |[x0, y0, x1, y1]: [f64; 4]| (x1 - x0).max(0.0) * (y1 - y0).max(0.0);
    let both = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let either = area(a) + area(b) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

fn of_class(truth: &[Mark], mut found: Vec<Mark>, iou: f64) -> f64 {
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

/// The true box of the picture that overlaps most, where that is enough and nothing better has taken it.
fn best_match(truth: &[Mark], taken: &[bool], guess: &Mark, iou: f64) -> Option<usize> {
    let free = (0..truth.len()).filter(|&n| !taken[n] && truth[n].picture == guess.picture);
    free.map(|n| (n, overlap(truth[n].bounds, guess.bounds)))
        .filter(|(_, overlap)| *overlap >= iou)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(n, _)| n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(picture: u64, x: f64, score: f64) -> Mark {
        Mark {
            picture,
            class: 0,
            bounds: [x, 0.0, x + 10.0, 10.0],
            score,
        }
    }

    #[test]
    fn all_found_and_nothing_else_is_one() {
        let truth = [mark(1, 0.0, 1.0), mark(2, 5.0, 1.0)];
        let found = [mark(1, 1.0, 0.9), mark(2, 5.0, 0.8)];
        assert!((average_precision(&truth, &found, 0.5) - 1.0).abs() < 1e-9);
        assert!(
            average_precision(&truth, &found, 0.95) < 0.6,
            "one box is off by a tenth"
        );
    }

    #[test]
    fn a_better_scored_miss_halves_it_and_a_worse_one_costs_nothing() {
        let truth = [mark(1, 0.0, 1.0)];
        let miss = |score| [mark(1, 0.0, 0.5), mark(1, 50.0, score)];
        assert!((average_precision(&truth, &miss(0.9), 0.5) - 0.5).abs() < 1e-9);
        assert!((average_precision(&truth, &miss(0.1), 0.5) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_second_box_on_the_same_object_is_a_miss() {
        let truth = [mark(1, 0.0, 1.0), mark(2, 0.0, 1.0)];
        let found = [mark(1, 0.0, 0.9), mark(1, 1.0, 0.8), mark(2, 0.0, 0.7)];
        assert!(
            (average_precision(&truth, &found, 0.5) - (51.0 + 50.0 * 2.0 / 3.0) / 101.0).abs()
                < 1e-9
        );
    }

    #[test]
    fn nothing_found_is_zero() {
        assert!(average_precision(&[mark(1, 0.0, 1.0)], &[], 0.5).abs() < 1e-9);
    }
}
