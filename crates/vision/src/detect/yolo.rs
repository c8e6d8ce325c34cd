//! What the YOLO families share before and after the network. Pure numbers; the formulas are those of ultralytics/yolov5 v7.0
//! (`letterbox`, `non_max_suppression`, `scale_boxes`), to the rounding.

use protocol::detections::Detections;
use protocol::geometry::{BBox, Size};

/// The coarsest grid of most networks: their input's sides are multiples of this.
pub const STRIDE: u16 = 32;
/// The longest side of an input: that of the largest frame.
pub const MAX_SIDE: u16 = 4096;
/// The longest side for which the network was trained.
const TRAINED_SIDE: u16 = 640;
/// Largest enlargement of a small frame: with less small objects are lost, with more JPEG's blocks become objects.
/// The measurement is in the documentation of [`crate::detect`].
const MAX_ENLARGEMENT: f64 = 1.6;
/// Most candidates that enter the suppression, the best first (upstream's `max_nms`).
const MAX_CANDIDATES: usize = 30_000;

/// Returns the input size for frames of this size, a multiple of `stride` on both sides: the smallest that holds `image`
/// enlarged 1.6 times, up to 640 on its longer side. It depends on nothing else, so what is found does not depend on the
/// machine or its load.
pub fn net_size(image: Size, stride: u16) -> Size {
    let longer = f64::from(image.width.max(image.height).max(1));
    let gain = (f64::from(TRAINED_SIDE) / longer).min(MAX_ENLARGEMENT);
    let side = |n: u16| {
        ((f64::from(n) * gain).round() as u16)
            .div_ceil(stride)
            .max(1)
            * stride
    };
    Size {
        width: side(image.width),
        height: side(image.height),
    }
}

/// The position of a picture in the network's input: scaled to fit, centred, the rest grey.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    image: Size,
    /// Input pixels for each pixel of the picture.
    gain: f64,
    /// The scaled picture.
    pub inner: Size,
    /// Grey columns on its left.
    pub left: u16,
    /// Grey rows above it.
    pub top: u16,
    /// Half of all grey, not rounded: what boxes are moved back by.
    pad: (f64, f64),
}

impl Letterbox {
    /// Returns how `image` lies in `net`.
    pub fn new(image: Size, net: Size) -> Self {
        let (iw, ih) = (f64::from(image.width), f64::from(image.height));
        let (nw, nh) = (f64::from(net.width), f64::from(net.height));
        let gain = (nw / iw).min(nh / ih);
        let scaled =
            |side: f64, limit: u16| ((side * gain).round_ties_even() as u16).clamp(1, limit);
        let inner = Size {
            width: scaled(iw, net.width),
            height: scaled(ih, net.height),
        };
        // Upstream rounds half the rest minus a tenth, so that an odd pixel goes to the right and below.
        let first = |rest: u16| (f64::from(rest) / 2.0 - 0.1).round() as u16;
        Self {
            image,
            gain,
            inner,
            left: first(net.width - inner.width),
            top: first(net.height - inner.height),
            pad: ((nw - iw * gain) / 2.0, (nh - ih * gain) / 2.0),
        }
    }

    /// Returns a box in input pixels as shares of the picture, clipped.
    pub fn to_picture(&self, bbox: BBox) -> BBox {
        let share = |input: f32, pad: f64, side: u16| {
            ((f64::from(input) - pad) / self.gain / f64::from(side)).clamp(0.0, 1.0) as f32
        };
        let x = |x: f32| share(x, self.pad.0, self.image.width);
        let y = |y: f32| share(y, self.pad.1, self.image.height);
        BBox::new(x(bbox.x0), y(bbox.y0), x(bbox.x1), y(bbox.y1))
    }
}

/// A box of the head that passed the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Box in input pixels.
    pub bbox: BBox,
    /// Class with the highest score.
    pub class: usize,
    /// Its score.
    pub score: f32,
}

/// Suppresses non-maxima within each class: of boxes that overlap by more than `iou` only the best stays.
pub fn suppress(candidates: Vec<Candidate>, iou: f32) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in sorted(candidates, MAX_CANDIDATES) {
        let covered =
            |k: &Candidate| k.class == candidate.class && k.bbox.iou(candidate.bbox) > iou;
        if kept.len() < Detections::MAX && !kept.iter().any(covered) {
            kept.push(candidate);
        }
    }
    kept
}

/// Returns the candidates that a message holds, the best first.
pub fn best(candidates: Vec<Candidate>) -> Vec<Candidate> {
    sorted(candidates, Detections::MAX)
}

fn sorted(mut candidates: Vec<Candidate>, most: usize) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(most);
    candidates
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(width: u16, height: u16) -> Size {
        Size { width, height }
    }

    #[test]
    fn a_frame_is_enlarged_by_three_fifths_and_to_640_at_most() {
        for (image, net) in [
            ((300, 200), (480, 320)),
            ((320, 240), (512, 384)),
            ((160, 120), (256, 192)),
            ((480, 360), (640, 480)),
            ((640, 480), (640, 480)),
            ((1280, 720), (640, 384)),
            ((720, 1280), (384, 640)),
            ((1, 1), (32, 32)),
            ((4096, 16), (640, 32)),
            ((0, 0), (32, 32)),
        ] {
            assert_eq!(
                net_size(size(image.0, image.1), STRIDE),
                size(net.0, net.1),
                "{image:?}"
            );
        }
    }

    #[test]
    fn a_coarser_grid_gives_a_larger_input() {
        assert_eq!(net_size(size(300, 200), 64), size(512, 320));
        assert_eq!(net_size(size(300, 200), 128), size(512, 384));
    }

    #[test]
    fn a_letterbox_is_upstreams() {
        // bus.jpg, 810x1080, as recorded by upstream's own code
        let tall = Letterbox::new(size(810, 1080), size(640, 640));
        assert_eq!((tall.inner, tall.left, tall.top), (size(480, 640), 80, 0));
        let wide = Letterbox::new(size(300, 200), size(640, 640));
        assert_eq!((wide.inner, wide.left, wide.top), (size(640, 427), 0, 106));
        let line = Letterbox::new(size(4096, 1), size(640, 640));
        assert_eq!(line.inner, size(640, 1), "a line stays visible");
    }

    #[test]
    fn the_way_back_uses_the_unrounded_padding() {
        let wide = Letterbox::new(size(300, 200), size(640, 640));
        let top = 640.0 / 2.0 - 200.0 * (640.0 / 300.0) / 2.0;
        let BBox { x0, y0, x1, y1 } = wide.to_picture(BBox::new(0.0, top as f32, 640.0, 320.0));
        assert!(
            x0.abs() < 1e-6
                && y0.abs() < 1e-6
                && (x1 - 1.0).abs() < 1e-6
                && (y1 - 0.5).abs() < 1e-6
        );
        assert_eq!(
            wide.to_picture(BBox::new(-50.0, -50.0, 900.0, 900.0)),
            BBox::PICTURE
        );
    }

    fn at(x: f32, class: usize, score: f32) -> Candidate {
        Candidate {
            bbox: BBox::new(x, 0.0, x + 10.0, 10.0),
            class,
            score,
        }
    }

    #[test]
    fn without_suppression_overlapping_boxes_stay_the_best_first() {
        let all = vec![at(1.0, 0, 0.8), at(0.0, 0, 0.9)];
        let kept: Vec<f32> = best(all).iter().map(|c| c.score).collect();
        assert_eq!(kept, [0.9, 0.8]);
        assert_eq!(best(vec![at(0.0, 0, 0.5); 2000]).len(), Detections::MAX);
    }

    #[test]
    fn suppression_stays_within_a_class() {
        let all = vec![
            at(1.0, 0, 0.8),
            at(0.0, 0, 0.9),
            at(0.5, 1, 0.7),
            at(9.0, 0, 0.6),
        ];
        let kept: Vec<f32> = suppress(all, 0.45).iter().map(|c| c.score).collect();
        assert_eq!(kept, [0.9, 0.7, 0.6]);
    }

    proptest! {
        #[test]
        fn the_scaled_picture_always_fits(w in 1u16..=4096, h in 1u16..=4096) {
            for net in [size(640, 640), size(480, 320), net_size(size(w, h), STRIDE)] {
                let l = Letterbox::new(size(w, h), net);
                prop_assert!(l.left + l.inner.width <= net.width && l.top + l.inner.height <= net.height);
            }
        }
    }
}
