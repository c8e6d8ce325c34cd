//! Places of things that stood still when they were last seen. A parked car that the model misses for a minute is no new
//! event when it is found again; it is one when it moves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::geometry::BBox;

/// Most places of a camera: the one that was seen longest ago gives way.
const MAX_PLACES: usize = 32;
/// Time for which a place is remembered after the thing was last seen there.
const MEMORY: Duration = Duration::from_secs(3600);
/// Least overlap of a thing with its place.
const SAME_PLACE: f32 = 0.5;
/// Speed below which a thing stands still, in shares of the picture a second: a box's own noise is less.
const STILL_SPEED: f32 = 0.03;

/// The places of one camera.
#[derive(Debug, Default)]
pub(super) struct StillPlaces(VecDeque<Place>);

#[derive(Debug)]
struct Place {
    label: String,
    bbox: BBox,
    seen: Instant,
}

impl StillPlaces {
    /// Remembers a thing that is gone, if it stood still.
    pub(super) fn remember(&mut self, label: &str, bbox: BBox, velocity: [f32; 2], seen: Instant) {
        if velocity[0].hypot(velocity[1]) >= STILL_SPEED || self.recognises(label, bbox, seen) {
            return;
        }
        if self.0.len() == MAX_PLACES {
            let oldest = (0..MAX_PLACES).min_by_key(|&index| self.0[index].seen);
            oldest.and_then(|index| self.0.remove(index));
        }
        let label = label.to_owned();
        self.0.push_back(Place { label, bbox, seen });
    }

    /// Returns whether a thing is at the place where one of its label stood still, and notes that it was seen there.
    pub(super) fn recognises(&mut self, label: &str, bbox: BBox, now: Instant) -> bool {
        self.0
            .retain(|place| now.saturating_duration_since(place.seen) < MEMORY);
        let of_thing =
            |place: &&mut Place| place.label == label && place.bbox.iou(bbox) >= SAME_PLACE;
        match self.0.iter_mut().find(of_thing) {
            Some(place) => {
                place.seen = place.seen.max(now);
                true
            }
            None => false,
        }
    }

    /// Forgets all places.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAR: BBox = BBox::new(0.2, 0.4, 0.5, 0.7);

    #[test]
    fn a_thing_is_known_at_its_place_for_an_hour_and_nowhere_else() {
        let now = testkit::time::start();
        let mut places = StillPlaces::default();
        places.remember("car", CAR, [0.01, 0.0], now);
        places.remember("dog", CAR, [0.1, 0.0], now);
        let later = |minutes: u64| now + Duration::from_secs(60 * minutes);
        assert!(places.recognises("car", CAR.moved([0.05, 0.0]), later(40)));
        assert!(!places.recognises("car", CAR.moved([0.2, 0.0]), later(40)));
        assert!(!places.recognises("dog", CAR, later(1)), "it ran");
        assert!(places.recognises("car", CAR, later(90)), "seen since");
        assert!(!places.recognises("car", CAR, later(151)));
    }

    #[test]
    fn the_place_that_was_seen_longest_ago_gives_way() {
        let now = testkit::time::start();
        let mut places = StillPlaces::default();
        let place = |n: usize| BBox::new(0.03 * n as f32, 0.0, 0.03 * n as f32 + 0.02, 0.1);
        for n in 0..40 {
            let at = now + Duration::from_secs(n as u64);
            places.remember("car", place(n % 33), [0.0; 2], at);
        }
        assert_eq!(places.0.len(), MAX_PLACES);
        let soon = now + Duration::from_secs(40);
        assert!(places.recognises("car", place(32), soon));
    }
}
