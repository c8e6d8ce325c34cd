//! Where a box is, and how two boxes lie to each other. Pure geometry.

/// A box by its centre and its size, in shares of the picture's width and height; parts of it may lie outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Centre, from the left edge.
    pub x: f32,
    /// Centre, from the top edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

impl Place {
    /// The place of a detection's `[x0, y0, x1, y1]`.
    pub fn of([x0, y0, x1, y1]: [f32; 4]) -> Self {
        Self {
            x: f32::midpoint(x0, x1),
            y: f32::midpoint(y0, y1),
            w: x1 - x0,
            h: y1 - y0,
        }
    }

    /// `[x0, y0, x1, y1]`, as far as it lies in the picture.
    pub fn bounds(self) -> [f32; 4] {
        self.edges().map(|edge| edge.clamp(0.0, 1.0))
    }

    /// `[x0, y0, x1, y1]`, wherever they are.
    pub(super) fn edges(self) -> [f32; 4] {
        let (w, h) = (self.w / 2.0, self.h / 2.0);
        [self.x - w, self.y - h, self.x + w, self.y + h]
    }

    /// Scaled around its centre.
    pub(super) fn scaled(self, factor: [f32; 2]) -> Self {
        Self {
            w: factor[0] * self.w,
            h: factor[1] * self.h,
            ..self
        }
    }

    /// Moved by shares of the picture.
    pub(super) fn moved(self, [dx, dy]: [f32; 2]) -> Self {
        Self {
            x: self.x + dx,
            y: self.y + dy,
            ..self
        }
    }

    /// Intersection over union.
    pub(super) fn overlap(self, other: Self) -> f32 {
        let both = common(self.edges(), other.edges());
        let either = self.w * self.h + other.w * other.h - both;
        if either > 0.0 { both / either } else { 0.0 }
    }

    /// The largest part of it beside another box.
    pub(super) fn beside(self, other: Self) -> Self {
        let [x0, y0, x1, y1] = self.edges();
        let [a0, b0, a1, b1] = other.edges();
        if a0 >= x1 || a1 <= x0 || b0 >= y1 || b1 <= y0 {
            return self;
        }
        let parts = [
            [x0, y0, a0.max(x0), y1],
            [a1.min(x1), y0, x1, y1],
            [x0, y0, x1, b0.max(y0)],
            [x0, b1.min(y1), x1, y1],
        ];
        let parts = parts.map(Self::of);
        let larger = |a: Self, b: Self| if b.w * b.h > a.w * a.h { b } else { a };
        parts.into_iter().fold(parts[0], larger)
    }

    /// The share of it that lies in the picture.
    pub(super) fn inside(self) -> f32 {
        let inside = common(self.edges(), [0.0, 0.0, 1.0, 1.0]);
        if inside > 0.0 {
            inside / (self.w * self.h)
        } else {
            0.0
        }
    }
}

/// The area that two boxes share.
fn common(a: [f32; 4], b: [f32; 4]) -> f32 {
    let w = a[2].min(b[2]) - a[0].max(b[0]);
    let h = a[3].min(b[3]) - a[1].max(b[1]);
    w.max(0.0) * h.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_box_beside_itself_is_a_third() {
        let place = Place::of([0.2, 0.2, 0.4, 0.6]);
        assert!((place.overlap(place.moved([0.1, 0.0])) - 1.0 / 3.0).abs() < 1e-6);
        assert!(place.overlap(place.moved([0.2, 0.0])) < 1e-6);
    }

    #[test]
    fn beside_another_box_the_largest_strip_is_left() {
        let place = Place::of([0.2, 0.2, 0.6, 0.4]);
        let left = |other: [f32; 4]| place.beside(Place::of(other)).bounds();
        for (other, strip) in [
            ([0.3, 0.1, 0.9, 0.9], [0.2, 0.2, 0.3, 0.4]),
            ([0.1, 0.1, 0.3, 0.9], [0.3, 0.2, 0.6, 0.4]),
            ([0.1, 0.25, 0.9, 0.9], [0.2, 0.2, 0.6, 0.25]),
            ([0.1, 0.1, 0.9, 0.3], [0.2, 0.3, 0.6, 0.4]),
            ([0.7, 0.2, 0.9, 0.4], [0.2, 0.2, 0.6, 0.4]),
        ] {
            let near = |(a, b): (f32, f32)| (a - b).abs() < 1e-6;
            let found = left(other);
            assert!(
                found.into_iter().zip(strip).all(near),
                "{other:?}: {found:?}"
            );
        }
        let covered = place.beside(Place::of([0.0, 0.0, 1.0, 1.0]));
        assert!(covered.w * covered.h < 1e-6);
    }

    #[test]
    fn what_lies_outside_is_cut_off() {
        let place = Place::of([0.0, 0.2, 0.4, 0.6]).moved([-0.1, 0.0]);
        let [x0, _, x1, _] = place.bounds();
        assert!(x0.abs() < 1e-6 && (x1 - 0.3).abs() < 1e-6);
        assert!((place.inside() - 0.75).abs() < 1e-6);
        assert!(place.moved([-1.0, 0.0]).inside().abs() < 1e-6);
    }
}
