//! Which sides of a track's box are the picture's edge and not the object's.
//!
//! An object that enters or leaves is cut off by the picture's edge: it moves, and its box grows or shrinks, with one
//! side held at the edge. Boxes that move as a whole there are worth 2 points less on real streams at N = 4, and ghosts
//! of what has left hang on the edge for a second.

use protocol::geometry::BBox;

/// Largest distance from the picture's edge of a side that touches it.
const MAX_EDGE_DISTANCE: f32 = 0.015;
/// A box at the edge that is this much of the full size is not cut off.
const WHOLE_SHARE: f32 = 0.9;
/// Least speed of an object that leaves, in shares of the picture a second.
const MIN_EXIT_SPEED: f32 = 0.03;

/// What the picture's edge cuts off a track's box.
#[derive(Debug, Default)]
pub(super) struct EdgeClip {
    /// Width and height, as last detected away from the edges.
    full_size: [Option<f32>; 2],
    /// Which of x0, y0, x1, y1 are the picture's edge.
    cut: [bool; 4],
}

impl EdgeClip {
    /// Learns from a detection which sides are cut.
    pub(super) fn update(&mut self, detected: BBox) {
        let [x0, y0, x1, y1] = detected.edges();
        let far = 1.0 - MAX_EDGE_DISTANCE;
        let touches = [
            x0 < MAX_EDGE_DISTANCE,
            y0 < MAX_EDGE_DISTANCE,
            x1 > far,
            y1 > far,
        ];
        let sizes = [detected.width(), detected.height()];
        for (axis, size) in sizes.into_iter().enumerate() {
            let (low, high) = (touches[axis], touches[axis + 2]);
            if !low && !high {
                self.full_size[axis] = Some(size);
            }
            let short = self.full_size[axis].is_none_or(|full| size < WHOLE_SHARE * full);
            self.cut[axis] = low && short;
            self.cut[axis + 2] = high && short;
        }
    }

    /// Returns the box with its cut sides at the picture's edge.
    pub(super) fn apply(&self, bbox: BBox) -> BBox {
        let own = bbox.edges();
        let side = |n: usize, edge: f32| if self.cut[n] { edge } else { own[n] };
        let (x0, y0) = (side(0, 0.0), side(1, 0.0));
        let (x1, y1) = (side(2, 1.0), side(3, 1.0));
        BBox::new(x0, y0, x1.max(x0), y1.max(y0))
    }

    /// Returns how far the object itself lies from where it was expected; a cut side is left out.
    pub(super) fn error(&self, expected: BBox, detected: BBox) -> [f32; 2] {
        let (expected, detected) = (expected.edges(), detected.edges());
        [0, 1].map(|axis| {
            let low = detected[axis] - expected[axis];
            let high = detected[axis + 2] - expected[axis + 2];
            match (self.cut[axis], self.cut[axis + 2]) {
                (true, false) => high,
                (false, true) => low,
                _ => f32::midpoint(low, high),
            }
        })
    }

    /// Whether an object of this velocity is on its way out of the picture.
    pub(super) fn is_leaving(&self, [vx, vy]: [f32; 2]) -> bool {
        let outwards = [-vx, -vy, vx, vy];
        let mut sides = self.cut.iter().zip(outwards);
        sides.any(|(&cut, speed)| cut && speed > MIN_EXIT_SPEED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sides_that_are_its_own_tell_how_an_object_moved() {
        let mut clip = EdgeClip::default();
        let expected = BBox::new(0.0, 0.4, 0.1, 0.6);
        let detected = BBox::new(0.0, 0.42, 0.14, 0.62);
        clip.update(detected);
        let [dx, dy] = clip.error(expected, detected);
        assert!((dx - 0.04).abs() < 1e-6, "{dx}");
        assert!((dy - 0.02).abs() < 1e-6, "{dy}");
        let (expected, detected) = (
            BBox::new(0.8, 0.4, 1.0, 0.6),
            BBox::new(0.85, 0.4, 1.0, 0.6),
        );
        clip.update(detected);
        assert!((clip.error(expected, detected)[0] - 0.05).abs() < 1e-6);
    }

    #[test]
    fn an_object_leaves_over_the_side_that_is_cut() {
        let mut clip = EdgeClip::default();
        clip.update(BBox::new(0.3, 0.7, 0.5, 1.0));
        assert!(clip.is_leaving([0.0, 0.1]));
        assert!(!clip.is_leaving([0.5, -0.1]), "it comes in");
        assert!(!clip.is_leaving([0.0, 0.01]), "it stays");
    }
}
