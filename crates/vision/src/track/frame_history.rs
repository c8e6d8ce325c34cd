//! The pictures that carry boxes: the last frames in grey, and where on the newest one a patch of an older one is.
//!
//! A frame is decoded when somebody asks for it, so without boxes nothing is. Grey at half size carries as well as the
//! full picture, with a parabola through the best match and its neighbours, and the codec makes it at a third of the cost.
//! Wide searches find the place at half of that again, and then only its neighbourhood is looked at.

use std::collections::VecDeque;

use anyhow::Context as _;
use bytes::Bytes;
use imaging::jpeg::{self, Reduction};
use opencv::prelude::*;
use protocol::jpeg::{Limits, scan};

use super::correlate::{Correlator, Scores};
use super::grey::{Area, Grey};
use super::place::Place;
use super::{Displacement, PICTURES, PatchQuery};

/// The longer side of a grey picture is at most this, as far as a JPEG decoder's reductions can make it so.
const LONGEST: u16 = 200;
/// The patch is this much of the box: at its rim there is more background than object.
const PATCH: f32 = 0.8;
/// A patch of fewer pixels on a side looks like everything.
const SMALLEST: i32 = 4;
/// Least reach of a search, in pixels.
const LEAST: f32 = 2.0;
/// A patch of at least this many pixels on a side, and a search farther than this, begin on the coarse picture ..
const COARSE: (i32, f32) = (10, 4.0);
/// .. and then reach so far around what was found there.
const AROUND: f32 = 2.0;
/// What a match at the end of the reach loses against one where velocity expects it. Of two things that look alike, it is
/// the one on the way.
const FAR: f32 = 0.5;
/// Scores that differ by less have no best one: the patch is plain.
const PLAIN: f32 = 1e-3;

/// One camera's last frames.
#[derive(Debug, Default)]
pub struct FrameHistory {
    frames: VecDeque<Frame>,
    correlator: Correlator,
}

#[derive(Debug)]
struct Frame {
    count: u64,
    picture: Picture,
}

#[derive(Debug)]
enum Picture {
    Encoded(Bytes),
    Decoded(Levels),
    Broken,
}

#[derive(Debug)]
struct Levels {
    fine: Grey,
    coarse: Grey,
}

impl FrameHistory {
    /// A frame has come, a JPEG of which `protocol::jpeg::scan` thinks well; numbers that do not rise begin anew.
    pub fn push(&mut self, count: u64, jpeg: Bytes) {
        if self.frames.back().is_some_and(|last| last.count >= count) {
            self.frames.clear();
        }
        self.frames.push_back(Frame {
            count,
            picture: Picture::Encoded(jpeg),
        });
        if self.frames.len() > PICTURES {
            self.frames.pop_front();
        }
    }

    /// Where a patch of an older frame is on the newest; `None` where that cannot be told.
    pub fn displacement(&mut self, search: &PatchQuery) -> Option<Displacement> {
        let mut frames = self.frames.iter();
        let from = frames.position(|frame| frame.count == search.from)?;
        let newest = self.frames.len() - 1;
        self.frames[from].decode();
        self.frames[newest].decode();
        match (&self.frames[from].picture, &self.frames[newest].picture) {
            (Picture::Decoded(old), Picture::Decoded(new)) if old.are_of_size(new) => {
                find(search, old, new, &mut self.correlator)
            }
            _ => None,
        }
    }
}

impl Frame {
    fn decode(&mut self) {
        if let Picture::Encoded(jpeg) = &self.picture {
            self.picture = Levels::of(jpeg).map_or(Picture::Broken, Picture::Decoded);
        }
    }
}

impl Levels {
    fn of(bytes: &[u8]) -> anyhow::Result<Self> {
        let header = scan(bytes, Limits::default()).context("scanning a frame")?;
        let longer = header.width.max(header.height);
        let fits = |reduction: &Reduction| longer / reduction.divisor() <= LONGEST;
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

/// A search on one level, in its pixels.
#[derive(Debug, Clone, Copy)]
struct Look {
    patch: Area,
    /// How far velocity says that the patch has moved.
    expected: [f32; 2],
    /// How far around that it may be.
    reach: f32,
    /// Where to look, and how far around it.
    around: ([f32; 2], f32),
}

fn find(
    search: &PatchQuery,
    old: &Levels,
    new: &Levels,
    correlator: &mut Correlator,
) -> Option<Displacement> {
    let [w, h] = [new.fine.width as f32, new.fine.height as f32];
    let expected = [search.guess[0] * w, search.guess[1] * h];
    let reach = (search.reach * w.max(h)).max(LEAST);
    let mut fine = Look {
        patch: pixels(search.patch, &old.fine),
        expected,
        reach,
        around: (expected, reach),
    };
    if fine.patch.w.min(fine.patch.h) >= COARSE.0 && reach > COARSE.1 {
        let (half, reach) = (expected.map(|way| way / 2.0), reach / 2.0);
        let coarse = Look {
            patch: pixels(search.patch, &old.coarse),
            expected: half,
            reach,
            around: (half, reach),
        };
        let (way, _) = look(coarse, &old.coarse, &new.coarse, correlator)?;
        fine.around = (way.map(|way| 2.0 * way), AROUND);
    }
    let (way, score) = look(fine, &old.fine, &new.fine, correlator)?;
    Some(Displacement {
        by: [way[0] / w, way[1] / h],
        score,
    })
}

fn pixels(place: Place, picture: &Grey) -> Area {
    let [x0, y0, x1, y1] = place.scaled([PATCH; 2]).edges();
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

/// How far the patch has moved, and how alike it is there.
fn look(
    look: Look,
    old: &Grey,
    new: &Grey,
    correlator: &mut Correlator,
) -> Option<([f32; 2], f32)> {
    let (around, reach) = look.around;
    let around = around.map(|way| way.round() as i32);
    // Only what should still be in the picture can be found there.
    let stays = new.area().moved(around.map(|way| -way));
    let patch = old.cut(look.patch.common(stays));
    if patch.area().w < SMALLEST || patch.area().h < SMALLEST {
        return None;
    }
    let window = new.cut(patch.area().moved(around).grown(reach.ceil() as i32));
    let offset = [
        (window.area().x - patch.area().x) as f32,
        (window.area().y - patch.area().y) as f32,
    ];
    let expected = [0, 1].map(|axis| look.expected[axis] - offset[axis]);
    let scores = correlator.compare(patch, window);
    let (at, score) = best(&scores, expected, look.reach)?;
    Some(([at[0] + offset[0], at[1] + offset[1]], score))
}

/// The place of the best score, to fractions of a pixel, where those near the expected place count more.
fn best(scores: &Scores<'_>, expected: [f32; 2], reach: f32) -> Option<([f32; 2], f32)> {
    let loss = FAR / (reach * reach);
    let worth = |(at, score): ([i32; 2], f32)| {
        let [dx, dy] = [0, 1].map(|axis| at[axis] as f32 - expected[axis]);
        (score - loss * (dx * dx + dy * dy), at, score)
    };
    let all = scores.iter().map(worth);
    let (_, at, score) = all.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let least = scores.iter().map(|(_, score)| score).fold(score, f32::min);
    let top = |before: [i32; 2], after: [i32; 2]| {
        let beside = |[dx, dy]: [i32; 2]| scores.get([at[0] + dx, at[1] + dy]);
        top(beside(before), score, beside(after))
    };
    let [x, y] = at.map(|side| side as f32);
    let at = [x + top([-1, 0], [1, 0]), y + top([0, -1], [0, 1])];
    (score - least >= PLAIN).then_some((at, score))
}

/// Where between its neighbours the top of a parabola lies, in pixels from the middle one.
fn top(before: Option<f32>, middle: f32, after: Option<f32>) -> f32 {
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
    use opencv::core::{CV_8UC3, Mat, Rect, Scalar, Size};
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
        imgproc::blur_def(&noise, &mut smooth, Size::new(7, 7)).unwrap();
        smooth
    }

    fn search(from: u64, width: f32, height: f32, [x, y]: [f32; 2]) -> PatchQuery {
        let (x, y) = (x / width, y / height);
        PatchQuery {
            from,
            patch: Place::of([x, y, x + 60.0 / width, y + 60.0 / height]),
            guess: [0.0; 2],
            reach: 0.1,
        }
    }

    #[test]
    fn a_thing_is_found_where_it_went_on_pictures_of_any_size() {
        for (width, height) in [(160, 120), (300, 200), (640, 480), (720, 1280)] {
            let mut pictures = FrameHistory::default();
            pictures.push(1, frame(width, height, [40, 30]));
            pictures.push(2, frame(width, height, [47, 21]));
            let (w, h) = (width as f32, height as f32);
            let moved = pictures
                .displacement(&search(1, w, h, [40.0, 30.0]))
                .unwrap();
            let [dx, dy] = [moved.by[0] * w, moved.by[1] * h];
            let Picture::Decoded(Levels { fine, .. }) = &pictures.frames[0].picture else {
                panic!("it was looked at")
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
        let mut pictures = FrameHistory::default();
        pictures.push(1, frame(300, 200, [20, 70]));
        let (mut wide, cut) = (cloudy(350, 200, 1), Rect::new(50, 0, 300, 200));
        let mut there = Mat::roi_mut(&mut wide, Rect::new(20, 70, 60, 60)).unwrap();
        cloudy(60, 60, 2).copy_to(&mut there).unwrap();
        let left = Mat::roi(&wide, cut).unwrap().try_clone().unwrap();
        pictures.push(2, jpeg::encode(&left, 80).unwrap().into());
        let expected = PatchQuery {
            guess: [-52.0 / 300.0, 0.0],
            ..search(1, 300.0, 200.0, [20.0, 70.0])
        };
        let moved = pictures.displacement(&expected).unwrap();
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
        let mut pictures = FrameHistory::default();
        let both = Bytes::from(jpeg::encode(&picture, 90).unwrap());
        pictures.push(1, both.clone());
        pictures.push(2, both);
        for (guess, way) in [(8.0, 0.0), (32.0, 40.0)] {
            let moved = pictures.displacement(&PatchQuery {
                from: 1,
                patch: Place::of([120.0 / 300.0, 70.0 / 200.0, 150.0 / 300.0, 100.0 / 200.0]),
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
        let asked = search(1, 300.0, 200.0, [40.0, 30.0]);
        let told = |first: &Bytes, second: &Bytes| {
            let mut pictures = FrameHistory::default();
            pictures.push(1, first.clone());
            pictures.push(2, second.clone());
            pictures.displacement(&asked).is_some()
        };
        assert!(told(&whole, &whole));
        assert!(!told(&plain, &plain));
        assert!(!told(&whole, &whole.slice(..100)));
        assert!(!told(&Bytes::from_static(b"junk"), &whole));
        assert!(!told(&whole, &frame(320, 200, [40, 30])));
        let mut pictures = FrameHistory::default();
        assert_eq!(pictures.displacement(&asked), None);
        for count in (1..).take(PICTURES) {
            pictures.push(count, whole.clone());
        }
        assert!(pictures.displacement(&asked).is_some());
        pictures.push(100, whole.clone());
        assert_eq!(pictures.displacement(&asked), None, "the oldest one goes");
        assert_eq!(pictures.frames.len(), PICTURES);
        pictures.push(1, whole);
        assert_eq!(pictures.frames.len(), 1, "a restarted camera's are others");
    }

    #[test]
    fn no_frame_is_decoded_before_somebody_asks() {
        let mut pictures = FrameHistory::default();
        let whole = frame(300, 200, [40, 30]);
        (1..=3).for_each(|count| pictures.push(count, whole.clone()));
        pictures.displacement(&search(1, 300.0, 200.0, [40.0, 30.0]));
        let decoded = |frame: &Frame| matches!(frame.picture, Picture::Decoded(_));
        let decoded: Vec<bool> = pictures.frames.iter().map(decoded).collect();
        assert_eq!(decoded, [true, false, true]);
    }
}
