//! How much of an object the picture shows.
//!
//! A thing that comes in or goes out is cut off by the picture's edge: it moves, and its box grows or shrinks, with one
//! side held at the edge. Boxes that move as a whole there are worth 2 points less on real streams at N = 4, and ghosts
//! of what has left hang on the edge for a second.

use super::place::Place;

/// A side this near to the picture's edge touches it.
const NEAR: f32 = 0.015;
/// A box at the edge that is this much of the full size is not cut off.
const WHOLE: f32 = 0.9;
/// Shares of the picture a second; what is slower does not leave.
const LEAVES: f32 = 0.03;

/// What is known of an object's extent.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// Width and height, as last seen away from the edges.
    full: [Option<f32>; 2],
    /// Which of x0, y0, x1, y1 are the picture's edge and not the object's.
    cut: [bool; 4],
}

impl Extent {
    /// The model sees the object there.
    pub(super) fn see(&mut self, seen: Place) {
        let [x0, y0, x1, y1] = seen.edges();
        let touches = [x0 < NEAR, y0 < NEAR, x1 > 1.0 - NEAR, y1 > 1.0 - NEAR];
        for (axis, size) in [seen.w, seen.h].into_iter().enumerate() {
            let (low, high) = (touches[axis], touches[axis + 2]);
            if !low && !high {
                self.full[axis] = Some(size);
            }
            let short = self.full[axis].is_none_or(|full| size < WHOLE * full);
            self.cut[axis] = low && short;
            self.cut[axis + 2] = high && short;
        }
    }

    /// The box with its cut sides at the picture's edge.
    pub(super) fn pin(&self, place: Place) -> Place {
        let [mut x0, mut y0, mut x1, mut y1] = place.edges();
        for (side, cut, edge) in [
            (&mut x0, self.cut[0], 0.0),
            (&mut y0, self.cut[1], 0.0),
            (&mut x1, self.cut[2], 1.0),
            (&mut y1, self.cut[3], 1.0),
        ] {
            if cut {
                *side = edge;
            }
        }
        Place::of([x0, y0, x1.max(x0), y1.max(y0)])
    }

    /// How far the object itself lies from where it was thought to be; a cut side says nothing of it.
    pub(super) fn error(&self, thought: Place, seen: Place) -> [f32; 2] {
        let (thought, seen) = (thought.edges(), seen.edges());
        [0, 1].map(|axis| {
            let low = seen[axis] - thought[axis];
            let high = seen[axis + 2] - thought[axis + 2];
            match (self.cut[axis], self.cut[axis + 2]) {
                (true, false) => high,
                (false, true) => low,
                _ => f32::midpoint(low, high),
            }
        })
    }

    /// Whether an object of this velocity is on its way out of the picture.
    pub(super) fn leaves(&self, [vx, vy]: [f32; 2]) -> bool {
        let outwards = [-vx, -vy, vx, vy];
        self.cut
            .iter()
            .zip(outwards)
            .any(|(&cut, speed)| cut && speed > LEAVES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sides_that_are_its_own_tell_how_an_object_moved() {
        let mut extent = Extent::default();
        let thought = Place::of([0.0, 0.4, 0.1, 0.6]);
        let seen = Place::of([0.0, 0.42, 0.14, 0.62]);
        extent.see(seen);
        let [dx, dy] = extent.error(thought, seen);
        assert!((dx - 0.04).abs() < 1e-6, "{dx}");
        assert!((dy - 0.02).abs() < 1e-6, "{dy}");
        let (thought, seen) = (
            Place::of([0.8, 0.4, 1.0, 0.6]),
            Place::of([0.85, 0.4, 1.0, 0.6]),
        );
        extent.see(seen);
        assert!((extent.error(thought, seen)[0] - 0.05).abs() < 1e-6);
    }

    #[test]
    fn an_object_leaves_over_the_side_that_is_cut() {
        let mut extent = Extent::default();
        extent.see(Place::of([0.3, 0.7, 0.5, 1.0]));
        assert!(extent.leaves([0.0, 0.1]));
        assert!(!extent.leaves([0.5, -0.1]), "it comes in");
        assert!(!extent.leaves([0.0, 0.01]), "it stays");
    }
}
