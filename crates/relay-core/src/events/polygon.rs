//! Parts of the picture with corners, and where an object stands in the picture. Pure geometry.

use protocol::geometry::BBox;

/// Most corners of a polygon: more than an outline drawn by hand has, and cheap to walk for each box.
pub const MAX_CORNERS: usize = 64;
/// Distance from the picture's edges within which a point counts as just inside them: an object that the lower edge cuts
/// stands exactly on it, and a polygon that reaches the edge is meant to hold it.
const EDGE: f32 = 1e-3;

/// A polygon in shares of the picture's width and height, origin top left.
#[derive(Debug, Clone, PartialEq)]
pub struct Polygon(Vec<[f32; 2]>);

/// Why corners are not a [`Polygon`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPolygon {
    /// Fewer than three corners, or more than [`MAX_CORNERS`].
    #[error("a polygon has 3 to {MAX_CORNERS} corners, [[x, y], [x, y], [x, y]]; this one has {0}")]
    Corners(usize),
    /// A coordinate that is not a share of the picture.
    #[error(
        "the corners of a polygon are shares of the picture, 0 to 1; divide pixels by its width and height"
    )]
    Range,
}

impl Polygon {
    /// Returns the polygon with these corners; the last one is joined to the first.
    ///
    /// # Errors
    /// [`BadPolygon`].
    pub fn new(corners: Vec<[f32; 2]>) -> Result<Self, BadPolygon> {
        let inside = |x: &f32| (0.0..=1.0).contains(x);
        match () {
            () if !(3..=MAX_CORNERS).contains(&corners.len()) => {
                Err(BadPolygon::Corners(corners.len()))
            }
            () if !corners.iter().flatten().all(inside) => Err(BadPolygon::Range),
            () => Ok(Self(corners)),
        }
    }

    /// Returns whether an object with this box stands in the polygon.
    pub fn holds(&self, bbox: BBox) -> bool {
        let [x, y] = standing_point(bbox).map(|x| x.clamp(EDGE, 1.0 - EDGE));
        let mut inside = false;
        let mut previous = self.0[self.0.len() - 1];
        for &corner in &self.0 {
            let ([x0, y0], [x1, y1]) = (previous, corner);
            // A ray to the right crosses this side.
            if (y0 > y) != (y1 > y) && x < x0 + (y - y0) * (x1 - x0) / (y1 - y0) {
                inside = !inside;
            }
            previous = corner;
        }
        inside
    }
}

/// Returns where an object stands: the middle of its box's lower side.
fn standing_point(bbox: BBox) -> [f32; 2] {
    [f32::midpoint(bbox.x0, bbox.x1), bbox.y1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing_at(x: f32, y: f32) -> BBox {
        BBox::new(x - 0.1, y - 0.4, x + 0.1, y)
    }

    #[test]
    fn an_object_is_where_the_middle_of_its_lower_side_is() {
        let square = vec![[0.5, 0.5], [0.9, 0.5], [0.9, 0.9], [0.5, 0.9]];
        let square = Polygon::new(square).unwrap();
        for (x, y, inside) in [
            (0.7, 0.7, true),
            (0.55, 0.89, true),
            (0.45, 0.7, false),
            (0.7, 0.95, false),
            // Its box overlaps the square, its foot does not.
            (0.7, 0.45, false),
        ] {
            assert_eq!(square.holds(standing_at(x, y)), inside, "{x} {y}");
        }
    }

    #[test]
    fn a_hollow_side_is_outside() {
        let arrow = vec![[0.1, 0.1], [0.9, 0.5], [0.1, 0.9], [0.4, 0.5]];
        let arrow = Polygon::new(arrow).unwrap();
        assert!(arrow.holds(standing_at(0.5, 0.5)));
        assert!(!arrow.holds(standing_at(0.2, 0.5)));
    }

    #[test]
    fn what_the_pictures_edge_cuts_is_in_a_polygon_that_reaches_the_edge() {
        let lower = vec![[0.0, 0.6], [1.0, 0.6], [1.0, 1.0], [0.0, 1.0]];
        let lower = Polygon::new(lower).unwrap();
        for (x, y) in [(0.5, 1.0), (0.0, 1.0), (1.0, 0.8)] {
            assert!(lower.holds(standing_at(x, y)), "{x} {y}");
        }
    }

    #[test]
    fn corners_that_are_pixels_or_too_few_are_refused() {
        let why = |corners| Polygon::new(corners).unwrap_err();
        assert_eq!(why(vec![[0.0, 0.0], [1.0, 1.0]]), BadPolygon::Corners(2));
        assert_eq!(why(vec![[0.5, 0.5]; 65]), BadPolygon::Corners(65));
        let pixels = vec![[0.0, 0.0], [300.0, 0.0], [0.0, 1.0]];
        assert_eq!(why(pixels), BadPolygon::Range);
        assert_eq!(why(vec![[f32::NAN, 0.0]; 3]), BadPolygon::Range);
    }
}
