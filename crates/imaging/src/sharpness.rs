//! How sharp a part of a picture is: of two pictures of one object the one with more detail is kept.

use opencv::core::{BORDER_DEFAULT, CV_32F, Mat, Rect, mean_std_dev_def};
use opencv::imgproc;
use opencv::prelude::*;
use protocol::geometry::{BBox, Size};

use crate::jpeg::{self, Reduction};

/// Variance of the Laplacian of a part that is neither sharp nor blurred, in squared grey levels.
const MIDDLE: f64 = 300.0;
/// Longest side of a part whose detail is measured, in pixels: larger pictures are decoded at a reduced size.
const LARGEST: u16 = 640;

/// Returns the sharpness of a part of a JPEG, 0 to 1: 0.5 is neither sharp nor blurred. A part of a few pixels has none.
///
/// # Errors
/// If the JPEG cannot be decoded.
pub fn of(jpeg: &[u8], size: Size, part: BBox) -> anyhow::Result<f32> {
    let wanted = size.fitted(Size {
        width: LARGEST,
        height: LARGEST,
    });
    let grey = jpeg::decode_grey(jpeg, Reduction::between(size, wanted))?;
    let Some(part) = pixels(part, &grey) else {
        return Ok(0.0);
    };
    let part = Mat::roi(&grey, part)?;
    let mut detail = Mat::default();
    imgproc::laplacian(&part, &mut detail, CV_32F, 1, 1.0, 0.0, BORDER_DEFAULT)?;
    let (mut mean, mut deviation) = (Mat::default(), Mat::default());
    mean_std_dev_def(&detail, &mut mean, &mut deviation)?;
    let variance = deviation.at::<f64>(0)?.powi(2);
    Ok((variance / (variance + MIDDLE)) as f32)
}

/// Returns a part in whole pixels; `None` if it is too small for any detail.
fn pixels(part: BBox, picture: &Mat) -> Option<Rect> {
    let [x0, y0, x1, y1] = part.clipped().edges();
    let pixel = |share: f32, side: i32| ((share * side as f32) as i32).clamp(0, side);
    let (x0, x1) = (pixel(x0, picture.cols()), pixel(x1, picture.cols()));
    let (y0, y1) = (pixel(y0, picture.rows()), pixel(y1, picture.rows()));
    let (width, height) = (x1 - x0, y1 - y0);
    (width >= 3 && height >= 3).then(|| Rect::new(x0, y0, width, height))
}

#[cfg(test)]
mod tests {
    use opencv::core::{CV_8UC3, Point, Scalar, Size2i};

    use super::*;

    const SIZE: Size = Size {
        width: 300,
        height: 200,
    };
    const LEFT: BBox = BBox::new(0.0, 0.0, 0.5, 1.0);
    const RIGHT: BBox = BBox::new(0.5, 0.0, 1.0, 1.0);

    /// Lines on the left half, nothing on the right.
    fn lines() -> Mat {
        let mut picture =
            Mat::new_rows_cols_with_default(200, 300, CV_8UC3, Scalar::all(90.0)).unwrap();
        for x in (0..150).step_by(10) {
            let (from, to) = (Point::new(x, 0), Point::new(x, 199));
            imgproc::line(&mut picture, from, to, Scalar::all(200.0), 2, 8, 0).unwrap();
        }
        picture
    }

    #[test]
    fn detail_is_sharp_and_less_so_when_it_is_blurred() {
        let sharp = lines();
        let mut blurred = Mat::default();
        imgproc::blur_def(&sharp, &mut blurred, Size2i::new(9, 9)).unwrap();
        let [sharp, blurred] = [sharp, blurred].map(|picture| jpeg::encode(&picture, 80).unwrap());
        let of_sharp = of(&sharp, SIZE, LEFT).unwrap();
        let of_blurred = of(&blurred, SIZE, LEFT).unwrap();
        assert!(
            of_sharp > 0.8 && of_blurred < 0.5,
            "{of_sharp} {of_blurred}"
        );
        assert!(
            of(&sharp, SIZE, RIGHT).unwrap() < 0.1,
            "the part alone counts"
        );
    }

    #[test]
    fn a_part_of_a_few_pixels_and_one_outside_have_none() {
        let jpeg = jpeg::encode(&lines(), 80).unwrap();
        for part in [
            [0.1, 0.1, 0.105, 0.9],
            [1.2, 0.1, 1.4, 0.9],
            [0.4, 0.4, 0.2, 0.2],
        ] {
            assert!(of(&jpeg, SIZE, part.into()).unwrap() <= 0.0, "{part:?}");
        }
        assert!(of(b"no JPEG", SIZE, LEFT).is_err());
    }
}
