//! Normalised cross-correlation of a patch with each position in a window. Pure.
//!
//! The same numbers as OpenCV's `match_template` with `TM_CCOEFF_NORMED`, whose Fourier transforms cost 55 us for a patch
//! of 20x20 pixels in a window of 40x40, whatever else is done; a box costs less than half of that here.
//!
//! ```text
//!                   sum((patch - mean) * window)
//!  score = --------------------------------------------,  |.| of what lies under the patch less its own mean
//!                |patch - mean| * |window - mean|
//! ```
//!
//! The numerator is a dot product of 16-bit numbers, which every processor does many at a time; the means come from sums
//! over everything above and left of a pixel.

use super::grey::Crop;

/// Rows are filled up to a multiple of this many pixels, so that the dot product has no rest.
const LANES: usize = 8;
/// A patch with more rows than this is compared by as many of them, evenly spaced: it bounds what a large one costs.
const MAX_ROWS: usize = 32;

/// Buffers that are used again, and the last result.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    /// The patch's rows, less the patch's mean.
    patch: Vec<i16>,
    window: Vec<i16>,
    /// For each corner between the window's pixels the sum and the sum of squares of what lies left of and above it, in
    /// every `step`th row.
    sums: Vec<[u64; 2]>,
    scores: Vec<f32>,
}

/// A score, -1 to 1, for each position that the patch can have in the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scores<'a> {
    pub(super) columns: usize,
    values: &'a [f32],
}

/// The loaded patch.
struct Patch {
    width: usize,
    /// Width in memory.
    padded: usize,
    rows: usize,
    /// Distance of its rows in the picture.
    step: usize,
    /// What rounding of the mean left: the sum of all values.
    rest: f64,
    /// Sum of squares about the exact mean.
    norm: f64,
}

impl Correlator {
    /// Returns the score of each position; none if the patch is empty or does not fit into the window.
    pub(super) fn compare(&mut self, patch: Crop<'_>, window: Crop<'_>) -> Scores<'_> {
        self.scores.clear();
        let fits = patch.width() <= window.width() && patch.height() <= window.height();
        let columns = (window.width() + 1).saturating_sub(patch.width());
        if fits && patch.width() > 0 && patch.height() > 0 {
            let height = patch.height();
            let patch = self.load_patch(patch);
            self.load_window(window, &patch);
            for y in 0..=window.height() - height {
                self.score_row(y, columns, window.width(), &patch);
            }
        }
        Scores {
            columns,
            values: &self.scores,
        }
    }

    fn load_patch(&mut self, patch: Crop<'_>) -> Patch {
        let width = patch.width();
        let padded = width.next_multiple_of(LANES);
        let step = patch.height().div_ceil(MAX_ROWS);
        let rows = || patch.rows().step_by(step);
        let pixels = (width * rows().count()) as u64;
        let sum: u64 = rows().flatten().map(|&p| u64::from(p)).sum();
        let mean = ((sum + pixels / 2) / pixels) as i16;
        self.patch.clear();
        for row in rows() {
            self.patch.extend(row.iter().map(|&p| i16::from(p) - mean));
            self.patch.resize(self.patch.len() + padded - width, 0);
        }
        let values = || self.patch.iter().map(|&p| i64::from(p));
        let rest = values().sum::<i64>() as f64;
        let squares = values().map(|p| p * p).sum::<i64>() as f64;
        Patch {
            width,
            padded,
            rows: rows().count(),
            step,
            rest,
            norm: squares - rest * rest / pixels as f64,
        }
    }

    fn load_window(&mut self, window: Crop<'_>, patch: &Patch) {
        let corners = window.width() + 1;
        self.window.clear();
        self.sums.clear();
        self.sums.resize(patch.step * corners, [0; 2]);
        for row in window.rows() {
            self.window.extend(row.iter().map(|&p| i16::from(p)));
            self.window
                .resize(self.window.len() + patch.padded - patch.width, 0);
            let above = self.sums.len() - patch.step * corners;
            let mut left = [0; 2];
            self.sums.push(self.sums[above]);
            for (x, &p) in (1..).zip(row) {
                left = [left[0] + u64::from(p), left[1] + u64::from(p).pow(2)];
                let [sum, squares] = self.sums[above + x];
                self.sums.push([left[0] + sum, left[1] + squares]);
            }
        }
    }

    fn score_row(&mut self, y: usize, columns: usize, window: usize, patch: &Patch) {
        let stride = window + patch.padded - patch.width;
        let corners = window + 1;
        let pixels = (patch.width * patch.rows) as f64;
        let [top, bottom] = [y, y + patch.step * patch.rows].map(|row| row * corners);
        for x in 0..columns {
            let rows = self.patch.chunks_exact(patch.padded);
            let below = (0..).map(|row| (y + row * patch.step) * stride + x);
            let mut product = [0; LANES];
            for (row, at) in rows.zip(below) {
                add_products(&mut product, row, &self.window[at..at + patch.padded]);
            }
            let product: i32 = product.iter().sum();
            let sum = |what: usize| {
                let of = |corner: usize| self.sums[corner][what];
                let (left, right) = (x, x + patch.width);
                (of(bottom + right) - of(top + right) - (of(bottom + left) - of(top + left))) as f64
            };
            let (mean, squares) = (sum(0) / pixels, sum(1));
            let norm = patch.norm * (squares - mean * mean * pixels);
            let score = (f64::from(product) - patch.rest * mean) / norm.sqrt();
            // A difference of one grey level in one pixel is the least that a norm of something has.
            let plain = norm < 1.0;
            self.scores.push(if plain { 0.0 } else { score as f32 });
        }
    }
}

/// A sum in each lane, which a compiler turns into the processor's own multiply-and-add: four times as fast as one sum.
/// 32 rows of 512 pixels are far from an overflow.
fn add_products(sums: &mut [i32; LANES], a: &[i16], b: &[i16]) {
    let (a, b) = (a.as_chunks::<LANES>().0, b.as_chunks::<LANES>().0);
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            let product = i32::from(a[lane]) * i32::from(b[lane]);
            sums[lane] = sums[lane].wrapping_add(product);
        }
    }
}

impl Scores<'_> {
    /// Returns each position and its score.
    pub(super) fn iter(&self) -> impl Iterator<Item = ([i32; 2], f32)> {
        let rows = self.values.chunks(self.columns.max(1));
        (0..).zip(rows).flat_map(|(y, row)| {
            let places = (0..).map(move |x| [x, y]);
            places.zip(row.iter().copied())
        })
    }

    /// Returns the score of a position; `None` outside.
    pub(super) fn get(&self, [x, y]: [i32; 2]) -> Option<f32> {
        let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
        let row = self.values.chunks_exact(self.columns.max(1)).nth(y)?;
        row.get(x).copied()
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::{CV_8UC1, Mat, Scalar};
    use opencv::imgproc;
    use opencv::prelude::*;

    use super::*;
    use crate::track::grey::{Area, Grey};

    fn noise(width: usize, height: usize, seed: u64) -> Grey {
        let pixels = (0..(width * height) as u64).map(|n| {
            let z = (n + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            ((z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 56) as u8
        });
        Grey {
            width,
            height,
            pixels: pixels.collect(),
        }
    }

    fn mat(picture: &Grey) -> Mat {
        let mut mat = Mat::new_rows_cols_with_default(
            picture.height as i32,
            picture.width as i32,
            CV_8UC1,
            Scalar::all(0.0),
        )
        .unwrap();
        mat.data_bytes_mut()
            .unwrap()
            .copy_from_slice(&picture.pixels);
        mat
    }

    #[test]
    fn scores_are_those_of_opencv() {
        let (old, new) = (noise(23, 17, 1), noise(40, 31, 2));
        let mut theirs = Mat::default();
        imgproc::match_template_def(
            &mat(&new),
            &mat(&old),
            &mut theirs,
            imgproc::TM_CCOEFF_NORMED,
        )
        .unwrap();
        let mut correlator = Correlator::default();
        let ours = correlator.compare(old.crop(old.area()), new.crop(new.area()));
        assert_eq!(ours.iter().count(), 18 * 15);
        for ([x, y], score) in ours.iter() {
            let theirs = *theirs.at_2d::<f32>(y, x).unwrap();
            assert!((score - theirs).abs() < 1e-4, "{x} {y}: {score} {theirs}");
        }
    }

    #[test]
    fn a_patch_is_found_where_it_was_cut_however_bright_it_is_there() {
        let picture = noise(60, 90, 3);
        let patch = Area {
            x: 20,
            y: 15,
            w: 19,
            h: 70,
        };
        let mut dimmed = picture.clone();
        for pixel in &mut dimmed.pixels {
            *pixel = *pixel / 2 + 40;
        }
        let mut correlator = Correlator::default();
        let scores = correlator.compare(picture.crop(patch), dimmed.crop(dimmed.area()));
        let best = scores.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert_eq!(best.0, [20, 15]);
        assert!(best.1 > 0.99, "{best:?}");
        assert!(correlator.patch.len() <= MAX_ROWS * 24, "not all 70 rows");
    }

    #[test]
    fn what_is_plain_or_too_large_or_nothing_is_like_nothing() {
        let (picture, nothing) = (
            noise(20, 20, 4),
            Area {
                x: 5,
                y: 5,
                w: 0,
                h: 3,
            },
        );
        let plain = Grey {
            width: 20,
            height: 20,
            pixels: vec![90; 400],
        };
        let mut correlator = Correlator::default();
        let small = Area {
            x: 3,
            y: 3,
            w: 9,
            h: 9,
        };
        for (old, new) in [(&plain, &picture), (&picture, &plain)] {
            let scores = correlator.compare(old.crop(small), new.crop(new.area()));
            assert!(
                scores.iter().count() > 0 && scores.iter().all(|(_, score)| score.abs() < 1e-6)
            );
        }
        for (patch, window) in [
            (picture.area(), small),
            (nothing, small),
            (nothing, nothing),
        ] {
            let scores = correlator.compare(picture.crop(patch), picture.crop(window));
            assert_eq!(scores.iter().count(), 0);
        }
    }
}
