//! Which detection is which object: greedy, the most alike first. It equals the Hungarian method here (measured), and is
//! shorter.

use protocol::detections::Detection;

use super::place::Place;

/// Both boxes grow on each side by this share of their size before they are compared, so that what has moved by more
/// than itself still overlaps.
const GROWN: f32 = 0.5;
/// Least overlap of the grown boxes.
const LEAST: f32 = 0.1;
/// What an overlap counts where the classes differ: a thing that flips its class is followed, and two things of
/// different classes that cross are not swapped.
const OTHER_CLASS: f32 = 0.2;
/// Detections that overlap by more than this are one thing under two names.
const SAME: f32 = 0.65;

/// One thing on an inferred frame, as the model sees it: the best detection, and what else it takes the thing for.
#[derive(Debug)]
pub(super) struct Sighting<'a> {
    pub(super) place: Place,
    pub(super) best: &'a Detection,
    pub(super) doubles: Vec<&'a Detection>,
}

/// The things that detections of at least the score `keep` show, the best first.
pub(super) fn sightings(found: &[Detection], keep: f32) -> Vec<Sighting<'_>> {
    let mut found: Vec<_> = found.iter().filter(|one| one.score >= keep).collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut seen: Vec<Sighting<'_>> = Vec::new();
    for best in found {
        let place = Place::of(best.bbox.edges());
        let same = seen
            .iter_mut()
            .find(|other| other.place.overlap(place) > SAME);
        match same {
            Some(other) => other.doubles.push(best),
            // What has no area is nowhere.
            None if place.w > 0.0 && place.h > 0.0 => seen.push(Sighting {
                place,
                best,
                doubles: Vec::new(),
            }),
            None => {}
        }
    }
    seen
}

/// For each object, given by its place at the inferred frame and its class, the number of its sighting.
pub(super) fn associate(objects: &[(Place, usize)], seen: &[Sighting<'_>]) -> Vec<Option<usize>> {
    let mut pairs = Vec::new();
    for (object, expected) in objects.iter().enumerate() {
        for (sighting, one) in seen.iter().enumerate() {
            let alike = alike(*expected, one);
            if alike >= LEAST {
                pairs.push((alike, object, sighting));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut partners = vec![None; objects.len()];
    let mut taken = vec![false; seen.len()];
    for (_, object, sighting) in pairs {
        if partners[object].is_none() && !taken[sighting] {
            partners[object] = Some(sighting);
            taken[sighting] = true;
        }
    }
    partners
}

fn alike((place, class): (Place, usize), seen: &Sighting<'_>) -> f32 {
    let grown = |place: Place| place.scaled([1.0 + 2.0 * GROWN; 2]);
    let overlap = grown(place).overlap(grown(seen.place));
    if class == seen.best.class {
        overlap
    } else {
        OTHER_CLASS * overlap
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
            bbox: [x, 0.4, x + 0.1, 0.6].into(),
        }
    }

    fn object(x: f32) -> (Place, usize) {
        (Place::of(detection(x, 1.0).bbox.edges()), 0)
    }

    #[test]
    fn the_most_alike_are_partners_and_nobody_is_the_partner_of_two() {
        let found = [detection(0.34, 0.9), detection(0.46, 0.8)];
        let seen = sightings(&found, 0.25);
        // The first one is near enough to both, and nearer to the second.
        let objects = [object(0.27), object(0.35), object(0.46)];
        assert_eq!(associate(&objects, &seen), [None, Some(0), Some(1)]);
        assert_eq!(associate(&objects[..1], &seen), [Some(0)]);
    }

    #[test]
    fn the_best_detection_of_a_thing_is_its_place_and_a_flat_one_is_nothing() {
        let flat = Detection {
            bbox: [0.1, 0.4, 0.1, 0.6].into(),
            ..detection(0.1, 0.9)
        };
        let found = [detection(0.3, 0.5), flat, detection(0.305, 0.7)];
        let seen = sightings(&found, 0.25);
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (seen[0].best, &seen[0].doubles[..]),
            (&found[2], &[&found[0]][..])
        );
    }
}
