//! Scores of the boxes on a stream, against the ground truth of each frame.
//!
//! On each frame true and shown boxes of the same class with an IoU of at least one half are paired, the highest IoU first.
//! *F1* is the share of pairs among all boxes, true and shown. An object *flickers* when it is paired on a frame and was
//! not on the one before, or the other way round; the changes of all objects are counted together, by seconds of the
//! stream. The class and id of an object are those of the box that overlaps with it, whatever its class: *relabelled* and
//! *switched* count their changes.

mod recording;

use std::collections::BTreeMap;
use std::iter::Sum;

use protocol::geometry::BBox;
use serde_json::Value;

pub use self::recording::{Recording, Scores};

/// Lowest IoU of a box and its object.
const MIN_IOU: f32 = 0.5;
/// Longest way of an object of a generated scene from frame to frame, in pixels.
const LONGEST_STEP: f32 = 25.0;

/// A box on a frame, true or shown.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectBox {
    /// Id of the object or of the track, if one is known.
    pub id: Option<u64>,
    /// Number of the class.
    pub class: usize,
    /// Place in the picture.
    pub bbox: BBox,
}

impl ObjectBox {
    /// Parses a list of boxes as the programs write it: in a detections message, in `--shown` and in `--demo-truth`.
    ///
    /// # Panics
    /// With the list, if it is not one of boxes.
    pub fn parse_list(list: &Value) -> Vec<Self> {
        let read = |one: &Value| {
            let edges = one["box"].as_array()?;
            let edge = |n: usize| Some(edges.get(n)?.as_f64()? as f32);
            Some(Self {
                id: one["id"].as_u64(),
                class: usize::try_from(one["class"].as_u64()?).ok()?,
                bbox: BBox::new(edge(0)?, edge(1)?, edge(2)?, edge(3)?),
            })
        };
        let all = list.as_array().map(|all| all.iter().map(read).collect());
        all.flatten()
            .unwrap_or_else(|| panic!("not a list of boxes: {list}"))
    }
}

/// Counts of one stream, or the sum of several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    pairs: f64,
    boxes: f64,
    flickers: f64,
    seconds: f64,
    /// Number of changes of an object's class.
    pub relabelled: f64,
    /// Number of changes of an object's id.
    pub switched: f64,
}

impl Score {
    /// Returns the harmonic mean of precision and recall, 0 to 1; NaN without a box.
    pub fn f1(&self) -> f64 {
        2.0 * self.pairs / self.boxes
    }

    /// Returns the changes a second of all objects together.
    pub fn flicker(&self) -> f64 {
        self.flickers / self.seconds
    }
}

impl Sum for Score {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            pairs: a.pairs + b.pairs,
            boxes: a.boxes + b.boxes,
            flickers: a.flickers + b.flickers,
            seconds: a.seconds + b.seconds,
            relabelled: a.relabelled + b.relabelled,
            switched: a.switched + b.switched,
        })
    }
}

/// Scores the boxes shown on each frame, at `fps` frames a second, against the true ones.
///
/// # Panics
/// If a true box has no id: [`assign_ids`] sets them.
pub fn evaluate(truth: &[Vec<ObjectBox>], shown: &[Vec<ObjectBox>], fps: f64) -> Score {
    let mut score = Score {
        seconds: truth.len() as f64 / fps,
        ..Score::default()
    };
    let (mut on, mut classes, mut ids) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (truth, shown) in truth.iter().zip(shown) {
        score.boxes += (truth.len() + shown.len()) as f64;
        let pairs = pairs(truth, shown, |a, b| a.class == b.class);
        score.pairs += pairs.iter().flatten().count() as f64;
        for (object, pair) in truth.iter().zip(pairs) {
            score.flickers += change(&mut on, object, pair.is_some());
        }
        for (object, pair) in truth.iter().zip(self::pairs(truth, shown, |_, _| true)) {
            let Some(found) = pair else { continue };
            score.relabelled += change(&mut classes, object, found.class);
            score.switched += change(&mut ids, object, found.id);
        }
    }
    score
}

/// Sets the ids of the objects of a generated scene, whose truth, of all frames in a row, has none. Class and place tell
/// one object from another; `size` is the picture's in pixels.
pub fn assign_ids(truth: &mut [Vec<ObjectBox>], size: [f32; 2]) {
    struct Object {
        class: usize,
        centre: [f32; 2],
        /// Index of the last frame that has it.
        frame: usize,
    }
    let mut objects: Vec<Object> = Vec::new();
    for (frame, boxes) in truth.iter_mut().enumerate() {
        for found in boxes {
            let [x, y] = found.bbox.centre();
            let centre = [x * size[0], y * size[1]];
            let distance = |object: &Object| {
                (object.centre[0] - centre[0]).hypot(object.centre[1] - centre[1])
            };
            let known = (0..objects.len())
                .filter(|&n| objects[n].class == found.class && objects[n].frame < frame)
                .filter(|&n| {
                    distance(&objects[n]) < LONGEST_STEP * (frame - objects[n].frame) as f32
                })
                .min_by(|&a, &b| distance(&objects[a]).total_cmp(&distance(&objects[b])));
            let object = Object {
                class: found.class,
                centre,
                frame,
            };
            let id = known.unwrap_or(objects.len());
            found.id = Some(id as u64);
            match known {
                Some(known) => objects[known] = object,
                None => objects.push(object),
            }
        }
    }
}

/// Returns 1 if a property of an object has another value than when it was last known, else 0.
fn change<T: PartialEq>(last: &mut BTreeMap<u64, T>, object: &ObjectBox, now: T) -> f64 {
    let id = object.id.expect("a true box has an id");
    let changed = last.get(&id).is_some_and(|old| *old != now);
    last.insert(id, now);
    f64::from(u8::from(changed))
}

/// Returns the shown box that is paired with each true one.
fn pairs<'a>(
    truth: &[ObjectBox],
    shown: &'a [ObjectBox],
    may: impl Fn(&ObjectBox, &ObjectBox) -> bool,
) -> Vec<Option<&'a ObjectBox>> {
    let mut all = Vec::new();
    for (t, object) in truth.iter().enumerate() {
        let near = shown.iter().enumerate().filter(|(_, one)| may(object, one));
        all.extend(near.map(|(s, one)| (object.bbox.iou(one.bbox), t, s)));
    }
    all.retain(|(iou, ..)| *iou >= MIN_IOU);
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut free: Vec<Option<&ObjectBox>> = shown.iter().map(Some).collect();
    let mut pairs = vec![None; truth.len()];
    for (_, t, s) in all {
        if pairs[t].is_none() {
            pairs[t] = free[s].take();
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A fifth of the picture, of class 0, whose left side is at `x`.
    fn at(id: u64, x: f32) -> ObjectBox {
        ObjectBox {
            id: Some(id),
            class: 0,
            bbox: BBox::new(x, 0.0, x + 0.2, 0.2),
        }
    }

    fn another(class: usize, shown: ObjectBox) -> ObjectBox {
        ObjectBox { class, ..shown }
    }

    #[track_caller]
    fn same(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn every_true_box_and_no_other_is_one_and_half_of_them_two_thirds() {
        let truth = [vec![at(1, 0.0), at(2, 0.5)]];
        same(evaluate(&truth, &truth, 10.0).f1(), 1.0);
        same(evaluate(&truth, &[vec![at(1, 0.0)]], 10.0).f1(), 2.0 / 3.0);
        same(evaluate(&truth, &[Vec::new()], 10.0).f1(), 0.0);
    }

    #[test]
    fn a_box_counts_from_half_an_overlap_on_where_its_class_is_right() {
        let truth = [vec![at(1, 0.0)]];
        let f1 = |shown| evaluate(&truth, &[vec![shown]], 10.0).f1();
        same(f1(at(7, 0.06)), 1.0);
        same(f1(at(7, 0.07)), 0.0);
        same(f1(another(3, at(7, 0.0))), 0.0);
    }

    #[test]
    fn a_second_box_on_a_thing_is_a_wrong_one() {
        let truth = [vec![at(1, 0.0)]];
        let shown = [vec![at(1, 0.0), at(9, 0.01)]];
        same(evaluate(&truth, &shown, 10.0).f1(), 2.0 / 3.0);
    }

    #[test]
    fn a_box_on_two_things_is_on_one_of_them() {
        let truth = [vec![at(1, 0.0), at(2, 0.05)]];
        same(evaluate(&truth, &[vec![at(1, 0.02)]], 10.0).f1(), 2.0 / 3.0);
    }

    #[test]
    fn the_most_alike_belong_together_in_whatever_order_they_come() {
        let truth = vec![vec![at(1, 0.0), at(2, 0.05)]; 2];
        let (one, other) = (at(6, 0.0), at(5, 0.05));
        let shown = [vec![other.clone(), one.clone()], vec![one, other]];
        let score = evaluate(&truth, &shown, 10.0);
        same(score.f1(), 1.0);
        same(score.switched, 0.0);
    }

    #[test]
    fn what_comes_and_goes_on_a_thing_flickers_and_its_first_sight_does_not() {
        let truth = vec![vec![at(1, 0.0)]; 20];
        let shown = |n: usize| if n == 10 { vec![] } else { vec![at(1, 0.0)] };
        let shown: Vec<_> = (0..20).map(shown).collect();
        same(evaluate(&truth, &shown, 10.0).flicker(), 1.0);
        same(evaluate(&truth, &truth, 10.0).flicker(), 0.0);
    }

    #[test]
    fn another_name_and_another_id_are_counted_and_a_gap_is_neither() {
        let truth = vec![vec![at(1, 0.0)]; 4];
        let shown = [
            vec![at(5, 0.0)],
            vec![],
            vec![another(3, at(5, 0.0))],
            vec![at(6, 0.0)],
        ];
        let score = evaluate(&truth, &shown, 10.0);
        same(score.relabelled, 2.0);
        same(score.switched, 1.0);
    }

    #[test]
    fn scores_add_up_by_what_they_counted() {
        let truth = [vec![at(1, 0.0), at(2, 0.5)]];
        let one = evaluate(&truth, &truth, 10.0);
        let none = evaluate(&truth, &[Vec::new()], 10.0);
        let both: Score = [one, none].into_iter().sum();
        same(both.f1(), 4.0 / 6.0);
        same(both.seconds, 0.2);
    }

    #[test]
    fn a_thing_keeps_its_id_on_its_way_and_while_it_is_hidden() {
        let nameless = |x: f32| ObjectBox {
            id: None,
            ..at(0, x)
        };
        let ids = |frames: &[Vec<ObjectBox>]| -> Vec<Vec<u64>> {
            let ids = |frame: &Vec<ObjectBox>| frame.iter().map(|one| one.id.unwrap()).collect();
            frames.iter().map(ids).collect()
        };
        let mut frames = [
            vec![nameless(0.0), nameless(0.5)],
            vec![nameless(0.55)],
            vec![nameless(0.6), another(2, nameless(0.05)), nameless(0.05)],
        ];
        assign_ids(&mut frames, [300.0, 200.0]);
        assert_eq!(ids(&frames), [vec![0, 1], vec![1], vec![1, 2, 0]]);
        let mut near = [
            vec![nameless(0.5), nameless(0.56)],
            vec![nameless(0.57), nameless(0.51)],
        ];
        assign_ids(&mut near, [300.0, 200.0]);
        assert_eq!(ids(&near), [[0, 1], [1, 0]], "the nearest is the same");
        let mut far = [vec![nameless(0.0)], vec![nameless(0.1)]];
        assign_ids(&mut far, [300.0, 200.0]);
        assert_eq!(ids(&far), [[0], [1]], "30 pixels in a frame is too far");
    }

    #[test]
    fn boxes_are_read_as_programs_write_them() {
        let list = json!([
            {"id": 7, "class": 2, "label": "cone", "score": 0.9, "box": [0.5, 0.25, 1.0, 0.75]},
            {"class": 0, "label": "ball", "score": 1.0, "box": [0.0, 0.0, 1.0, 1.0]},
        ]);
        let read = ObjectBox::parse_list(&list);
        assert_eq!(read[0].id, Some(7));
        assert_eq!(read[0].class, 2);
        assert_eq!(read[0].bbox.edges(), [0.5, 0.25, 1.0, 0.75]);
        assert_eq!((read[1].id, read[1].class), (None, 0));
    }

    #[test]
    #[should_panic(expected = "not a list of boxes")]
    fn a_box_without_a_side_is_none() {
        ObjectBox::parse_list(&json!([{"class": 0, "box": [0.0, 0.0, 1.0]}]));
    }
}
