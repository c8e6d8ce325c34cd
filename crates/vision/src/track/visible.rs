//! How much of a box is visible: beside another box, and in the picture. Pure geometry.

use protocol::geometry::BBox;

/// Returns the largest strip of a box that another one leaves uncovered.
pub(super) fn uncovered(bbox: BBox, by: BBox) -> BBox {
    let BBox { x0, y0, x1, y1 } = bbox;
    if by.x0 >= x1 || by.x1 <= x0 || by.y0 >= y1 || by.y1 <= y0 {
        return bbox;
    }
    let strips = [
        BBox::new(x0, y0, by.x0.max(x0), y1),
        BBox::new(by.x1.min(x1), y0, x1, y1),
        BBox::new(x0, y0, x1, by.y0.max(y0)),
        BBox::new(x0, by.y1.min(y1), x1, y1),
    ];
    let larger = |a: BBox, b: BBox| if b.area() > a.area() { b } else { a };
    strips.into_iter().fold(strips[0], larger)
}

/// Returns the share of a box that lies in the picture; 0 for a box without area.
pub(super) fn share_in_picture(bbox: BBox) -> f32 {
    let inside = bbox.intersection(BBox::PICTURE);
    if inside > 0.0 {
        inside / bbox.area()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_another_box_the_largest_strip_is_left() {
        let bbox = BBox::new(0.2, 0.2, 0.6, 0.4);
        for (other, strip) in [
            ([0.3, 0.1, 0.9, 0.9], [0.2, 0.2, 0.3, 0.4]),
            ([0.1, 0.1, 0.3, 0.9], [0.3, 0.2, 0.6, 0.4]),
            ([0.1, 0.25, 0.9, 0.9], [0.2, 0.2, 0.6, 0.25]),
            ([0.1, 0.1, 0.9, 0.3], [0.2, 0.3, 0.6, 0.4]),
            ([0.7, 0.2, 0.9, 0.4], [0.2, 0.2, 0.6, 0.4]),
        ] {
            let near = |(a, b): (f32, f32)| (a - b).abs() < 1e-6;
            let left = uncovered(bbox, other.into()).edges();
            assert!(left.into_iter().zip(strip).all(near), "{other:?}: {left:?}");
        }
        assert!(uncovered(bbox, BBox::PICTURE).area() < 1e-6);
    }

    #[test]
    fn what_lies_outside_is_cut_off() {
        let bbox = BBox::new(0.0, 0.2, 0.4, 0.6).moved([-0.1, 0.0]);
        let clipped = bbox.clipped();
        assert!(clipped.x0.abs() < 1e-6 && (clipped.x1 - 0.3).abs() < 1e-6);
        assert!((share_in_picture(bbox) - 0.75).abs() < 1e-6);
        assert!(share_in_picture(bbox.moved([-1.0, 0.0])).abs() < 1e-6);
    }
}
