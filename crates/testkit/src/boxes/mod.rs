//! How true the boxes on a stream are, where it is known what is true of each frame.
//!
//! On each frame true and shown boxes of the same class that overlap by at least half are paired, the most alike first.
//! *F1* is the share of pairs among all boxes, true and shown. A thing *flickers* when it is paired on a frame and was
//! not on the one before, or the other way round; these are counted for all things together, by seconds of the stream.
//! Names and ids are those of the box that overlaps with the thing, whatever its class: *relabelled* and *switched* say
//! how often they change.

mod recording;

use std::collections::BTreeMap;
use std::iter::Sum;

use serde_json::Value;

pub use self::recording::{Recording, Scores};
use crate::precision;

/// Overlap from which a box is on a thing.
const ON: f64 = 0.5;
/// No thing of a generated scene moves farther in a frame, in pixels.
const STEP: f32 = 25.0;

/// A box on a frame, true or shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Which thing it is on, or which track it belongs to; `None` where nobody says so.
    pub id: Option<u64>,
    /// Number of the class.
    pub class: usize,
    /// `[x0, y0, x1, y1]` in the picture, 0 to 1.
    pub bounds: [f32; 4],
}

impl Outline {
    /// The boxes of a list as programs write it: in a detections message, in `--shown` and in `--demo-truth`.
    ///
    /// # Panics
    /// With the list, where it is none of boxes.
    pub fn read_all(list: &Value) -> Vec<Self> {
        let read = |one: &Value| {
            let sides = one["box"].as_array()?;
            let side = |n: usize| Some(sides.get(n)?.as_f64()? as f32);
            Some(Self {
                id: one["id"].as_u64(),
                class: usize::try_from(one["class"].as_u64()?).ok()?,
                bounds: [side(0)?, side(1)?, side(2)?, side(3)?],
            })
        };
        let all = list.as_array().map(|all| all.iter().map(read).collect());
        all.flatten()
            .unwrap_or_else(|| panic!("no list of boxes: {list}"))
    }
}

/// Counts of one stream or several, which add up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    pairs: f64,
    boxes: f64,
    flickers: f64,
    seconds: f64,
    /// How often a thing was called something else than before.
    pub relabelled: f64,
    /// How often a thing had another id than before.
    pub switched: f64,
}

impl Score {
    /// Harmonic mean of precision and recall, 0 to 1; NaN without a box.
    pub fn f1(&self) -> f64 {
        2.0 * self.pairs / self.boxes
    }

    /// Changes a second, of all things together.
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

/// Judges what was shown on each frame, at `fps` frames a second, by what is true of it.
///
/// # Panics
/// Where a true box has no id: [`name`] gives them.
pub fn judge(truth: &[Vec<Outline>], shown: &[Vec<Outline>], fps: f64) -> Score {
    let mut score = Score {
        seconds: truth.len() as f64 / fps,
        ..Score::default()
    };
    let (mut on, mut labels, mut ids) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (truth, shown) in truth.iter().zip(shown) {
        score.boxes += (truth.len() + shown.len()) as f64;
        let pairs = pairs(truth, shown, |a, b| a.class == b.class);
        score.pairs += pairs.iter().flatten().count() as f64;
        for (thing, pair) in truth.iter().zip(pairs) {
            score.flickers += change(&mut on, thing, pair.is_some());
        }
        for (thing, pair) in truth.iter().zip(self::pairs(truth, shown, |_, _| true)) {
            let Some(found) = pair else { continue };
            score.relabelled += change(&mut labels, thing, found.class);
            score.switched += change(&mut ids, thing, found.id);
        }
    }
    score
}

/// Gives the things of a generated scene their ids: its truth, of all frames in a row, has none. They are told apart by their
/// class and their way; `size` is the picture's in pixels.
pub fn name(truth: &mut [Vec<Outline>], size: [f32; 2]) {
    struct Thing {
        class: usize,
        centre: [f32; 2],
        /// The last that it was seen on.
        frame: usize,
    }
    let mut things: Vec<Thing> = Vec::new();
    for (frame, boxes) in truth.iter_mut().enumerate() {
        for found in boxes {
            let centre = centre(found.bounds, size);
            let way =
                |thing: &Thing| (thing.centre[0] - centre[0]).hypot(thing.centre[1] - centre[1]);
            let known = (0..things.len())
                .filter(|&n| things[n].class == found.class && things[n].frame < frame)
                .filter(|&n| way(&things[n]) < STEP * (frame - things[n].frame) as f32)
                .min_by(|&a, &b| way(&things[a]).total_cmp(&way(&things[b])));
            let thing = Thing {
                class: found.class,
                centre,
                frame,
            };
            let id = known.unwrap_or(things.len());
            found.id = Some(id as u64);
            match known {
                Some(known) => things[known] = thing,
                None => things.push(thing),
            }
        }
    }
}

/// Intersection over union.
pub fn overlap(a: [f32; 4], b: [f32; 4]) -> f64 {
    precision::overlap(a.map(f64::from), b.map(f64::from))
}

/// 1 where something is different from the last time that it was known of this thing.
fn change<T: PartialEq>(last: &mut BTreeMap<u64, T>, thing: &Outline, now: T) -> f64 {
    let id = thing.id.expect("what is true has an id");
    let changed = last.get(&id).is_some_and(|old| *old != now);
    last.insert(id, now);
    f64::from(u8::from(changed))
}

/// The shown box of each true one.
fn pairs<'a>(
    truth: &[Outline],
    shown: &'a [Outline],
    may: impl Fn(&Outline, &Outline) -> bool,
) -> Vec<Option<&'a Outline>> {
    let mut all = Vec::new();
    for (t, thing) in truth.iter().enumerate() {
        let near = shown.iter().enumerate().filter(|(_, one)| may(thing, one));
        all.extend(near.map(|(s, one)| (overlap(thing.bounds, one.bounds), t, s)));
    }
    all.retain(|(overlap, ..)| *overlap >= ON);
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut free: Vec<Option<&Outline>> = shown.iter().map(Some).collect();
    let mut pairs = vec![None; truth.len()];
    for (_, t, s) in all {
        if pairs[t].is_none() {
            pairs[t] = free[s].take();
        }
    }
    pairs
}

/// In pixels.
fn centre([x0, y0, x1, y1]: [f32; 4], [w, h]: [f32; 2]) -> [f32; 2] {
    [w * f32::midpoint(x0, x1), h * f32::midpoint(y0, y1)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A fifth of the picture, of class 0, whose left side is at `x`.
    fn at(id: u64, x: f32) -> Outline {
        Outline {
            id: Some(id),
            class: 0,
            bounds: [x, 0.0, x + 0.2, 0.2],
        }
    }

    fn another(class: usize, outline: Outline) -> Outline {
        Outline { class, ..outline }
    }

    #[track_caller]
    fn same(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn every_true_box_and_no_other_is_one_and_half_of_them_two_thirds() {
        let truth = [vec![at(1, 0.0), at(2, 0.5)]];
        same(judge(&truth, &truth, 10.0).f1(), 1.0);
        same(judge(&truth, &[vec![at(1, 0.0)]], 10.0).f1(), 2.0 / 3.0);
        same(judge(&truth, &[Vec::new()], 10.0).f1(), 0.0);
    }

    #[test]
    fn a_box_counts_from_half_an_overlap_on_where_its_class_is_right() {
        let truth = [vec![at(1, 0.0)]];
        let f1 = |shown| judge(&truth, &[vec![shown]], 10.0).f1();
        same(f1(at(7, 0.06)), 1.0);
        same(f1(at(7, 0.07)), 0.0);
        same(f1(another(3, at(7, 0.0))), 0.0);
    }

    #[test]
    fn a_second_box_on_a_thing_is_a_wrong_one() {
        let truth = [vec![at(1, 0.0)]];
        let shown = [vec![at(1, 0.0), at(9, 0.01)]];
        same(judge(&truth, &shown, 10.0).f1(), 2.0 / 3.0);
    }

    #[test]
    fn a_box_on_two_things_is_on_one_of_them() {
        let truth = [vec![at(1, 0.0), at(2, 0.05)]];
        same(judge(&truth, &[vec![at(1, 0.02)]], 10.0).f1(), 2.0 / 3.0);
    }

    #[test]
    fn the_most_alike_belong_together_in_whatever_order_they_come() {
        let truth = vec![vec![at(1, 0.0), at(2, 0.05)]; 2];
        let (one, other) = (at(6, 0.0), at(5, 0.05));
        let shown = [vec![other.clone(), one.clone()], vec![one, other]];
        let score = judge(&truth, &shown, 10.0);
        same(score.f1(), 1.0);
        same(score.switched, 0.0);
    }

    #[test]
    fn what_comes_and_goes_on_a_thing_flickers_and_its_first_sight_does_not() {
        let truth = vec![vec![at(1, 0.0)]; 20];
        let shown = |n: usize| if n == 10 { vec![] } else { vec![at(1, 0.0)] };
        let shown: Vec<_> = (0..20).map(shown).collect();
        same(judge(&truth, &shown, 10.0).flicker(), 1.0);
        same(judge(&truth, &truth, 10.0).flicker(), 0.0);
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
        let score = judge(&truth, &shown, 10.0);
        same(score.relabelled, 2.0);
        same(score.switched, 1.0);
    }

    #[test]
    fn scores_add_up_by_what_they_counted() {
        let truth = [vec![at(1, 0.0), at(2, 0.5)]];
        let one = judge(&truth, &truth, 10.0);
        let none = judge(&truth, &[Vec::new()], 10.0);
        let both: Score = [one, none].into_iter().sum();
        same(both.f1(), 4.0 / 6.0);
        same(both.seconds, 0.2);
    }

    #[test]
    fn a_thing_keeps_its_id_on_its_way_and_while_it_is_hidden() {
        let nameless = |x: f32| Outline {
            id: None,
            ..at(0, x)
        };
        let ids = |frames: &[Vec<Outline>]| -> Vec<Vec<u64>> {
            let ids = |frame: &Vec<Outline>| frame.iter().map(|one| one.id.unwrap()).collect();
            frames.iter().map(ids).collect()
        };
        let mut frames = [
            vec![nameless(0.0), nameless(0.5)],
            vec![nameless(0.55)],
            vec![nameless(0.6), another(2, nameless(0.05)), nameless(0.05)],
        ];
        name(&mut frames, [300.0, 200.0]);
        assert_eq!(ids(&frames), [vec![0, 1], vec![1], vec![1, 2, 0]]);
        let mut near = [
            vec![nameless(0.5), nameless(0.56)],
            vec![nameless(0.57), nameless(0.51)],
        ];
        name(&mut near, [300.0, 200.0]);
        assert_eq!(ids(&near), [[0, 1], [1, 0]], "the nearest is the same");
        let mut far = [vec![nameless(0.0)], vec![nameless(0.1)]];
        name(&mut far, [300.0, 200.0]);
        assert_eq!(ids(&far), [[0], [1]], "30 pixels in a frame is too far");
    }

    #[test]
    fn boxes_are_read_as_programs_write_them() {
        let list = json!([
            {"id": 7, "class": 2, "label": "cone", "score": 0.9, "box": [0.5, 0.25, 1.0, 0.75]},
            {"class": 0, "label": "ball", "score": 1.0, "box": [0.0, 0.0, 1.0, 1.0]},
        ]);
        let read = Outline::read_all(&list);
        assert_eq!(read[0].id, Some(7));
        assert_eq!((read[0].class, read[0].bounds), (2, [0.5, 0.25, 1.0, 0.75]));
        assert_eq!((read[1].id, read[1].class), (None, 0));
    }

    #[test]
    #[should_panic(expected = "no list of boxes")]
    fn a_box_without_a_side_is_none() {
        Outline::read_all(&json!([{"class": 0, "box": [0.0, 0.0, 1.0]}]));
    }
}
