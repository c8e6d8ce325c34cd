//! The files that a chain of the real programs wrote about its boxes, and a score for each way of showing boxes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ObjectBox, Score, assign_ids, evaluate};

/// The files of one run, by frame number.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    truth: BTreeMap<u64, Vec<ObjectBox>>,
    inferred: BTreeMap<u64, Vec<ObjectBox>>,
    shown: BTreeMap<u64, Vec<ObjectBox>>,
}

/// Scores of one run, or the sum of several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// The tutorial's way: the model's own boxes on the inferred frames, and none on the others.
    pub every_nth: Score,
    /// The model's boxes of the last inferred frame, from that very frame on: as if inference took no time.
    pub hold: Score,
    /// The boxes that the viewer drew.
    pub drawn: Score,
    /// Number of frames.
    pub frames: u64,
    /// Number of frames that the viewer showed.
    pub shown: u64,
}

impl Recording {
    /// Parses the text of `--demo-truth`, of `--detections` and of `--shown`; `size` is the picture's in pixels.
    ///
    /// # Panics
    /// With the line, if one does not have the form of its file.
    pub fn read(truth: &str, detections: &str, shown: &str, size: [f32; 2]) -> Self {
        let (numbers, mut boxes): (Vec<u64>, Vec<_>) = lines(truth, "boxes").unzip();
        assign_ids(&mut boxes, size);
        Self {
            truth: numbers.into_iter().zip(boxes).collect(),
            inferred: lines(detections, "detections").collect(),
            shown: lines(shown, "boxes").collect(),
        }
    }

    /// Scores each way of showing boxes over the same frames: those that the viewer showed, since no other was on a screen,
    /// from the first inferred one, since no box is known before.
    pub fn scores(&self, fps: f64) -> Scores {
        let Some((&first, _)) = self.inferred.first_key_value() else {
            return Scores::default();
        };
        let counted = || self.truth.range(first..);
        let seen: Vec<u64> = counted()
            .map(|(seq, _)| *seq)
            .filter(|seq| self.shown.contains_key(seq))
            .collect();
        let each = |boxes: &dyn Fn(u64) -> Option<Vec<ObjectBox>>| -> Vec<Vec<ObjectBox>> {
            let boxes = seen.iter().map(|&seq| boxes(seq).unwrap_or_default());
            boxes.collect()
        };
        let truth = each(&|seq| self.truth.get(&seq).cloned());
        let score =
            |boxes: &dyn Fn(u64) -> Option<Vec<ObjectBox>>| evaluate(&truth, &each(boxes), fps);
        Scores {
            every_nth: score(&|seq| self.inferred.get(&seq).cloned()),
            hold: score(&|seq| Some(self.inferred.range(..=seq).next_back()?.1.clone())),
            drawn: score(&|seq| self.shown.get(&seq).cloned()),
            frames: counted().count() as u64,
            shown: seen.len() as u64,
        }
    }
}

impl std::iter::Sum for Scores {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let add = |a, b| [a, b].into_iter().sum();
        all.fold(Self::default(), |a, b| Self {
            every_nth: add(a.every_nth, b.every_nth),
            hold: add(a.hold, b.hold),
            drawn: add(a.drawn, b.drawn),
            frames: a.frames + b.frames,
            shown: a.shown + b.shown,
        })
    }
}

/// Returns the frame number and the boxes of each line.
fn lines(text: &str, boxes: &str) -> impl Iterator<Item = (u64, Vec<ObjectBox>)> {
    text.lines().map(move |line| {
        let line: Value = serde_json::from_str(line)
            .unwrap_or_else(|why| panic!("not a line of JSON: {why}: {line}"));
        let seq = line["seq"].as_u64();
        let seq = seq.unwrap_or_else(|| panic!("no frame number: {line}"));
        (seq, ObjectBox::parse_list(&line[boxes]))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Lines of these frames, each with one box, whose left side is at so many hundredths.
    fn file(key: &str, frames: &[(u64, u32)]) -> String {
        let line = |&(seq, x): &(u64, u32)| {
            let x = f64::from(x) / 100.0;
            let found =
                json!({"class": 0, "label": "ball", "score": 1.0, "box": [x, 0.0, x + 0.2, 0.2]});
            format!("{}\n", json!({"seq": seq, key: [found]}))
        };
        frames.iter().map(line).collect()
    }

    /// A ball that moves by 5 hundredths a frame: a box is on it for one frame beside its own.
    fn scores(inferred: &[u64], shown: &[(u64, u32)]) -> Scores {
        let place = |seq: u64| 5 * seq as u32;
        let truth: Vec<_> = (1..=8).map(|seq| (seq, place(seq))).collect();
        let inferred: Vec<_> = inferred.iter().map(|&seq| (seq, place(seq))).collect();
        let [truth, shown] = [&truth[..], shown].map(|frames| file("boxes", frames));
        let detections = file("detections", &inferred);
        Recording::read(&truth, &detections, &shown, [300.0, 200.0]).scores(10.0)
    }

    fn true_places(frames: impl IntoIterator<Item = u64>) -> Vec<(u64, u32)> {
        let places = frames.into_iter().map(|seq| (seq, 5 * seq as u32));
        places.collect()
    }

    #[test]
    fn frames_before_the_first_inferred_one_do_not_count() {
        let mut shown = true_places(1..=8);
        for early in &mut shown[..3] {
            early.1 = 0;
        }
        let scores = scores(&[4, 8], &shown);
        assert_eq!((scores.frames, scores.shown), (5, 5));
        assert!((scores.drawn.f1() - 1.0).abs() < 1e-9, "{scores:?}");
    }

    #[test]
    fn every_nth_has_boxes_on_its_own_frames_and_hold_keeps_them_until_the_next() {
        let scores = scores(&[2, 5, 8], &true_places(1..=8));
        // 7 frames from the second on: 3 pairs, 7 true boxes and 3 shown.
        assert!((scores.every_nth.f1() - 6.0 / 10.0).abs() < 1e-9);
        // 2 and 3, 5 and 6, 8: each is on the ball for a frame more.
        assert!((scores.hold.f1() - 10.0 / 14.0).abs() < 1e-9);
        assert!(scores.hold.flicker() > 0.0);
    }

    #[test]
    fn a_frame_that_was_not_shown_counts_for_nobody_and_its_boxes_are_still_held() {
        let scores = scores(&[2, 5], &true_places([2, 3, 6]));
        assert_eq!((scores.frames, scores.shown), (7, 3));
        assert!((scores.every_nth.f1() - 2.0 / 4.0).abs() < 1e-9);
        assert!((scores.hold.f1() - 1.0).abs() < 1e-9, "{scores:?}");
    }

    #[test]
    fn a_run_in_which_the_model_never_looked_has_no_frames() {
        assert_eq!(scores(&[], &true_places(1..=8)), Scores::default());
    }

    #[test]
    fn runs_add_up() {
        let one = scores(&[4, 8], &true_places(1..=8));
        let two: Scores = [one.clone(), one.clone()].into_iter().sum();
        assert_eq!((two.frames, two.shown), (10, 10));
        assert!((two.every_nth.f1() - one.every_nth.f1()).abs() < 1e-9);
    }
}
