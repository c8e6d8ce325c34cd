//! Whether a new track is an object that was seen before: by place, size and label. Pure.

use protocol::geometry::BBox;

/// Distance from the picture's edge within which a box is cut by it.
const EDGE: f32 = 0.01;
/// Distance of the centres, in diagonals of the box, that is explained without time.
const NEAR: f32 = 0.5;
/// Speed of an object that nothing shows, in shares of the picture a second, beside its own.
const DRIFT: f32 = 0.12;
/// Share of its own way by which an object that turned may be elsewhere.
const TURN: f32 = 0.5;
/// Longest time for which an unseen object is taken to move on.
const CARRY: f32 = 2.0;
/// Largest ratio of two sides of one object: people bend and cars turn.
const RATIO: f32 = 2.0;
/// The same where the picture's edge cuts one of the boxes.
const CUT_RATIO: f32 = 5.0;
/// Longest time in which an object is joined whatever its label, if it did not move.
const RELABEL_TIME: f32 = 1.0;
/// Least overlap of that.
const RELABEL_IOU: f32 = 0.5;
/// Speed towards the edge, in shares of the picture a second, from which an object is about to leave: a box's own noise is
/// less.
const LEAVING_SPEED: f32 = 0.04;
/// Time in which an object at that speed reaches the edge: an object is cut more and more, and the model loses it before.
const LEAVING_TIME: f32 = 0.5;
/// Longest time in which an object that was about to leave may have been seen at the edge again.
const LEFT_TIME: f32 = 2.0;

/// An object where it was last seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sight<'a> {
    pub(super) label: &'a str,
    pub(super) bbox: BBox,
    /// In shares of the picture a second.
    pub(super) velocity: [f32; 2],
}

/// Returns how unlike a new box is to an object that was seen `gap` seconds ago, from 0 to 1; `None` if it is another one.
pub(super) fn unlikeness(known: Sight<'_>, label: &str, bbox: BBox, gap: f32) -> Option<f32> {
    let relabelled = gap <= RELABEL_TIME && known.bbox.iou(bbox) >= RELABEL_IOU;
    let is_same_label = known.label == label;
    if !is_same_label && !relabelled || has_left(known) && gap > LEFT_TIME {
        return None;
    }
    let limit = match is_cut(known.bbox) || is_cut(bbox) {
        true => CUT_RATIO,
        false => RATIO,
    };
    let sides = [
        (known.bbox.width(), bbox.width()),
        (known.bbox.height(), bbox.height()),
    ];
    let fits = |(a, b): (f32, f32)| a.max(b) <= limit * a.min(b);
    if !sides.into_iter().all(fits) {
        return None;
    }
    let diagonal = bbox.width().hypot(bbox.height());
    let [vx, vy] = known.velocity;
    // It may have turned on its way.
    let turned = TURN * vx.hypot(vy) * gap.min(CARRY);
    let allowed = NEAR * diagonal + DRIFT * gap + turned;
    let carried = known.velocity.map(|v| v * gap.min(CARRY));
    // It may have gone on, or have waited where it was.
    let distance = distance(known.bbox.moved(carried), bbox).min(distance(known.bbox, bbox));
    let unlike = distance / allowed.max(f32::MIN_POSITIVE);
    (unlike <= 1.0).then_some(unlike)
}

/// Returns the number of the picture's edges that cut a box.
pub(super) fn cut_edges(bbox: BBox) -> u32 {
    let [x0, y0, x1, y1] = bbox.edges();
    let cut = [x0 <= EDGE, y0 <= EDGE, x1 >= 1.0 - EDGE, y1 >= 1.0 - EDGE];
    cut.into_iter().map(u32::from).sum()
}

fn is_cut(bbox: BBox) -> bool {
    cut_edges(bbox) > 0
}

/// Returns whether the object was on its way out of the picture, and nearly there.
fn has_left(known: Sight<'_>) -> bool {
    let ([x0, y0, x1, y1], [vx, vy]) = (known.bbox.edges(), known.velocity);
    // The distances to the edges, and the speeds towards them.
    let ways = [(x0, -vx), (y0, -vy), (1.0 - x1, vx), (1.0 - y1, vy)];
    ways.into_iter()
        .any(|(distance, speed)| speed > LEAVING_SPEED && distance <= EDGE + speed * LEAVING_TIME)
}

fn distance(a: BBox, b: BBox) -> f32 {
    let ([ax, ay], [bx, by]) = (a.centre(), b.centre());
    (ax - bx).hypot(ay - by)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: BBox = BBox::new(0.3, 0.3, 0.4, 0.6);

    fn person(bbox: BBox, velocity: [f32; 2]) -> Sight<'static> {
        Sight {
            label: "person",
            bbox,
            velocity,
        }
    }

    #[test]
    fn what_went_on_behind_a_tree_or_waited_there_is_the_same() {
        let walking = person(BOX, [0.15, 0.0]);
        let seen = |by: f32| unlikeness(walking, "person", BOX.moved([by, 0.0]), 2.0);
        assert!(seen(0.3).is_some_and(|unlike| unlike < 0.1), "it went on");
        assert!(seen(0.0).is_some_and(|unlike| unlike < 0.1), "it waited");
        assert_eq!(seen(-0.65), None, "it was never there");
    }

    #[test]
    fn another_size_or_label_is_another_object() {
        let standing = person(BOX, [0.0; 2]);
        let large = BOX.scaled([2.5, 1.0]);
        assert_eq!(unlikeness(standing, "person", large, 1.5), None);
        assert_eq!(unlikeness(standing, "dog", BOX, 1.5), None);
        let soon = unlikeness(standing, "dog", BOX, 0.4);
        assert!(soon.is_some(), "the model changed its mind");
    }

    #[test]
    fn what_left_the_picture_is_not_what_comes_in_there_later() {
        let at_edge = BBox::new(0.9, 0.3, 1.0, 0.6);
        let leaving = person(at_edge, [0.3, 0.0]);
        assert_eq!(unlikeness(leaving, "person", at_edge, 2.1), None);
        assert!(unlikeness(leaving, "person", at_edge, 0.5).is_some());
        let nearly = person(at_edge.moved([-0.1, 0.0]), [0.3, 0.0]);
        assert_eq!(unlikeness(nearly, "person", at_edge, 2.1), None);
        let standing = person(at_edge, [0.0; 2]);
        assert!(unlikeness(standing, "person", at_edge, 2.0).is_some());
    }
}
