//! YOLOv5 before and after the network. Pure numbers; the formulas are those of ultralytics/yolov5 v7.0
//! (`letterbox`, `non_max_suppression`, `scale_boxes`), to the rounding.

use protocol::detections::Detections;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// The coarsest grid of the network: its input's sides are multiples of this.
pub const STRIDE: u32 = 32;
/// The longest side of an input: that of the largest frame.
pub const LARGEST: u32 = 4096;
/// The longest side for which the network was trained.
const TRAINED: u32 = 640;
/// How much a small frame is enlarged: without it small things are lost, with more of it JPEG's blocks become things.
/// The measurement is in the documentation of [`crate::detect`].
const ENLARGED: f64 = 1.6;
/// Most candidates that enter the suppression, the best first (upstream's `max_nms`).
const CANDIDATES: usize = 30_000;

/// The input for frames of this size: the smallest that holds `image` enlarged 1.6 times, up to 640 on its longer
/// side. It depends on nothing else, so what is found does not depend on the machine or its load.
pub fn net_size(image: Size) -> Size {
    let longer = f64::from(image.width.max(image.height).max(1));
    let gain = (f64::from(TRAINED) / longer).min(ENLARGED);
    let side = |n: u32| {
        ((f64::from(n) * gain).round() as u32)
            .div_ceil(STRIDE)
            .max(1)
            * STRIDE
    };
    Size {
        width: side(image.width),
        height: side(image.height),
    }
}

/// How a picture lies in the network's input: scaled to fit, centred, the rest grey.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    image: Size,
    /// Input pixels per picture pixel.
    gain: f64,
    /// The scaled picture.
    pub inner: Size,
    /// Grey columns on its left.
    pub left: u32,
    /// Grey rows above it.
    pub top: u32,
    /// Half of all grey, not rounded: what boxes are moved back by.
    pad: (f64, f64),
}

impl Letterbox {
    /// Lays `image` into `net`.
    pub fn new(image: Size, net: Size) -> Self {
        let (iw, ih) = (f64::from(image.width), f64::from(image.height));
        let (nw, nh) = (f64::from(net.width), f64::from(net.height));
        let gain = (nw / iw).min(nh / ih);
        let scaled =
            |side: f64, limit: u32| ((side * gain).round_ties_even() as u32).clamp(1, limit);
        let inner = Size {
            width: scaled(iw, net.width),
            height: scaled(ih, net.height),
        };
        // Upstream rounds half the rest minus a tenth, so that an odd pixel goes to the right and below.
        let first = |rest: u32| (f64::from(rest) / 2.0 - 0.1).round() as u32;
        Self {
            image,
            gain,
            inner,
            left: first(net.width - inner.width),
            top: first(net.height - inner.height),
            pad: ((nw - iw * gain) / 2.0, (nh - ih * gain) / 2.0),
        }
    }

    /// A box in input pixels as `[x0, y0, x1, y1]` in the picture, 0 to 1, clipped.
    pub fn to_picture(&self, bounds: [f32; 4]) -> [f32; 4] {
        let x = |x: f32| {
            ((f64::from(x) - self.pad.0) / self.gain / f64::from(self.image.width)).clamp(0.0, 1.0)
                as f32
        };
        let y = |y: f32| {
            ((f64::from(y) - self.pad.1) / self.gain / f64::from(self.image.height)).clamp(0.0, 1.0)
                as f32
        };
        let [x0, y0, x1, y1] = bounds;
        [x(x0), y(y0), x(x1), y(y1)]
    }
}

/// A box in input pixels, with its best class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// `[x0, y0, x1, y1]`.
    pub bounds: [f32; 4],
    /// Its best class.
    pub class: usize,
    /// Objectness times the class's score.
    pub score: f32,
}

/// How many rows a YOLOv5 head gives for an input: three anchors a cell, on grids of 8, 16, 32 and (P6 models) 64 pixels.
pub fn rows(net: Size) -> [u32; 2] {
    let cells = |stride: u32| net.width.div_ceil(stride) * net.height.div_ceil(stride);
    let p5 = 3 * [8, 16, 32].map(cells).iter().sum::<u32>();
    [p5, p5 + 3 * cells(64)]
}

/// Reads the head's rows, `[x, y, w, h, objectness, score of each class]` with x and y the centre, in input pixels.
///
/// A row counts with its best class, where objectness and objectness x score are both above `conf` and `wanted` says so.
pub fn candidates(
    output: &[f32],
    columns: usize,
    conf: f32,
    wanted: impl Fn(usize) -> bool,
) -> Vec<Candidate> {
    let rows = output.chunks_exact(columns.max(6));
    rows.filter_map(|row| {
        let (&[x, y, w, h, objectness], scores) = row.split_first_chunk::<5>()?;
        if objectness.is_nan() || objectness <= conf {
            return None;
        }
        let (class, best) = best(scores)?;
        let score = best * objectness;
        let good =
            score > conf && wanted(class) && [x, y, w, h, score].iter().all(|v| v.is_finite());
        good.then(|| Candidate {
            bounds: [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0],
            class,
            score: score.min(1.0),
        })
    })
    .collect()
}

/// The first of the largest.
fn best(scores: &[f32]) -> Option<(usize, f32)> {
    let first = (0, *scores.first()?);
    let larger = |best: (usize, f32), (class, &score): (usize, &f32)| {
        if score > best.1 { (class, score) } else { best }
    };
    Some(scores.iter().enumerate().fold(first, larger))
}

/// Non-maximum suppression within each class: of boxes that overlap by more than `iou` only the best stays.
pub fn suppress(mut candidates: Vec<Candidate>, iou: f32) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(CANDIDATES);
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let covered =
            |k: &Candidate| k.class == candidate.class && overlap(k.bounds, candidate.bounds) > iou;
        if kept.len() < Detections::MAX && !kept.iter().any(covered) {
            kept.push(candidate);
        }
    }
    kept
}

/// Intersection over union.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |[x0, y0, x1, y1]: [f32; 4]| (x1 - x0).max(0.0) * (y1 - y0).max(0.0);
    let both = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let either = area(a) + area(b) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(width: u32, height: u32) -> Size {
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
                net_size(size(image.0, image.1)),
                size(net.0, net.1),
                "{image:?}"
            );
        }
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
        let [x0, y0, x1, y1] = wide.to_picture([0.0, top as f32, 640.0, 320.0]);
        assert!(
            x0.abs() < 1e-6
                && y0.abs() < 1e-6
                && (x1 - 1.0).abs() < 1e-6
                && (y1 - 0.5).abs() < 1e-6
        );
        assert_eq!(
            wide.to_picture([-50.0, -50.0, 900.0, 900.0]),
            [0.0, 0.0, 1.0, 1.0]
        );
    }

    #[test]
    fn a_640_input_has_25200_rows() {
        assert_eq!(rows(size(640, 640))[0], 25_200);
        assert_eq!(rows(size(1280, 1280))[1], 102_000);
    }

    #[test]
    fn a_row_counts_with_its_best_class_and_objectness_times_score() {
        let row = [50.0, 60.0, 20.0, 40.0, 0.5, 0.1, 0.8];
        let found = candidates(&row, 7, 0.25, |_| true);
        let want = Candidate {
            bounds: [40.0, 40.0, 60.0, 80.0],
            class: 1,
            score: 0.4,
        };
        assert_eq!(found, [want]);
        assert!(
            candidates(&row, 7, 0.4, |_| true).is_empty(),
            "score must be above"
        );
        assert!(
            candidates(&row, 7, 0.25, |class| class == 0).is_empty(),
            "class 1 is not wanted"
        );
    }

    #[test]
    fn suppression_stays_within_a_class() {
        let at = |x: f32, class, score| Candidate {
            bounds: [x, 0.0, x + 10.0, 10.0],
            class,
            score,
        };
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
        fn no_output_of_a_network_gives_a_box_outside_the_picture(
            output in prop::collection::vec(prop_oneof![any::<f32>(), 0f32..1.0, 0f32..700.0], 0..200), columns in 0usize..20,
        ) {
            let letterbox = Letterbox::new(size(300, 200), size(320, 224));
            for kept in suppress(candidates(&output, columns, 0.25, |_| true), 0.45) {
                prop_assert!((0.0..=1.0).contains(&kept.score));
                prop_assert!(letterbox.to_picture(kept.bounds).iter().all(|v| (0.0..=1.0).contains(v)));
            }
        }

        #[test]
        fn the_scaled_picture_always_fits(w in 1u32..=4096, h in 1u32..=4096) {
            for net in [size(640, 640), size(480, 320), net_size(size(w, h))] {
                let l = Letterbox::new(size(w, h), net);
                prop_assert!(l.left + l.inner.width <= net.width && l.top + l.inner.height <= net.height);
            }
        }
    }
}
