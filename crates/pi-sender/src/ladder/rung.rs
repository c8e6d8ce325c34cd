//! Computes which rungs a ladder has.
//!
//! Each saves about a third of the bytes; a lesser step would not be felt by a slow network. Medians of 29 photographs
//! (22 of them large enough for 640x480) as OpenCV encodes them, and the bytes against those of the rung above:
//!
//! ```text
//! quality      95     90     80     65     40     40     40     40     40
//! sides         1      1      1      1      1    .75    .56    .42    .32
//! 300x200   26850  18867  12950   9558   6823   4444   2871   2014   1435
//!                    .70    .68    .74    .72    .66    .64    .71    .72
//! 640x480  113825  78195  52711  37100  26127  16305  10153   6439   4173
//!                    .68    .67    .72    .70    .62    .63    .64    .65
//! ```

use protocol::geometry::Size;

/// Qualities below the top. Under 40 a JPEG falls into blocks, and fewer pixels look better for the same bytes.
const QUALITIES: [u8; 5] = [95, 90, 80, 65, 40];
/// Sides of a size as a share of those of the size above.
const SIZE_STEP: f64 = 0.75;
/// Count of smaller sizes, down to a third of the sides.
const SMALLER_SIZES: i32 = 4;
/// Shortest side (pixels): a smaller picture shows nothing.
const MIN_SIDE: u16 = 64;

/// Quality and size of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rung {
    /// JPEG quality, 1 to 100.
    pub(crate) quality: u8,
    pub(crate) size: Size,
}

impl Rung {
    /// Returns this rung and those below it.
    pub(super) fn downwards(self) -> Vec<Self> {
        let below = QUALITIES.into_iter().filter(|&q| self.is_coarser_at(q));
        let mut rungs = vec![self];
        rungs.extend(below.map(|quality| Self { quality, ..self }));
        let lowest = rungs[rungs.len() - 1];
        let sizes = (1..=SMALLER_SIZES).map_while(|steps| smaller(self.size, steps));
        rungs.extend(sizes.map(|size| Self { size, ..lowest }));
        rungs
    }

    /// Whether `quality` is far enough below this one's: libjpeg's tables, of scale 200 - 2 quality (about that down to
    /// 40), are at least one and a half times as coarse.
    fn is_coarser_at(self, quality: u8) -> bool {
        let coarse = |quality: u8| 100 - u16::from(quality);
        quality < self.quality && 2 * coarse(quality) >= 3 * coarse(self.quality)
    }
}

/// Returns `size` so many steps smaller, with even sides for JPEG's colours at half resolution; `None` below the end.
fn smaller(size: Size, steps: i32) -> Option<Size> {
    let scale = SIZE_STEP.powi(steps);
    let side = |side: u16| 2 * (f64::from(side) * scale / 2.0).round() as u16;
    let (width, height) = (side(size.width), side(size.height));
    (width.min(height) >= MIN_SIDE).then_some(Size { width, height })
}

#[cfg(test)]
mod tests {
    use imaging::jpeg;
    use proptest::prelude::*;

    use super::super::tests::{median_share, photographs};
    use super::*;

    fn below(quality: u8, size: &str) -> Vec<String> {
        let size = size.parse().unwrap();
        let rungs = Rung { quality, size }.downwards();
        let name = |rung: &Rung| format!("{}@{}", rung.size, rung.quality);
        rungs.iter().map(name).collect()
    }

    #[test]
    fn quality_goes_first_and_then_size() {
        assert_eq!(
            below(80, "300x200").join(" "),
            "300x200@80 300x200@65 300x200@40 226x150@40 168x112@40 126x84@40 94x64@40"
        );
    }

    #[test]
    fn a_quality_close_below_the_one_that_was_asked_for_is_no_rung() {
        let qualities = |top| {
            let rungs = Rung {
                quality: top,
                size: "64x64".parse().unwrap(),
            };
            rungs
                .downwards()
                .iter()
                .map(|rung| rung.quality)
                .collect::<Vec<_>>()
        };
        assert_eq!(qualities(100), [100, 95, 90, 80, 65, 40]);
        assert_eq!(qualities(85), [85, 65, 40]);
        assert_eq!(qualities(68), [68, 40]);
        assert_eq!(qualities(45), [45]);
        assert_eq!(qualities(5), [5]);
    }

    #[test]
    fn no_side_gets_shorter_than_64_pixels() {
        assert_eq!(below(40, "100x80"), ["100x80@40"]);
        assert_eq!(
            below(40, "160x120"),
            ["160x120@40", "120x90@40", "90x68@40"]
        );
        assert_eq!(below(40, "4096x10"), ["4096x10@40"]);
    }

    #[test]
    fn on_real_photographs_each_rung_saves_a_quarter_to_two_fifths() {
        let size: Size = "300x200".parse().unwrap();
        let Some(photographs) = photographs(size) else {
            return testkit::skip("shared/data is not here");
        };
        let rungs = Rung { quality: 95, size }.downwards();
        let bytes = |rung: &Rung| -> Vec<usize> {
            let made = photographs.iter().map(|picture| {
                let picture = jpeg::resize(picture, rung.size).unwrap();
                jpeg::encode(&picture, rung.quality).unwrap().len()
            });
            made.collect()
        };
        for pair in rungs.windows(2) {
            let median = median_share(&bytes(&pair[0]), &bytes(&pair[1]));
            assert!((0.6..=0.75).contains(&median), "{pair:?}: {median:.2}");
        }
    }

    proptest! {
        #[test]
        fn each_rung_is_below_the_last_and_none_is_out_of_shape(
            quality in 1..=100u8,
            width in 1..=4096u16,
            height in 1..=4096u16,
        ) {
            let top = Rung { quality, size: Size { width, height } };
            let rungs = top.downwards();
            prop_assert_eq!(rungs[0], top);
            for pair in rungs.windows(2) {
                let (above, here) = (pair[0], pair[1]);
                if here.size == above.size {
                    prop_assert!(here.quality < above.quality && here.quality >= 40);
                    continue;
                }
                prop_assert_eq!(here.quality, above.quality);
                let Size { width: w, height: h } = here.size;
                prop_assert!(w < above.size.width && h < above.size.height);
                prop_assert!(w % 2 == 0 && h % 2 == 0 && w.min(h) >= 64);
                // Each side is off by one pixel at most.
                let scale = f64::from(w) / f64::from(width);
                prop_assert!((f64::from(h) - f64::from(height) * scale).abs() <= 1.0 + f64::from(height) / f64::from(width));
                prop_assert!(scale > 0.3);
            }
        }
    }
}
