//! How true the boxes on a clip are.
//!
//! On each frame true and shown boxes of the same class that overlap by at least half are paired, the most alike first.
//! *F1* is the share of pairs among all boxes, true and shown. A thing *flickers* when it is paired on a frame and was
//! not on the one before, or the other way round; these are counted for all things together, by seconds of the stream.
//! Names and ids are those of the box that overlaps with the thing, whatever its class: *relabelled* and *switched* say
//! how often they change.

use std::collections::BTreeMap;
use std::iter::Sum;

use protocol::detections::Detection;
use testkit::precision;

use crate::{Clip, FPS};

/// Overlap from which a box is on a thing.
const ON: f64 = 0.5;

/// Counts of one clip or several.
#[derive(Debug, Clone, Default)]
pub(crate) struct Score {
    pairs: f64,
    boxes: f64,
    flickers: f64,
    seconds: f64,
    pub(crate) relabelled: f64,
    pub(crate) switched: f64,
}

impl Score {
    /// 0 to 1.
    pub(crate) fn f1(&self) -> f64 {
        2.0 * self.pairs / self.boxes
    }

    /// Changes a second.
    pub(crate) fn flicker(&self) -> f64 {
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

/// Judges what was shown on each frame.
pub(crate) fn judge(clip: &Clip, shown: &[Vec<Detection>]) -> Score {
    let mut score = Score {
        seconds: clip.frames.len() as f64 / FPS,
        ..Score::default()
    };
    let (mut on, mut labels, mut ids) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (truth, shown) in clip.truth.iter().zip(shown) {
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

/// 1 where something is different from the last time that it was known of this thing.
fn change<T: PartialEq>(last: &mut BTreeMap<u64, T>, thing: &Detection, now: T) -> f64 {
    let changed = |old| f64::from(u8::from(old));
    let equal = last.get(&thing.id.unwrap()).is_none_or(|old| *old == now);
    last.insert(thing.id.unwrap(), now);
    changed(!equal)
}

/// The shown box of each true one.
fn pairs<'a>(
    truth: &[Detection],
    shown: &'a [Detection],
    may: impl Fn(&Detection, &Detection) -> bool,
) -> Vec<Option<&'a Detection>> {
    let mut all = Vec::new();
    for (t, thing) in truth.iter().enumerate() {
        let near = shown.iter().enumerate().filter(|(_, one)| may(thing, one));
        all.extend(near.map(|(s, one)| (overlap(thing.bounds, one.bounds), t, s)));
    }
    all.retain(|(overlap, ..)| *overlap >= ON);
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut free: Vec<Option<&Detection>> = shown.iter().map(Some).collect();
    let mut pairs = vec![None; truth.len()];
    for (_, t, s) in all {
        if pairs[t].is_none() {
            pairs[t] = free[s].take();
        }
    }
    pairs
}

/// Intersection over union.
pub(crate) fn overlap(a: [f32; 4], b: [f32; 4]) -> f64 {
    precision::overlap(a.map(f64::from), b.map(f64::from))
}
