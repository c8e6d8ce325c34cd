//! Which detection belongs to which track: greedy, the most similar first. It equals the Hungarian method here
//! (measured), and is shorter.

use protocol::detections::Detection;
use protocol::geometry::BBox;

/// Both boxes grow on each side by this share of their size before they are compared, so that what has moved by more
/// than itself still overlaps.
const GROWTH: f32 = 0.5;
/// Least overlap of the grown boxes.
const MIN_IOU: f32 = 0.1;
/// Weight of an overlap between different classes: an object that flips its class is followed, and two objects of
/// different classes that cross are not swapped.
const OTHER_CLASS_WEIGHT: f32 = 0.2;
/// Detections that overlap by more than this are one object under two class names.
const DUPLICATE_IOU: f32 = 0.65;

/// One object on an inferred frame: its best detection, and the others of the same object.
#[derive(Debug)]
pub(super) struct Observation<'a> {
    pub(super) best: &'a Detection,
    pub(super) duplicates: Vec<&'a Detection>,
}

impl Observation<'_> {
    /// Returns the box of the best detection.
    pub(super) fn bbox(&self) -> BBox {
        self.best.bbox
    }
}

/// Groups detections of at least `min_score` by object, the best first; one without area is dropped.
pub(super) fn observations(detections: &[Detection], min_score: f32) -> Vec<Observation<'_>> {
    let good = detections.iter().filter(|one| one.score >= min_score);
    let mut good: Vec<_> = good.collect();
    good.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut observed: Vec<Observation<'_>> = Vec::new();
    for detection in good {
        let is_duplicate =
            |other: &&mut Observation<'_>| other.bbox().iou(detection.bbox) > DUPLICATE_IOU;
        match observed.iter_mut().find(is_duplicate) {
            Some(other) => other.duplicates.push(detection),
            None if detection.bbox.area() > 0.0 => observed.push(Observation {
                best: detection,
                duplicates: Vec::new(),
            }),
            None => {}
        }
    }
    observed
}

/// Returns for each track, given by its box on the inferred frame and its class, the index of its observation.
pub(super) fn associate(
    tracks: &[(BBox, usize)],
    observed: &[Observation<'_>],
) -> Vec<Option<usize>> {
    let mut pairs = Vec::new();
    for (track, expected) in tracks.iter().enumerate() {
        for (index, observation) in observed.iter().enumerate() {
            let similarity = similarity(*expected, observation);
            if similarity >= MIN_IOU {
                pairs.push((similarity, track, index));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut partners = vec![None; tracks.len()];
    let mut taken = vec![false; observed.len()];
    for (_, track, index) in pairs {
        if partners[track].is_none() && !taken[index] {
            partners[track] = Some(index);
            taken[index] = true;
        }
    }
    partners
}

fn similarity((bbox, class): (BBox, usize), observation: &Observation<'_>) -> f32 {
    let grown = |bbox: BBox| bbox.scaled([1.0 + 2.0 * GROWTH; 2]);
    let overlap = grown(bbox).iou(grown(observation.bbox()));
    if class == observation.best.class {
        overlap
    } else {
        OTHER_CLASS_WEIGHT * overlap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(x: f32, score: f32) -> Detection {
        Detection {
            id: None,
            class: 0,
            label: "class 0".to_owned(),
            score,
            fading: false,
            bbox: [x, 0.4, x + 0.1, 0.6].into(),
        }
    }

    fn track(x: f32) -> (BBox, usize) {
        (detection(x, 1.0).bbox, 0)
    }

    #[test]
    fn the_most_alike_are_partners_and_nobody_is_the_partner_of_two() {
        let detections = [detection(0.34, 0.9), detection(0.46, 0.8)];
        let observed = observations(&detections, 0.25);
        // The first one is near enough to both, and nearer to the second.
        let tracks = [track(0.27), track(0.35), track(0.46)];
        assert_eq!(associate(&tracks, &observed), [None, Some(0), Some(1)]);
        assert_eq!(associate(&tracks[..1], &observed), [Some(0)]);
    }

    #[test]
    fn the_best_detection_of_a_thing_is_its_place_and_a_flat_one_is_nothing() {
        let flat = Detection {
            bbox: [0.1, 0.4, 0.1, 0.6].into(),
            ..detection(0.1, 0.9)
        };
        let detections = [detection(0.3, 0.5), flat, detection(0.305, 0.7)];
        let observed = observations(&detections, 0.25);
        assert_eq!(observed.len(), 1);
        assert_eq!(
            (observed[0].best, &observed[0].duplicates[..]),
            (&detections[2], &[&detections[0]][..])
        );
    }
}
