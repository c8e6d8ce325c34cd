//! The last frames in grey, and how far a patch of an older one has moved on the newest.
//!
//! A frame is decoded at the first query for it, so without tracks none is. Grey at half size measures as well as the
//! full picture, with a parabola through the best match and its neighbours, and the codec makes it at a third of the cost.
//! Wide searches find the position at half of that again, and then only its neighbourhood is searched.

use std::collections::VecDeque;

use bytes::Bytes;
use imaging::jpeg::{self, Reduction};
use opencv::prelude::*;
use protocol::geometry::{BBox, Size};

use super::correlate::{Correlator, Scores};
use super::grey::{Area, Grey};
use super::{Displacement, MAX_PATCH_AGE, PatchQuery};

/// Longest side of a grey picture, as far as a JPEG decoder's reductions reach it.
const MAX_SIDE: u16 = 200;
/// Share of the box's sides that the patch has: at its rim there is more background than object.
const PATCH_SHARE: f32 = 0.8;
/// Least pixels on a side of a patch: a smaller one correlates with everything.
const MIN_PATCH_SIDE: i32 = 4;
/// Least reach of a search, in pixels.
const MIN_REACH: f32 = 2.0;
/// Least pixels on a side of a patch whose search begins on the coarse picture.
const MIN_COARSE_SIDE: i32 = 10;
/// Least reach of such a search, in pixels.
const MIN_COARSE_REACH: f32 = 4.0;
/// Reach of the search on the fine picture around what the coarse one gave, in pixels.
const REFINE_REACH: f32 = 2.0;
/// Score that a match at the end of the reach loses against one where velocity expects it: of two similar objects the one
/// on the way is taken.
const DISTANCE_PENALTY: f32 = 0.5;
/// Least range of the scores of a search; with less the patch is plain and no position is the best.
const MIN_SCORE_RANGE: f32 = 1e-3;

/// One camera's last frames.
#[derive(Debug, Default)]
pub struct FrameHistory {
    frames: VecDeque<StoredFrame>,
    correlator: Correlator,
}

#[derive(Debug)]
struct StoredFrame {
    count: u64,
    pixels: Pixels,
}

#[derive(Debug)]
enum Pixels {
    Encoded(Bytes, Size),
    Decoded(Pyramid),
    Broken,
}

#[derive(Debug)]
struct Pyramid {
    fine: Grey,
    coarse: Grey,
}

impl FrameHistory {
    /// Adds a frame, a JPEG that passed `protocol::jpeg::scan`, with the size in its header. If its number does not rise, the
    /// older ones are dropped.
    pub fn push(&mut self, count: u64, jpeg: Bytes, size: Size) {
        if self.frames.back().is_some_and(|last| last.count >= count) {
            self.frames.clear();
        }
        self.frames.push_back(StoredFrame {
            count,
            pixels: Pixels::Encoded(jpeg, size),
        });
        if self.frames.len() > MAX_PATCH_AGE {
            self.frames.pop_front();
        }
    }

    /// Measures how far a patch of an older frame has moved on the newest; `None` if the pictures do not show it.
    pub fn displacement(&mut self, query: &PatchQuery) -> Option<Displacement> {
        let mut frames = self.frames.iter();
        let from = frames.position(|frame| frame.count == query.from)?;
        let newest = self.frames.len() - 1;
        self.frames[from].decode();
        self.frames[newest].decode();
        match (&self.frames[from].pixels, &self.frames[newest].pixels) {
            (Pixels::Decoded(old), Pixels::Decoded(new)) if old.are_of_size(new) => {
                find(query, old, new, &mut self.correlator)
            }
            _ => None,
        }
    }
}

impl StoredFrame {
    fn decode(&mut self) {
        if let Pixels::Encoded(jpeg, size) = &self.pixels {
            self.pixels = Pyramid::of(jpeg, *size).map_or(Pixels::Broken, Pixels::Decoded);
        }
    }
}

impl Pyramid {
    fn of(bytes: &[u8], size: Size) -> anyhow::Result<Self> {
        let longer = size.width.max(size.height);
        let fits = |reduction: &Reduction| longer / reduction.divisor() <= MAX_SIDE;
        let reduction = Reduction::ALL.into_iter().find(fits);
        let picture = jpeg::decode_grey(bytes, reduction.unwrap_or(Reduction::Eighth))?;
        let fine = Grey {
            width: picture.cols() as usize,
            height: picture.rows() as usize,
            pixels: picture.data_bytes()?.to_vec(),
        };
        let coarse = fine.halved();
        Ok(Self { fine, coarse })
    }

    fn are_of_size(&self, other: &Self) -> bool {
        (self.fine.width, self.fine.height) == (other.fine.width, other.fine.height)
    }
}

/// A query on one level of the pyramid, in its pixels.
#[derive(Debug, Clone, Copy)]
struct LevelQuery {
    patch: Area,
    /// Displacement that velocity expects.
    expected: [f32; 2],
    /// Largest distance from there.
    reach: f32,
    /// Centre and reach of the part that is searched.
    window: ([f32; 2], f32),
}

/// Searches the coarse level first where that pays, then the fine one.
fn find(
    query: &PatchQuery,
    old: &Pyramid,
    new: &Pyramid,
    correlator: &mut Correlator,
) -> Option<Displacement> {
    let [w, h] = [new.fine.width as f32, new.fine.height as f32];
    let expected = [query.guess[0] * w, query.guess[1] * h];
    let reach = (query.reach * w.max(h)).max(MIN_REACH);
    let mut fine = LevelQuery {
        patch: patch_area(query.patch, &old.fine),
        expected,
        reach,
        window: (expected, reach),
    };
    if fine.patch.w.min(fine.patch.h) >= MIN_COARSE_SIDE && reach > MIN_COARSE_REACH {
        let (half, reach) = (expected.map(|way| way / 2.0), reach / 2.0);
        let coarse = LevelQuery {
            patch: patch_area(query.patch, &old.coarse),
            expected: half,
            reach,
            window: (half, reach),
        };
        let (way, _) = search(coarse, &old.coarse, &new.coarse, correlator)?;
        fine.window = (way.map(|way| 2.0 * way), REFINE_REACH);
    }
    let (way, score) = search(fine, &old.fine, &new.fine, correlator)?;
    Some(Displacement {
        by: [way[0] / w, way[1] / h],
        score,
    })
}

fn patch_area(bbox: BBox, picture: &Grey) -> Area {
    let [x0, y0, x1, y1] = bbox.scaled([PATCH_SHARE; 2]).edges();
    let (w, h) = (picture.width as f32, picture.height as f32);
    let [x0, x1] = [x0, x1].map(|x| (x * w).round() as i32);
    let [y0, y1] = [y0, y1].map(|y| (y * h).round() as i32);
    Area {
        x: x0,
        y: y0,
        w: x1 - x0,
        h: y1 - y0,
    }
}

/// Returns how far the patch has moved on this level, and the score there.
fn search(
    query: LevelQuery,
    old: &Grey,
    new: &Grey,
    correlator: &mut Correlator,
) -> Option<([f32; 2], f32)> {
    let (around, reach) = query.window;
    let around = around.map(|way| way.round() as i32);
    // Only the part that should still be in the picture can be found there.
    let stays = new.area().moved(around.map(|way| -way));
    let patch = old.crop(query.patch.intersection(stays));
    if patch.area().w < MIN_PATCH_SIDE || patch.area().h < MIN_PATCH_SIDE {
        return None;
    }
    let window = new.crop(patch.area().moved(around).grown(reach.ceil() as i32));
    let offset = [
        (window.area().x - patch.area().x) as f32,
        (window.area().y - patch.area().y) as f32,
    ];
    let expected = [0, 1].map(|axis| query.expected[axis] - offset[axis]);
    let scores = correlator.compare(patch, window);
    let (at, score) = best(&scores, expected, query.reach)?;
    Some(([at[0] + offset[0], at[1] + offset[1]], score))
}

/// Returns the position of the best score, to fractions of a pixel; those near the expected one count more.
fn best(scores: &Scores<'_>, expected: [f32; 2], reach: f32) -> Option<([f32; 2], f32)> {
    let loss = DISTANCE_PENALTY / (reach * reach);
    let worth = |(at, score): ([i32; 2], f32)| {
        let [dx, dy] = [0, 1].map(|axis| at[axis] as f32 - expected[axis]);
        (score - loss * (dx * dx + dy * dy), at, score)
    };
    let all = scores.iter().map(worth);
    let (_, at, score) = all.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let least = scores.iter().map(|(_, score)| score).fold(score, f32::min);
    let peak = |before: [i32; 2], after: [i32; 2]| {
        let beside = |[dx, dy]: [i32; 2]| scores.get([at[0] + dx, at[1] + dy]);
        peak(beside(before), score, beside(after))
    };
    let [x, y] = at.map(|side| side as f32);
    let at = [x + peak([-1, 0], [1, 0]), y + peak([0, -1], [0, 1])];
    (score - least >= MIN_SCORE_RANGE).then_some((at, score))
}

/// Returns the peak of the parabola through three scores, in pixels from the middle one.
fn peak(before: Option<f32>, middle: f32, after: Option<f32>) -> f32 {
    let (Some(before), Some(after)) = (before, after) else {
        return 0.0;
    };
    let bend = before - 2.0 * middle + after;
    if bend < -f32::EPSILON {
        ((before - after) / (2.0 * bend)).clamp(-0.5, 0.5)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::{self, CV_8UC3, Mat, Rect, Scalar};
    use opencv::imgproc;

    use super::*;

    /// A frame with a cloudy square of 60 pixels at this place on a cloudy ground.
    fn frame(width: i32, height: i32, [x, y]: [i32; 2]) -> Bytes {
        let mut picture = cloudy(width, height, 1);
        let square = cloudy(60, 60, 2);
        let mut there = Mat::roi_mut(&mut picture, Rect::new(x, y, 60, 60)).unwrap();
        square.copy_to(&mut there).unwrap();
        jpeg::encode(&picture, 80).unwrap().into()
    }

    impl FrameHistory {
        /// Adds a frame of the size of most here.
        fn push_small(&mut self, count: u64, jpeg: Bytes) {
            self.push(count, jpeg, size(300, 200));
        }
    }

    fn size(width: u16, height: u16) -> Size {
        Size { width, height }
    }

    /// Smoothed noise, the same for the same seed.
    fn cloudy(width: i32, height: i32, seed: u64) -> Mat {
        let mut noise =
            Mat::new_rows_cols_with_default(height, width, CV_8UC3, Scalar::all(0.0)).unwrap();
        let mut state = seed;
        for byte in noise.data_bytes_mut().unwrap() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        let mut smooth = Mat::default();
        imgproc::blur_def(&noise, &mut smooth, core::Size::new(7, 7)).unwrap();
        smooth
    }

    fn query(from: u64, width: f32, height: f32, [x, y]: [f32; 2]) -> PatchQuery {
        let (x, y) = (x / width, y / height);
        PatchQuery {
            from,
            patch: [x, y, x + 60.0 / width, y + 60.0 / height].into(),
            guess: [0.0; 2],
            reach: 0.1,
        }
    }

    #[test]
    fn a_thing_is_found_where_it_went_on_pictures_of_any_size() {
        for (width, height) in [(160, 120), (300, 200), (640, 480), (720, 1280)] {
            let mut history = FrameHistory::default();
            let sides = size(width as u16, height as u16);
            history.push(1, frame(width, height, [40, 30]), sides);
            history.push(2, frame(width, height, [47, 21]), sides);
            let (w, h) = (width as f32, height as f32);
            let moved = history.displacement(&query(1, w, h, [40.0, 30.0])).unwrap();
            let [dx, dy] = [moved.by[0] * w, moved.by[1] * h];
            let Pixels::Decoded(Pyramid { fine, .. }) = &history.frames[0].pixels else {
                panic!("it was decoded")
            };
            assert!(fine.width.max(fine.height) <= 200);
            let near = (dx - 7.0).abs() < 1.5 && (dy + 9.0).abs() < 1.5;
            assert!(
                near && moved.score > 0.7,
                "{width}x{height}: {dx} {dy} {moved:?}"
            );
        }
    }

    #[test]
    fn what_goes_out_of_the_picture_is_found_by_the_part_that_stays() {
        let mut history = FrameHistory::default();
        history.push_small(1, frame(300, 200, [20, 70]));
        let (mut wide, cut) = (cloudy(350, 200, 1), Rect::new(50, 0, 300, 200));
        let mut there = Mat::roi_mut(&mut wide, Rect::new(20, 70, 60, 60)).unwrap();
        cloudy(60, 60, 2).copy_to(&mut there).unwrap();
        let left = Mat::roi(&wide, cut).unwrap().try_clone().unwrap();
        history.push_small(2, jpeg::encode(&left, 80).unwrap().into());
        let expected = PatchQuery {
            guess: [-52.0 / 300.0, 0.0],
            ..query(1, 300.0, 200.0, [20.0, 70.0])
        };
        let moved = history.displacement(&expected).unwrap();
        assert!(
            (moved.by[0] * 300.0 + 50.0).abs() < 2.0 && moved.score > 0.7,
            "{moved:?}"
        );
    }

    #[test]
    fn of_two_alike_the_one_on_the_way_is_it() {
        let mut picture = cloudy(300, 200, 1);
        for x in [120, 160] {
            let mut there = Mat::roi_mut(&mut picture, Rect::new(x, 70, 30, 30)).unwrap();
            cloudy(30, 30, 2).copy_to(&mut there).unwrap();
        }
        let mut history = FrameHistory::default();
        let both = Bytes::from(jpeg::encode(&picture, 90).unwrap());
        history.push_small(1, both.clone());
        history.push_small(2, both);
        for (guess, way) in [(8.0, 0.0), (32.0, 40.0)] {
            let moved = history.displacement(&PatchQuery {
                from: 1,
                patch: [120.0 / 300.0, 70.0 / 200.0, 150.0 / 300.0, 100.0 / 200.0].into(),
                guess: [guess / 300.0, 0.0],
                reach: 0.15,
            });
            let by = moved.unwrap().by[0] * 300.0;
            assert!((by - way).abs() < 1.5, "expected at {guess}: {by}");
        }
    }

    #[test]
    fn nothing_is_told_of_frames_that_are_gone_broken_plain_or_of_another_size() {
        let whole = frame(300, 200, [40, 30]);
        let grey = Mat::new_rows_cols_with_default(200, 300, CV_8UC3, Scalar::all(90.0)).unwrap();
        let plain = Bytes::from(jpeg::encode(&grey, 80).unwrap());
        let query_of_square = query(1, 300.0, 200.0, [40.0, 30.0]);
        let found = |first: &Bytes, second: &Bytes| {
            let mut history = FrameHistory::default();
            history.push_small(1, first.clone());
            history.push_small(2, second.clone());
            history.displacement(&query_of_square).is_some()
        };
        assert!(found(&whole, &whole));
        assert!(!found(&plain, &plain));
        assert!(!found(&whole, &whole.slice(..100)));
        assert!(!found(&Bytes::from_static(b"junk"), &whole));
        assert!(!found(&whole, &frame(320, 200, [40, 30])));
        let mut history = FrameHistory::default();
        assert_eq!(history.displacement(&query_of_square), None);
        for count in (1..).take(MAX_PATCH_AGE) {
            history.push_small(count, whole.clone());
        }
        assert!(history.displacement(&query_of_square).is_some());
        history.push_small(100, whole.clone());
        assert_eq!(
            history.displacement(&query_of_square),
            None,
            "the oldest one goes"
        );
        assert_eq!(history.frames.len(), MAX_PATCH_AGE);
        history.push_small(1, whole);
        assert_eq!(history.frames.len(), 1, "a restarted camera's are others");
    }

    #[test]
    fn no_frame_is_decoded_before_somebody_asks() {
        let mut history = FrameHistory::default();
        let whole = frame(300, 200, [40, 30]);
        (1..=3).for_each(|count| history.push_small(count, whole.clone()));
        history.displacement(&query(1, 300.0, 200.0, [40.0, 30.0]));
        let decoded = |frame: &StoredFrame| matches!(frame.pixels, Pixels::Decoded(_));
        let decoded: Vec<bool> = history.frames.iter().map(decoded).collect();
        assert_eq!(decoded, [true, false, true]);
    }
}
